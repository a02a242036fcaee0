"""Find a checkpoint, read it once, and compare its configuration with the current one.

Lightning then takes the loaded checkpoint from memory. A wrong path is reported before torch is imported.
"""

import logging
import pkgutil
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training.checkpoint_file import read_checkpoint
from training.errors import UserError
from training.processes import is_rank_zero
from training.run_folder import NAMES, CheckpointName, RunFolder, run_folder_of, run_folders, this_job

log = logging.getLogger(__name__)

REQUEUED_WAIT_SECONDS = 120
"""How long a requeued job waits for its previous process, on a node that Slurm cannot reach."""

TRAINER_KEYS = ("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
"""The trainer's keys that decide what a model learns."""

Config = Mapping[str, Any]
"""A configuration, nested dictionaries of plain values."""


class OpenCheckpoint(NamedTuple):
    """A checkpoint file and its content."""

    path: Path
    checkpoint: dict[str, Any]


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


def find_checkpoint(wanted: str, experiment_dir: Path, default: CheckpointName) -> OpenCheckpoint | None:
    """The checkpoint that ``wanted`` names, loaded; ``None`` where ``auto`` finds nothing to resume.

    A damaged or missing ``last`` is replaced by ``previous``, with a warning, unless the file itself was named.

    Args:
        wanted: ``best``, ``last`` or ``auto`` of the newest run in ``experiment_dir``, a checkpoint file, the folder of
            a run, or the folder of an experiment (its newest run).
        experiment_dir: the folder of the experiment's runs.
        default: which checkpoint to use if ``wanted`` is a folder or ``auto``.
    Raises:
        UserError: there is no such checkpoint, or it is damaged.
    """
    candidates = locate(wanted, experiment_dir, default)
    if not candidates:
        return None
    path, *others = candidates
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no file; move it away, and previous.ckpt is taken if there is one")
    try:
        return OpenCheckpoint(path, read_checkpoint(path))
    except UserError as error:
        previous = next((other for other in others if other.is_file()), None)
        if previous is None:
            raise
        try:
            opened = OpenCheckpoint(previous, read_checkpoint(previous))
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


def locate(wanted: str, experiment_dir: Path, default: CheckpointName) -> list[Path]:
    """The files that ``wanted`` may mean, the first choice first. Arguments and errors as for ``find_checkpoint``."""
    path = Path(wanted)
    if wanted in ("best", "last", "auto"):
        runs = run_folders(experiment_dir)
        if wanted == "auto" and not (runs and runs[-1].has_checkpoint()):
            return []
        if not runs:
            raise UserError(
                f"--ckpt_path {wanted}: there is no run in {experiment_dir} yet; start one with fit, without "
                "--ckpt_path"
            )
    elif "://" in wanted:
        raise UserError(f"--ckpt_path {wanted}: a checkpoint is a file on this machine; download it first")
    else:
        try:
            is_file, is_dir = path.is_file(), path.is_dir()
        except OSError as error:
            raise UserError(f"--ckpt_path {wanted[:60]}...: {error.strerror}; give a file or a folder") from error
        if is_file:
            return [path]
        if not is_dir:
            raise UserError(f"--ckpt_path {wanted}: no such file or folder; it may also be best, last or auto")
        runs = [RunFolder(path)] if (path / "checkpoints").is_dir() else run_folders(path)
        if not runs:
            raise UserError(f"--ckpt_path {wanted}: the folder holds neither checkpoints/ nor version_<k>/")
    name = wanted if wanted in ("best", "last") else default
    candidates = [runs[-1].checkpoint(kind) for kind in (("last", "previous") if name == "last" else (name,))]
    if not any(candidate.is_file() for candidate in candidates):
        present = " and ".join(kind for kind in NAMES if runs[-1].checkpoint(kind).is_file())
        if not present:
            raise UserError(f"there is no checkpoint in {runs[-1].path} yet; start a new run without --ckpt_path")
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


def config_to_record(config: Config) -> dict[str, Any]:
    """The part of a configuration that decides what a run learns. It is kept in the checkpoint.

    Raises:
        UserError: a callback that must match on resume is there twice.
    """
    trainer = {key: config["trainer"].get(key) for key in TRAINER_KEYS}
    trainer["callbacks"] = {}
    for callback in as_list(config["trainer"].get("callbacks")):
        name = callback["class_path"]
        if getattr(import_class(name), "MUST_MATCH_ON_RESUME", False):
            if name in trainer["callbacks"]:
                short = name.rpartition(".")[2]
                raise UserError(f"trainer.callbacks has {short} twice; there can be one, so remove the others")
            trainer["callbacks"][name] = callback.get("init_args", {})
    return {"model": config["model"], "data": config["data"], "trainer": trainer}


def compare(opened: OpenCheckpoint, current: Config, for_training: bool) -> None:
    """Compare a checkpoint's configuration with the one that is to use it.

    Args:
        opened: the checkpoint.
        current: what ``config_to_record`` made of the configuration.
        for_training: whether model, data and trainer must match, except for the arguments that the model's and the
            data's classes declare as ``MAY_DIFFER_ON_RESUME``; or the model only, except for its
            ``MAY_DIFFER_IN_TEST``.
    Raises:
        UserError: the checkpoint has no configuration, or a value differs.
    """
    path, recorded = opened.path, opened.checkpoint.get("config")
    groups = ("data", "model", "trainer") if for_training else ("model",)
    if not (isinstance(recorded, dict) and all(isinstance(recorded.get(group), dict) for group in groups)):
        raise UserError(f"{path} has no configuration of a model; give a checkpoint of this project")
    declaration = "MAY_DIFFER_ON_RESUME" if for_training else "MAY_DIFFER_IN_TEST"
    for group in groups:
        theirs, ours = recorded[group], current[group]
        if group == "trainer":
            # The first checkpoints of this project record a curriculum by itself.
            curriculum = theirs.get("curriculum")
            theirs = {"callbacks": {"callbacks.LengthCurriculum": curriculum} if curriculum else {}} | theirs
        allowed = getattr(import_class(ours.get("class_path", "")), declaration, ())
        skipped = tuple(f"{group}.init_args.{name}." for name in allowed)
        for name, value, wanted in differences(theirs, ours, group):
            if not f"{name}.".startswith(skipped):
                raise UserError(
                    f"the checkpoint {path} was made with {name} = {value}, the config says {wanted}; "
                    "use the config it was made with, or start a new run"
                )


def differences(theirs: Any, ours: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of everything that is in both configurations and differs; a callback may be in one only."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys() if name == "trainer.callbacks" else theirs.keys() & ours.keys()):
            yield from differences(theirs.get(key), ours.get(key), f"{name}.{key}")
    # Two paths, such as models.TextModel and models.text.TextModel, may lead to the same class.
    elif theirs != ours and not (
        name.endswith(".class_path") and import_class(theirs) is import_class(ours) is not object
    ):
        yield name, theirs, ours


def import_class(class_path: str) -> Any:
    """The class of a configuration; one that cannot be imported, such as a local class, declares nothing."""
    try:
        return pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError, ValueError):
        return object


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
