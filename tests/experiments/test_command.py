"""Studies are commands that start fast."""

import subprocess
import sys
from pathlib import Path

import cli
from experiments.command import to_yaml_words

IMPORT_ALL = """\
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(f"experiments.{name}")
    if any("lightning" in module for module in sys.modules):
        sys.exit(f"experiments.{name} imports Lightning")
"""


def test_studies_import_no_lightning() -> None:
    root = Path(__file__).parent.parent.parent
    words = [sys.executable, "-c", IMPORT_ALL, *cli.MODULES.values()]
    ended = subprocess.run(words, cwd=root, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


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


def test_infinity_is_accepted_without_a_dot() -> None:
    def function(tau: float | None = None, factor: float = 1.0, prompt: str = "") -> None: ...

    args = ["--tau", "inf", "--factor=inf", "--prompt", "inf", "--prompt=nan"]
    assert to_yaml_words(function, args) == ["--tau", ".inf", "--factor=.inf", "--prompt", "inf", "--prompt=nan"]
