"""The phases of ``training.run.Run.fit``: open the folder, train, explain the end, test the best checkpoint."""

import contextlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.model_helpers import is_overridden

from callbacks import RunCheckpoints, RunSummary
from models.contracts import ReportingModel
from training.changes import described
from training.errors import UserError, comes_from_user_code
from training.external_loggers import close_loggers, open_loggers
from training.hints import how_to_resume
from training.loggers import RunMetricsFile, RunTensorBoard
from training.processes import LostProcess, is_rank_zero, print_rank_zero
from training.recorded_config import SOURCE_KEYS
from training.resume import OpenCheckpoint
from training.run_folder import RunFolder, cannot_write
from training.trainer import Trainer, num_processes

if TYPE_CHECKING:
    from training.run import Run

log = logging.getLogger(__name__)

NOTHING_TESTED = "Nothing was tested: the test split is empty, or trainer.limit_test_batches is 0."


def open_folder(run: "Run", resumed_path: Path | None) -> None:
    """Let the first process open the run's folder, and tell the others its path, or why it cannot be opened.

    Raises:
        UserError: it cannot be made or written, or the processes resume different checkpoints.
    """
    opened: Path | UserError | None = None
    if is_rank_zero():
        try:
            opened = prepare_folder(run, resumed_path).path
        except UserError as error:
            opened = error
    opened, resumed_by_first = run.trainer.strategy.broadcast((opened, resumed_path))
    if isinstance(opened, UserError):
        raise opened
    if resumed_by_first != resumed_path:
        raise UserError(f"the processes would resume from {resumed_by_first} and {resumed_path}; give --ckpt_path")
    run.folder = run.trainer.folder = run.folder or RunFolder(opened)


def prepare_folder(run: "Run", resumed_path: Path | None) -> RunFolder:
    """The run's folder, locked, with its configuration and loggers; a new one, or that of the resumed run."""
    trainer, step = run.trainer, run.step_before
    is_start = run.folder is None or step == 0
    if run.folder is None:
        run.folder, run.new_folders = RunFolder.create(run.experiment_dir)
    folder = run.folder
    try:
        source = (trainer.recorded_config or {}).get("init_from", {})
        folder.write_job_file(run.words, **source)
        folder.forget_configs_after(step)
        config_path = folder.config_path(0 if is_start else step)
        run.save_config(config_path)
        if run.changes:
            config_path.write_text(f"# {described(run.changes, step)}\n{config_path.read_text()}")
        if any(isinstance(callback, RunCheckpoints) for callback in trainer.callbacks):
            folder.make_checkpoint_folder(resumed_path)
        trainer.loggers = [RunTensorBoard(folder.path, step), RunMetricsFile(folder.path, step)]
        arguments = run.model.hparams_initial.keys() | run.data.hparams_initial.keys()
        trainer.loggers += open_loggers(trainer.external_loggers, folder.path, step, arguments)
    except OSError as error:
        raise UserError(cannot_write(error, folder.path)) from error
    return folder


def remove_new_folder(run: "Run") -> None:
    """Remove the folders that a run made before it failed, if it failed before it began."""
    if not run.new_folders or not is_rank_zero():
        return
    for logger in run.trainer.loggers:
        logger.finalize("failed")
    close_loggers(1)
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
        used_up = f"trainer.max_time ({seconds}) is used up; increase it to train longer"
        log.warning("No step was taken: %s.", used_up if over else "the limits of the trainer allow none")
    elif over:
        print_rank_zero(f"Training ended after step {step}: trainer.max_time ({seconds}) is used up.")


def check_num_processes(trainer: Trainer, path: Path | None, checkpoint: dict[str, Any]) -> None:
    """Reject a checkpoint that another number of processes made."""
    num = trainer.world_size
    if checkpoint and (before := num_processes(checkpoint)) != num:
        raise UserError(
            f"the checkpoint {path} was made by {before} process{'es' if before > 1 else ''}, "
            f"trainer.devices and num_nodes ask for {num}; take as many, or start a new run"
        )


def keep_source(run: "Run", opened: OpenCheckpoint) -> None:
    """Keep the note of the resumed run's first weights; a UserError if it is to start from others."""
    wanted, source = run.config.get("init_from"), opened.checkpoint["config"].get("init_from")
    if wanted and not (source and Path(source["init_from"]).is_relative_to(wanted)):
        began = f"weights from {source['init_from']}" if source else "random weights"
        raise UserError(
            f"--init_from is {wanted}, but the run of {opened.path} began with {began}; leave --init_from out to "
            "resume it, or --ckpt_path to start a new run"
        )
    if source:
        run.trainer.recorded_config = {**(run.trainer.recorded_config or {}), "init_from": source}
        if run.command is not None:
            run.command.set_source(*(source[key] for key in SOURCE_KEYS))


def train(run: "Run", path: Path | None) -> None:
    """Train the model, from the checkpoint ``path`` on. Errors as for ``Run.fit``."""
    trainer, max_steps = run.trainer, run.trainer.max_steps
    if path is not None and 0 <= max_steps <= run.step_before and not trainer.fast_dev_run:
        log.info("This run has done %d of %d steps; for more, set --trainer.max_steps.", run.step_before, max_steps)
    if not trainer.fast_dev_run:
        trainer.open_run = lambda: open_folder(run, path)
    try:
        trainer.fit(run.model, run.data, ckpt_path=path)
    except RuntimeError as error:
        is_of_another = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        if trainer.world_size == 1 or not is_of_another:
            raise
        raise LostProcess(f"another process of this run has ended; {how_to_resume(run.words, run.folder)}") from error
    except OSError as error:
        if run.folder is None or error.errno is None or comes_from_user_code(error):
            raise
        raise UserError(cannot_write(error, run.folder.path, "what was saved before is intact")) from error


def test_best(run: "Run", folder: RunFolder) -> None:
    """Test the best checkpoint of a finished run, or say why nothing is tested."""
    for owner, name in ((run.model, "test_step"), (run.data, "test_dataloader")):
        if not is_overridden(name, owner):
            print_rank_zero(f"Nothing was tested: {type(owner).__name__} has no {name}.")
            return
    run.trainer.strategy.barrier("checkpoints are kept")  # the first of several processes keeps them
    # Without validation there is no best, without checkpoints neither best nor last.
    kept = [path for path in (folder.checkpoint("best"), folder.checkpoint("last")) if path.is_file()]
    if kept and kept[0].name != "best.ckpt":
        log.warning("There is no best checkpoint, because no validation gave a loss; the last one is tested.")
    test_checkpoint(run, kept[0] if kept else None)


def test_checkpoint(run: "Run", path: Path | None) -> None:
    """Test a checkpoint, or the model as it is, and print the results."""
    is_reporting = isinstance(run.model, ReportingModel)
    results = run.trainer.test(run.model, run.data, ckpt_path=path, verbose=not is_reporting)
    lines = run.model.describe_test() if is_reporting else []
    if not lines and (is_reporting or not any(results)):
        lines = [NOTHING_TESTED]
    for line in lines:
        print_rank_zero(line)
