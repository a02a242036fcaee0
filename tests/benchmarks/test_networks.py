"""All contenders do the same work, and the table says who was how fast."""

import re
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import networks


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
    monkeypatch.setattr(networks.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(networks, "SECONDS_PER_TURN", 4.0)
    seconds = iter(
        [0.0, 2.0, *[0.0, 2.0, 2.0], *[0.0, 9.0, 9.0], *[0.0, 3.0, 3.0]]
    )  # two repeats a turn, one to warm up

    def step() -> None:
        now[0] += next(seconds)

    assert networks.seconds_per_step({"one": step}, rounds=3) == {"one": 3.0}


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> Any:
        raise ValueError("no compiler")

    times = {"naive": 8.0, "autograd": 4.0, "bptt": 1.0, "vendor": 2.0, "floor": 0.5}
    monkeypatch.setattr(networks.fused, "load", load)
    monkeypatch.setattr(networks, "contender", lambda name, *sizes: name)
    monkeypatch.setattr(networks, "seconds_per_step", lambda steps, rounds: {name: times[name] for name in steps})
    networks.print_throughput(networks.runnable(), "lstm", 128, 64, 20, 1)
    out, err = capsys.readouterr()
    assert out.split() == ["lstm", "128", "64", "20", "0.25", "0.50", "2.00", "-", "2000.00ms", "4.00"]
    assert err == "no compiler\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "20", "1"], "--lengths has 1; a palindrome needs at least 2 digits"),
        (["--rounds", "0"], "--rounds is 0; at least 1 is needed"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["networks", *arguments])
    with pytest.raises(SystemExit) as error:
        networks.main()
    assert error.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.slow
def test_it_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(networks, "OTHER_SIZES", [])
    monkeypatch.setattr(networks, "SECONDS_PER_TURN", 0.0)
    monkeypatch.setattr(sys, "argv", ["networks", "--networks", "rnn", "--lengths", "5", "--rounds", "1"])
    networks.main()
    out = capsys.readouterr().out
    assert re.search(r"rnn  128  128    5 +\d", out) and "bptt" in out and "vendor" in out
