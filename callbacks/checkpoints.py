"""Checkpoints of a run: ``best``, ``last`` and ``previous``."""

import logging
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from callbacks.contracts import RunCallback, RunTrainer

log = logging.getLogger(__name__)

DEFAULT_MONITOR = "val/loss"
"""What every model of this project logs."""


class RunCheckpoints(RunCallback, Checkpoint):
    """Saves ``last.ckpt`` every n steps, when validation improves, and at the end. The best one is also ``best.ckpt``.

    It decides when to save; the trainer writes the files. A checkpoint is only written between two steps, so a resumed
    run never has half a step to repeat.

    Args:
        every_n_steps: the largest number of optimizer steps between two ``last``, at least 1.
        monitor: name of the validation metric to minimize. A model that does not log the default has no ``best``.
    Raises:
        ValueError: ``every_n_steps`` is below 1; at setup, the trainer is Lightning's own.
        MisconfigurationException: at the first validation, another ``monitor`` than the default was not logged.
    """

    def __init__(self, every_n_steps: int = 250, monitor: str = DEFAULT_MONITOR) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.best_score = float("inf")
        self.best_step = -1
        self.best_is_due = False
        self.last_saved_step = -1
        self._has_warned = False
        self.random_state: dict[str, Tensor] | None = None  # of the checkpoint that the run resumes from

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(trainer, RunTrainer):
            raise ValueError(
                "RunCheckpoints needs training.trainer.Trainer, which calls it between two steps; with Lightning's own "
                "Trainer use pytorch_lightning.callbacks.ModelCheckpoint"
            )

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
        # The first checkpoints of this project have no random state: no model drew random numbers in training.
        self.random_state = checkpoint.get("random_state")
        state = checkpoint["callbacks"].get(self.state_key, {})
        if trainer.state.fn == "fit" and checkpoint["global_step"] == state.get("best_step"):
            # The process may have been killed after it saved ``last`` and before it copied it to ``best``.
            assert isinstance(trainer, RunTrainer)
            trainer.keep_as_best(Path(str(trainer.ckpt_path)))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            if self.monitor == DEFAULT_MONITOR:
                if not self._has_warned:
                    self._has_warned = True
                    log.warning(
                        "No best checkpoint is kept: %s does not log %s in validation, but %s; log it, or set the "
                        "monitor of callbacks.RunCheckpoints.",
                        *(type(pl_module).__name__, self.monitor, known),
                    )
                return
            raise MisconfigurationException(f"RunCheckpoints.monitor is {self.monitor}; it must be one of {known}")
        score = trainer.callback_metrics[self.monitor]
        if torch.lt(score, self.best_score):
            self.best_score = float(score)
            self.best_step = trainer.global_step
            self.best_is_due = True

    def on_step_complete(self, trainer: RunTrainer, is_last: bool) -> None:
        is_due = is_last or self.best_is_due or trainer.global_step % self.every_n_steps == 0
        if is_due and self.last_saved_step != trainer.global_step:
            self.last_saved_step = trainer.global_step
            trainer.save_last()
        if self.best_is_due:
            self.best_is_due = False
            trainer.keep_as_best()


def random_state() -> dict[str, Tensor]:
    """The state of torch's random generators, on the CPU and on the GPU if there is one. Dropout draws from them."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else state


def set_random_state(state: dict[str, Tensor]) -> None:
    """Restore what ``random_state`` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
