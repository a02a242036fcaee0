"""A signal ends training between two steps; everything is saved, and the command that resumes is printed."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cli
from tests.conftest import Command
from training.checkpoint_file import read_checkpoint

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """SIGHUP is not ignored, however the tests were started."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def disturbed_by(callback: str, **init_args: object) -> str:
    arguments = ", ".join(f'"{key}": {value!r}'.replace("'", '"') for key, value in init_args.items())
    return f'--trainer.callbacks={{"class_path": "tests.training.helpers.{callback}", "init_args": {{{arguments}}}}}'


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 138), ("SIGHUP", 129)])
def test_the_current_step_is_finished_and_saved(
    name: str, status: int, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", disturbed_by("SignalAt", step=5, name=name)) == status
    run = tmp_path / "runs" / "small" / "version_0"
    assert read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"] == 5
    error = capsys.readouterr().err
    assert f"stopped by {name} after step 5; resume with: python cli.py fit --ckpt_path {run}" in error
    assert error.strip().endswith(f"--ckpt_path {run}")
    assert "Traceback" not in error


def test_an_ignored_sighup_stays_ignored(command: Command, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert command("fit", disturbed_by("SignalAt", step=5, name="SIGHUP")) == 0
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_the_printed_resume_command_runs(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = config.rename(tmp_path / "it's small.yaml")
    root = f"--trainer.default_root_dir={tmp_path / 'my runs'}"
    assert cli.main(["fit", f"--config={odd}", root, disturbed_by("SignalAt", step=5)]) == 130
    words = shlex.split(capsys.readouterr().err.splitlines()[-1].partition("; resume with: ")[2])
    assert words[:2] == ["python", "cli.py"] and cli.main(words[2:]) == 0
    last = tmp_path / "my runs" / "it's small" / "version_0" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["global_step"] == 7


def test_best_has_an_improvement_of_the_last_step(command: Command, tmp_path: Path) -> None:
    assert command("fit", disturbed_by("SignalAt", step=4, name="SIGTERM")) == 143  # the first validation is after it
    checkpoints = tmp_path / "runs" / "small" / "version_0" / "checkpoints"
    assert read_checkpoint(checkpoints / "best.ckpt")["global_step"] == 4


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


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("command_name", ["fit", "test"])
def test_a_signal_during_the_test(
    command_name: str, name: str, status: int, command: Command, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(command_name, disturbed_by("SignalAt", step=-1, name=name)) == status
    assert f"stopped by {name} at once; what was saved before is intact" in capsys.readouterr().err


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The words that Slurm's scontrol was given, a line each time; this process is job 17 of a cluster."""
    told = tmp_path / "told"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\n[ -z "$REFUSED" ] || {{ echo "$REFUSED" >&2; exit 1; }}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    return told


@pytest.mark.parametrize("where", [{"step": 5}, {"step": -1}], ids=["training", "test"])
def test_under_slurm_sigusr1_queues_the_job_again_once(
    where: dict[str, int], scontrol: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", disturbed_by("SignalAt", name="SIGUSR1", times=2, **where)) == 138
    assert "; job 17 is queued again and will resume by itself\n" in capsys.readouterr().err
    assert scontrol.read_text() == "requeue 17\n"
    last = tmp_path / "runs" / "small" / "version_0" / "checkpoints" / "last.ckpt"
    assert read_checkpoint(last)["global_step"] == (5 if where["step"] == 5 else 7)


@pytest.mark.parametrize("names", [("SIGTERM",), ("SIGUSR1", "SIGTERM"), ("SIGTERM", "SIGUSR1")], ids="+".join)
def test_under_slurm_sigterm_never_does(
    names: tuple[str, ...], scontrol: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    signals = [disturbed_by("SignalAt", step=5, name=name) for name in names]
    both = [word.replace("callbacks=", "callbacks+=") for word in signals]
    assert command("fit", *both) == 143
    assert not scontrol.exists()
    assert "stopped by SIGTERM after step 5; resume with" in capsys.readouterr().err


def test_slurm_may_refuse_to_queue_a_job_again(
    scontrol: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REFUSED", "Requested operation is presently disabled for job 17")
    assert command("fit", disturbed_by("SignalAt", step=5, name="SIGUSR1")) == 138
    error = capsys.readouterr().err
    assert "Slurm does not requeue the job (Requested operation is presently disabled for job 17); resume" in error


def test_slurm_ends_a_job_as_soon_as_it_is_queued_again(scontrol: Path, config: Path, tmp_path: Path) -> None:
    """What there is to say is said, and the exit status stays."""
    scontrol_program = tmp_path / "bin" / "scontrol"
    scontrol_program.write_text(scontrol_program.read_text() + "kill -TERM $PPID\n")
    words = [sys.executable, "cli.py", "fit", f"--config={config}", f"--trainer.default_root_dir={tmp_path / 'runs'}"]
    words.append(disturbed_by("SignalAt", step=5, name="SIGUSR1"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 138 and "; job 17 is queued again and will resume by itself\n" in ended.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_a_signal_while_libraries_are_imported(name: str, config: Path) -> None:
    code = (
        "import os, signal, sys, threading, time\n"
        "def disturb():\n"
        "    while 'training.signals' not in sys.modules: time.sleep(0.001)\n"
        f"    time.sleep(0.2); os.kill(os.getpid(), signal.{name})\n"
        "threading.Thread(target=disturb).start()\n"
        f"import cli; sys.exit(cli.main(['fit', '--config', {str(config)!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + signal.Signals[name]
    assert ended.stderr == f"stopped by {name} at once; what was saved before is intact\n"


def test_a_library_that_catches_all_exceptions_does_not_catch_signals(config: Path, tmp_path: Path) -> None:
    library = tmp_path / "torch" / "__init__.py"
    library.parent.mkdir()
    library.write_text(
        "import signal\n"
        "try: signal.raise_signal(signal.SIGTERM)\n"
        "except BaseException: pass\n"
        "raise ImportError('half of it is missing')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    words = [sys.executable, str(ROOT / "cli.py"), "fit", f"--config={config}"]
    ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (143, "stopped by SIGTERM at once; what was saved before is intact\n")


def test_files_of_a_killed_process_are_removed(command: Command, run_dir: Path) -> None:
    folder = run_dir / "checkpoints"
    before = {path.name for path in folder.iterdir()}
    for name in (".coming.ckpt.123.tmp", ".best.ckpt.tmp", "coming.ckpt"):
        (folder / name).touch()
    assert command("fit", "--ckpt_path=last", "--trainer.max_steps=8") == 0
    assert {path.name for path in folder.iterdir()} == before | {"previous.ckpt"}


def test_a_signal_before_anything_can_listen_is_kept(config: Path) -> None:
    program = ROOT / "cli.py"
    code = (
        "import os, runpy, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        f"sys.argv = ['cli.py', 'fit', '--config', {str(config)!r}]\n"
        f"sys.path.insert(0, {str(program.parent)!r})\n"
        f"runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 138
    assert ended.stderr == "stopped by SIGUSR1 at once; what was saved before is intact\n"
