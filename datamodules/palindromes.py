"""Palindromes, made whole batches at a time (section 1.1 of the assignment).

A palindrome of length T is given by its first half, N = ceil(T/2) digits. Whether it belongs to training, validation or
test is decided by a hash of that half, so the splits share no palindrome and nothing has to be remembered.

Legend: B batch, T length of the whole palindrome, N = ceil(T/2) digits of its first half, K different digits.
"""

import hashlib
import logging
import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

Split = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor]

log = logging.getLogger(__name__)

NUM_BUCKETS = 10
BUCKETS: dict[str, range] = {"test": range(0, 1), "val": range(1, 2), "train": range(2, NUM_BUCKETS)}
"""Buckets of the hash that belong to each split: a tenth is tested, a tenth validates, the rest trains."""

SPLIT_LENGTH_MIN = 5
"""The shortest length that is split; below it there are at most 100 palindromes of ten digits."""

SPLIT_SPACE_MIN = 100
"""The fewest palindromes that are split: with fewer (few digits) a tenth of them may be none."""

ENUMERATED_SPACE_MAX = 1_000_000
"""Held-out palindromes are picked from a list of all, up to this many; beyond, they are drawn, and none is twice."""

CHUNK_DIGITS = 1 << 16
"""Digits of first halves generated in one go: enough to make the cost of a call disappear, little enough to cache."""


UNCOUNTED = 1 << 60
"""Stands for any number of palindromes from there on: K^N itself can have millions of digits."""

DRAWN_DIGITS_MAX = 1 << 22
"""Digits drawn in one go, whatever the length: 32 MiB."""


DIGITS_MAX = 1 << 30
"""Digits of a batch or of a held-out split: 8 GiB."""


class PalindromeDataModule(LightningDataModule):
    """Palindromes to be completed: from the first T-1 digits, name the last one.

    Training batches are endless and generated as needed: batch k is a function of ``(seed, length, batch_size, k)``
    alone. Validation and test hold distinct palindromes, drawn once.

    Args:
        length: digits of the whole palindrome, T, at least 2.
        batch_size: palindromes per training batch, B.
        num_classes: different digits, K, at least 2; a palindrome may begin with 0.
        steps_per_epoch: batches after which an epoch is said to end; nothing else depends on it.
        num_val: held-out palindromes for validation.
        num_test: held-out palindromes for test.
        eval_batch_size: palindromes per validation and test batch.
        task: ``last_digit``: the target is the last digit.
        seed: decides which palindromes are drawn, not which split they belong to.
    Batch:
        ``(digits, target)``: (B, T-1) and (B,), int64 in [0, K).
    Raises:
        ValueError: an argument is out of its range; the message names the value and the limit.
    """

    def __init__(
        self,
        length: int,
        batch_size: int = 128,
        num_classes: int = 10,
        steps_per_epoch: int = 1000,
        num_val: int = 1000,
        num_test: int = 10_000,
        eval_batch_size: int = 1000,
        task: Literal["last_digit"] = "last_digit",
        seed: int = 0,
    ) -> None:
        super().__init__()
        limits = {"length": 2, "num_classes": 2, "batch_size": 1, "steps_per_epoch": 1}
        limits |= {"num_val": 1, "num_test": 1, "eval_batch_size": 1, "seed": 0}
        arguments = locals()
        for name, limit in limits.items():
            if arguments[name] < limit:
                raise ValueError(f"{name} is {arguments[name]}; it must be at least {limit}")
        for name in ("batch_size", "num_val", "num_test"):
            num_digits = arguments[name] * length
            if num_digits > DIGITS_MAX:
                raise ValueError(
                    f"{name} is {arguments[name]}: with length {length} that is {num_digits} digits; "
                    f"it must be at most {DIGITS_MAX} digits, so lower it or the length"
                )
        self.length = length
        self.batch_size = batch_size
        self.num_classes = num_classes
        self.steps_per_epoch = steps_per_epoch
        self.num_held_out = {"val": num_val, "test": num_test}
        self.eval_batch_size = eval_batch_size
        self.task = task
        self.seed = seed
        self._held_out: dict[str, HeldOutLoader] = {}

    def setup(self, stage: str) -> None:
        if not is_split(self.length, self.num_classes):
            log.info(
                "There are %d palindromes of length %d, too few to split: training, validation and test share them.",
                num_palindromes(self.length, self.num_classes),
                self.length,
            )

    def train_dataloader(self) -> "PalindromeLoader":
        return PalindromeLoader(self.length, self.num_classes, self.batch_size, self.steps_per_epoch, self.seed)

    def val_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("val")

    def test_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("test")

    def predict_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("test")

    def _held_out_loader(self, split: Split) -> "HeldOutLoader":
        if split not in self._held_out:
            wanted = self.num_held_out[split]
            halves = held_out_halves(self.length, self.num_classes, split, wanted, self.seed)
            if len(halves) < wanted:
                log.info(
                    "The %s split has %d palindromes of length %d, not the %d asked for: each is taken once.",
                    split,
                    len(halves),
                    self.length,
                    wanted,
                )
            self._held_out[split] = HeldOutLoader(halves, self.length, self.eval_batch_size)
        return self._held_out[split]

    def __str__(self) -> str:
        # Lightning's own iterates over the loaders.
        return (
            f"{type(self).__name__}(length={self.length}, num_classes={self.num_classes}, batch_size={self.batch_size})"
        )


class PalindromeLoader:
    """Endless training batches in epochs of ``steps_per_epoch``; it knows its place and can be put back there.

    Batch k depends on the constructor's arguments and k alone. Each iteration goes on with the batch after the last one
    and is an epoch long, or, after ``load_state_dict``, what was left of the epoch then. There are no worker processes:
    Lightning restores a place in mid-epoch only for a loader that has ``state_dict`` and a length, and making a batch
    takes microseconds.
    """

    def __init__(self, length: int, num_classes: int, batch_size: int, steps_per_epoch: int, seed: int) -> None:
        self.length = length
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.seed = seed
        self.num_served = 0
        self.num_served_in_epoch = 0
        self._place_in_epoch = 0  # where the next iteration begins: put back, in the middle of an epoch
        self._batches_per_chunk = max(1, CHUNK_DIGITS // (batch_size * half_length(length)))
        self._chunk: tuple[int, list[Batch]] = (-1, [])

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

    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...: ``digits`` (B, T-1) and ``target`` (B,), int64."""
        index, place = divmod(k, self._batches_per_chunk)
        if self._chunk[0] != index:
            self._chunk = (index, self._make_chunk(index))
        return self._chunk[1][place]

    def _make_chunk(self, index: int) -> list[Batch]:
        generator = make_generator(self.seed, "train", self.length, self.num_classes, index)
        num_halves = self._batches_per_chunk * self.batch_size
        halves = draw_halves(self.length, self.num_classes, "train", num_halves, generator)
        digits, target = complete(halves, self.length)
        return list(zip(digits.split(self.batch_size), target.split(self.batch_size), strict=True))

    def state_dict(self) -> dict[str, Any]:
        return {"num_served": self.num_served, "num_served_in_epoch": self.num_served_in_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.num_served = state_dict["num_served"]
        self.num_served_in_epoch = self._place_in_epoch = state_dict["num_served_in_epoch"]


class HeldOutLoader:
    """Every palindrome of a held-out split once, in batches of ``batch_size``; the last may be smaller."""

    def __init__(self, halves: Tensor, length: int, batch_size: int) -> None:
        self.halves = halves
        self.length = length
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.halves) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for part in self.halves.split(self.batch_size):
            yield complete(part, self.length)


def half_length(length: int) -> int:
    """N = ceil(T/2), the digits that give the palindrome."""
    return (length + 1) // 2


def num_palindromes(length: int, num_classes: int) -> int:
    """K^N, all palindromes of that length; ``UNCOUNTED`` where they are more than can matter."""
    if half_length(length) * math.log2(num_classes) >= math.log2(UNCOUNTED):
        return UNCOUNTED
    return int(num_classes ** half_length(length))


def is_split(length: int, num_classes: int) -> bool:
    """Whether there are enough palindromes to keep some of them out of training."""
    return length >= SPLIT_LENGTH_MIN and num_palindromes(length, num_classes) >= SPLIT_SPACE_MIN


def complete(halves: Tensor, length: int) -> Batch:
    """First halves (B, N) -> the first T-1 digits of their palindromes (B, T-1), and the last digit (B,)."""
    mirrored = halves[:, 1 : length // 2].flip(1)  # the second half, without the last digit, which is the first one
    return torch.cat([halves, mirrored], dim=1), halves[:, 0].clone()


def draw_halves(length: int, num_classes: int, split: Split, num: int, generator: torch.Generator) -> Tensor:
    """``num`` first halves of a split, (num, N) int64, each independent of the others."""
    share = len(BUCKETS[split]) / NUM_BUCKETS if is_split(length, num_classes) else 1.0
    parts: list[Tensor] = []
    missing = num
    while missing > 0:
        # A few more than will be needed on average, so that one round is nearly always enough.
        num_drawn = min(int(missing / share * 1.05) + 64, max(1, DRAWN_DIGITS_MAX // half_length(length)))
        halves = torch.randint(num_classes, (num_drawn, half_length(length)), generator=generator)
        parts.append(halves[in_split(halves, length, num_classes, split)][:missing])
        missing -= len(parts[-1])
    return torch.cat(parts)


def held_out_halves(length: int, num_classes: int, split: Split, num: int, seed: int) -> Tensor:
    """Up to ``num`` distinct first halves of a split, (<= num, N) int64; fewer only if the split has no more."""
    generator = make_generator(seed, split, length, num_classes, 0)
    # Drawing until enough are different goes fast only where there are far more than enough.
    if num_palindromes(length, num_classes) <= max(ENUMERATED_SPACE_MAX, 2 * num * NUM_BUCKETS):
        halves = all_halves(length, num_classes, split)
        return halves[torch.randperm(len(halves), generator=generator)[:num]]
    halves = torch.empty(0, half_length(length), dtype=torch.int64)
    while len(halves) < num:
        halves = torch.cat([halves, draw_halves(length, num_classes, split, num - len(halves), generator)])
        hashes, order = hash_digits(halves).sort()
        first_of_its_hash = torch.cat([torch.ones(1, dtype=torch.bool), hashes[1:] != hashes[:-1]])
        halves = halves[order[first_of_its_hash]]
    return halves


def all_halves(length: int, num_classes: int, split: Split) -> Tensor:
    """Every first half of a split, (number, N) int64, in ascending order."""
    place_values = num_classes ** torch.arange(half_length(length) - 1, -1, -1)
    parts = []
    for numbers in torch.arange(num_palindromes(length, num_classes)).split(DRAWN_DIGITS_MAX // half_length(length)):
        halves = numbers[:, None] // place_values % num_classes
        parts.append(halves[in_split(halves, length, num_classes, split)])
    return torch.cat(parts)


def in_split(halves: Tensor, length: int, num_classes: int, split: Split) -> Tensor:
    """Which first halves (B, N) belong to a split, (B,) bool; all of them where there are too few to split."""
    if not is_split(length, num_classes):
        return torch.ones(len(halves), dtype=torch.bool)
    buckets = BUCKETS[split]
    bucket = hash_digits(halves) % NUM_BUCKETS
    return (bucket >= buckets.start) & (bucket < buckets.stop)


def hash_digits(digits: Tensor) -> Tensor:
    """A hash of every row, (B, N) int64 -> (B,) int64, at least 0; the same on every machine and in every version.

    A polynomial in the digits modulo 2^64, whose bits are then mixed (the finalizer of SplitMix64: Steele, Lea and
    Flood 2014).
    """
    base = torch.full((digits.shape[1],), 0x5851F42D4C957F2D, dtype=torch.int64)
    value = ((digits + 1) * base.cumprod(0)).sum(1)  # int64 wraps around, which is the modulo
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        value = (value ^ shift_right(value, shift)) * factor
    return shift_right(value ^ shift_right(value, 31), 1)


def shift_right(value: Tensor, bits: int) -> Tensor:
    """A logical shift: torch's ``>>`` on int64 copies the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def make_generator(seed: int, split: Split, length: int, num_classes: int, index: int) -> torch.Generator:
    """A random generator of its own for each combination of arguments, so that no order of calls matters."""
    name = f"{seed}/{split}/{length}/{num_classes}/{index}"
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
