"""What a model of text does besides learning: it writes, and its weights fit another vocabulary."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.contracts import Characters, TextData
from models.decoding import read, sampling, write
from models.generation import OnUnknown, TextGenerator, decoding_options
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM, for_vocabulary


class TextWriter:
    """Mixed into a model whose ``network`` is a ``StackedLSTM``.

    Attributes:
        vocabulary: the characters of the text that a loaded model was trained on.
    """

    network: StackedLSTM
    vocabulary: Characters | None = None

    def adapt_weights(
        self, weights: dict[str, Tensor], data_state: Mapping[str, Any], data: Any
    ) -> tuple[dict[str, Tensor], str]:
        """Characters that both texts have keep their weights, new ones get the mean of those."""
        if not isinstance(data_state.get("characters"), str) or not isinstance(data, TextData):
            return weights, ""
        theirs: str = data_state["characters"]
        ours = data.vocabulary.decode(range(len(data.vocabulary)))
        known = set(theirs) & set(ours)
        counts = f"{len(known)} characters known, {len(ours) - len(known)} new, {len(set(theirs) - known)} dropped"
        of_network = {name.removeprefix("network."): weight for name, weight in weights.items()}
        adapted = for_vocabulary(of_network, theirs, ours)
        return {f"network.{name}": weight for name, weight in adapted.items()}, counts

    def remember(self, data_arguments: Mapping[str, Any], vocabulary: Characters | None) -> None:
        self.vocabulary = vocabulary

    def generate(self, prompt: str = "", on_unknown: OnUnknown = "error", **options: Any) -> str:
        """A text that begins with the prompt; the same as ``python cli.py generate`` prints.

        Args:
            prompt: the text to complete; without one, the text begins after a line end.
            on_unknown: what to do with characters of the prompt that the model does not know: ``error``, ``skip`` or
                ``replace``.
            options: ``length``, ``tau``, ``temperature``, ``top_k``, ``top_p``, ``seed``, ``beam``, ``stop`` and
                ``length_penalty``; see ``models.generation.decoding_options``.
        Raises:
            ValueError: an option is out of range, a character is unknown, or the model was not loaded.
        """
        if "num_samples" in options:
            raise ValueError("num_samples is given, but generate gives one text; call it again with another seed")
        if self.vocabulary is None:
            raise ValueError("this model has no vocabulary; make it with TextModel.load, or set its vocabulary")
        generator = TextGenerator(self.network, self.vocabulary, decoding_options(**options), on_unknown)
        beginning = generator.prompt(prompt)
        return beginning + "".join(next(iter(generator.complete(beginning))).parts)

    def write(self, first: Tensor, length: int, tau: Tensor, seeds: list[int]) -> Tensor:
        """Generate texts of ``length`` characters that begin with the characters ``first``: (B,) -> (B, length) int64.

        Args:
            first: the first character of each text, int64.
            length: characters of a text, at least 1.
            tau: factor of the logits before a character is drawn, of each text; infinity is greedy.
            seeds: of the random numbers of each text.
        """
        network = CharacterSteps(self.network)
        logits, state = read(network, first[:, None], network.start(len(first)))
        written = write(network, logits, state, sampling(seeds, length, tau), length - 1)
        return torch.stack([first, *written], dim=1)
