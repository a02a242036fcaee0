"""Where a run lives, ``<root>/<experiment>/version_<k>/``, and which checkpoint is meant.

Importing this module imports neither torch nor Lightning, so that a wrong path is told at once.
"""

import json
import logging
import os
import shlex
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import filelock

from training import slurm
from training.checkpoint_file import checked_content
from training.errors import UserError

log = logging.getLogger(__name__)

CheckpointName = Literal["best", "last", "previous"]
NAMES: tuple[CheckpointName, ...] = get_args(CheckpointName)

REQUEUED_WAIT_SECONDS = 120
"""How long a job that was queued again waits for what it started before, on a node that Slurm no longer hears from."""


def experiment_name(config_paths: Sequence[str]) -> str:
    """The stem of the last config; ``unnamed`` without one, or where the stem would lead out of the folder of runs."""
    stem = Path(config_paths[-1]).stem if config_paths else ""
    return "unnamed" if stem in ("", ".", "..") else stem


class RunFolder:
    """One run's folder.

    Holds ``config.yaml``, ``checkpoints/``, TensorBoard's events, ``metrics.csv``, ``summary.json``, and ``job.json``,
    which names the process that last wrote there.

    Args:
        path: ``<root>/<experiment>/version_<k>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._lock = filelock.FileLock(path / ".lock")

    def checkpoint(self, name: CheckpointName) -> Path:
        return self.checkpoints / f"{name}.ckpt"

    @classmethod
    def create(cls, experiment_dir: Path) -> "RunFolder":
        """Make the next version's folder and lock it.

        Raises:
            UserError: it cannot be made.
        """
        while True:
            path = experiment_dir / "version_0"
            try:
                versions = run_folders(experiment_dir)
                if versions:
                    path = experiment_dir / f"version_{version_number(versions[-1].path) + 1}"
                path.mkdir(parents=True)
            except FileExistsError:
                if path.is_dir():
                    continue  # another process was faster; take the next number
                raise cannot_make(path, "a file of that name exists") from None
            except OSError as error:
                raise cannot_make(path, error.strerror or str(error)) from error
            folder = cls(path)
            folder.lock()
            return folder

    def lock(self, wait_seconds: float = 0) -> None:
        """Keep other processes from writing here until this one ends.

        Args:
            wait_seconds: for a process that is about to end.
        Raises:
            UserError: another process is writing here.
        """
        try:
            self._lock.acquire(timeout=wait_seconds)
        except filelock.Timeout:
            job = self.job()
            who = f"process {job['pid']} on {job['host']}" if {"pid", "host"} <= job.keys() else "another process"
            raise UserError(
                f"{self.path} is in use by {who}; wait until it ends, or start a new run without --ckpt_path"
            ) from None
        except OSError as error:
            raise UserError(cannot_write(error, self.path)) from error

    def sign(self, command: Sequence[str]) -> None:
        """Note in ``job.json`` who writes here, and by which command."""
        (self.path / "job.json").write_text(json.dumps(this_job() | {"command": list(command)}) + "\n")

    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from."""
        return any(self.checkpoint(name).is_file() for name in NAMES)

    def unlock(self) -> None:
        self._lock.release()

    def job(self) -> dict[str, object]:
        """What ``job.json`` says; empty if there is none."""
        try:
            job = json.loads((self.path / "job.json").read_text())
        except (OSError, ValueError):
            return {}
        return job if isinstance(job, dict) else {}

    def find_checkpoint(self, name: CheckpointName) -> Path:
        """The checkpoint of that name; ``previous`` with a warning where ``last`` is damaged or gone.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = self.checkpoint(name)
        if name != "last":
            if not path.is_file():
                raise UserError(f"there is no {path}; {self._alternatives()}")
            checked_content(path)
            return path
        previous = self.checkpoint("previous")
        if not path.is_file() and not previous.is_file():
            raise UserError(f"there is no checkpoint in {self.path} yet; start anew without --ckpt_path")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file; move it away, and {previous.name} is taken if there is one")
        try:
            checked_content(path)
            return path
        except UserError as error:
            if not previous.is_file():
                raise
            try:
                checked_content(previous)
            except UserError:
                best = self.checkpoint("best")
                way_out = f"go on with --ckpt_path {shlex.quote(str(best))}, or " if best.is_file() else ""
                raise UserError(
                    f"{error}, and {previous.name} is damaged; {way_out}start anew without --ckpt_path"
                ) from error
            log.warning("%s; going on from %s", error, previous)
            return previous

    def _alternatives(self) -> str:
        present = [name for name in NAMES if self.checkpoint(name).is_file()]
        return f"that run has {' and '.join(present)}" if present else "that run has no checkpoint"


WRITABLE = "make it writable, or copy the run"


def cannot_write(error: OSError, folder: Path, way_out: str = WRITABLE) -> str:
    """What to say where a run's folder, or a file in it, cannot be written to."""
    place = folder if error.filename is None else Path(str(error.filename))
    in_the_way = isinstance(error, IsADirectoryError | NotADirectoryError)
    return f"cannot write to {place}: {error.strerror}; {'move it away' if in_the_way else way_out}"


def run_folders(experiment_dir: Path) -> list[RunFolder]:
    """The runs of an experiment, oldest first; none if there is no such folder."""
    paths = [path for path in experiment_dir.glob("version_*") if version_number(path) >= 0 and path.is_dir()]
    return [RunFolder(path) for path in sorted(paths, key=version_number)]


def version_number(path: Path) -> int:
    """k of ``version_<k>``, -1 for any other name."""
    digits = path.name.removeprefix("version_")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def find_checkpoint(wanted: str, experiment_dir: Path, default: Literal["best", "last"]) -> Path | None:
    """The checkpoint meant by ``wanted``; ``None`` where ``auto`` finds nothing to go on from.

    Args:
        wanted: ``best``, ``last`` or ``auto`` of the newest run in ``experiment_dir``, a checkpoint file, a run folder
            or an experiment folder (its newest run).
        experiment_dir: where this experiment's runs are.
        default: which checkpoint of a folder is taken, and what ``auto`` looks for.
    Raises:
        UserError: there is no such checkpoint, or it is damaged.
    """
    if wanted in ("best", "last", "auto"):
        runs = run_folders(experiment_dir)
        if wanted == "auto" and not (runs and runs[-1].has_checkpoint()):
            return None
        if not runs:
            raise UserError(
                f"--ckpt_path {wanted}: there is no run in {experiment_dir} yet; start one with fit, without "
                "--ckpt_path"
            )
        return runs[-1].find_checkpoint(wanted if wanted != "auto" else default)  # type: ignore[arg-type]
    if "://" in wanted:
        raise UserError(f"--ckpt_path {wanted}: a checkpoint is a file on this machine; download it first")
    path = Path(wanted)
    if path.is_file():
        checked_content(path)
        return path
    if not path.is_dir():
        raise UserError(f"--ckpt_path {wanted}: no such file or folder; it may also be best, last or auto")
    if (path / "checkpoints").is_dir():
        return RunFolder(path).find_checkpoint(default)
    runs = run_folders(path)
    if not runs:
        raise UserError(f"--ckpt_path {wanted}: the folder holds neither checkpoints/ nor version_<k>/")
    return runs[-1].find_checkpoint(default)


def run_folder_of(checkpoint: Path) -> RunFolder | None:
    """The run that a checkpoint belongs to, ``None`` if it lies elsewhere."""
    folder = checkpoint.resolve().parent
    return RunFolder(folder.parent) if folder.name == "checkpoints" else None


def requeued_run(experiment_dir: Path, command: Sequence[str]) -> RunFolder | None:
    """Under Slurm, the run that this command left behind in an earlier start of this very job; ``None`` otherwise."""
    job = this_job()
    if job["slurm_job"] is None:
        return None
    for run in reversed(run_folders(experiment_dir)):
        earlier = run.job()
        if earlier.get("slurm_job") == job["slurm_job"] and earlier.get("command") == list(command):
            return run if earlier.get("slurm_restarts") != job["slurm_restarts"] else None
    return None


def this_job() -> dict[str, object]:
    """Who is writing: host, process, and under Slurm the job and how often it was requeued."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slurm_job": slurm.job_id(),
        "slurm_restarts": slurm.restart_count(),
    }


def cannot_make(path: Path, reason: str) -> UserError:
    return UserError(
        f"cannot make the run folder {path}: {reason}; choose another place with --trainer.default_root_dir"
    )
