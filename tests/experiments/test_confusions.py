"""Confusions are those of the predictions that the network makes for whole palindromes."""

import csv
from pathlib import Path

import pytest
import torch

import cli
from experiments import confusions
from experiments.trained_model import TrainedNetwork
from models.networks import VanillaRNN


def reads_only(last: int) -> TrainedNetwork:
    """A network that answers with the last digit that it read, or for ``last`` 0 always with 0."""
    network = VanillaRNN(3, 3, 3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.W_hx.copy_(last * torch.eye(3))
        network.W_ph.copy_(torch.eye(3))
    return TrainedNetwork(Path("a.ckpt"), network, VanillaRNN(3, 3, 3), 3, 7, 5, Path())


def test_shares_are_those_of_the_predictions() -> None:
    torch.manual_seed(1)
    shares = confusions.shares_of(reads_only(last=1), 3000)
    torch.testing.assert_close(shares.sum(1), torch.ones(3))  # the digit before the last is the second, which is random
    torch.testing.assert_close(shares, torch.full((3, 3), 1 / 3), rtol=0, atol=0.05)
    constant = confusions.rows_of(reads_only(last=0), 4)
    assert [row["share"] for row in constant] == [1.0, 0.0, 0.0] * 3
    name = "vanilla RNN, T = 5, seed 7"
    assert {row["name"] for row in constant} == {name}
    assert confusions.summary(constant, name) == {"network": name, "accuracy": pytest.approx(1 / 3), "digits lost": 2}


def test_the_command(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["confusions", f"--ckpt_paths=[{run_dir}]", f"--output_dir={tmp_path / 'out'}", "--num_palindromes=20"]
    assert cli.main(words) == 0
    with (tmp_path / "out" / "confusions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    total = dict.fromkeys((row["digit"] for row in rows), 0.0)
    for row in rows:
        total[row["digit"]] += float(row["share"])
    assert set(total) == set(map(str, range(10))) and all(
        value == pytest.approx(1, abs=1e-5) for value in total.values()
    )
    assert (tmp_path / "out" / "confusions.png").read_bytes().startswith(b"\x89PNG")
    assert "digits lost" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ckpt_paths=[]"], "ckpt_paths is empty"),
        (["--num_palindromes=0"], "num_palindromes is 0; it must be at least 1"),
        (["--num_palindromes=100000000"], "the limit is 134217728"),
        (["--seed=-1"], "seed is -1"),
    ],
)
def test_wrong_input_ends_in_one_line(
    words: list[str], message: str, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--ckpt_paths=[{run_dir}]", f"--output_dir={tmp_path / 'out'}"]
    assert cli.main(["confusions", *given, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and not (tmp_path / "out").exists()
