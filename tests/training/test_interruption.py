"""A signal ends training between two steps, with everything saved and a way to go on."""

import signal
from pathlib import Path

import pytest

from tests.conftest import Command
from training.checkpoint_file import read_checkpoint


def disturbed_by(callback: str, **init_args: object) -> str:
    arguments = ", ".join(f'"{key}": {value!r}'.replace("'", '"') for key, value in init_args.items())
    return f'--trainer.callbacks={{"class_path": "tests.training.helpers.{callback}", "init_args": {{{arguments}}}}}'


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_the_step_under_way_is_finished_and_saved(
    name: str, status: int, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", disturbed_by("SignalAt", step=5, name=name)) == status
    run = tmp_path / "runs" / "small" / "version_0"
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 5
    error = capsys.readouterr().err
    assert f"stopped by {name} after step 5; go on with: python cli.py fit --config {tmp_path}/small.yaml" in error
    assert error.strip().endswith(f"--ckpt_path {run}")
    assert "Traceback" not in error


def test_a_second_ctrl_c_does_not_wait(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", disturbed_by("SignalAt", step=5, times=2)) == 130
    last = tmp_path / "runs" / "small" / "version_0" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["global_step"] == 4  # where validation improved
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_before_the_first_step(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert command("fit", disturbed_by("SignalAtStart")) == 130
    error = capsys.readouterr().err
    assert "stopped by SIGINT after step 0; nothing was saved; start with: python cli.py fit" in error
    assert "--ckpt_path" not in error
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("command_name", ["fit", "test"])
def test_a_signal_during_the_test(
    command_name: str, name: str, status: int, command: Command, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(command_name, disturbed_by("SignalAt", step=-1, name=name)) == status
    assert f"stopped by {name} at once; what was saved before is intact" in capsys.readouterr().err


def test_what_a_killed_process_left_is_cleared_away(command: Command, run_dir: Path) -> None:
    folder = run_dir / "checkpoints"
    before = {path.name for path in folder.iterdir()}
    for name in (".coming.ckpt.123.tmp", ".best.ckpt.tmp", "coming.ckpt"):
        (folder / name).touch()
    assert command("fit", "--ckpt_path=last", "--trainer.max_steps=8") == 0
    assert {path.name for path in folder.iterdir()} == before | {"previous.ckpt"}
