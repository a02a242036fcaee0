"""Generates text with a trained network: samples, streams and beam search. It needs neither Lightning nor the book."""

import math
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch

from models.contracts import Characters
from models.decoding import ENDED, Choice, beam_search, greedy, read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM

OnUnknown = Literal["error", "skip", "replace"]

SEED_MAX = (1 << 63) - 1
"""The largest seed of a random generator of torch."""

CHARACTERS_MAX = 1 << 24
"""The most characters of all samples, or of all hypotheses of a beam: each needs some bytes of memory."""

RANGES = {
    "length": (1, math.inf),
    "num_samples": (1, math.inf),
    "top_k": (1, math.inf),
    "beam": (1, 10_000),
    "tau": (0, math.inf),
    "temperature": (0, math.inf),
    "length_penalty": (0, 10),
    "seed": (0, SEED_MAX),
}
"""The lowest and the highest value of the options."""

SAMPLING = ("tau", "temperature", "top_k", "top_p")


@dataclass(frozen=True)
class DecodingOptions:
    """How characters are chosen; ``decoding_options`` makes them.

    ``seed`` is None if nothing is sampled. ``beam`` is None without a beam search.
    """

    length: int
    num_samples: int
    tau: float
    top_k: int | None
    top_p: float | None
    beam: int | None
    stop: str
    length_penalty: float
    seed: int | None


class Completion(NamedTuple):
    """A text after the prompt, in parts; log probability and score are those of a hypothesis of a beam search."""

    parts: Iterable[str]
    log_prob: float | None = None
    score: float | None = None


def decoding_options(
    length: int = 200,
    num_samples: int = 1,
    tau: float | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    beam: int | None = None,
    stop: str = "",
    length_penalty: float | None = None,
    seed: int | None = None,
) -> DecodingOptions:
    """The options for these arguments, which are those of ``python cli.py generate``.

    Raises:
        ValueError: an argument is out of range, or two contradict each other.
    """
    given = dict(locals())
    check_options(given)
    samples = beam is None and (num_samples > 1 or any(given[name] is not None for name in (*SAMPLING, "seed")))
    if samples and seed is None:
        seed = secrets.randbelow(1 << 32)  # short enough to be typed
    if temperature is not None:
        tau = math.inf if temperature == 0 else 1 / temperature
    tau = 1.0 if tau is None else tau
    penalty = 1.0 if length_penalty is None else length_penalty
    return DecodingOptions(length, num_samples, tau, top_k, top_p, beam, stop, penalty, seed if samples else None)


def check_options(given: dict[str, Any]) -> None:
    """Reject arguments of ``decoding_options`` that are out of range or contradict each other."""
    for name, (low, high) in RANGES.items():
        if given[name] is not None and not low <= given[name] <= high:
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise ValueError(f"{name} is {given[name]}; it must be {limits}")
    if given["top_p"] is not None and not 0 < given["top_p"] <= 1:
        raise ValueError(f"top_p is {given['top_p']}; it must be above 0 and at most 1")
    name = "num_samples" if given["beam"] is None else "beam"
    num_characters = given[name] * given["length"]
    if num_characters > CHARACTERS_MAX:
        raise ValueError(
            f"{name} is {given[name]} and length is {given['length']}: {num_characters} characters; the limit is "
            f"{CHARACTERS_MAX}, so lower one of them"
        )
    check_together(
        given, ("tau", "temperature", "tau is 1 / temperature"),
        *(("beam", name, "a beam search does not sample") for name in SAMPLING),
    )  # fmt: skip
    if given["length_penalty"] is not None and (given["beam"] is None or not given["stop"]):
        raise ValueError(f"length_penalty is {given['length_penalty']}, but it needs beam and stop; give them too")
    if given["beam"] is not None and given["num_samples"] > given["beam"]:
        raise ValueError(
            f"num_samples is {given['num_samples']}, but the limit is beam = {given['beam']}; increase beam"
        )


def check_together(given: dict[str, Any], *pairs: tuple[str, str, str]) -> None:
    """Reject two arguments that are both given; each pair has the reason why one is enough."""
    for first, second, reason in pairs:
        if all(given[name] is not None and given[name] is not False and given[name] != "" for name in (first, second)):
            values = " and ".join(f"{name} is {given[name]!r}" for name in (first, second))
            raise ValueError(f"{values}, but {reason}; give one of them")


class TextGenerator:
    """Generates text.

    Args:
        network: trained.
        vocabulary: the characters that it knows.
        options: how characters are chosen.
        on_unknown: what to do with characters of a prompt that it does not know.
    Raises:
        ValueError: it does not know a character of ``options.stop``.
    """

    def __init__(
        self, network: StackedLSTM, vocabulary: Characters, options: DecodingOptions, on_unknown: OnUnknown = "error"
    ) -> None:
        self.vocabulary = vocabulary
        self.network = CharacterSteps(network)
        self.options = options
        self.on_unknown = on_unknown
        self.stop = self._encode("stop", normalized(options.stop), "leave them out")
        self._generator = torch.Generator().manual_seed(options.seed or 0)

    def prompt(self, text: str) -> str:
        """The prompt as the model reads it: in NFC, with line feeds as line ends, without unknown characters.

        Raises:
            ValueError: it has unknown characters, and ``on_unknown`` is ``error``.
        """
        text = normalized(text)
        if self.on_unknown == "skip":
            return self.vocabulary.without_unknown(text)
        if self.on_unknown == "replace":
            return self.vocabulary.with_replacements(text)
        self._encode("prompt", text, "leave them out, or set on_unknown to skip or replace")
        return text

    def _encode(self, name: str, text: str, way_out: str) -> list[int]:
        try:
            return self.vocabulary.encode(text)
        except ValueError as error:
            raise ValueError(f"{name} has {error}; {way_out}") from error

    def complete(self, prompt: str, streams: bool = False) -> Iterator[Completion]:
        """``num_samples`` completions of the prompt; those of a beam search are its best, the best one first.

        Each call samples others; the first ones do not depend on their number. If it streams, the completions are made
        one after the other, each one character at a time.
        """
        options, decode = self.options, self.vocabulary.decode
        first = "\n" if "\n" in self.vocabulary.char_to_id else self.vocabulary.characters[0]
        ids = torch.tensor([self.vocabulary.encode(prompt or first)])
        logits, state = read(self.network, ids, self.network.start(1))
        if options.beam is not None:
            sizes = (options.length, options.beam, self.stop, options.length_penalty, options.num_samples)
            (best,) = beam_search(self.network, logits, state, *sizes)
            yield from (Completion([decode(one.ids)], one.log_prob, one.score) for one in best)
            return
        seeds = torch.randint(2**62, (options.num_samples,), generator=self._generator).tolist()
        for together in [[seed] for seed in seeds] if streams else [seeds]:
            choose: Choice = greedy
            if options.seed is not None:
                choose = sampling(together, options.length, options.tau, options.top_k, options.top_p)
            start = tuple(tensor.expand(-1, len(together), -1).contiguous() for tensor in state)
            written = write(self.network, logits.expand(len(together), -1), start, choose, options.length, self.stop)
            if streams:
                yield Completion(decode(ids.tolist()) for ids in written)
            else:
                rows = torch.stack(list(written), dim=1).tolist()
                yield from (Completion([decode(i for i in row if i != ENDED)]) for row in rows)


def normalized(text: str) -> str:
    """The text in NFC, with line feeds as line ends, as in books that have been read."""
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
