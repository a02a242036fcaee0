"""Palindromes whose digits repeat, and networks with known mistakes on them."""

import csv
from pathlib import Path

import pytest
import torch

import cli
from datamodules.palindrome_patterns import all_patterns
from datamodules.palindrome_space import mirrored
from experiments.adversaries import margins_of
from experiments.trained_model import load
from tests.conftest import Command


def test_the_command_counts_mistakes(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--model.network=rnn", "--seed_everything=3") == 0
    run, out = tmp_path / "runs" / "small" / "version_0", tmp_path / "out"
    assert cli.main(["patterns", f"--ckpt_paths=[{run}]", "--lengths=[5,9]", f"--output_dir={out}"]) == 0
    with (out / "patterns.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    searches = ["greedy", "gradient"]
    kinds = {length: [*all_patterns(length, 10), *searches] for length in (5, 9)}
    assert [(row["length"], row["kind"]) for row in rows] == [(str(T), kind) for T in (5, 9) for kind in kinds[T]]
    trained = load(str(run), "last_digit")
    for row in rows:
        length = int(row["length"])
        assert (row["network"], row["seed"]) == ("rnn", "3")
        if row["kind"] in searches:
            continue
        halves = all_patterns(length, 10)[row["kind"]]
        digits = mirrored(halves.numbered(torch.arange(halves.num)), length)
        margins = margins_of(trained.network, digits)
        assert int(row["palindromes"]) == len(digits) and int(row["wrong"]) == int((margins <= 0).sum()) > 0
        assert float(row["smallest_margin"]) == pytest.approx(margins.min().item(), abs=1e-5)
        worst = torch.tensor([list(map(int, row["worst"].split()))])
        assert margins_of(trained.network, mirrored(worst, length)).item() == pytest.approx(
            margins.min().item(), abs=1e-5
        )
    # The search along gradients begins with the smallest margins of the other kinds.
    for length in (5, 9):
        found = {row["kind"]: float(row["smallest_margin"]) for row in rows if row["length"] == str(length)}
        assert found["gradient"] <= min(found.values()) + 1e-5
    assert (out / "patterns.png").read_bytes().startswith(b"\x89PNG") and (out / "patterns.svg").exists()
    assert "smallest_margin" in capsys.readouterr().out
    too_long = ["patterns", f"--ckpt_paths=[{run}]", "--lengths=[6,100001]", f"--output_dir={tmp_path / 'other'}"]
    assert cli.main(too_long) == 2 and not (tmp_path / "other").exists()
    assert "lengths has 100001; each must be from 4 to 100000" in capsys.readouterr().err


def test_too_many_different_digits_are_refused(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", "--model.network=rnn", "--data.num_classes=41") == 0
    capsys.readouterr()
    run, out = tmp_path / "runs" / "small" / "version_0", tmp_path / "out"
    assert cli.main(["patterns", f"--ckpt_paths=[{run}]", "--lengths=[4]", f"--output_dir={out}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "41 digits; the limit is 40" in line and not out.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--ckpt_paths=[]"], "ckpt_paths is empty"),
        (["--ckpt_paths=[runs]", "--lengths=[3]"], "lengths has 3; each must be from 4"),
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
