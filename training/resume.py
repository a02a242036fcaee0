"""Find a checkpoint, and read it once.

Lightning then takes the loaded checkpoint from memory. A wrong path is reported before torch is imported.
"""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.checkpoint_file import read_with_sha256
from training.errors import UserError
from training.processes import is_rank_zero
from training.run_folder import NAMES, CheckpointName, RunFolder, run_folder_of, run_folders, this_job

log = logging.getLogger(__name__)

REQUEUED_WAIT_SECONDS = 120
"""How long a requeued job waits for its previous process, on a node that Slurm cannot reach."""


class OpenCheckpoint(NamedTuple):
    """A checkpoint file, its content, and the SHA-256 of the file."""

    path: Path
    checkpoint: dict[str, Any]
    sha256: str


def run_to_resume(
    wanted: str | None, experiment_dir: Path, command: Sequence[str]
) -> tuple[RunFolder | None, str | None]:
    """The folder of the run to resume, and its checkpoint, as for ``find_checkpoint``; each ``None`` if there is none.

    The folder is locked, so that nobody replaces the checkpoint before it is read. Under Slurm, a requeued job resumes
    the run that the same ``command`` began, whatever is wanted.

    Raises:
        UserError: there is no such checkpoint, or another process writes to the folder.
    """
    wait_seconds = 0
    if (folder := requeued_run(experiment_dir, command)) is not None:
        wait_seconds, wanted = REQUEUED_WAIT_SECONDS, str(folder.path) if folder.has_checkpoint() else None
    elif wanted is not None and (candidates := locate(wanted, experiment_dir, "last")):
        folder = run_folder_of(candidates[0])
    if folder is not None and is_rank_zero():
        folder.lock(wait_seconds)
    return folder, wanted


def find_checkpoint(
    wanted: str, experiment_dir: Path, default: CheckpointName, option: str = "--ckpt_path"
) -> OpenCheckpoint | None:
    """The checkpoint that ``wanted`` names, loaded; ``None`` where ``auto`` finds nothing to resume.

    A damaged or missing ``last`` is replaced by ``previous``, with a warning, unless the file itself was named.

    Args:
        wanted: ``best``, ``last`` or ``auto`` of the newest run in ``experiment_dir``, a checkpoint file, the folder of
            a run, or the folder of an experiment (its newest run).
        experiment_dir: the folder of the experiment's runs.
        default: which checkpoint to use if ``wanted`` is a folder or ``auto``; without a best one, the last.
        option: that names it, for messages.
    Raises:
        UserError: there is no such checkpoint, or it is damaged.
    """
    candidates = locate(wanted, experiment_dir, default, option)
    if not candidates:
        return None
    path, *others = candidates
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file; move it away, and previous.ckpt is taken if there is one")
    try:
        return OpenCheckpoint(path, *read_with_sha256(path))
    except UserError as error:
        previous = next((other for other in others if other.is_file()), None)
        if previous is None:
            raise
        try:
            opened = OpenCheckpoint(previous, *read_with_sha256(previous))
        except UserError as other:
            cause = other.__cause__
            reason = f"cannot be read ({cause.strerror})" if isinstance(cause, OSError) else "is damaged"
            best = path.with_name("best.ckpt")
            way_out = f"resume with --ckpt_path {shlex.quote(str(best))}, or " if best.is_file() else ""
            raise UserError(
                f"{error}, and {previous.name} {reason}; {way_out}start a new run without --ckpt_path"
            ) from error
        log.warning("%s; resuming from %s", error, previous)
        return opened


def locate(wanted: str, experiment_dir: Path, default: CheckpointName, option: str = "--ckpt_path") -> list[Path]:
    """The files that ``wanted`` may mean, the first choice first. Arguments and errors as for ``find_checkpoint``."""
    path = Path(wanted)
    if wanted in ("best", "last", "auto"):
        runs = run_folders(experiment_dir)
        if wanted == "auto" and not (runs and runs[-1].has_checkpoint()):
            return []
        if not runs:
            raise UserError(
                f"{option} {wanted}: there is no run in {experiment_dir} yet; start one with fit, without --ckpt_path"
            )
    elif "://" in wanted:
        raise UserError(f"{option} {wanted}: a checkpoint is a file on this machine; download it first")
    else:
        try:
            is_file, is_dir = path.is_file(), path.is_dir()
        except OSError as error:
            raise UserError(f"{option} {wanted[:60]}...: {error.strerror}; give a file or a folder") from error
        if is_file:
            return [path]
        if not is_dir:
            is_ckpt_path = option == "--ckpt_path"
            way_out = (
                "it may also be best, last or auto" if is_ckpt_path else "give a checkpoint file, or a run's folder"
            )
            raise UserError(f"{option} {wanted}: no such file or folder; {way_out}")
        runs = [RunFolder(path)] if (path / "checkpoints").is_dir() else run_folders(path)
        if not runs:
            raise UserError(f"{option} {wanted}: the folder holds neither checkpoints/ nor version_<k>/")
    name = wanted if wanted in ("best", "last") else default
    if name == "best" and wanted != "best" and not runs[-1].checkpoint("best").is_file():
        name = "last"  # without validation there is no best
    candidates = [runs[-1].checkpoint(kind) for kind in (("last", "previous") if name == "last" else (name,))]
    if not any(candidate.is_file() for candidate in candidates):
        present = " and ".join(kind for kind in NAMES if runs[-1].checkpoint(kind).is_file())
        if not present:
            raise UserError(f"there is no checkpoint in {runs[-1].path} yet; start a new run without {option}")
        raise UserError(f"there is no {candidates[0]}; that run has {present}")
    return candidates


def requeued_run(experiment_dir: Path, command: Sequence[str]) -> RunFolder | None:
    """Under Slurm, the run that this command began in an earlier start of the same job; otherwise ``None``."""
    job = this_job()
    if job["slurm_job"] is None or not command:
        return None
    for run in reversed(run_folders(experiment_dir)):
        earlier = run.job()
        if earlier.get("slurm_job") == job["slurm_job"] and earlier.get("command") == list(command):
            return run if earlier.get("slurm_restarts") != job["slurm_restarts"] else None
    return None
