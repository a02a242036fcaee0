"""The short version of damage, and the failures that it detects."""

import random
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.stress import damage


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged config may train without end; it has written its values long before."""
    monkeypatch.setattr(damage, "SECONDS_MAX", 60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@pytest.mark.slow
def test_damaged_checkpoints_end_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = damage.damage_checkpoints(25, random.Random(0), folder)
    assert counts == Counter(refused=25), capsys.readouterr().out


@pytest.mark.slow
def test_damaged_configs_end_in_one_line_or_train_with_their_values(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = damage.damage_configs(60, random.Random(0), folder)
    assert counts["wrong"] == 0, capsys.readouterr().out
    assert counts["refused"] > 30 and counts["trained"] > 3 and counts.total() == 60


def test_code_that_ran_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mark").touch()
    counts = damage.damage_configs(1, random.Random(0), tmp_path)
    assert counts == Counter(wrong=1) and "its code ran" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wanted", "ran", "alike"),
    [
        (3, 3.0, True),
        ("7", 7, True),
        (None, None, True),
        (None, 3, False),
        (None, {"b": 3}, True),
        ("models.X", "models.a.X", True),
        (2, 3, False),
    ],
)
def test_whether_a_run_used_a_value(wanted: object, ran: object, alike: bool, tmp_path: Path) -> None:
    assert damage.equivalent(wanted, ran) is alike
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"a": ran}}))
    text = yaml.safe_dump({"model": {"a": wanted}})
    assert (damage.ignored_key(text, tmp_path) is None) is alike
