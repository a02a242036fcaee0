"""Generates text with a trained model: samples, streams and beam search."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from datamodules.vocabulary import Vocabulary
from models.decoding import ENDED, Choice, beam_search, greedy, read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM
from training.errors import UserError

OnUnknown = Literal["error", "skip", "replace"]


@dataclass(frozen=True)
class DecodingOptions:
    """The options of ``generate`` that decide how characters are chosen.

    ``seed`` is None if nothing is sampled. ``beam`` is None without a beam search.
    """

    length: int
    num_samples: int
    tau: float | None
    top_k: int | None
    top_p: float | None
    beam: int | None
    stop: str
    length_penalty: float
    seed: int | None


class Completion(NamedTuple):
    """A text after the prompt; log probability and score are those of a hypothesis of a beam search."""

    text: str
    log_prob: float | None = None
    score: float | None = None


class TextGenerator:
    """A trained model with decoding options.

    Args:
        network: the trained network.
        vocabulary: of its training text.
        options: how characters are chosen.
        on_unknown: what to do with characters of a prompt that are not in the vocabulary.
    """

    def __init__(
        self, network: StackedLSTM, vocabulary: Vocabulary, options: DecodingOptions, on_unknown: OnUnknown
    ) -> None:
        self.network = CharacterSteps(network)
        self.vocabulary = vocabulary
        self.options = options
        self.on_unknown = on_unknown
        self.stop = self._encode("stop", normalized(options.stop), "leave them out")
        self._generator = torch.Generator().manual_seed(options.seed or 0)

    def prompt(self, text: str) -> str:
        """The prompt as the model reads it: in NFC, with line feeds as line ends, without unknown characters.

        Raises:
            UserError: it has unknown characters, and ``on_unknown`` is ``error``.
        """
        text = normalized(text)
        if self.on_unknown == "skip":
            return self.vocabulary.without_unknown(text)
        if self.on_unknown == "replace":
            return self.vocabulary.with_replacements(text)
        self._encode("prompt", text, "leave them out, or choose --on_unknown skip or replace")
        return text

    def _encode(self, name: str, text: str, way_out: str) -> list[int]:
        try:
            return self.vocabulary.encode(text)
        except ValueError as error:
            raise UserError(f"{name} has {error}; {way_out}") from error

    def read(self, prompt: str, num: int) -> tuple[torch.Tensor, Any]:
        """The logits (num, V) of the first character after ``prompt``, and the state, both repeated ``num`` times."""
        first = "\n" if "\n" in self.vocabulary.char_to_id else self.vocabulary.characters[0]
        ids = torch.tensor([self.vocabulary.encode(prompt or first)])
        logits, state = read(self.network, ids, self.network.start(1))
        return logits.expand(num, -1), tuple(tensor.expand(-1, num, -1).contiguous() for tensor in state)

    def seeds(self) -> list[int]:
        """A seed for each sample. Each call returns new ones; the first do not depend on their number."""
        return torch.randint(2**62, (self.options.num_samples,), generator=self._generator).tolist()

    def choice(self, seeds: list[int]) -> Choice:
        """How to choose the characters of as many samples as there are seeds."""
        options = self.options
        if options.seed is None:
            return greedy
        tau = 1.0 if options.tau is None else options.tau
        return sampling(seeds, options.length, tau, options.top_k, options.top_p)

    def complete(self, prompt: str) -> list[Completion]:
        """``num_samples`` completions of the prompt; those of a beam search are its best, the best one first."""
        options = self.options
        if options.beam is not None:
            logits, state = self.read(prompt, 1)
            sizes = (options.length, options.beam, self.stop, options.length_penalty, options.num_samples)
            (best,) = beam_search(self.network, logits, state, *sizes)
            return [Completion(self.vocabulary.decode(one.ids), one.log_prob, one.score) for one in best]
        logits, state = self.read(prompt, options.num_samples)
        choice = self.choice(self.seeds())
        written = list(write(self.network, logits, state, choice, options.length, self.stop))
        rows = torch.stack(written, dim=1).tolist()
        return [Completion(self.vocabulary.decode(i for i in row if i != ENDED)) for row in rows]

    def stream(self, prompt: str) -> Iterator[Iterator[str]]:
        """The same completions one after the other, each one character at a time."""
        for seed in self.seeds():
            logits, state = self.read(prompt, 1)
            written = write(self.network, logits, state, self.choice([seed]), self.options.length, self.stop)
            yield (self.vocabulary.characters[int(ids)] for ids in written)


def normalized(text: str) -> str:
    """The text in NFC, with line feeds as line ends, as in books that have been read."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
