"""Training and held-out batches of a text.

Legend: B batch, T characters of a sample, N characters of a split.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.resumable_loader import ResumableLoader
from datamodules.seeding import derive_seed, make_generator
from datamodules.sharding import WHOLE, Shard

Batch = tuple[Tensor, Tensor]
Ids = NDArray[np.unsignedinteger]

STEPS_PER_EPOCH_MIN = 250
"""Fewest batches of an epoch; with a short text, an epoch is several passes over it."""

EVAL_BATCH_CHARACTERS = 1 << 12
"""Characters of a validation or test batch, in all its streams: for V = 5,000, 80 MiB of logits."""

CHUNK_CHARACTERS = 1 << 15
"""Characters of training batches that are cut at a time; one by one, each batch takes ten times as long."""


class BookLoader(ResumableLoader[Batch]):
    """Training batches from a text.

    Args:
        ids: the characters, (N,).
        batch_size: B.
        seq_len: T, below N.
        seed: batch k depends on it and on k alone.
        shard: of this process; a batch of all processes has ``shard.num_processes`` times B rows.
    """

    def __init__(self, ids: Ids, batch_size: int, seq_len: int, seed: int, shard: Shard = WHOLE) -> None:
        self.num_windows = (len(ids) - 1) // seq_len
        super().__init__(max(STEPS_PER_EPOCH_MIN, self.num_windows // (batch_size * shard.num_processes)))
        self.ids = ids
        self.batch_size = batch_size
        self.seq_len = seq_len
        self.seed = seed
        self.shard = shard
        self._steps = np.arange(seq_len + 1)
        self._batches_per_chunk = max(1, CHUNK_CHARACTERS // (batch_size * (seq_len + 1)))
        self._chunk_index = -1
        self._chunk: list[Batch] = []

    def batch(self, k: int) -> Batch:
        """Batch k, k = 0, 1, ...: ``x`` and ``y``, (B, T) int64."""
        index, place = divmod(k, self._batches_per_chunk)
        if self._chunk_index != index:
            self._chunk_index = index
            own = self.shard.rows(self.batch_size)
            ks = range(index * self._batches_per_chunk, (index + 1) * self._batches_per_chunk)
            starts = np.stack([self.starts(k)[own] for k in ks])
            x, y = inputs_and_target(self.ids[starts[..., None] + self._steps])
            self._chunk = list(zip(x, y, strict=True))
        return self._chunk[place]

    def starts(self, k: int) -> NDArray[np.int64]:
        """Where in the text the samples of batch k start, (rows of all processes,)."""
        raise NotImplementedError


class StreamLoader(BookLoader):
    """Each row continues where it ended in the previous batch; the rows start at equal distances.

    The text is cut into windows of T characters. A row at the end of the text continues at its beginning, and the
    windows of its next pass start at another offset.
    """

    def starts(self, k: int) -> NDArray[np.int64]:
        first = derive_seed(self.seed, "first") % self.num_windows
        num_rows = self.batch_size * self.shard.num_processes
        rows = np.arange(num_rows, dtype=np.int64) * self.num_windows // num_rows
        passes, windows = np.divmod(first + rows + k, self.num_windows)
        earlier, later = int(passes[0]), int(passes[-1])  # equal, or consecutive
        return windows * self.seq_len + np.where(passes == earlier, self._shift(earlier), self._shift(later))

    def _shift(self, number: int) -> int:
        """Where the first window of a pass starts."""
        spare = len(self.ids) - 1 - self.num_windows * self.seq_len
        return derive_seed(self.seed, "pass", number) % (spare + 1)


class WindowLoader(BookLoader):
    """Each sample starts anywhere in the text, independently of all others."""

    def starts(self, k: int) -> NDArray[np.int64]:
        generator = make_generator(self.seed, "windows", k)
        num_rows = self.batch_size * self.shard.num_processes
        return torch.randint(len(self.ids) - self.seq_len, (num_rows,), generator=generator).numpy()


class EvalStreamLoader:
    """A whole split, from beginning to end, cut into streams that are read in parallel.

    Row b of a batch continues where row b of the previous batch ended. The lengths of the streams differ by one
    character at most, so the last batch may have fewer rows.

    Args:
        ids: the characters, (N,), at least 2.
        num_streams: streams; fewer if the text is too short.
        shard: of this process; it has every ``shard.num_processes``-th stream.
    """

    def __init__(self, ids: Ids, num_streams: int, shard: Shard = WHOLE) -> None:
        self.ids = ids
        self.shard = shard
        self.num_streams = min(num_streams, len(ids) - 1)
        self.seq_len = max(1, EVAL_BATCH_CHARACTERS // self.num_streams)

    def __len__(self) -> int:
        length, longer = divmod(len(self.ids) - 1, self.num_streams)
        return math.ceil(length / self.seq_len) + (self.shard.size(longer) > 0)

    def __iter__(self) -> Iterator[Batch]:
        length, longer = divmod(len(self.ids) - 1, self.num_streams)
        rows = np.arange(self.shard.rank, self.num_streams, self.shard.num_processes)
        starts = rows * length + np.minimum(rows, longer)
        num_longer = self.shard.size(longer)
        for begin in range(0, length, self.seq_len):
            steps = np.arange(begin, min(begin + self.seq_len, length) + 1)
            yield inputs_and_target(self.ids[starts[:, None] + steps])
        if num_longer > 0:
            yield inputs_and_target(self.ids[starts[:num_longer, None] + np.array([length, length + 1])])


def inputs_and_target(ids: Ids) -> Batch:
    """(..., T + 1) of any integer type -> ``x`` and ``y``, (..., T) int64."""
    both = torch.from_numpy(ids.astype(np.int64))
    return both[..., :-1], both[..., 1:]
