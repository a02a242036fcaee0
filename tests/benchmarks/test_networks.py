"""All contenders do the same work, and the table has their speed."""

import csv
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import networks, rounds


@pytest.mark.parametrize("network", networks.NETWORKS)
def test_all_contenders_compute_the_same_step(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    losses: list[Tensor] = []

    def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
        losses.append(original(logits, target))
        return losses[-1]

    original = functional.cross_entropy
    monkeypatch.setattr(functional, "cross_entropy", cross_entropy)
    names = ("naive", "autograd", "bptt", "vendor")
    for name in names:
        networks.contender(name, network, 3, 4, 6)()
    assert len(losses) == len(names)
    for loss in losses:
        torch.testing.assert_close(loss, losses[0])


def test_medians_of_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(networks, "SECONDS_PER_TURN", 4.0)
    turns = ([1.0, 8.0], [1.0, 2.0, 2.0], [1.0, 9.0], [1.0, 1.0, 1.0, 1.0, 3.0])  # a round and a step to warm up
    seconds = iter([step for turn in turns for step in turn])

    def step() -> None:
        now[0] += next(seconds)

    assert networks.seconds_per_step({"one": step}, rounds=3) == {"one": 2.0}  # of 2, 9 and 1.5
    assert next(seconds, None) is None


def test_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> Any:
        raise ValueError("no compiler")

    times = {"naive": 8.0, "autograd": 4.0, "bptt": 1.0, "vendor": 2.0, "floor": 0.5}
    monkeypatch.setattr(networks.fused, "load", load)
    monkeypatch.setattr(networks, "contender", lambda name, *sizes: name)
    monkeypatch.setattr(networks, "seconds_per_step", lambda steps, rounds: {name: times[name] for name in steps})
    monkeypatch.setattr(networks, "OTHER_SIZES", [(128, 64, 20)])
    monkeypatch.setattr(networks, "growth", lambda names, network, rounds: [1.0 for _ in names])
    monkeypatch.setattr(networks, "peak_mebibytes", lambda name, network: {"bptt": None}.get(name, 7.0))
    folder = tmp_path / "new" / "folder"
    monkeypatch.setattr(sys, "argv", ["networks", "--networks", "lstm", "--lengths", "5", f"--output-dir={folder}"])
    networks.main()
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert lines[2] == ["network", "B", "H", "T", "naive", "autograd", "bptt", "fused", "vendor,", "ms", "floor"]
    assert lines[4] == ["lstm", "128", "64", "20", "0.25", "0.50", "2.00", "-", "2000.00", "4.00"]
    assert lines[-6:-4] == [["network", "bptt", "vendor"], ["lstm", "1.00", "1.00"]]
    assert lines[-2:] == [["network", "naive", "autograd", "bptt", "vendor"], ["lstm", "7", "7", "-", "7"]]
    assert err == "no compiler\n"
    with (folder / "networks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["T"], row["bptt"], row["fused"], row["vendor, ms"]) for row in rows] == [
        ("5", "2.0", "", "2000.0"),
        ("20", "2.0", "", "2000.0"),
    ]
    assert set(json.loads((folder / "about.json").read_text())) == {"networks.csv", "growth.csv", "peaks.csv"}


def test_peak_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept activations alone are 1,000 steps of 128 times 128 float32; a process that is killed has no peak."""
    peak = networks.peak_mebibytes("bptt", "rnn")
    assert peak is not None and 1000 * 128 * 128 * 4 / 2**20 < peak < 1000
    monkeypatch.setattr(networks, "in_new_process", lambda *args: rounds.in_new_process(os._exit, 9))
    assert networks.peak_mebibytes("bptt", "rnn") is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "20", "1"], "--lengths: 1 .* at least 2"),
        (["--rounds", "0"], "--rounds: 0 .* at least 1"),
        (["--rounds", "many"], "--rounds: .*'many'"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["networks", *arguments])
    with pytest.raises(SystemExit) as error:
        networks.main()
    assert error.value.code == 2 and re.search(message, capsys.readouterr().err)


@pytest.mark.slow
def test_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(networks, "OTHER_SIZES", [])
    monkeypatch.setattr(networks, "SECONDS_PER_TURN", 0.0)
    # A thousand steps take a minute; the documented command of tests/test_commands.py has them.
    monkeypatch.setattr(networks, "growth", lambda names, *_: [1.0] * len(names))
    monkeypatch.setattr(networks, "peak_mebibytes", lambda *_: 1.0)
    monkeypatch.setattr(sys, "argv", ["networks", "--networks", "rnn", "--lengths", "5", "--rounds", "1"])
    networks.main()
    out = capsys.readouterr().out
    assert re.search(r"rnn +128 +128 +5 +\d", out) and "bptt" in out and "vendor" in out
