"""A book, letter by letter (section 2 of the assignment).

Legend: B batch, T characters of a sample, V different characters, N characters of a split.
"""

import logging
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule
from torch import Tensor

from datamodules.endless import WHOLE, EndlessLoader, Part, derived_seed, make_generator
from datamodules.library import read_book
from datamodules.vocabulary import Vocabulary

Batch = tuple[Tensor, Tensor]
Ids = NDArray[np.unsignedinteger]

log = logging.getLogger(__name__)

STEPS_PER_EPOCH_MIN = 250
"""A pass over a short text takes few batches; then several passes make an epoch."""

CHARACTERS_PER_STREAM = 50_000
"""Held-out characters that are read one after the other, by default, before there are two streams of them."""

STREAMS_MAX = 64

CHARACTERS_AT_ONCE = 1 << 12
"""Characters of a validation or test batch, in all its streams: for 5,000 different ones, 80 MiB of logits."""

MADE_AT_ONCE = 1 << 15
"""Characters of training batches that are made together: one by one, each takes ten times as long."""

BATCH_CHARACTERS_MAX = 1 << 24
"""Characters of a training batch."""


class BookDataModule(LightningDataModule):
    """Characters of a book, and those that follow them.

    The text is split into three parts that follow each other: most of it trains, then comes validation, then test.
    Training batches are endless, and batch k is a function of the arguments and k alone; an epoch is said to end after
    as many as make a pass over the text, at least 250. Validation and test are read from beginning to end. Several
    processes share out every batch: the n-th has the n-th ``batch_size`` rows of a training batch of ``batch_size``
    times as many as there are processes, and the held-out stretches are dealt out to them, of which there is at least
    one for each.

    Args:
        book: a known book's name, such as grimm or tinyshakespeare (downloaded on first use) or python_reference
            (always there), or the path of any text file.
        seq_len: characters of a sample, T.
        batch_size: samples of a training batch of a process, B; fewer where the text is too short for so many.
        carry_state: each row of a batch goes on in the text where that row of the batch before ended, so that the
            model can carry its state along (truncated backpropagation through time); otherwise the samples are drawn
            at random.
        val_fraction: share of the text that validates.
        test_fraction: share of the text, at its end, that tests; may be 0.
        eval_batch_size: stretches into which a held-out split is cut, read side by side, each with a state of its own;
            by default one for each 50,000 characters, at most 64.
        encoding: of the file, a codec's name; found out by default.
        seed: decides where in the text training begins, or which samples are drawn.
    Attributes:
        vocab_size: different characters in the whole text, V; known at once: the CLI links it to the model's.
        vocabulary: these characters.
    Batch:
        ``(x, y)``, each (B, T) int64 in [0, V); ``y[b, t]`` follows ``x[b, t]`` in the text.
    Raises:
        ValueError: an argument is out of its range, the book cannot be had or is no text, a split is shorter than
            T + 1.
    """

    def __init__(
        self,
        book: str = "grimm",
        seq_len: int = 30,
        batch_size: int = 64,
        carry_state: bool = True,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        eval_batch_size: int | None = None,
        encoding: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        limits = {"seq_len": seq_len, "batch_size": batch_size, "eval_batch_size": eval_batch_size}
        for name, value in limits.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if seq_len * batch_size > BATCH_CHARACTERS_MAX:
            raise ValueError(
                f"batch_size is {batch_size}: with seq_len {seq_len} that is {seq_len * batch_size} characters; it "
                f"must be at most {BATCH_CHARACTERS_MAX}, so lower one of them"
            )
        check_fractions(val_fraction, test_fraction)
        if seed < 0:
            raise ValueError(f"seed is {seed}; it must be at least 0")
        text = read_book(book, encoding)
        self.book = book
        self.vocabulary = text.vocabulary
        self.vocab_size = len(text.vocabulary)
        self.sha256 = text.sha256
        self.splits = split(text.ids, val_fraction, test_fraction)
        for name, ids in self.splits.items():
            if len(ids) <= seq_len and not (name == "test" and test_fraction == 0):
                raise ValueError(
                    f"book is {book!r}: its {name} split has {len(ids)} of {len(text.ids)} characters; it must have at "
                    f"least seq_len + 1 = {seq_len + 1}, so lower seq_len, take a larger fraction or a longer book"
                )
        self.seq_len = seq_len
        self.num_windows = (len(self.splits["train"]) - 1) // seq_len
        self.wanted_batch_size = batch_size
        self.carry_state = carry_state
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.trained_on: str | None = None  # the text of the checkpoint
        self._to_tell = text.history

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trained_on not in (None, self.sha256):
            raise ValueError(
                f"book is {self.book!r}, which is not the text that the checkpoint was trained on; give that, or start "
                "anew"
            )
        if self._to_tell:  # here, where nothing of the book can be wrong any more, and once
            log.info("%s", self._to_tell)
            self._to_tell = ""

    @property
    def part(self) -> Part:
        """Which of several processes is served."""
        return Part.of(self)

    @property
    def batch_size(self) -> int:
        """Samples of a training batch of this process."""
        if not self.carry_state:
            return self.wanted_batch_size
        return min(self.wanted_batch_size, self.num_windows // self.part.num)

    def train_dataloader(self) -> "BookLoader":
        if self.batch_size == 0:
            raise ValueError(
                f"book is {self.book!r}: its train split has {self.num_windows} samples of {self.seq_len} characters, "
                f"too few for {self.part.num} processes; take fewer processes, or lower seq_len"
            )
        loader = StreamLoader if self.carry_state else WindowLoader
        return loader(self.splits["train"], self.batch_size, self.seq_len, self.seed, self.part)

    def val_dataloader(self) -> "ReadingLoader":
        return self._reading_loader("val")

    def test_dataloader(self) -> "list[ReadingLoader]":
        return [self._reading_loader("test")] if len(self.splits["test"]) > 1 else []

    def predict_dataloader(self) -> "list[ReadingLoader]":
        return self.test_dataloader()

    def _reading_loader(self, name: str) -> "ReadingLoader":
        ids = self.splits[name]
        num_streams = self.eval_batch_size or min(STREAMS_MAX, math.ceil(len(ids) / CHARACTERS_PER_STREAM))
        return ReadingLoader(ids, max(num_streams, self.part.num), self.part)

    def state_dict(self) -> dict[str, Any]:
        return {"characters": self.vocabulary.characters, "sha256": self.sha256}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        theirs = Vocabulary(state_dict["characters"])
        if theirs != self.vocabulary:
            raise ValueError(
                f"book is {self.book!r}, which has {self.vocab_size} different characters, not the {len(theirs)} that "
                "the checkpoint's model knows; give the book that it was trained on"
            )
        self.trained_on = state_dict["sha256"]

    def __str__(self) -> str:
        # Lightning's own iterates over the loaders.
        return f"{type(self).__name__}(book={self.book}, seq_len={self.seq_len}, batch_size={self.batch_size})"


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse shares of the text that leave nothing to validate or to train on."""
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; it must be above 0 and below 1")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}; it must be at least 0 and below 1")
    if val_fraction + test_fraction >= 1:
        raise ValueError(
            f"val_fraction is {val_fraction} and test_fraction {test_fraction}; together they must be below 1"
        )


def split(ids: Ids, val_fraction: float, test_fraction: float) -> dict[str, Ids]:
    """The three parts of a text, which follow each other; no character is in two of them."""
    end_of_train = int(len(ids) * (1 - val_fraction - test_fraction) + 1e-6)  # 0.1 is not quite a tenth
    end_of_val = len(ids) if test_fraction == 0 else int(len(ids) * (1 - test_fraction) + 1e-6)
    return {"train": ids[:end_of_train], "val": ids[end_of_train:end_of_val], "test": ids[end_of_val:]}


class BookLoader(EndlessLoader[Batch]):
    """Training batches from a text.

    Args:
        ids: the characters, (N,).
        batch_size: B.
        seq_len: T, below N.
        seed: with k, all that batch k depends on.
        part: which of several processes is served; they share out batches of ``part.num`` times B rows.
    """

    def __init__(self, ids: Ids, batch_size: int, seq_len: int, seed: int, part: Part = WHOLE) -> None:
        self.num_windows = (len(ids) - 1) // seq_len
        super().__init__(max(STEPS_PER_EPOCH_MIN, self.num_windows // (batch_size * part.num)))
        self.ids = ids
        self.batch_size = batch_size
        self.seq_len = seq_len
        self.seed = seed
        self.part = part
        self._steps = np.arange(seq_len + 1)
        self._num_together = max(1, MADE_AT_ONCE // (batch_size * (seq_len + 1)))
        self._first = -1  # of the batches made last
        self._batches_from_first: list[Batch] = []

    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...: ``x`` and ``y``, (B, T) int64."""
        place = k % self._num_together
        if self._first != k - place:
            self._first = k - place
            own = self.part.block(self.batch_size)
            starts = np.stack([self.starts(self._first + i)[own] for i in range(self._num_together)])
            x, y = as_batch(self.ids[starts[..., None] + self._steps])
            self._batches_from_first = list(zip(x, y, strict=True))
        return self._batches_from_first[place]

    def starts(self, k: int) -> NDArray[np.int64]:
        """Where in the text the samples of batch k begin, those of all processes."""
        raise NotImplementedError


class StreamLoader(BookLoader):
    """Each row reads on where it ended in the batch before; the rows began at equal distances.

    The text is cut into windows of T characters. A row that has come to the end of the text goes on at its beginning,
    and the windows of its next pass are cut elsewhere.
    """

    def starts(self, k: int) -> NDArray[np.int64]:
        first = derived_seed(self.seed, "first") % self.num_windows
        num_rows = self.batch_size * self.part.num
        rows = np.arange(num_rows, dtype=np.int64) * self.num_windows // num_rows
        passes, windows = np.divmod(first + rows + k, self.num_windows)
        earlier, later = int(passes[0]), int(passes[-1])  # the same, or one after the other
        return windows * self.seq_len + np.where(passes == earlier, self._shift(earlier), self._shift(later))

    def _shift(self, number: int) -> int:
        """Where the first window of a pass begins."""
        spare = len(self.ids) - 1 - self.num_windows * self.seq_len
        return derived_seed(self.seed, "pass", number) % (spare + 1)


class WindowLoader(BookLoader):
    """Each sample begins anywhere in the text, independently of all others."""

    def starts(self, k: int) -> NDArray[np.int64]:
        generator = make_generator(self.seed, "windows", k)
        num_rows = self.batch_size * self.part.num
        return torch.randint(len(self.ids) - self.seq_len, (num_rows,), generator=generator).numpy()


class ReadingLoader:
    """A whole split, from beginning to end, cut into stretches that are read side by side.

    Row b of a batch goes on where row b of the batch before ended. The stretches differ in length by one character at
    most, so the last batch may have fewer rows.

    Args:
        ids: the characters, (N,), at least 2.
        num_streams: stretches; fewer where the text is too short for so many.
        part: which of several processes is served; the stretches are dealt out to them one by one.
    """

    def __init__(self, ids: Ids, num_streams: int, part: Part = WHOLE) -> None:
        self.ids = ids
        self.part = part
        self.num_streams = min(num_streams, len(ids) - 1)
        self.seq_len = max(1, CHARACTERS_AT_ONCE // self.num_streams)

    def __len__(self) -> int:
        length, longer = divmod(len(self.ids) - 1, self.num_streams)
        return math.ceil(length / self.seq_len) + (self.part.share(longer) > 0)

    def __iter__(self) -> Iterator[Batch]:
        length, longer = divmod(len(self.ids) - 1, self.num_streams)
        rows = np.arange(self.part.rank, self.num_streams, self.part.num)
        starts = rows * length + np.minimum(rows, longer)
        num_longer = self.part.share(longer)
        for begin in range(0, length, self.seq_len):
            steps = np.arange(begin, min(begin + self.seq_len, length) + 1)
            yield as_batch(self.ids[starts[:, None] + steps])
        if num_longer > 0:
            yield as_batch(self.ids[starts[:num_longer, None] + np.array([length, length + 1])])


def as_batch(ids: Ids) -> Batch:
    """(..., T + 1) of any integer type -> ``x`` and ``y``, (..., T) int64."""
    both = torch.from_numpy(ids.astype(np.int64))
    return both[..., :-1], both[..., 1:]
