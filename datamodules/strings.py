"""Strings of the tasks in ``string_tasks``, generated one batch at a time.

Legend: B batch, n symbols of a string, K different symbols.
"""

import logging
from collections.abc import Iterator

from datamodules.arguments import check_at_least
from datamodules.palindrome_space import (
    EVAL_DIGITS_MAX,
    HeldOutHalves,
    Split,
    draw_halves,
    is_split,
)
from datamodules.palindromes import DIGITS_MAX, HELD_OUT_MAX, check_test_lengths
from datamodules.resumable_loader import ResumableLoader
from datamodules.seeding import derive_seed, make_generator
from datamodules.sharding import WHOLE, Shard, ShardedDataModule
from datamodules.string_tasks import TASKS, Batch, StringTask, TaskForm

log = logging.getLogger(__name__)


class StringDataModule(ShardedDataModule):
    """Strings to reverse, to push and pop, or brackets to close, of any length.

    Training batches are endless and generated when needed; each has strings of one length, drawn uniformly from
    ``shortest`` to ``length``. Validation and test are distinct strings, always the same. No split shares a string with
    another, unless there are too few of that length. Process n of P trains on rows n B ... (n+1) B - 1 of a batch of
    P B strings, and scores every P-th held-out string.

    Args:
        length: symbols of the longest strings in training, n, and of those in validation; at least 1.
        task: ``reverse``, ``stack_manipulation`` (push and pop, then tell the stack) or ``brackets`` (tell which are
            open, from the innermost).
        num_symbols: different symbols, or kinds of brackets, K, at least 2.
        shortest: symbols of the shortest strings in training, from 1 to ``length``.
        batch_size: strings per training batch of a process, B.
        num_val: held-out strings for validation.
        num_test: held-out strings for test, of each length.
        eval_batch_size: strings per validation and test batch; fewer if they would have more than 2^24 symbols.
        test_lengths: lengths to test separately; ``length`` alone by default.
        seed: decides which strings are drawn; it does not change the splits.
    Attributes:
        num_features: different symbols in the input.
        num_classes: different symbols to predict.
    Batch:
        ``(symbols, target)``, (B, 2n+1) and (B, n), int64; the targets belong to the last steps. Tasks other than
        ``reverse`` have 2n+1 and n+1 of them. ``reversed_strings``, ``stack_contents`` and ``brackets`` say what they
        mean.
    Raises:
        ValueError: an argument is out of its range; the message gives the value and the limit.
    """

    MAY_DIFFER_ON_RESUME = ("eval_batch_size", "num_test", "test_lengths")

    def __init__(
        self,
        length: int,
        task: StringTask = "reverse",
        num_symbols: int = 10,
        shortest: int = 1,
        batch_size: int = 128,
        num_val: int = 1000,
        num_test: int = 1000,
        eval_batch_size: int = 1000,
        test_lengths: list[int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        check_at_least(2, num_symbols=num_symbols)
        check_at_least(1, length=length, shortest=shortest, batch_size=batch_size, eval_batch_size=eval_batch_size)
        check_at_least(1, num_val=num_val, num_test=num_test)
        check_at_least(0, seed=seed)
        if task not in TASKS:
            raise ValueError(f"task is {task!r}; it must be one of {', '.join(TASKS)}")
        if shortest > length:
            raise ValueError(f"shortest is {shortest} and length {length}; shortest must be at most length")
        for name, value in (("num_val", num_val), ("num_test", num_test)):
            if value > HELD_OUT_MAX:
                raise ValueError(f"{name} is {value}; it must be at most {HELD_OUT_MAX}")
        if batch_size * (2 * length + 1) > DIGITS_MAX:
            raise ValueError(
                f"batch_size is {batch_size}: with length {length} a batch has {batch_size * (2 * length + 1)} "
                f"symbols; it must have at most {DIGITS_MAX}, so lower batch_size or length"
            )
        self.form = TASKS[task]
        self.task: StringTask = task
        self.length = length
        self.shortest = shortest
        self.num_symbols = num_symbols
        self.batch_size = batch_size
        self.num_held_out = {"val": num_val, "test": num_test}
        self.eval_batch_size = eval_batch_size
        self.test_lengths = [length] if test_lengths is None else check_test_lengths(test_lengths, 1)
        self.seed = seed
        self.num_features = self.form.num_features(num_symbols)
        self.num_classes = self.form.num_classes(num_symbols)

    def setup(self, stage: str) -> None:
        for length in self.test_lengths if stage == "test" else [self.length]:
            if not is_split(2 * length, self.form.num_drawn(self.num_symbols)):
                log.info(
                    "There are so few strings of length %d that training, validation and test share all of them.",
                    length,
                )

    def train_dataloader(self) -> "StringLoader":
        lengths = range(self.shortest, self.length + 1)
        return StringLoader(lengths, self.form, self.num_symbols, self.batch_size, self.seed, self.shard)

    def val_dataloader(self) -> "HeldOutStrings":
        return self._held_out("val", self.length)

    def test_dataloader(self) -> list["HeldOutStrings"]:
        return [self._held_out("test", length) for length in self.test_lengths]

    def predict_dataloader(self) -> "HeldOutStrings":
        return self._held_out("test", self.length)

    def _held_out(self, split: Split, length: int) -> "HeldOutStrings":
        num = self.num_held_out[split]
        form, K = self.form, self.num_symbols
        halves = HeldOutHalves(2 * length, form.num_drawn(K), split, num, self.seed, form.changed(K))
        if len(halves) < num:
            log.info(
                "The %s split has only %d strings of length %d; num_%s is %d.", split, len(halves), length, split, num
            )
        if len(halves) < self.shard.num_processes:
            raise ValueError(
                f"the {split} split has {len(halves)} strings of length {length}; for {self.shard.num_processes} "
                "processes it must have at least as many, so use fewer processes or a greater length"
            )
        return HeldOutStrings(halves, self.form, self.num_symbols, self.eval_batch_size, self.shard)


class StringLoader(ResumableLoader[Batch]):
    """Endless training batches; batch k depends on the arguments and k alone, its length is one of ``lengths``."""

    def __init__(
        self, lengths: range, form: TaskForm, num_symbols: int, batch_size: int, seed: int, shard: Shard
    ) -> None:
        super().__init__()
        self.lengths = lengths
        self.form = form
        self.num_symbols = num_symbols
        self.batch_size = batch_size
        self.seed = seed
        self.shard = shard

    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...: inputs and target, int64."""
        length = self.lengths[derive_seed(self.seed, "lengths", k) % len(self.lengths)]
        num_drawn = self.form.num_drawn(self.num_symbols)
        generator = make_generator(self.seed, "train", length, self.num_symbols, k)
        # Every process draws the rows of all, so the data depend on the total batch size alone.
        total_size = self.batch_size * self.shard.num_processes
        change = self.form.changed(self.num_symbols)
        strings = draw_halves(2 * length, num_drawn, "train", total_size, generator, change)
        return self.form.encode(strings[self.shard.rows(self.batch_size)], self.num_symbols)


class HeldOutStrings:
    """Every string of a held-out split once, in batches of ``batch_size``; the last may be smaller.

    Process n of P has every P-th string, from the n-th on.
    """

    def __init__(
        self, strings: HeldOutHalves, form: TaskForm, num_symbols: int, batch_size: int, shard: Shard = WHOLE
    ) -> None:
        self.strings = strings
        self.length = strings.length // 2
        self.form = form
        self.num_symbols = num_symbols
        self.batch_size = min(batch_size, max(1, EVAL_DIGITS_MAX // (2 * self.length + 1)))
        self.shard = shard

    def __len__(self) -> int:
        return -(-self.shard.size(len(self.strings)) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for strings in self.strings.batches(self.batch_size * self.shard.num_processes):
            if self.shard.size(len(strings)) > 0:
                yield self.form.encode(strings[self.shard.rank :: self.shard.num_processes], self.num_symbols)
