"""Books, predicted character by character (section 2 of the assignment).

Legend: B batch, T characters of a sample, V different characters, N characters of a split.
"""

import logging
import math
from typing import Any

from datamodules.arguments import check_at_least
from datamodules.book_loaders import BookLoader, EvalStreamLoader, StreamLoader, WindowLoader
from datamodules.character_ids import split
from datamodules.library import read_book
from datamodules.sharding import ShardedDataModule
from datamodules.vocabulary import Vocabulary

log = logging.getLogger(__name__)

CHARACTERS_PER_STREAM = 50_000
"""Held-out characters for each stream, by default."""

STREAMS_MAX = 64
"""Largest number of held-out streams, by default."""

BATCH_CHARACTERS_MAX = 1 << 24
"""Largest number of characters in a training batch."""


class BookDataModule(ShardedDataModule):
    """Characters of a book, each with the next character as its target.

    The text is split into three consecutive parts: training, validation, test. Training batches are endless, and batch
    k depends on the arguments and k alone. An epoch is one pass over the text, but at least 250 batches. Validation and
    test are read from beginning to end. Process n of P trains on rows n B ... (n+1) B - 1 of a batch of P B rows, and
    reads every P-th held-out stream; there are at least P.

    Args:
        book: a known book's name, such as grimm or tinyshakespeare (downloaded on first use) or python_reference (needs
            no download), or the path of any text file.
        seq_len: characters per sample, T.
        batch_size: samples per training batch of a process, B; fewer if the text is too short.
        carry_state: each row continues in the text where that row of the previous batch ended, so that the model can
            carry its state (truncated backpropagation through time); otherwise samples start anywhere, at random.
        val_fraction: fraction of the text for validation.
        test_fraction: fraction of the text, at its end, for test; may be 0.
        eval_batch_size: streams that a held-out split is cut into; they are read in parallel, each with a state of its
            own; by default one for each 50,000 characters, at most 64.
        encoding: of the file, a codec's name; detected by default.
        seed: decides where in the text training starts, or which samples are drawn.
    Attributes:
        vocab_size: different characters in the whole text, V; known after ``__init__``: the CLI links it to the model.
        vocabulary: these characters.
    Batch:
        ``(x, y)``, each (B, T) int64 in [0, V); ``y[b, t]`` follows ``x[b, t]`` in the text.
    Raises:
        ValueError: an argument is out of its range, the book cannot be downloaded or is not a text, a split is shorter
            than T + 1.
    """

    MAY_DIFFER_ON_RESUME = ("book", "encoding", "eval_batch_size")  # check_state compares the texts

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
        self.save_hyperparameters(logger=False)
        check_at_least(1, seq_len=seq_len, batch_size=batch_size, eval_batch_size=eval_batch_size)
        check_at_least(0, seed=seed)
        if seq_len * batch_size > BATCH_CHARACTERS_MAX:
            raise ValueError(
                f"batch_size is {batch_size}: with seq_len {seq_len} a batch has {seq_len * batch_size} characters; it "
                f"must have at most {BATCH_CHARACTERS_MAX}, so lower one of them"
            )
        check_fractions(val_fraction, test_fraction)
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
                    f"least seq_len + 1 = {seq_len + 1}, so lower seq_len, or use a larger fraction or a longer book"
                )
        self.seq_len = seq_len
        self.num_windows = (len(self.splits["train"]) - 1) // seq_len
        self.max_batch_size = batch_size
        self.carry_state = carry_state
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.trained_on: str | None = None  # checksum of the checkpoint's text
        self._provenance = text.provenance

    def setup(self, stage: str) -> None:
        if stage == "fit" and self.trained_on not in (None, self.sha256):
            raise ValueError(
                f"book is {self.book!r}, which is not the text that the checkpoint was trained on; give that text, or "
                "train from scratch"
            )
        if self._provenance:  # logged once, and not before an error in the arguments
            log.info("%s", self._provenance)
            self._provenance = ""

    @property
    def batch_size(self) -> int:
        """Samples of a training batch of this process."""
        if not self.carry_state:
            return self.max_batch_size
        return min(self.max_batch_size, self.num_windows // self.shard.num_processes)

    def train_dataloader(self) -> BookLoader:
        if self.batch_size == 0:
            raise ValueError(
                f"book is {self.book!r}: its train split has {self.num_windows} samples of {self.seq_len} characters, "
                f"too few for {self.shard.num_processes} processes; use fewer processes, or lower seq_len"
            )
        loader = StreamLoader if self.carry_state else WindowLoader
        return loader(self.splits["train"], self.batch_size, self.seq_len, self.seed, self.shard)

    def val_dataloader(self) -> EvalStreamLoader:
        return self._eval_loader("val")

    def test_dataloader(self) -> list[EvalStreamLoader]:
        return [self._eval_loader("test")] if len(self.splits["test"]) > 1 else []

    def predict_dataloader(self) -> list[EvalStreamLoader]:
        return self.test_dataloader()

    def _eval_loader(self, name: str) -> EvalStreamLoader:
        ids = self.splits[name]
        num_streams = self.eval_batch_size or min(STREAMS_MAX, math.ceil(len(ids) / CHARACTERS_PER_STREAM))
        return EvalStreamLoader(ids, max(num_streams, self.shard.num_processes), self.shard)

    def state_dict(self) -> dict[str, Any]:
        return {"characters": self.vocabulary.characters, "sha256": self.sha256}

    def check_state(self, state_dict: dict[str, Any]) -> None:
        theirs = Vocabulary(state_dict["characters"])
        if theirs != self.vocabulary:
            raise ValueError(
                f"book is {self.book!r}, which has {self.vocab_size} different characters, not the {len(theirs)} that "
                "the checkpoint was trained on; give the book that it was trained on"
            )
        self.trained_on = state_dict["sha256"]

    load_state_dict = check_state


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Reject fractions that leave no text for validation or training."""
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction is {val_fraction}; it must be above 0 and below 1")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}; it must be at least 0 and below 1")
    if val_fraction + test_fraction >= 1:
        raise ValueError(
            f"val_fraction is {val_fraction} and test_fraction {test_fraction}; together they must be below 1"
        )
