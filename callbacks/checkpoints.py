"""Checkpoints of a run: ``best``, ``last`` and, beside it, ``previous``."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor


class RunCheckpoints(Checkpoint):
    """Saves ``last.ckpt`` every n steps, when validation improves, and at the end; the best one is also ``best.ckpt``.

    Nothing is saved inside a step: the loop calls ``between_steps`` when a step, and the validation that may follow it,
    is complete. The file that was ``last`` becomes ``previous`` only when the new one is whole on the disk.

    Args:
        every_n_steps: optimizer steps from one ``last`` to the next at most, at least 1.
        monitor: the validation metric that is to become small.
    Raises:
        ValueError: ``every_n_steps`` is below 1.
        MisconfigurationException: at the first validation, if it does not measure ``monitor``.
    """

    def __init__(self, every_n_steps: int = 250, monitor: str = "val/loss") -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best_score = float("inf")
        self.best_step = -1
        self.best_is_due = False
        self.last_saved_step = -1
        self.random_state: dict[str, Tensor] | None = None  # to go on with

    def path(self, trainer: Trainer, name: str) -> Path:
        """Where the checkpoint ``best``, ``last`` or ``previous`` of this run lies."""
        return Path(str(trainer.log_dir)) / "checkpoints" / f"{name}.ckpt"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            folder = self.path(trainer, "last").parent
            folder.mkdir(parents=True, exist_ok=True)
            for left_by_a_killed_process in [*folder.glob(".*.tmp"), *folder.glob("coming.ckpt")]:
                left_by_a_killed_process.unlink()

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]
        self.best_step = state_dict["best_step"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last_saved_step = trainer.global_step
        if self.random_state is not None:
            set_random_state(self.random_state)
        elif trainer.global_rank > 0:
            torch.manual_seed(torch.initial_seed() + trainer.global_rank)  # else all processes draw the same dropout

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["random_state"] = random_state()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        # None in a checkpoint from before any model drew random numbers in training.
        self.random_state = checkpoint.get("random_state")
        state = checkpoint["callbacks"].get(self.state_key, {})
        if trainer.state.fn == "fit" and trainer.is_global_zero and checkpoint["global_step"] == state.get("best_step"):
            # The process may have ended when it had saved ``last`` and not yet copied it.
            copy_whole(Path(str(trainer.ckpt_path)), self.path(trainer, "best"))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise MisconfigurationException(f"RunCheckpoints.monitor is {self.monitor}; what is measured is {known}")
        score = trainer.callback_metrics[self.monitor]
        if torch.lt(score, self.best_score):
            self.best_score = float(score)
            self.best_step = trainer.global_step
            self.best_is_due = True

    def between_steps(self, trainer: Trainer, ending: bool) -> None:
        """Save what is due; called by the loop after every step, ``ending`` when none follows in this epoch or run."""
        if ending or self.best_is_due or trainer.global_step % self.every_n_steps == 0:
            self.save_last(trainer)
        if self.best_is_due:
            self.best_is_due = False
            if trainer.is_global_zero:
                copy_whole(self.path(trainer, "last"), self.path(trainer, "best"))

    def save_last(self, trainer: Trainer) -> None:
        """Save ``last`` unless that step is saved already; to be called between two steps only."""
        if self.last_saved_step == trainer.global_step:
            return
        self.last_saved_step = trainer.global_step
        last = self.path(trainer, "last")
        coming = self.path(trainer, "coming")
        trainer.save_checkpoint(coming)
        if trainer.is_global_zero:
            sync_curves(Path(str(trainer.log_dir)))
            if last.exists():
                last.replace(self.path(trainer, "previous"))
            coming.replace(last)
            sync(last.parent)  # else the names might be lost with the power, and two checkpoints' steps


def random_state() -> dict[str, Tensor]:
    """Where torch's random numbers are, of the processor and, if there is one, of the GPU; dropout draws from them."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Put torch's random numbers back where they were."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def sync_curves(run_dir: Path) -> None:
    """Bring what was logged to the disk: a run is gone on with after its checkpoint, so what came before is not logged
    again."""
    for path in (*run_dir.glob("events.*"), *run_dir.glob("metrics.csv")):
        sync(path)


def sync(path: Path) -> None:
    """Bring a file to the disk, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is the old file or the whole new one, never a part."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with source.open("rb") as read, temporary.open("wb") as written:
            shutil.copyfileobj(read, written)
            written.flush()
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
