"""Palindromes whose digits repeat, and networks with known mistakes on them."""

import csv
from pathlib import Path

import pytest
import torch

import cli
from experiments.patterns import draw_patterns, margins_of
from models.networks import VanillaRNN
from tests.conftest import Command


@pytest.mark.parametrize("length", [4, 5, 6, 9])
def test_patterns_are_all_palindromes_of_their_kind(length: int) -> None:
    expected = set()
    for d in "012":
        for a in "012":
            for b in "012":
                half = (d + (a + b) * length)[: (length + 1) // 2]
                expected.add(half + half[: length // 2][::-1])
    drawn = ["".join(map(str, row)) for row in draw_patterns(length, 3).tolist()]
    assert len(drawn) == 27 and set(drawn) == expected


def test_margins_are_those_of_the_last_step() -> None:
    torch.manual_seed(0)
    network = VanillaRNN(3, 4, 3, initialization="uniform")
    digits = draw_patterns(6, 3)
    margins = margins_of(network, digits)
    for row, margin in zip(digits, margins.tolist(), strict=True):
        logits = network(row[None, :5])[0][0, -1].tolist()
        right = logits.pop(int(row[-1]))
        assert margin == pytest.approx(right - max(logits), abs=1e-6)


def test_the_command_counts_mistakes(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--model.network=rnn", "--seed_everything=3") == 0
    run, out = tmp_path / "runs" / "small" / "version_0", tmp_path / "out"
    assert cli.main(["patterns", f"--ckpt_paths=[{run}]", "--lengths=[6,9]", f"--output_dir={out}"]) == 0
    with (out / "patterns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["seed"], row["length"]) for row in rows] == [("rnn", "3", "6"), ("rnn", "3", "9")]
    assert all(0 < int(row["wrong"]) <= int(row["palindromes"]) == 1000 for row in rows)  # it was hardly trained
    assert all(float(row["smallest_margin"]) < 0 and len(row["worst"].split()) == 3 for row in rows)
    assert (out / "patterns.png").read_bytes().startswith(b"\x89PNG") and (out / "patterns.svg").exists()
    assert "smallest_margin" in capsys.readouterr().out
    too_long = ["patterns", f"--ckpt_paths=[{run}]", "--lengths=[6,134218]", f"--output_dir={tmp_path / 'other'}"]
    assert cli.main(too_long) == 2 and not (tmp_path / "other").exists()
    assert "lengths has 134218; the limit is 134217" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--ckpt_paths=[]"], "ckpt_paths is empty"),
        (["--ckpt_paths=[runs]", "--lengths=[3]"], "lengths has 3; it must be at least 4"),
        (["--ckpt_paths=[runs]", "--lengths=[5,5]"], "give at least one, each once"),
        (["--ckpt_paths=[runs]", "--lengths=[]"], "give at least one, each once"),
        (["--ckpt_paths=[nowhere]"], "nowhere"),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["patterns", *args, f"--output_dir={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()
