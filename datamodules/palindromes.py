"""Palindromes, made whole batches at a time (section 1.1 of the assignment).

A palindrome of length T is given by its first half, N = ceil(T/2) digits. Whether it belongs to training, validation or
test is decided by a hash of that half, so the splits share no palindrome and nothing has to be remembered.

Legend: B batch, T length of the whole palindrome, N = ceil(T/2) digits of its first half, K different digits.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from datamodules.endless import WHOLE, EndlessLoader, Part, make_generator

Split = Literal["train", "val", "test"]
Task = Literal["last_digit", "every_digit"]
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
"""Digits of a training batch, or of a single palindrome: 8 GiB."""

EVAL_DIGITS_MAX = 1 << 24
"""Digits of a validation or test batch: 128 MiB. Of long palindromes fewer are scored at a time."""

HELD_OUT_MAX = 1 << 24
"""Palindromes of a held-out split: the hashes of all are remembered, so that none is taken twice."""


@dataclass
class TrainingLengths:
    """How long the palindromes of the next training batches are; a callback may change it between two steps.

    Args:
        longest: the length of most batches.
        shortest: the shortest of the others.
        shorter_fraction: share of the batches that are shorter, log-uniformly from ``shortest`` to ``longest - 1``.
    """

    longest: int
    shortest: int
    shorter_fraction: float = 0.0

    def of_batch(self, seed: int, k: int) -> int:
        """The length of batch k: a function of the arguments and the fields alone."""
        if self.shorter_fraction == 0 or self.shortest >= self.longest:
            return self.longest
        digest = hashlib.blake2b(f"{seed}/lengths/{k}".encode(), digest_size=16).digest()
        coin, place = (int.from_bytes(half) / 2**64 for half in (digest[:8], digest[8:]))
        if coin >= self.shorter_fraction:
            return self.longest
        length = int(self.shortest * (self.longest / self.shortest) ** place)
        return min(length, self.longest - 1)


class PalindromeDataModule(LightningDataModule):
    """Palindromes to be completed: from the first T-1 digits, name the last one, or the whole second half.

    Training batches are endless and generated as needed: batch k is a function of the arguments, ``train_lengths`` and
    k alone. Validation and test hold distinct palindromes, always the same. ``train_lengths`` says how long the next
    training batches are: as long as those of validation, unless a curriculum changes it. Several processes share out
    every batch: the n-th has the n-th ``batch_size`` rows of a training batch of ``batch_size`` times as many as there
    are processes, and each of them the same number of held-out palindromes, or one less.

    Args:
        length: digits of the whole palindrome, T, at least 2.
        batch_size: palindromes per training batch of a process, B.
        num_classes: different digits, K, at least 2; a palindrome may begin with 0.
        steps_per_epoch: batches after which an epoch is said to end; nothing else depends on it.
        num_val: held-out palindromes for validation.
        num_test: held-out palindromes for test, of each length.
        eval_batch_size: palindromes per validation and test batch; fewer where they would have more than 2^24 digits.
        test_lengths: lengths to test, each by itself; ``length`` alone by default.
        task: ``last_digit``: the target is the last digit. ``every_digit``: the targets are the floor(T/2) digits of
            the second half, each to be named after the digit before it.
        seed: decides which palindromes are drawn, not which split they belong to.
    Batch:
        ``(digits, target)``: (B, T-1) and, for ``last_digit``, (B,), for ``every_digit`` (B, floor(T/2)), whose digit j
        is to be named at input step T - floor(T/2) + j - 1 of the steps 0 ... T-2. All int64 in [0, K).
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
        test_lengths: list[int] | None = None,
        task: Task = "last_digit",
        seed: int = 0,
    ) -> None:
        super().__init__()
        limits = {"length": 2, "num_classes": 2, "batch_size": 1, "steps_per_epoch": 1}
        limits |= {"num_val": 1, "num_test": 1, "eval_batch_size": 1, "seed": 0}
        arguments = locals()
        for name, limit in limits.items():
            if arguments[name] < limit:
                raise ValueError(f"{name} is {arguments[name]}; it must be at least {limit}")
        for name in ("num_val", "num_test"):
            if arguments[name] > HELD_OUT_MAX:
                raise ValueError(f"{name} is {arguments[name]}; it must be at most {HELD_OUT_MAX}")
        if batch_size * length > DIGITS_MAX:
            raise ValueError(
                f"batch_size is {batch_size}: with length {length} that is {batch_size * length} digits; "
                f"it must be at most {DIGITS_MAX} digits, so lower it or the length"
            )
        self.length = length
        self.batch_size = batch_size
        self.num_classes = num_classes
        self.steps_per_epoch = steps_per_epoch
        self.num_held_out = {"val": num_val, "test": num_test}
        self.eval_batch_size = eval_batch_size
        self.test_lengths = check_test_lengths(test_lengths) if test_lengths is not None else [length]
        self.task: Task = task
        self.seed = seed
        self.train_lengths = TrainingLengths(longest=length, shortest=length)

    def setup(self, stage: str) -> None:
        for length in {"test": self.test_lengths}.get(stage, [self.length]):
            if not is_split(length, self.num_classes):
                log.info(
                    "There are %d palindromes of length %d, too few to split: "
                    "training, validation and test share them.",
                    num_palindromes(length, self.num_classes),
                    length,
                )

    @property
    def part(self) -> Part:
        """Which of several processes is served."""
        return Part.of(self)

    def train_dataloader(self) -> "PalindromeLoader":
        return PalindromeLoader(
            self.train_lengths, self.num_classes, self.batch_size, self.steps_per_epoch, self.seed, self.task, self.part
        )

    def val_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("val", self.length)

    def test_dataloader(self) -> list["HeldOutLoader"]:
        return [self._held_out_loader("test", length) for length in self.test_lengths]

    def predict_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("test", self.length)

    def _held_out_loader(self, split: Split, length: int) -> "HeldOutLoader":
        wanted = self.num_held_out[split]
        halves = HeldOutHalves(length, self.num_classes, split, wanted, self.seed)
        if len(halves) < wanted:
            log.info(
                "The %s split has %d palindromes of length %d, not the %d asked for: each is taken once.",
                split,
                len(halves),
                length,
                wanted,
            )
        if len(halves) < self.part.num:
            raise ValueError(
                f"the {split} split has {len(halves)} palindromes of length {length}, too few for {self.part.num} "
                "processes; take fewer processes"
            )
        return HeldOutLoader(halves, self.eval_batch_size, self.task, self.part)

    def __str__(self) -> str:
        # Lightning's own iterates over the loaders.
        return (
            f"{type(self).__name__}(length={self.length}, num_classes={self.num_classes}, batch_size={self.batch_size})"
        )


def check_test_lengths(lengths: Sequence[int]) -> list[int]:
    """Refuse what no palindrome can have, and a length that would be tested twice."""
    if not lengths:
        raise ValueError("test_lengths is empty; give at least one length, or leave it out to test length itself")
    for length in lengths:
        if not 2 <= length <= DIGITS_MAX:
            raise ValueError(f"test_lengths has {length}; each must be from 2 to {DIGITS_MAX}")
        if lengths.count(length) > 1:
            raise ValueError(f"test_lengths has {length} {lengths.count(length)} times; give each length once")
    return list(lengths)


class PalindromeLoader(EndlessLoader[Batch]):
    """Endless training batches; batch k depends on the constructor's arguments, the ``lengths`` of the moment and k."""

    def __init__(
        self,
        lengths: TrainingLengths,
        num_classes: int,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        task: Task = "last_digit",
        part: Part = WHOLE,
    ) -> None:
        super().__init__(steps_per_epoch)
        self.lengths = lengths
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.seed = seed
        self.task = task
        self.part = part
        self._chunk: tuple[tuple[int, int, int], list[Batch]] = ((-1, -1, -1), [])

    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...: ``digits`` (B, T-1) and ``target``, int64."""
        length = self.lengths.of_batch(self.seed, k)
        # Where lengths are mixed, the batches after this one are of other lengths.
        mixed = self.lengths.shorter_fraction > 0
        size_of_all = self.batch_size * self.part.num
        batches_per_chunk = 1 if mixed else max(1, CHUNK_DIGITS // (size_of_all * half_length(length)))
        index, place = divmod(k, batches_per_chunk)
        key = (length, batches_per_chunk, index)
        if self._chunk[0] != key:
            self._chunk = (key, self._make_chunk(*key))
        return self._chunk[1][place]

    def _make_chunk(self, length: int, num_batches: int, index: int) -> list[Batch]:
        generator = make_generator(self.seed, "train", length, self.num_classes, index)
        # What all processes train on depends on their number times the batch size only.
        size_of_all = self.batch_size * self.part.num
        halves = draw_halves(length, self.num_classes, "train", num_batches * size_of_all, generator)
        own = halves.view(num_batches, size_of_all, -1)[:, self.part.block(self.batch_size)].flatten(0, 1)
        digits, target = complete(own, length, self.task)
        return list(zip(digits.split(self.batch_size), target.split(self.batch_size), strict=True))


class HeldOutLoader:
    """Every palindrome of a held-out split once, in batches of ``batch_size``; the last may be smaller.

    Several processes are dealt the palindromes one by one.
    """

    def __init__(self, halves: "HeldOutHalves", batch_size: int, task: Task, part: Part = WHOLE) -> None:
        self.halves = halves
        self.batch_size = min(batch_size, max(1, EVAL_DIGITS_MAX // halves.length))
        self.task = task
        self.part = part

    def __len__(self) -> int:
        return -(-self.part.share(len(self.halves)) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for halves in self.halves.batches(self.batch_size * self.part.num):
            if self.part.share(len(halves)) > 0:
                yield complete(halves[self.part.rank :: self.part.num], self.halves.length, self.task)


class HeldOutHalves:
    """Distinct first halves of a held-out split; drawn anew, and the same, whenever they are asked for.

    Args:
        num: how many are wanted; there are fewer only if the split has no more.
    """

    def __init__(self, length: int, num_classes: int, split: Split, num: int, seed: int) -> None:
        self.length = length
        self.num_classes = num_classes
        self.split = split
        self.seed = seed
        self._listed: Tensor | None = None
        # Drawing until enough are different goes fast only where there are far more than enough.
        if num_palindromes(length, num_classes) <= max(ENUMERATED_SPACE_MAX, 2 * num * NUM_BUCKETS):
            every_half = all_halves(length, num_classes, split)
            generator = make_generator(seed, split, length, num_classes, 0)
            self._listed = every_half[torch.randperm(len(every_half), generator=generator)[:num]]
            num = len(self._listed)
        self._num = num

    def __len__(self) -> int:
        return self._num

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """All of them, (batch_size, N) int64 at a time, the last perhaps fewer; what is drawn does not depend on it."""
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
        """First halves without end, of which none is twice, (any number, N) int64 at a time."""
        generator = make_generator(self.seed, self.split, self.length, self.num_classes, 0)
        num_drawn = max(1, min(DRAWN_DIGITS_MAX // half_length(self.length), NUM_BUCKETS * self._num))
        seen: set[int] = set()
        while True:
            halves = torch.randint(self.num_classes, (num_drawn, half_length(self.length)), generator=generator)
            halves = halves[in_split(halves, self.length, self.num_classes, self.split)]
            new = []
            for row, value in enumerate(hash_digits(halves).tolist()):
                if value not in seen:
                    seen.add(value)
                    new.append(row)
            yield halves[new]


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


def complete(halves: Tensor, length: int, task: Task = "last_digit") -> Batch:
    """First halves (B, N) -> the first T-1 digits of their palindromes (B, T-1), and the target: (B,) or (B, T//2)."""
    second_half = halves[:, : length // 2].flip(1)
    digits = torch.cat([halves, second_half[:, :-1]], dim=1)
    return digits, second_half if task == "every_digit" else halves[:, 0].clone()


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
