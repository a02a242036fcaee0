"""The short version of chaos, and the differences that it detects."""

import signal
from pathlib import Path

import pytest
import torch

from tests.forked import PythonProcess
from tests.stress import chaos
from tests.stress.comparison import difference


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "name"),
    [([signal.SIGKILL], "palindromes"), ([signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1], "book")],
    ids=str,
)
def test_disturbed_runs_equal_undisturbed_ones(
    signals: list[signal.Signals], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chaos, "CONFIGS", {name: chaos.CONFIGS[name].replace("max_steps: 1000", "max_steps: 400")})
    tally = chaos.disturb_runs(signals, 4, seed=1, seconds=300, folder=tmp_path, start=PythonProcess)
    assert tally.sent >= 4 and tally.runs >= 1
    assert tally.steps_lost <= (chaos.EVERY_N_STEPS if signals == [signal.SIGKILL] else 0)


def test_one_bit_is_a_difference() -> None:
    state = {"a": [torch.zeros(2), {"b": 1.0}], "c": (1, "x")}
    assert difference(state, {"a": [torch.zeros(2), {"b": 1.0}], "c": (1, "x")}) is None
    assert difference(state, {"a": [torch.zeros(2), {"b": 1.5}], "c": (1, "x")}) == "a[1].b"
    assert difference(state, {"a": [torch.tensor([0.0, 1e-45]), {"b": 1.0}], "c": (1, "x")}) == "a[0]"
    assert difference(state, {"a": [torch.zeros(2), {"b": 1.0}]}) is not None
