"""All palindromes of a length, and the split that each of them belongs to.

A palindrome of length T is given by its first half, N = ceil(T/2) digits. A hash of that half decides whether the
palindrome belongs to training, validation or test. So the splits share no palindrome, and no list of them is needed.

Legend: B batch, T length of the whole palindrome, N = ceil(T/2) digits of its first half, K different digits.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from datamodules.seeding import make_generator

Split = Literal["train", "val", "test"]

NUM_BUCKETS = 10
BUCKETS: dict[str, range] = {"test": range(0, 1), "val": range(1, 2), "train": range(2, NUM_BUCKETS)}
"""Buckets of the hash that belong to each split: a tenth is for test, a tenth for validation, the rest for training."""

SPLIT_LENGTH_MIN = 5
"""The shortest length that is split; shorter ones have at most 100 palindromes of ten digits."""

SPLIT_SPACE_MIN = 100
"""The fewest palindromes that are split; a tenth of fewer may be none."""

ENUMERATED_SPACE_MAX = 1_000_000
"""Up to as many palindromes, held-out ones are picked from a list of all; beyond, they are drawn without repetition."""

UNCOUNTED = 1 << 60
"""Stands for any larger number of palindromes: K^N itself can have millions of digits."""

EVAL_DIGITS_MAX = 1 << 24
"""Digits of a validation or test batch: 128 MiB. Batches of long palindromes are smaller."""

DRAWN_DIGITS_MAX = 1 << 22
"""Digits drawn at a time, for any length: 32 MiB."""


def half_length(length: int) -> int:
    """N = ceil(T/2), the digits that determine the palindrome."""
    return (length + 1) // 2


def mirrored(halves: Tensor, length: int) -> Tensor:
    """The palindromes of this length with these first halves: (B, N) -> (B, T)."""
    return torch.cat([halves, halves[:, : length // 2].flip(1)], dim=1)


def num_palindromes(length: int, num_classes: int) -> int:
    """K^N, the number of palindromes of that length, at most ``UNCOUNTED``."""
    if half_length(length) * math.log2(num_classes) >= math.log2(UNCOUNTED):
        return UNCOUNTED
    return int(num_classes ** half_length(length))


def is_split(length: int, num_classes: int) -> bool:
    """Whether there are enough palindromes to hold some of them out."""
    return length >= SPLIT_LENGTH_MIN and num_palindromes(length, num_classes) >= SPLIT_SPACE_MIN


def in_split(halves: Tensor, length: int, num_classes: int, split: Split) -> Tensor:
    """Which first halves (B, N) belong to a split, (B,) bool; all of them if there are too few to split."""
    if not is_split(length, num_classes):
        return torch.ones(len(halves), dtype=torch.bool)
    buckets = BUCKETS[split]
    bucket = hash_digits(halves) % NUM_BUCKETS
    return (bucket >= buckets.start) & (bucket < buckets.stop)


def draw_halves(
    length: int,
    num_classes: int,
    split: Split,
    num: int,
    generator: torch.Generator,
    change: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``num`` independent first halves of a split, (num, N) int64, which ``change`` may have changed."""
    fraction = len(BUCKETS[split]) / NUM_BUCKETS if is_split(length, num_classes) else 1.0
    drawn: list[Tensor] = []
    missing = num
    while missing > 0:
        # 5 % and 64 more than needed on average, so that one round is nearly always enough.
        num_drawn = min(int(missing / fraction * 1.05) + 64, max(1, DRAWN_DIGITS_MAX // half_length(length)))
        halves = torch.randint(num_classes, (num_drawn, half_length(length)), generator=generator)
        if change is not None:
            halves = change(halves)
        drawn.append(halves[in_split(halves, length, num_classes, split)][:missing])
        missing -= len(drawn[-1])
    return torch.cat(drawn)


def all_halves(length: int, num_classes: int, split: Split, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Every first half of a split that ``change`` leaves as it is, (number, N) int64, in ascending order."""
    place_values = num_classes ** torch.arange(half_length(length) - 1, -1, -1)
    blocks = []
    for numbers in torch.arange(num_palindromes(length, num_classes)).split(DRAWN_DIGITS_MAX // half_length(length)):
        halves = numbers[:, None] // place_values % num_classes
        if change is not None:
            halves = halves[(change(halves) == halves).all(1)]
        blocks.append(halves[in_split(halves, length, num_classes, split)])
    return torch.cat(blocks)


class HeldOutHalves:
    """Distinct first halves of a held-out split, the same ones at each iteration.

    Args:
        num: halves; fewer if the split has fewer.
        change: makes of any half one that is allowed, and leaves allowed ones as they are; by default all are allowed.
    """

    def __init__(
        self,
        length: int,
        num_classes: int,
        split: Split,
        num: int,
        seed: int,
        change: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.length = length
        self.num_classes = num_classes
        self.split = split
        self.seed = seed
        self.change = change
        self._listed: Tensor | None = None
        # Rejection of repeated halves is fast only if the space is much larger than what is drawn from it.
        if num_palindromes(length, num_classes) <= max(ENUMERATED_SPACE_MAX, 2 * num * NUM_BUCKETS):
            every_half = all_halves(length, num_classes, split, change)
            generator = make_generator(seed, split, length, num_classes, 0)
            self._listed = every_half[torch.randperm(len(every_half), generator=generator)[:num]]
            num = len(self._listed)
        self._num = num

    def __len__(self) -> int:
        return self._num

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All halves, (batch_size, N) int64 at a time, always in the same order; the last batch may be smaller."""
        if self._listed is not None:
            yield from self._listed.split(batch_size)
            return
        missing, waiting = self._num, torch.empty(0, half_length(self.length), dtype=torch.int64)
        for halves in self._drawn():
            waiting = torch.cat([waiting, halves[:missing]])
            missing -= min(missing, len(halves))
            while len(waiting) >= batch_size or (missing == 0 and len(waiting) > 0):
                yield waiting[:batch_size]
                waiting = waiting[batch_size:]
            if missing == 0:
                return

    def _drawn(self) -> Iterator[Tensor]:
        """Endless blocks of first halves without repetition, (any number, N) int64."""
        generator = make_generator(self.seed, self.split, self.length, self.num_classes, 0)
        num_drawn = max(1, min(DRAWN_DIGITS_MAX // half_length(self.length), NUM_BUCKETS * self._num))
        seen: set[int] = set()
        while True:
            halves = torch.randint(self.num_classes, (num_drawn, half_length(self.length)), generator=generator)
            if self.change is not None:
                halves = self.change(halves)
            halves = halves[in_split(halves, self.length, self.num_classes, self.split)]
            new = []
            for row, value in enumerate(hash_digits(halves).tolist()):
                if value not in seen:
                    seen.add(value)
                    new.append(row)
            yield halves[new]


def hash_digits(digits: Tensor) -> Tensor:
    """A hash of every row, (B, N) int64 -> (B,) int64, at least 0, the same on every machine and in every version.

    A polynomial in the digits modulo 2^64, whose bits are mixed by the finalizer of SplitMix64 (Steele, Lea and Flood
    2014).
    """
    base = torch.full((digits.shape[1],), 0x5851F42D4C957F2D, dtype=torch.int64)
    value = ((digits + 1) * base.cumprod(0)).sum(1)  # int64 wraps around, which is the modulo
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        value = (value ^ shift_right(value, shift)) * factor
    return shift_right(value ^ shift_right(value, 31), 1)


def shift_right(value: Tensor, bits: int) -> Tensor:
    """A logical shift: torch's ``>>`` on int64 copies the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
