"""What callbacks may implement, and what they ask of the trainer, the model and the data.

``RunTrainer`` and ``RunCallback`` are base classes: the trainer of this project inherits from the first, and a callback
that wants one of the additional hooks inherits from the second. The protocols name the methods of models and
datamodules that single callbacks need; a class fulfils them by having these methods.
"""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
from torch import Tensor


class RunTrainer(pl.Trainer):
    """A trainer with a folder for its run, which calls ``on_step_complete`` of every ``RunCallback``.

    ``training.trainer.Trainer`` implements it. Lightning's own Trainer has neither the folder nor the hook.
    """

    run_config: dict[str, Any] | None = None
    """The configuration of the run, nested dictionaries of plain values."""

    @property
    def run_dir(self) -> Path | None:
        """The folder of this run; ``None`` where nothing is to be written."""
        return None

    def save_last(self) -> None:
        """Write the checkpoint ``last``; the file that had that name becomes ``previous``."""
        raise NotImplementedError

    def keep_as_best(self, source: Path | None = None) -> None:
        """Copy ``last``, or the checkpoint ``source``, to ``best``."""
        raise NotImplementedError


def folder_of(trainer: pl.Trainer) -> Path | None:
    """The folder into which callbacks of this run may write; ``None`` where nothing is to be written.

    All processes of a run must call it.
    """
    if isinstance(trainer, RunTrainer):
        return trainer.run_dir
    return None if trainer.fast_dev_run or trainer.log_dir is None else Path(trainer.log_dir)


class RunCallback(pl.Callback):
    """A callback with the hooks and declarations that this project adds to Lightning's. Each has a default."""

    MUST_MATCH_ON_RESUME = False
    """Whether this callback decides what the model learns, so that a resumed run needs it with the same arguments."""

    def on_step_complete(self, trainer: RunTrainer, is_last: bool) -> None:
        """Called after each optimizer step, and after the validation that may follow it.

        Only here is the state of the run complete: weights, counters and random numbers are those of one step.

        Args:
            trainer: the trainer of the run.
            is_last: whether no further step follows in this epoch or run.
        """

    def training_metrics(self) -> dict[str, Tensor]:
        """Scalars to log every ``trainer.log_every_n_steps`` steps, such as ``train/length``."""
        return {}

    def describe_progress(self) -> str:
        """A few words for the progress bar."""
        return ""


@runtime_checkable
class HasTrainingMetrics(Protocol):
    """A model that collects metrics over training steps."""

    def training_metrics(self) -> dict[str, Tensor]:
        """Means since the last call, by name."""


@runtime_checkable
class HasHiddenStateGradients(Protocol):
    """A model that computes the gradient of its loss with respect to each hidden state."""

    def hidden_state_gradients(self, batch: Any) -> Tensor:
        """``dL/dh_t`` of each item and time step, (B, T, H)."""


@runtime_checkable
class WritesText(Protocol):
    """A model that continues texts."""

    def write(self, first: Tensor, length: int, tau: Tensor, seeds: list[int]) -> Tensor:
        """Texts of ``length`` characters that begin with the characters ``first``: (B,) -> (B, length) int64."""


@runtime_checkable
class HasVocabulary(Protocol):
    """A datamodule that encodes characters as ids."""

    @property
    def vocabulary(self) -> Any:
        """A ``datamodules.vocabulary.Vocabulary``."""


@runtime_checkable
class CompletesSequences(Protocol):
    """A model that reports which sequences of the latest training step it predicted without a mistake."""

    def completed(self) -> Tensor:
        """(B,) bool."""


@runtime_checkable
class HasTrainingLengths(Protocol):
    """A datamodule whose training sequences can change their length between two steps."""

    length: int
    """The length of its held-out sequences, and the longest of training."""

    train_lengths: Any
    """``datamodules.palindromes.TrainingLengths``; the attributes may be set."""
