"""Generates text with a trained model: samples, streams and beam search. It needs neither Lightning nor the book."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from datamodules.vocabulary import Vocabulary
from experiments.trained_model import load_weights, read_model
from models.decoding import ENDED, Choice, beam_search, greedy, read, sampling, write
from models.networks.build import build_text_network
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


def load_network(ckpt_path: str) -> tuple[Path, StackedLSTM, Vocabulary]:
    """The checkpoint's file, the trained network and its vocabulary.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
    Raises:
        UserError: the checkpoint does not exist, is damaged, is not that of a ``TextModel``, or its weights are not
            finite.
    """
    path, checkpoint, arguments = read_model(ckpt_path, "TextModel", "BookDataModule")
    vocabulary = Vocabulary(checkpoint["BookDataModule"]["characters"])
    # The weights are loaded, so the fastest initialization is enough.
    network = build_text_network(**arguments | {"vocab_size": len(vocabulary), "initialization": "uniform"})
    load_weights(network, path, checkpoint)
    return path, network.eval(), vocabulary


class TextGenerator:
    """A trained model with decoding options; ``on_unknown`` is for characters of a prompt that it does not know."""

    def __init__(self, ckpt_path: str, options: DecodingOptions, on_unknown: OnUnknown) -> None:
        self.path, network, self.vocabulary = load_network(ckpt_path)
        self.network = CharacterSteps(network)
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
