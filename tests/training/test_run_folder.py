"""Run folders are found, numbered and locked; a checkpoint that cannot be found is refused with the reason."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from training.checkpoint_file import write_checkpoint
from training.errors import UserError
from training.resume import find_checkpoint, requeued_run
from training.run_folder import (
    RunFolder,
    cannot_write,
    experiment_name,
    run_folder_of,
    run_folders,
    version_number,
)


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """An experiment with two runs; the second has all three checkpoints, the first only its last."""
    for version, names in ((2, ["last"]), (10, ["best", "last", "previous"])):
        folder = tmp_path / "runs" / "exp" / f"version_{version}" / "checkpoints"
        folder.mkdir(parents=True)
        for name in names:
            write_checkpoint({"state_dict": {}}, folder / f"{name}.ckpt")
    (tmp_path / "runs" / "exp" / "version_x").mkdir()
    (tmp_path / "runs" / "exp" / "version_99").touch()
    return tmp_path / "runs" / "exp"


def test_the_experiment_is_the_stem_of_the_last_config() -> None:
    assert experiment_name(["configs/base.yaml", "configs/lstm_T20.yaml"]) == "lstm_T20"
    assert experiment_name([]) == experiment_name(["configs/...yaml"]) == "unnamed"


def test_runs_are_ordered_by_number(experiment: Path) -> None:
    assert [version_number(run.path) for run in run_folders(experiment)] == [2, 10]
    assert run_folders(experiment.parent / "nothing") == []


@pytest.mark.parametrize(
    ("wanted", "default", "expected"),
    [
        ("last", "last", "version_10/checkpoints/last.ckpt"),
        ("best", "last", "version_10/checkpoints/best.ckpt"),
        ("auto", "last", "version_10/checkpoints/last.ckpt"),
        ("{exp}", "last", "version_10/checkpoints/last.ckpt"),
        ("{exp}", "best", "version_10/checkpoints/best.ckpt"),
        ("{exp}/version_2", "last", "version_2/checkpoints/last.ckpt"),
        ("{exp}/version_2", "best", "version_2/checkpoints/last.ckpt"),  # it has no best
        ("{exp}/version_10/checkpoints/previous.ckpt", "last", "version_10/checkpoints/previous.ckpt"),
    ],
)
def test_every_form_finds_its_checkpoint(experiment: Path, wanted: str, default: str, expected: str) -> None:
    found = find_checkpoint(wanted.format(exp=experiment), experiment, default)  # type: ignore[arg-type]
    assert found is not None and found.path == experiment / expected


def test_auto_starts_a_run_if_there_is_no_checkpoint(experiment: Path) -> None:
    assert find_checkpoint("auto", experiment.parent / "other", "last") is None
    (experiment / "version_11").mkdir()
    assert find_checkpoint("auto", experiment, "last") is None


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("{exp}/version_2/checkpoints/nothing.ckpt", "no such file or folder; it may also be best, last or auto"),
        ("https://example.org/last.ckpt", "a checkpoint is a file on this machine"),
        ("{exp}/version_x", "holds neither checkpoints/ nor version_<k>/"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_an_error(experiment: Path, wanted: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_checkpoint(wanted.format(exp=experiment), experiment, "best")


def test_best_means_best(experiment: Path) -> None:
    (experiment / "version_10" / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(UserError, match="there is no .*best.ckpt; that run has last"):
        find_checkpoint("best", experiment, "best")


def test_last_without_a_run_is_an_error(experiment: Path) -> None:
    with pytest.raises(UserError, match="there is no run in .*other yet; start one with fit, without --ckpt_path"):
        find_checkpoint("last", experiment.parent / "other", "last")
    (experiment / "version_11").mkdir()
    with pytest.raises(UserError, match="there is no checkpoint in .*version_11 yet"):
        find_checkpoint("last", experiment, "last")


def test_what_cannot_be_read_is_not_called_damaged(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, *_: object) -> IO[bytes]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(
        UserError, match=r"last.ckpt: Permission denied.*previous.ckpt cannot be read \(Permission denied\)"
    ):
        find_checkpoint("last", experiment, "last")


def test_an_incomplete_file_of_a_killed_process_is_not_a_checkpoint(experiment: Path) -> None:
    folder = experiment / "version_11" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "coming.ckpt").touch()
    assert find_checkpoint("auto", experiment, "last") is None


def test_previous_replaces_a_damaged_last(experiment: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = experiment / "version_10" / "checkpoints"
    (folder / "last.ckpt").write_bytes(b"half a file")
    for wanted in ("last", "auto", str(experiment), str(experiment / "version_10")):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = find_checkpoint(wanted, experiment, "last")
        assert found is not None and found.path == folder / "previous.ckpt"
        assert "damaged" in caplog.text and "resuming from" in caplog.text
    with pytest.raises(UserError, match="damaged"):
        find_checkpoint(str(folder / "last.ckpt"), experiment, "last")
    (folder / "last.ckpt").unlink()  # a crash between two renames
    found = find_checkpoint("last", experiment, "last")
    assert found is not None and found.path == folder / "previous.ckpt"
    (folder / "previous.ckpt").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"last.ckpt.*, and previous.ckpt is damaged; (resume with .*best.ckpt, or )?start a new run"
    ):
        find_checkpoint("last", experiment, "last")


def test_a_damaged_last_does_not_replace_previous(experiment: Path) -> None:
    run = RunFolder(experiment / "version_10")
    last, previous = run.checkpoint("last"), run.checkpoint("previous")
    good, whole = previous.read_bytes(), last.read_bytes()
    run.make_checkpoint_folder(previous)
    assert last.read_bytes() == whole
    last.write_bytes(b"half a file")
    run.make_checkpoint_folder(previous)
    run.coming.write_bytes(whole)
    run.promote_coming()
    assert (last.read_bytes(), previous.read_bytes()) == (whole, good)
    assert (run.checkpoints / "damaged.ckpt").read_bytes() == b"half a file"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "fifo"])
def test_a_folder_or_fifo_named_last_is_refused(make: Callable[[Path], None], experiment: Path) -> None:
    last = experiment / "version_10" / "checkpoints" / "last.ckpt"
    last.unlink(missing_ok=True)
    make(last)
    with pytest.raises(UserError, match="last.ckpt is no file; move it away"):
        find_checkpoint(str(last.parent.parent), last.parent.parent.parent, "last")


def test_a_new_run_takes_the_next_number(experiment: Path) -> None:
    folder, made = RunFolder.create(experiment)
    assert made == [folder.path]
    assert folder.path == experiment / "version_11" or folder.path == experiment / "version_100"
    folder.write_job_file(["fit", "--config", "x.yaml"])
    assert folder.job()["pid"] == os.getpid() and folder.job()["command"] == ["fit", "--config", "x.yaml"]
    folder.unlock()


def test_a_run_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        UserError, match=r"cannot make the run folder .*: Not a directory; .*--trainer.default_root_dir"
    ):
        RunFolder.create(tmp_path / "file" / "exp")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "exp").touch()
    with pytest.raises(UserError, match="cannot make the run folder"):
        RunFolder.create(tmp_path / "runs" / "exp")


HOLD = """
import sys, pathlib
from training.run_folder import RunFolder
folder = RunFolder(pathlib.Path(sys.argv[1]))
folder.lock()
folder.write_job_file(["fit"])
print(flush=True)
sys.stdin.read()
"""


def test_a_second_process_is_kept_out_while_the_first_lives(experiment: Path) -> None:
    path = experiment / "version_2"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UserError, match=f"is in use by process {other.pid} on "):
            RunFolder(path).lock()
        other.kill()
    folder = RunFolder(path)
    folder.lock()  # what the dead one left behind keeps nobody out
    folder.unlock()


@pytest.mark.parametrize("name", ["/runs/a.csv", b"/runs/a.csv"])
def test_a_file_that_cannot_be_written_is_named_as_it_is_typed(name: str | bytes) -> None:
    error = PermissionError(13, "Permission denied", name)
    assert cannot_write(error, Path("runs")) == (
        "cannot write to /runs/a.csv: Permission denied; make it writable, or copy the run"
    )


def test_the_run_of_a_checkpoint() -> None:
    """Its path is the one that was typed, so that a resumed run says the same as its first start."""
    folder = run_folder_of(Path("runs/exp/version_3/checkpoints/last.ckpt"))
    assert folder is not None and folder.path == Path("runs/exp/version_3")
    for typed in ("checkpoints/last.ckpt", "../wt/checkpoints/last.ckpt"):
        folder = run_folder_of(Path(typed))
        assert folder is not None and folder.path == Path(typed).resolve().parent.parent
    assert run_folder_of(Path("elsewhere/last.ckpt")) is None


def test_a_requeued_job_finds_its_own_run(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(version: int, job: str, restarts: str) -> None:
        text = json.dumps({"slurm_job": job, "slurm_restarts": restarts, "command": ["fit", str(version)]})
        (experiment / f"version_{version}" / "job.json").write_text(text)

    write(2, "7", "0")
    write(10, "8_1", "0")
    assert requeued_run(experiment, ["fit", "2"]) is None
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert requeued_run(experiment, ["fit", "2"]) is None  # the same command again, in the same start
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert requeued_run(experiment, ["fit", "other"]) is None
    run = requeued_run(experiment, ["fit", "2"])
    assert run is not None and run.path == experiment / "version_2"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "8")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert requeued_run(experiment, ["fit", "10"]) is None
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    run = requeued_run(experiment, ["fit", "10"])
    assert run is not None and run.path == experiment / "version_10"


def test_finding_a_checkpoint_needs_no_torch() -> None:
    code = "import sys, training.resume; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
