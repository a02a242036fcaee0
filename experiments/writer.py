"""A trained text model and what it is asked to write."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch

from datamodules.vocabulary import Vocabulary
from experiments.trained_text import TrainedText
from models.decoding import ENDED, Choice, Hypothesis, beam_search, greedy, read, sampling, write
from training.errors import UserError

OnUnknown = Literal["error", "skip", "replace"]


@dataclass(frozen=True)
class Ways:
    """How to write; ``seed`` is None where nothing is drawn, ``beam`` where nothing is searched."""

    length: int
    num_samples: int
    tau: float | None
    top_k: int | None
    top_p: float | None
    beam: int | None
    stop: str
    length_penalty: float
    seed: int | None


class Writer:
    """A trained model that writes in the ways asked for.

    Args:
        trained: the model.
        ways: how.
        on_unknown: what becomes of characters of a prompt that it does not know.
    """

    def __init__(self, trained: TrainedText, ways: Ways, on_unknown: OnUnknown) -> None:
        self.trained = trained
        self.ways = ways
        self.on_unknown = on_unknown
        self.stop = self._encode("stop", normalized(ways.stop), "leave them out")
        self._generator = torch.Generator().manual_seed(ways.seed or 0)

    @property
    def vocabulary(self) -> Vocabulary:
        return self.trained.vocabulary

    def prompt(self, text: str) -> str:
        """A prompt as the model can read it: in NFC, with line feeds as line ends, of characters that it knows.

        Raises:
            UserError: it has others, and they are an error.
        """
        text = normalized(text)
        if self.on_unknown == "skip":
            return self.vocabulary.without_unknown(text)
        if self.on_unknown == "replace":
            return self.vocabulary.with_replacements(text)
        self._encode("prompt", text, "leave them out, or let --on_unknown skip or replace them")
        return text

    def _encode(self, name: str, text: str, way_out: str) -> list[int]:
        try:
            return self.vocabulary.encode(text)
        except ValueError as error:
            raise UserError(f"{name} has {error}; {way_out}") from error

    def read(self, prompt: str, num: int) -> tuple[torch.Tensor, Any]:
        """The logits of what follows ``prompt``, and the state, ``num`` times."""
        first = "\n" if "\n" in self.vocabulary.char_to_id else self.vocabulary.characters[0]
        ids = torch.tensor([self.vocabulary.encode(prompt or first)])
        logits, state = read(self.trained.network, ids, self.trained.network.start(1))
        return logits.expand(num, -1), tuple(tensor.expand(-1, num, -1).contiguous() for tensor in state)

    def seeds(self) -> list[int]:
        """Of each sample another one, and others the next time; the first are the same, however many there are."""
        return torch.randint(2**62, (self.ways.num_samples,), generator=self._generator).tolist()

    def choice(self, seeds: list[int]) -> Choice:
        """How to choose the characters of as many samples."""
        ways = self.ways
        if ways.seed is None:
            return greedy
        tau = 1.0 if ways.tau is None else ways.tau
        return sampling(seeds, ways.length, tau, ways.top_k, ways.top_p)

    def complete(self, prompt: str) -> list[str]:
        """What follows the prompt, ``num_samples`` times."""
        logits, state = self.read(prompt, self.ways.num_samples)
        choice = self.choice(self.seeds())
        written = list(write(self.trained.network, logits, state, choice, self.ways.length, self.stop))
        rows = torch.stack(written, dim=1).tolist()
        return [self.vocabulary.decode(i for i in row if i != ENDED) for row in rows]

    def stream(self, prompt: str) -> Iterator[Iterator[str]]:
        """The same, one after the other, each a character at a time."""
        for seed in self.seeds():
            logits, state = self.read(prompt, 1)
            written = write(self.trained.network, logits, state, self.choice([seed]), self.ways.length, self.stop)
            yield (self.vocabulary.characters[int(ids)] for ids in written)

    def search(self, prompt: str) -> list[Hypothesis]:
        """The best of a beam search."""
        assert self.ways.beam is not None
        logits, state = self.read(prompt, 1)
        (best,) = beam_search(
            self.trained.network,
            logits,
            state,
            self.ways.length,
            self.ways.beam,
            self.stop,
            self.ways.length_penalty,
            self.ways.num_samples,
        )
        return best


def normalized(text: str) -> str:
    """In NFC, with line feeds as line ends, as books are read."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
