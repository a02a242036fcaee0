"""Endless training batches that resume at any batch, and the batches of held-out splits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

Batch = TypeVar("Batch")

STEPS_PER_EPOCH = 1000
"""Batches of an epoch where the data have no end; nothing but the end of an epoch depends on it."""


class ResumableLoader(ABC, Generic[Batch]):
    """Batches 0, 1, 2, ... in epochs of ``steps_per_epoch``; ``load_state_dict`` resumes at the next batch.

    Each iteration continues with the batch after the last one. It is one epoch long; after ``load_state_dict`` it is
    the rest of the epoch. The loader has no worker processes: Lightning resumes in the middle of an epoch only with a
    loader that has a length and ``state_dict``, and a batch is generated in microseconds.

    Args:
        steps_per_epoch: batches of an epoch.
    """

    def __init__(self, steps_per_epoch: int = STEPS_PER_EPOCH) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.num_served = 0
        self.num_served_in_epoch = 0
        self._first_in_epoch = 0  # of the next iteration; above 0 after a resume in the middle of an epoch

    @abstractmethod
    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...; it does not depend on earlier calls."""

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        first, self._first_in_epoch = self._first_in_epoch, 0
        return self._batches(first)

    def _batches(self, first: int) -> Iterator[Batch]:
        self.num_served_in_epoch = first
        while self.num_served_in_epoch < self.steps_per_epoch:
            batch = self.batch(self.num_served)
            # Counted before the yield: a checkpoint saved after the batch's step must include it.
            self.num_served += 1
            self.num_served_in_epoch += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"num_served": self.num_served, "num_served_in_epoch": self.num_served_in_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_served = state_dict["num_served"]
        self.num_served_in_epoch = self._first_in_epoch = state_dict["num_served_in_epoch"]


class FunctionLoader(ResumableLoader[Batch]):
    """Training batches that a function makes from k."""

    def __init__(self, function: Callable[[int], Batch]) -> None:
        super().__init__()
        self.function = function

    def batch(self, k: int) -> Batch:
        return self.function(k)


class HeldOutLoader(Generic[Batch]):
    """Batches 0 ... ``num`` - 1, which a function makes from their number."""

    def __init__(self, num: int, function: Callable[[int], Batch]) -> None:
        self.num = num
        self.function = function

    def __len__(self) -> int:
        return self.num

    def __iter__(self) -> Iterator[Batch]:
        return map(self.function, range(self.num))
