"""Both ways to compute a training step do the same work, and trainings have their results in the table."""

import csv
import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import networks, strings
from models.networks.recurrent import Backward


def test_both_contenders_compute_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[Tensor] = []
    original = functional.cross_entropy

    def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
        losses.append(original(logits, target))
        return losses[-1]

    monkeypatch.setattr(functional, "cross_entropy", cross_entropy)
    for backward in get_args(Backward):
        strings.contender(backward, 4)()
    torch.testing.assert_close(*losses)


def test_the_table_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "SECONDS_PER_TURN", 0.01)
    monkeypatch.setattr(strings, "STEP_LENGTHS", (2, 3))
    monkeypatch.setattr(sys, "argv", ["benchmarks.strings", "step", "--rounds", "1", "--output-dir", str(tmp_path)])
    strings.main()
    rows = list(csv.DictReader((tmp_path / "step.csv").open()))
    assert [row["n"] for row in rows] == ["2", "3"] and all(float(row["bptt"]) > 0 for row in rows)
    assert "step.csv" in json.loads((tmp_path / "about.json").read_text())


def test_the_table_of_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few steps nothing is learned, and nothing is proved."""
    original: Any = strings.prepare_run

    def prepare_run(config: str, *args: str) -> Any:
        return original(config, *args, "--trainer.max_steps=2", "--data.num_test=20", "--data.num_val=20")

    monkeypatch.setattr(strings, "prepare_run", prepare_run)
    words = ["benchmarks.strings", "train", "--seeds", "3", "--lengths", "4", "6", "--output-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    strings.main()
    rows = list(csv.DictReader((tmp_path / "reverse.csv").open()))
    assert [(row["seed"], row["length"], row["actions"]) for row in rows] == [
        ("3", length, actions) for length in ("4", "6") for actions in ("soft", "hardened")
    ]
    assert {row["margin"] for row in rows} == {""} and all(float(row["accuracy"]) < 0.5 for row in rows)
