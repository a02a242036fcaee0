"""A short run of what damages checkpoints and configs, and its own judgement."""

import random
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stress import damage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@pytest.mark.slow
def test_damaged_checkpoints_end_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = damage.damage_checkpoints(25, random.Random(0), folder)
    assert counts == Counter(refused=25), capsys.readouterr().out


@pytest.mark.slow
@given(rng=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_configs_end_in_one_line_or_are_followed(
    rng: random.Random, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(damage, "SECONDS_MAX", 40)
        counts = damage.damage_configs(1, rng, folder)
    assert counts.total() == 1 and counts["otherwise"] == 0, capsys.readouterr().out


def test_code_that_is_run_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mark").touch()
    counts = damage.damage_configs(1, random.Random(0), tmp_path)
    assert counts == Counter(otherwise=1) and "code was run" in capsys.readouterr().out


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
def test_a_run_follows_its_config(wanted: object, ran: object, alike: bool, tmp_path: Path) -> None:
    assert damage.reads_alike(wanted, ran) is alike
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"a": ran}}))
    text = yaml.safe_dump({"model": {"a": wanted}})
    assert (damage.ran_otherwise(text, tmp_path) is None) is alike
