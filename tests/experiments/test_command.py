"""Studies are commands that start fast."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import cli
from experiments.command import PATHS, run_command, to_yaml_words
from training.errors import UserError

IMPORT_ALL = """\
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(f"experiments.{name}")
    if any("lightning" in module for module in sys.modules):
        sys.exit(f"experiments.{name} imports Lightning")
"""


def functions() -> list[Callable[..., Any]]:
    """Those of all commands."""
    return [getattr(import_module(f"experiments.{module}"), name) for name, module in cli.MODULES.items()]


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


TOO_LONG = "a" * 300


@pytest.mark.parametrize(
    "words",
    [
        ["generate", f"--ckpt_path={TOO_LONG}"],
        ["attractors", f"--ckpt_path={TOO_LONG}"],
        ["certify", f"--ckpt_path={TOO_LONG}"],
        ["export", f"--ckpt_path={TOO_LONG}", "--format=safetensors"],
        ["patterns", f"--ckpt_paths=[{TOO_LONG}]", "--output_dir=out"],
        ["text", f"--ckpt_paths=[{TOO_LONG}]", "--output_dir=out"],
        ["curves", f"--runs=[{TOO_LONG}]", "--output_dir=out"],
        ["longest", f"--runs=[{TOO_LONG}]", "--output_dir=out"],
        ["figure", "--study=spread", f"--results=[{TOO_LONG}]", "--output_dir=out"],
        ["sweep", f"--base={TOO_LONG}", "--grid={a: [1]}", "--seeds=[1]", "--output_dir=out"],
        ["report", f"--docs_dir={TOO_LONG}"],
    ],
    ids=lambda words: words[0],
)
def test_a_path_that_is_too_long(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "File name too long" in line and TOO_LONG[:60] in line


def test_paths_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []

    def study(output_dir: str, prompt: str, runs: list[str], ckpt_path: str | None = None) -> None:
        seen.append((output_dir, prompt, runs, ckpt_path))

    args = ["--output_dir=~/out", "--prompt=~/x", "--runs=[~/a, b~, ~no-such-user/c]"]
    assert run_command(study, "", args) == 0
    assert seen == [(f"{tmp_path}/out", "~/x", [f"{tmp_path}/a", "b~", "~no-such-user/c"], None)]


def test_an_error_about_another_file_than_the_given_ones_keeps_its_traceback(tmp_path: Path) -> None:
    def study(output_dir: str) -> None:
        (tmp_path / output_dir / "values.csv").read_text()

    with pytest.raises(UserError, match=r"--output_dir .*out: .*values.csv: No such file or directory; give"):
        run_command(study, "", [f"--output_dir={tmp_path}/out"])
    with pytest.raises(FileNotFoundError):
        run_command(study, "", ["--output_dir=out"])


def test_the_arguments_that_are_paths_exist() -> None:
    known = {name for function in functions() for name in inspect.signature(function).parameters}
    assert set(PATHS) <= known
