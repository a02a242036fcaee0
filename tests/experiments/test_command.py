"""Studies are commands that start fast."""

import subprocess
import sys
from pathlib import Path

import pytest

import cli
from experiments.command import to_yaml_words


@pytest.mark.parametrize("study", cli.EXPERIMENTS)
def test_a_study_imports_no_lightning(study: str) -> None:
    code = (
        f"import sys, experiments.{cli.EXPERIMENTS[study]}; sys.exit(any('lightning' in name for name in sys.modules))"
    )
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_switches_need_no_value() -> None:
    def function(a: int, switch: bool = False, other: bool = True) -> None: ...

    for args, expected in (
        (["--switch"], ["--switch", "true"]),
        (["--switch", "--a", "3"], ["--switch", "true", "--a", "3"]),
        (["--a", "3", "--switch", "false", "--other"], ["--a", "3", "--switch", "false", "--other", "true"]),
        (["--switch=false", "--a", "--b"], ["--switch=false", "--a", "--b"]),
        ([], []),
    ):
        assert to_yaml_words(function, args) == expected


def test_infinity_needs_no_dot() -> None:
    def function(tau: float | None = None, factor: float = 1.0, prompt: str = "") -> None: ...

    args = ["--tau", "inf", "--factor=inf", "--prompt", "inf", "--prompt=nan"]
    assert to_yaml_words(function, args) == ["--tau", ".inf", "--factor=.inf", "--prompt", "inf", "--prompt=nan"]
