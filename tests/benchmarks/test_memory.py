"""The benchmark prints the figures of the commands that it names."""

import re
import sys
from pathlib import Path

import pytest

from benchmarks import memory, networks
from tests.conftest import Command


def test_its_figures_are_those_of_the_commands(
    config: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(memory, "CONFIG", str(config))
    monkeypatch.setattr(memory, "vendor_milliseconds", lambda network: 12.34)
    argv = ["memory", "--networks", "lstm", "--seeds", "3", "4", "--lengths", "5", "9", "--num-test", "200"]
    monkeypatch.setattr(sys, "argv", argv)
    memory.main()
    out = capsys.readouterr().out.splitlines()
    for seed, line in zip((3, 4), out[2:4], strict=True):
        args = (f"--seed_everything={seed}",)
        assert command("fit", *args) == 0
        assert command("test", *args, "--data.test_lengths=[5,9]", "--data.num_test=200") == 0
        expected = [re.findall(r"\d+\.\d\d %", row)[0] for row in capsys.readouterr().out.splitlines()[-2:]]
        assert re.findall(r"\d+\.\d\d %", line) == expected
        assert re.match(rf" +lstm +{seed} +\d+\.\d +12\.3 ", line)
    seconds = [float(line.split()[2]) for line in out[2:4]]
    median, longest = (line.split()[:3] for line in out[4:])
    assert median[:2] == ["lstm", "median"] and float(median[2]) == pytest.approx(sum(seconds) / 2, abs=0.1)
    assert longest == ["lstm", "longest", f"{max(seconds):.1f}"]


def test_the_vendors_step_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "SECONDS_PER_TURN", 0.0)
    assert 0 < memory.vendor_milliseconds("rnn", rounds=1) < 10_000


def test_a_length_without_palindromes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["memory", "--lengths", "5", "1"])
    with pytest.raises(SystemExit, match="2"):
        memory.main()
    assert re.search(r"--lengths: 1 .* at least 2", capsys.readouterr().err)
