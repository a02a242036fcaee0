"""Palindromes, generated one batch at a time (section 1.1 of the assignment).

Legend: B batch, T length of the whole palindrome, N = ceil(T/2) digits of its first half, K different digits.
"""

import hashlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from datamodules.arguments import check_at_least
from datamodules.palindrome_patterns import KIND_MAX, PATTERN_LENGTH_MIN, all_patterns, with_repetitions
from datamodules.palindrome_space import (
    EVAL_DIGITS_MAX,
    HeldOutHalves,
    Split,
    draw_halves,
    half_length,
    is_split,
    num_palindromes,
)
from datamodules.resumable_loader import ResumableLoader
from datamodules.seeding import make_generator
from datamodules.sharding import WHOLE, Shard, ShardedDataModule

Task = Literal["last_digit", "every_digit"]
Batch = tuple[Tensor, Tensor]

log = logging.getLogger(__name__)

CHUNK_DIGITS = 1 << 16
"""Digits of first halves generated at a time: enough to make a call's cost negligible, few enough for the cache."""

DIGITS_MAX = 1 << 30
"""Digits of a training batch, or of a single palindrome: 8 GiB."""

HELD_OUT_MAX = 1 << 24
"""Palindromes of a held-out split; the hashes of all are kept in memory to reject repetitions."""


@dataclass
class TrainingLengths:
    """Lengths of the palindromes in the next training batches; a callback may change them between two steps.

    Args:
        longest: length of most batches.
        shortest: smallest length of the others.
        shorter_fraction: fraction of shorter batches; their lengths are log-uniform in [``shortest``, ``longest``).
    """

    longest: int
    shortest: int
    shorter_fraction: float = 0.0

    def of_batch(self, seed: int, k: int) -> int:
        """The length of batch k; it depends on the arguments and the fields alone."""
        if self.shorter_fraction == 0 or self.shortest >= self.longest:
            return self.longest
        digest = hashlib.blake2b(f"{seed}/lengths/{k}".encode(), digest_size=16).digest()
        coin, place = (int.from_bytes(half) / 2**64 for half in (digest[:8], digest[8:]))
        if coin >= self.shorter_fraction:
            return self.longest
        length = int(self.shortest * (self.longest / self.shortest) ** place)
        return min(length, self.longest - 1)


class PalindromeDataModule(ShardedDataModule):
    """Palindromes to complete: from the first T-1 digits, predict the last one, or the whole second half.

    Training batches are endless and generated when needed. Batch k depends on the arguments, ``train_lengths`` and k
    alone. Validation and test are distinct palindromes, always the same. ``train_lengths`` sets the lengths of the next
    training batches: ``length``, unless a curriculum changes it. Process n of P trains on rows n B ... (n+1) B - 1 of a
    batch of P B palindromes, and scores every P-th held-out palindrome.

    Args:
        length: digits of the whole palindrome, T, at least 2.
        batch_size: palindromes per training batch of a process, B.
        num_classes: different digits, K, at least 2; the first digit may be 0.
        num_val: held-out palindromes for validation.
        num_test: held-out palindromes for test, of each length.
        eval_batch_size: palindromes per validation and test batch; fewer if they would have more than 2^24 digits.
        test_lengths: lengths to test separately; ``length`` alone by default.
        test_patterns: test also palindromes whose digits repeat: all those of ``all_patterns``, for each length. Kinds
            of more than 100,000 palindromes are left out; ten digits have none.
        repeating_fraction: share of the training palindromes whose digits repeat; see ``with_repetitions``.
        task: ``last_digit``: the target is the last digit. ``every_digit``: the targets are the floor(T/2) digits of
            the second half, each predicted from the digits before it.
        seed: decides which palindromes are drawn; it does not change the splits.
    Batch:
        ``(digits, target)``: (B, T-1) and, for ``last_digit``, (B,), for ``every_digit`` (B, floor(T/2)). Digit j of
        the latter is predicted at input step T - floor(T/2) + j - 1 of 0 ... T-2. All int64 in [0, K).
    Raises:
        ValueError: an argument is out of its range; the message gives the value and the limit.
    """

    MAY_DIFFER_ON_RESUME = ("eval_batch_size", "num_test", "test_lengths", "test_patterns")

    def __init__(
        self,
        length: int,
        batch_size: int = 128,
        num_classes: int = 10,
        num_val: int = 1000,
        num_test: int = 10_000,
        eval_batch_size: int = 1000,
        test_lengths: list[int] | None = None,
        test_patterns: bool = False,
        repeating_fraction: float = 0.0,
        task: Task = "last_digit",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        check_at_least(2, length=length, num_classes=num_classes)
        check_at_least(1, batch_size=batch_size, num_val=num_val, num_test=num_test, eval_batch_size=eval_batch_size)
        check_at_least(0, seed=seed)
        for name, value in (("num_val", num_val), ("num_test", num_test)):
            if value > HELD_OUT_MAX:
                raise ValueError(f"{name} is {value}; it must be at most {HELD_OUT_MAX}")
        if batch_size * length > DIGITS_MAX:
            raise ValueError(
                f"batch_size is {batch_size}: with length {length} a batch has {batch_size * length} digits; it must "
                f"have at most {DIGITS_MAX} digits, so lower batch_size or length"
            )
        self.length = length
        self.batch_size = batch_size
        self.num_classes = num_classes
        self.num_held_out = {"val": num_val, "test": num_test}
        self.eval_batch_size = eval_batch_size
        self.test_lengths = [length] if test_lengths is None else check_test_lengths(test_lengths)
        if test_patterns and min(self.test_lengths) < PATTERN_LENGTH_MIN:
            raise ValueError(
                f"test_patterns is true with test length {min(self.test_lengths)}, but the shortest palindrome whose "
                f"digits repeat has {PATTERN_LENGTH_MIN}; leave out shorter ones"
            )
        if test_patterns and num_classes**2 > KIND_MAX:
            raise ValueError(
                f"test_patterns is true with num_classes {num_classes}; it must be at most {math.isqrt(KIND_MAX)}, or "
                "test_patterns false"
            )
        self.test_patterns = test_patterns
        if not 0 <= repeating_fraction <= 1:
            raise ValueError(f"repeating_fraction is {repeating_fraction}; it must be from 0 to 1")
        self.repeating_fraction = repeating_fraction
        self.task: Task = task
        self.seed = seed
        self.train_lengths = TrainingLengths(longest=length, shortest=length)

    def setup(self, stage: str) -> None:
        for length in self.test_lengths if stage == "test" else [self.length]:
            if not is_split(length, self.num_classes):
                log.info(
                    "There are only %d palindromes of length %d: training, validation and test share all of them.",
                    num_palindromes(length, self.num_classes),
                    length,
                )

    def train_dataloader(self) -> "PalindromeLoader":
        return PalindromeLoader(
            self.train_lengths,
            self.num_classes,
            self.batch_size,
            self.seed,
            self.task,
            self.shard,
            self.repeating_fraction,
        )

    def val_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("val", self.length)

    def test_dataloader(self) -> list["HeldOutLoader | PatternLoader"]:
        drawn = [self._held_out_loader("test", length) for length in self.test_lengths]
        if not self.test_patterns:
            return [*drawn]
        options = self.num_classes, self.eval_batch_size, self.task, self.shard
        patterns = [PatternLoader(length, *options) for length in self.test_lengths]
        for loader in patterns:
            if (most := max(halves.num for halves in loader.kinds)) < self.shard.num_processes:
                raise ValueError(
                    f"test_patterns with length {loader.length} has at most {most} palindromes of a kind; use as many "
                    f"processes at most, not {self.shard.num_processes}"
                )
        return [*drawn, *patterns]

    def predict_dataloader(self) -> "HeldOutLoader":
        return self._held_out_loader("test", self.length)

    def _held_out_loader(self, split: Split, length: int) -> "HeldOutLoader":
        num = self.num_held_out[split]
        halves = HeldOutHalves(length, self.num_classes, split, num, self.seed)
        if len(halves) < num:
            log.info(
                "The %s split has only %d palindromes of length %d; num_%s is %d.",
                split,
                len(halves),
                length,
                split,
                num,
            )
        if len(halves) < self.shard.num_processes:
            raise ValueError(
                f"the {split} split has {len(halves)} palindromes of length {length}; for {self.shard.num_processes} "
                "processes it must have at least as many, so use fewer processes or a greater length"
            )
        return HeldOutLoader(halves, self.eval_batch_size, self.task, self.shard)


def check_test_lengths(lengths: Sequence[int], shortest: int = 2) -> list[int]:
    """Reject an empty list, lengths below the shortest or far above every memory, and repeated ones."""
    if not lengths:
        raise ValueError("test_lengths is empty; give at least one length, or leave it out to test length alone")
    for length in lengths:
        if not shortest <= length <= DIGITS_MAX:
            raise ValueError(f"test_lengths has {length}; each must be from {shortest} to {DIGITS_MAX}")
        if lengths.count(length) > 1:
            raise ValueError(f"test_lengths has {length} {lengths.count(length)} times; give each length once")
    return list(lengths)


class PalindromeLoader(ResumableLoader[Batch]):
    """Endless training batches; batch k depends on the arguments, the current ``lengths`` and k alone."""

    def __init__(
        self,
        lengths: TrainingLengths,
        num_classes: int,
        batch_size: int,
        seed: int,
        task: Task = "last_digit",
        shard: Shard = WHOLE,
        repeating_fraction: float = 0.0,
    ) -> None:
        super().__init__()
        self.lengths = lengths
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.seed = seed
        self.task = task
        self.shard = shard
        self.repeating_fraction = repeating_fraction
        self._chunk: tuple[tuple[int, int, int], list[Batch]] = ((-1, -1, -1), [])

    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...: ``digits`` (B, T-1) and ``target``, int64."""
        length = self.lengths.of_batch(self.seed, k)
        # With mixed lengths, the following batches have other lengths.
        mixed = self.lengths.shorter_fraction > 0
        total_size = self.batch_size * self.shard.num_processes
        batches_per_chunk = 1 if mixed else max(1, CHUNK_DIGITS // (total_size * half_length(length)))
        index, place = divmod(k, batches_per_chunk)
        key = (length, batches_per_chunk, index)
        if self._chunk[0] != key:
            self._chunk = (key, self._generate_chunk(*key))
        return self._chunk[1][place]

    def _generate_chunk(self, length: int, num_batches: int, index: int) -> list[Batch]:
        generator = make_generator(self.seed, "train", length, self.num_classes, index)
        # Every process draws the rows of all, so the data depend on the total batch size alone.
        total_size = self.batch_size * self.shard.num_processes
        repeat = partial(with_repetitions, share=self.repeating_fraction, generator=generator)
        change = repeat if self.repeating_fraction else None
        halves = draw_halves(length, self.num_classes, "train", num_batches * total_size, generator, change)
        own = halves.view(num_batches, total_size, -1)[:, self.shard.rows(self.batch_size)].flatten(0, 1)
        digits, target = inputs_and_target(own, length, self.task)
        return list(zip(digits.split(self.batch_size), target.split(self.batch_size), strict=True))


class HeldOutLoader:
    """Every palindrome of a held-out split once, in batches of ``batch_size``; the last may be smaller.

    Process n of P has every P-th palindrome, from the n-th on.
    """

    has_patterns = False

    def __init__(self, halves: HeldOutHalves, batch_size: int, task: Task, shard: Shard = WHOLE) -> None:
        self.halves = halves
        self.length = halves.length
        self.batch_size = min(batch_size, max(1, EVAL_DIGITS_MAX // halves.length))
        self.task = task
        self.shard = shard

    def __len__(self) -> int:
        return -(-self.shard.size(len(self.halves)) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for halves in self.halves.batches(self.batch_size * self.shard.num_processes):
            if self.shard.size(len(halves)) > 0:
                own = halves[self.shard.rank :: self.shard.num_processes]
                yield inputs_and_target(own, self.length, self.task)


class PatternLoader:
    """Every palindrome of ``all_patterns``, kind by kind, in batches of ``batch_size``; the last of a kind is smaller.

    Process n of P has every P-th palindrome of a kind, from the n-th on.
    """

    has_patterns = True

    def __init__(self, length: int, num_classes: int, batch_size: int, task: Task, shard: Shard = WHOLE) -> None:
        self.kinds = list(all_patterns(length, num_classes).values())
        self.length = length
        self.batch_size = min(batch_size, max(1, EVAL_DIGITS_MAX // length))
        self.task = task
        self.shard = shard

    def __len__(self) -> int:
        return sum(-(-self.shard.size(halves.num) // self.batch_size) for halves in self.kinds)

    def __iter__(self) -> Iterator[Batch]:
        for halves in self.kinds:
            numbers = torch.arange(self.shard.rank, halves.num, self.shard.num_processes)
            for some in numbers.split(self.batch_size) if len(numbers) else ():
                yield inputs_and_target(halves.numbered(some), self.length, self.task)


def inputs_and_target(halves: Tensor, length: int, task: Task = "last_digit") -> Batch:
    """First halves (B, N) -> the first T-1 digits of their palindromes (B, T-1), and the target: (B,) or (B, T//2)."""
    second_half = halves[:, : length // 2].flip(1)
    digits = torch.cat([halves, second_half[:, :-1]], dim=1)
    return digits, second_half if task == "every_digit" else halves[:, 0].clone()
