"""A curriculum over lengths: training starts with short sequences and lengthens them step by step."""

from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.contracts import CompletesSequences, HasTrainingLengths, RunCallback


class LengthCurriculum(RunCallback):
    """Trains on short sequences first, and on longer ones once those are mastered (Elman 1993; Bengio et al. 2009).

    Training begins at length ``start``. The batches of the current length T are evaluated ``window`` at a time. If the
    share of their sequences that were completed without a mistake is at least ``threshold``, the length becomes ``max(T
    * growth, T + increment)``, rounded down, and at most the length of the held-out data. Throughout, a share of the
    batches is shorter, log-uniformly from ``start`` on, so that the network does not forget short sequences. The
    checkpoint contains the whole state of the curriculum.

    Args:
        start: the first length, at least 2.
        growth: factor by which the length grows, at least 1.
        increment: number by which the length grows at least, at least 1.
        threshold: share of sequences to complete before the length grows, in (0, 1].
        window: batches of the current length that are evaluated together, at least 1.
        shorter_fraction: share of the batches that are shorter than the current length, in [0, 1).
    Raises:
        ValueError: an argument is out of its range; at setup, the data has no training lengths, the model does not tell
            what it completed, or the data's length is below ``start``.
    """

    MUST_MATCH_ON_RESUME = True

    def __init__(
        self,
        start: int = 5,
        growth: float = 1.5,
        increment: int = 1,
        threshold: float = 0.99,
        window: int = 5,
        shorter_fraction: float = 0.5,
    ) -> None:
        at_least = {"start": (start, 2), "growth": (growth, 1), "increment": (increment, 1), "window": (window, 1)}
        for name, (value, limit) in at_least.items():
            if not limit <= value < float("inf"):
                raise ValueError(f"LengthCurriculum.{name} is {value}; it must be a number of at least {limit}")
        if not 0 < threshold <= 1:
            raise ValueError(f"LengthCurriculum.threshold is {threshold}; it must be above 0 and at most 1")
        if not 0 <= shorter_fraction < 1:
            raise ValueError(
                f"LengthCurriculum.shorter_fraction is {shorter_fraction}; it must be at least 0 and below 1"
            )
        self.start = start
        self.growth = growth
        self.increment = increment
        self.threshold = threshold
        self.window = window
        self.shorter_fraction = shorter_fraction
        self.length = start
        self.target = start
        self.accuracy = 0.0  # share completed in the latest window
        self.mastered = 0  # the longest length that passed the threshold
        self._completed: list[Tensor] = []  # (B,) bool for each batch of the current window

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        data = trainer.datamodule
        if not isinstance(data, HasTrainingLengths) or not isinstance(pl_module, CompletesSequences):
            raise ValueError(
                f"LengthCurriculum cannot change the lengths of {type(data).__name__} for {type(pl_module).__name__}; "
                "remove it, or use it with PalindromeDataModule and PalindromeClassifier"
            )
        if data.length < self.start:
            raise ValueError(
                f"data.length is {data.length}, where the curriculum ends, and LengthCurriculum.start is {self.start}; "
                "the length must be at least the start"
            )
        self.target = data.length

    def state_dict(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "accuracy": self.accuracy,
            "mastered": self.mastered,
            "completed": list(self._completed),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.length = state_dict["length"]
        self.accuracy = state_dict["accuracy"]
        self.mastered = state_dict["mastered"]
        self._completed = list(state_dict["completed"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._completed = [batch.to(pl_module.device) for batch in self._completed]  # checkpoints are loaded to the CPU
        self._set_lengths(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        digits, _ = batch
        if digits.shape[1] + 1 != self.length:
            return
        assert isinstance(pl_module, CompletesSequences)
        completed = pl_module.completed()
        if trainer.world_size > 1:  # each process has a shard of the batch
            completed = trainer.strategy.all_gather(completed).flatten()
        self._completed.append(completed)
        if len(self._completed) == self.window:
            completed = torch.cat(self._completed)
            self.accuracy = int(completed.sum()) / len(completed)  # exact, because 9 / 10 in float32 is below 0.9
            self._completed.clear()
            if self.accuracy >= self.threshold:
                self.mastered = self.length
                grown = max(self.length * self.growth, self.length + self.increment)
                self.length = int(min(grown, self.target))
                self._set_lengths(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.callback_metrics.update(
            self.training_metrics()
        )  # for the summary, because nothing may have been logged since

    def _set_lengths(self, trainer: Trainer) -> None:
        lengths = trainer.datamodule.train_lengths
        lengths.shortest, lengths.longest = self.start, self.length
        lengths.shorter_fraction = self.shorter_fraction

    def training_metrics(self) -> dict[str, Tensor]:
        """The current length, the longest mastered one, and the share completed in the latest window."""
        return {
            "train/length": torch.tensor(self.length),
            "train/mastered_length": torch.tensor(self.mastered),
            "train/completed": torch.tensor(self.accuracy),
        }

    def describe_progress(self) -> str:
        return f"length {self.length}/{self.target}"
