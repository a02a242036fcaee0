"""Training batches without end, of which each can be made by itself."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from pytorch_lightning import LightningDataModule

Batch = TypeVar("Batch")


class Part(NamedTuple):
    """Which of several processes is served.

    Args:
        rank: from 0.
        num: how many there are.
    """

    rank: int = 0
    num: int = 1

    @classmethod
    def of(cls, data: LightningDataModule) -> "Part":
        """That in which a datamodule serves its trainer."""
        return cls() if data.trainer is None else cls(data.trainer.global_rank, data.trainer.world_size)

    def block(self, size: int) -> slice:
        """Its rows of a training batch that has ``size`` for each process."""
        return slice(self.rank * size, (self.rank + 1) * size)

    def share(self, num_rows: int) -> int:
        """How many it has of ``num_rows`` that are dealt out one by one."""
        return len(range(self.rank, num_rows, self.num))


WHOLE = Part()


class EndlessLoader(ABC, Generic[Batch]):
    """Batches 0, 1, 2, ... in epochs of ``steps_per_epoch``; it knows its place and can be put back there.

    Each iteration goes on with the batch after the last one and is an epoch long, or, after ``load_state_dict``, what
    was left of the epoch then. There are no worker processes: Lightning restores a place in mid-epoch only for a loader
    that has ``state_dict`` and a length, and making a batch takes microseconds.

    Args:
        steps_per_epoch: batches after which an epoch is said to end; nothing else depends on it.
    """

    def __init__(self, steps_per_epoch: int) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.num_served = 0
        self.num_served_in_epoch = 0
        self._place_in_epoch = 0  # where the next iteration begins: put back, in the middle of an epoch

    @abstractmethod
    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ..., whatever was asked for before."""

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        place, self._place_in_epoch = self._place_in_epoch, 0
        return self._batches(place)

    def _batches(self, place: int) -> Iterator[Batch]:
        self.num_served_in_epoch = place
        while self.num_served_in_epoch < self.steps_per_epoch:
            batch = self.batch(self.num_served)
            # Before the batch is handed out: a checkpoint taken after its step must count it.
            self.num_served += 1
            self.num_served_in_epoch += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"num_served": self.num_served, "num_served_in_epoch": self.num_served_in_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_served = state_dict["num_served"]
        self.num_served_in_epoch = self._place_in_epoch = state_dict["num_served_in_epoch"]


def make_generator(*name: int | str) -> torch.Generator:
    """A random generator of its own for each combination of arguments, so that no order of calls matters."""
    return torch.Generator().manual_seed(derived_seed(*name))


def derived_seed(*name: int | str) -> int:
    """A number from 0 to 2^63 - 1 that any change of the arguments changes."""
    digest = hashlib.blake2b("/".join(map(str, name)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
