"""Help is printed at once, and begins with a command to type."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_and_imports_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys, cli; status = cli.main(sys.argv[1:]);"
        "sys.exit(status or any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'jsonargparse')))"
    )
    result = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and result.stderr == ""
    for command in cli.COMMANDS:
        assert re.search(rf"^  {command}  +\w", result.stdout, re.MULTILINE)
    assert "python cli.py fit --config configs/lstm_T20.yaml" in result.stdout


@pytest.mark.parametrize("command", [command for command in cli.COMMANDS if command not in cli.EXPERIMENTS])
def test_the_help_of_a_command_begins_with_what_to_type(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    first, _, rest = capsys.readouterr().out.partition("\n\n")
    example = re.fullmatch(
        rf"usage: (python cli.py {command} --config (configs/\S+\.yaml)( --ckpt_path \S+)?) .*", first
    )
    assert example and (ROOT / example[2]).is_file()
    assert "--trainer.max_steps" in rest and "--ckpt_path" in rest and "weights_only" not in rest


@pytest.mark.parametrize("study", cli.EXPERIMENTS)
def test_the_help_of_a_study_begins_with_what_to_type(study: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([study, "--help"])
    first, *rest = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf'usage: python cli.py {study}( --\w+ (\S+|"[^"]+"))+ \[--key value ...\]', first)
    assert any(key in line for line in rest for key in ("--output_dir", "--prompt", "--docs_dir"))


def test_an_unknown_command_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "'train'" in line and all(command in line for command in cli.COMMANDS)


def test_the_program_exits_with_the_status(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "cli.py", "fit", "--config", "missing.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2 and result.stdout == ""
    assert re.fullmatch(r"error: config: .*missing\.yaml.*; see python cli\.py fit --help.*\n", result.stderr)
