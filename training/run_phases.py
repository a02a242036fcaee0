"""The beginning and the end of ``training.run.Run.fit``: the run's folder is opened, and the end explained."""

import contextlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks import Timer

from callbacks import RunCheckpoints, RunSummary
from training.errors import UserError
from training.loggers import RunMetricsFile, RunTensorBoard
from training.processes import is_rank_zero, print_rank_zero
from training.run_folder import RunFolder, cannot_write
from training.trainer import Trainer

if TYPE_CHECKING:
    from training.run import Run

log = logging.getLogger(__name__)


def open_folder(run: "Run", resumed_path: Path | None) -> None:
    """Let the first process open the run's folder, and tell the others its path, or why it cannot be opened.

    Raises:
        UserError: it cannot be made or written, or the processes resume different checkpoints.
    """
    message: list[Any] = [None]
    if is_rank_zero():
        try:
            message = [(prepare_folder(run).path, resumed_path, None)]
        except UserError as error:
            message = [(None, None, str(error))]
    path, resumed_by_first, refused = run.trainer.strategy.broadcast(message)[0]
    if refused is None and resumed_by_first != resumed_path:
        refused = f"the processes would resume from {resumed_by_first} and {resumed_path}; give --ckpt_path"
    if refused is not None:
        raise UserError(refused)
    run.folder = run.trainer.folder = run.folder or RunFolder(path)


def prepare_folder(run: "Run") -> RunFolder:
    """The run's folder, locked, with its configuration and loggers; a new one, or that of the resumed run."""
    trainer, step = run.trainer, run.step_before
    is_start = run.folder is None or step == 0
    if run.folder is None:
        run.folder, run.new_folders = RunFolder.create(run.experiment_dir)
    folder = run.folder
    try:
        folder.write_job_file(run.hints.words)
        run.save_config(folder.path / ("config.yaml" if is_start else f"config.resume_{step}.yaml"))
        if any(isinstance(callback, RunCheckpoints) for callback in trainer.callbacks):
            folder.make_checkpoint_folder()
        trainer.loggers = [*trainer.loggers, RunTensorBoard(folder.path, step), RunMetricsFile(folder.path, step)]
    except OSError as error:
        raise UserError(cannot_write(error, folder.path)) from error
    return folder


def remove_new_folder(run: "Run") -> None:
    """Remove the folders that a run made before it failed, if it failed before it began."""
    if not run.new_folders or not is_rank_zero():
        return
    for logger in run.trainer.loggers:
        logger.finalize("failed")
    folder, *parents = run.new_folders
    shutil.rmtree(folder)
    with contextlib.suppress(OSError):  # another process has begun a run there
        for parent in parents:
            parent.rmdir()


def timers(trainer: Trainer) -> list[Timer]:
    """The callbacks that Lightning makes of ``trainer.max_time``."""
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]


def count_earlier_seconds(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Let ``trainer.max_time`` include the seconds that the run spent while it had no time limit."""
    states = checkpoint.get("callbacks", {})
    for timer in timers(trainer):
        if checkpoint and timer.state_key not in states:
            seconds = states.get(RunSummary.__qualname__, {"seconds": 0.0})["seconds"]
            timer.load_state_dict({"time_elapsed": {"train": seconds}})


def explain_end(trainer: Trainer, step_before: int) -> None:
    """Say why training ended, if it was not after ``trainer.max_steps``."""
    step = trainer.global_step
    for callback in trainer.early_stopping_callbacks:
        if trainer.should_stop and callback.stopping_reason_message:
            reason = callback.stopping_reason_message.removesuffix(" Signaling Trainer to stop.")
            print_rank_zero(f"Training ended after step {step}: {reason}")
    over = [timer for timer in timers(trainer) if (left := timer.time_remaining()) is not None and left <= 0]
    seconds = f"{over[0].time_elapsed() + over[0].time_remaining():.0f} seconds" if over else ""
    if step == step_before and step != trainer.max_steps:
        used_up = f"this run has had its {seconds}; for more, set --trainer.max_time"
        log.warning("No step was taken: %s.", used_up if over else "the limits of the trainer allow none")
    elif over:
        print_rank_zero(f"Training ended after step {step}: it has had its {seconds}.")
