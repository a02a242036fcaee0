"""The recipe that ours is compared with is the assignment's: equations 1 and 2, each digit one number."""

import csv
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import course


def test_each_digit_is_one_number() -> None:
    model = course.Course("rnn")
    W_hx, W_hh, b_hx, b_hh = model.recurrent.parameters()
    digits = torch.tensor([[3, 0, 9], [1, 4, 1]])
    h = torch.zeros(2, course.HIDDEN_SIZE)
    for t in range(3):
        h = torch.tanh(digits[:, t, None].float() @ W_hx.t() + h @ W_hh.t() + b_hx + b_hh)
    assert torch.allclose(model(digits), model.output(h), atol=1e-5)


def test_rows_are_those_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "course.csv"
    words = ["--networks", "rnn", "--lengths", "5", "40", "--seeds", "1", "--max_steps", "300"]
    monkeypatch.setattr(sys, "argv", ["course", *words, "--output", str(path)])
    course.main()
    with path.open(newline="") as file:
        short, long = csv.DictReader(file)
    assert (short["network"], short["training"], short["length"], short["seed"]) == ("rnn", "course", "5", "1")
    assert float(short["test_accuracy"]) > 0.9 and float(long["test_accuracy"]) < 0.3
    assert "test_accuracy" in capsys.readouterr().out
