"""Checkpoints of a run: ``best``, ``last`` and, beside it, ``previous``."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint


class RunCheckpoints(Checkpoint):
    """Saves ``best.ckpt`` when validation improves, ``last.ckpt`` every n steps and at the end.

    Nothing is saved inside a step: the loop calls ``between_steps`` when a step, and the validation that may follow it,
    is complete. The file that was ``last`` becomes ``previous`` only when the new one is whole on the disk.

    Args:
        every_n_steps: optimizer steps from one ``last`` to the next, at least 1.
        monitor: the validation metric that is to become small.
    Raises:
        ValueError: ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int = 250, monitor: str = "val/loss") -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best_score = float("inf")
        self.best_is_due = False
        self.last_saved_step = -1

    def path(self, trainer: Trainer, name: str) -> Path:
        """Where the checkpoint ``best``, ``last`` or ``previous`` of this run lies."""
        return Path(str(trainer.log_dir)) / "checkpoints" / f"{name}.ckpt"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self.path(trainer, "last").parent.mkdir(parents=True, exist_ok=True)

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score = state_dict["best_score"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last_saved_step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        score = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn == "fit" and score is not None and torch.lt(score, self.best_score):
            self.best_score = float(score)
            self.best_is_due = True

    def between_steps(self, trainer: Trainer, ending: bool) -> None:
        """Save what is due; called by the loop after every step, ``ending`` when none follows in this epoch or run."""
        if self.best_is_due:
            self.best_is_due = False
            trainer.save_checkpoint(self.path(trainer, "best"))
        if ending or trainer.global_step % self.every_n_steps == 0:
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """Save ``last`` unless that step is saved already; to be called between two steps only."""
        if self.last_saved_step == trainer.global_step:
            return
        self.last_saved_step = trainer.global_step
        last = self.path(trainer, "last")
        coming = self.path(trainer, "coming")
        trainer.save_checkpoint(coming)
        if trainer.is_global_zero:
            if last.exists():
                last.replace(self.path(trainer, "previous"))
            coming.replace(last)
