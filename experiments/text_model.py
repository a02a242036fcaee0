"""What the measures of text models share: a network with its settings, the splits of its text, prompts, quotations."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.vocabulary import Vocabulary
from models.networks.stacked_lstm import StackedLSTM
from training.errors import UserError

PROMPT_LENGTH = 100
"""Characters of a prompt from the validation text."""


class MeasuredModel(NamedTuple):
    """A network, its checkpoint, and its settings: ``seq_len``, ``carry_state``, ``seed`` and ``step``."""

    path: Path
    network: StackedLSTM
    settings: dict[str, Any]


class TextSplits(NamedTuple):
    """Training and validation text as numbers, and the vocabulary."""

    train: NDArray[np.unsignedinteger]
    val: NDArray[np.unsignedinteger]
    vocabulary: Vocabulary


def starts(texts: TextSplits, num: int, length: int) -> list[int]:
    """Positions in the validation text at which texts of ``length`` characters begin, each after a prompt.

    They are evenly spaced, and moved on to the next beginning of a word if there is one before the next position.

    Raises:
        UserError: the validation text is too short.
    """
    val = texts.vocabulary.decode(texts.val.tolist())
    room = len(val) - PROMPT_LENGTH - length
    if room < num:
        raise UserError(
            f"the validation text has {len(val)} characters, too few for {num} texts of {length} after prompts of "
            f"{PROMPT_LENGTH}; lower the number or the length, or use a longer book"
        )
    stride = room // num
    found = []
    for k in range(num):
        first = PROMPT_LENGTH + k * stride
        words = (i for i in range(first, first + stride) if val[i - 1].isspace() and not val[i].isspace())
        found.append(next(words, first))
    return found


def prompts(texts: TextSplits, places: list[int]) -> NDArray[np.int64]:
    """The ``PROMPT_LENGTH`` characters before each place, (B, P) int64."""
    return np.stack([texts.val[place - PROMPT_LENGTH : place] for place in places]).astype(np.int64)


def distinct_share(items: Any) -> float:
    """The share of different ones among the items of a sequence; NaN if it is empty."""
    return len(set(items)) / len(items) if len(items) else float("nan")


def n_grams(items: Any, n: int) -> list[Any]:
    """All sequences of n consecutive items of a string or a tuple."""
    return [items[i : i + n] for i in range(len(items) - n + 1)]
