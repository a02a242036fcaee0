"""A short run of what damages checkpoints and configs, and its own judgement."""

import random
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import damage


@pytest.mark.slow
def test_damaged_files_end_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(damage, "SECONDS_MAX", 15)
    rng = random.Random(0)
    of_checkpoints = damage.damage_checkpoints(25, rng, tmp_path)
    of_configs = damage.damage_configs(40, rng, tmp_path)
    assert of_checkpoints == Counter(refused=of_checkpoints.total()), capsys.readouterr().out
    assert of_configs["otherwise"] == 0, capsys.readouterr().out
    assert of_configs["refused"] > 10 < of_checkpoints["refused"]


def test_code_that_is_run_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mark").touch()
    counts = damage.damage_configs(1, random.Random(0), tmp_path)
    assert counts == Counter(otherwise=1) and "code was run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "ran", "alike"),
    [
        (3, 3.0, True),
        ("7", 7, True),
        (None, None, True),
        (None, 3, False),
        ("models.X", "models.a.X", True),
        (2, 3, False),
    ],
)
def test_a_run_follows_its_config(given: object, ran: object, alike: bool, tmp_path: Path) -> None:
    assert damage.reads_alike(given, ran) is alike
    (tmp_path / "config.yaml").write_text(f"model: {{a: {'null' if ran is None else repr(ran)}}}\n")
    text = f"model: {{a: {'null' if given is None else repr(given)}}}\n"
    assert (damage.ran_otherwise(text, tmp_path) is None) is alike
