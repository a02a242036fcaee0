"""The folder of a run, ``<root>/<experiment>/version_<k>/``, and the files in it.

Importing this module imports neither torch nor Lightning.
"""

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import filelock

from training import slurm
from training.checkpoint_file import verified_content
from training.errors import UserError
from training.files import sync, write_atomically

CHANGED = "# Changed"
"""How the configuration of a start begins that changed something on purpose."""

CheckpointName = Literal["best", "last", "previous"]
NAMES: tuple[CheckpointName, ...] = get_args(CheckpointName)


def experiment_name(config_paths: Sequence[str]) -> str:
    """The stem of the last config; ``unnamed`` if there is none, or if the stem would leave the folder of runs."""
    stem = Path(config_paths[-1]).stem if config_paths else ""
    return "unnamed" if stem in ("", ".", "..") else stem


class RunFolder:
    """The folder of one run.

    It holds ``config.yaml``, ``checkpoints/``, TensorBoard's events, ``metrics.csv``, ``summary.json``, and
    ``job.json``, which names the process that wrote here last.

    Args:
        path: ``<root>/<experiment>/version_<k>``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._lock = filelock.FileLock(path / ".lock")

    def checkpoint(self, name: CheckpointName) -> Path:
        return self.checkpoints / f"{name}.ckpt"

    @property
    def coming(self) -> Path:
        """Where a checkpoint is written before it becomes ``last``."""
        return self.checkpoints / "coming.ckpt"

    @classmethod
    def create(cls, experiment_dir: Path) -> "tuple[RunFolder, list[Path]]":
        """Make the folder of the next version and lock it.

        Returns:
            the run's folder, and all folders that were made for it, the innermost first.
        Raises:
            UserError: it cannot be made.
        """
        while True:
            path = experiment_dir / "version_0"
            try:
                versions = run_folders(experiment_dir)
                if versions:
                    path = experiment_dir / f"version_{version_number(versions[-1].path) + 1}"
                parents = [parent for parent in (path.parent, path.parent.parent) if not parent.exists()]
                path.mkdir(parents=True)
            except OSError as error:
                if isinstance(error, FileExistsError) and path.is_dir():
                    continue  # another process was faster; take the next number
                raise UserError(
                    f"cannot make the run folder {path}: {error.strerror}; choose another place with "
                    "--trainer.default_root_dir"
                ) from error
            folder = cls(path)
            folder.lock()
            return folder, [path, *parents]

    def lock(self, wait_seconds: float = 0) -> None:
        """Keep other processes from writing here until this one ends.

        Args:
            wait_seconds: how long to wait for a process that is about to end.
        Raises:
            UserError: another process writes here.
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

    def unlock(self) -> None:
        self._lock.release()

    def write_job_file(self, command: Sequence[str], **facts: Any) -> None:
        """Note in ``job.json`` which process writes here, the command that started it, and other facts."""
        (self.path / "job.json").write_text(json.dumps(this_job() | {"command": list(command)} | facts) + "\n")

    def job(self) -> dict[str, object]:
        """The content of ``job.json``; empty if there is none."""
        try:
            job = json.loads((self.path / "job.json").read_text())
        except (OSError, ValueError):
            return {}
        return job if isinstance(job, dict) else {}

    def config_at(self, step: int) -> Path | None:
        """The configuration with which the run went on from ``step``; ``None`` if there is none."""
        earlier = [
            start for start in self._resumed_at() if start < step or (start == step and not self.changed_at(start))
        ]
        path = self.config_path(max(earlier, default=0))
        return path if path.is_file() else None

    def config_path(self, step: int) -> Path:
        """Where the configuration of the start at this step is."""
        return self.path / (f"config.resume_{step}.yaml" if step else "config.yaml")

    def changed_at(self, step: int) -> bool:
        """Whether this start changed something on purpose. The checkpoint of this step does not have the change yet."""
        with self.config_path(step).open(encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(CHANGED)

    def was_resumed(self) -> bool:
        return bool(self._resumed_at())

    def forget_configs_after(self, step: int) -> None:
        """Remove the configurations of starts after ``step``, because the run resumes from there without them."""
        for later in self._resumed_at():
            if later > step:
                self.config_path(later).unlink()

    def _resumed_at(self) -> list[int]:
        """The steps after which the run was resumed."""
        steps = (path.stem.removeprefix("config.resume_") for path in self.path.glob("config.resume_*.yaml"))
        return [int(step) for step in steps if step.isascii() and step.isdigit()]

    def has_checkpoint(self) -> bool:
        return any(self.checkpoint(name).is_file() for name in NAMES)

    def make_checkpoint_folder(self, resumed_path: Path | None) -> None:
        """Make ``checkpoints/`` and remove what a killed process left there.

        If the run resumes from another checkpoint than ``last``, a ``last`` that is damaged or cannot be read becomes
        ``damaged``. Else it would become ``previous``, and a process that is killed then would leave no good one.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for left_over in [*self.checkpoints.glob(".*.tmp"), *self.checkpoints.glob(self.coming.name)]:
            left_over.unlink()
        last = self.checkpoint("last")
        if resumed_path not in (None, last) and last.is_file():
            try:
                verified_content(last)
            except UserError:
                last.replace(self.checkpoints / "damaged.ckpt")

    def promote_coming(self) -> None:
        """The checkpoint ``coming`` becomes ``last``, and ``last`` becomes ``previous``.

        Curves are brought to the disk first: a resumed run logs only what comes after its checkpoint.
        """
        for curves in (*self.path.glob("events.*"), *self.path.glob("metrics.csv")):
            sync(curves)
        last = self.checkpoint("last")
        if last.exists():
            last.replace(self.checkpoint("previous"))
        self.coming.replace(last)
        sync(self.checkpoints)

    def keep_as_best(self, source: Path | None = None) -> None:
        """Copy ``last``, or the checkpoint ``source``, to ``best``."""
        with (source or self.checkpoint("last")).open("rb") as file:
            write_atomically(self.checkpoint("best"), file.read())


def cannot_write(error: OSError, folder: Path, way_out: str = "make it writable, or copy the run") -> str:
    """The message for a run's folder, or a file in it, that cannot be written."""
    place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else folder
    is_wrong_kind = isinstance(error, IsADirectoryError | NotADirectoryError)
    return f"cannot write to {place}: {error.strerror}; {'move it away' if is_wrong_kind else way_out}"


def run_folders(experiment_dir: Path) -> list[RunFolder]:
    """The runs of an experiment, the oldest first; an empty list if there is no such folder."""
    paths = [path for path in experiment_dir.glob("version_*") if version_number(path) >= 0 and path.is_dir()]
    return [RunFolder(path) for path in sorted(paths, key=version_number)]


def version_number(path: Path) -> int:
    """k of ``version_<k>``, -1 for any other name."""
    digits = path.name.removeprefix("version_")
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def run_folder_of(checkpoint: Path) -> RunFolder | None:
    """The run to which a checkpoint belongs; ``None`` for a file that is not in a run's folder."""
    folder = checkpoint.parent
    if folder.name != "checkpoints" or len(folder.parts) < 3 or ".." in folder.parts:
        folder = checkpoint.resolve().parent  # the path as it was typed does not name the experiment
    return RunFolder(folder.parent) if folder.name == "checkpoints" else None


def this_job() -> dict[str, object]:
    """This host and process, and under Slurm the job and how often it was requeued."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slurm_job": slurm.job_id(),
        "slurm_restarts": slurm.restart_count(),
    }
