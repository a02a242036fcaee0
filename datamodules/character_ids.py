"""The characters of a text as numbers, in as few bytes as they need."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.vocabulary import Vocabulary

BLOCK = 1 << 20
"""Characters that are converted at a time: few enough to stay in the cache."""

UNSEEN = np.uint32(0xFFFFFFFF)


@dataclass
class Text:
    """A text as numbers.

    Args:
        ids: (N,) of the smallest unsigned type that holds them; each is a character's place in the vocabulary.
        vocabulary: the different characters.
        sha256: of the ids, in hexadecimal digits.
        provenance: one line for the log: the file's encoding, and what was changed in the text.
    """

    ids: NDArray[np.unsignedinteger]
    vocabulary: Vocabulary
    sha256: str
    provenance: str = ""


class CharacterIds:
    """Collects a text piece by piece; numbers its characters by first occurrence until all of them are known."""

    def __init__(self, pieces: Iterable[str] = ()) -> None:
        self.characters: list[int] = []  # code points, by first occurrence
        self._number = np.full(0x110000, UNSEEN, np.uint32)  # of each code point
        self._parts: list[tuple[np.dtype[np.unsignedinteger], bytearray]] = []  # one for each width
        for piece in pieces:
            self.add(piece)

    def add(self, string: str) -> None:
        if not string:
            return
        codes = code_points(string)
        numbers = self._number.take(codes, mode="clip")
        unseen = numbers == UNSEEN
        if unseen.any():
            new = np.unique(codes[unseen])
            self._number[new] = np.arange(len(self.characters), len(self.characters) + len(new))
            self.characters += new.tolist()
            numbers = self._number.take(codes, mode="clip")
        dtype = np.min_scalar_type(len(self.characters) - 1)
        if not self._parts or self._parts[-1][0] != dtype:
            self._parts.append((dtype, bytearray()))
        self._parts[-1][1].extend(numbers.astype(dtype).data)

    def text(self) -> Text:
        """The whole text, its characters numbered by code point; can be called once."""
        parts = [np.frombuffer(data, dtype) for dtype, data in self._parts]
        ids = parts[0] if len(parts) == 1 else np.concatenate(parts)
        id_of = np.empty(len(self.characters), ids.dtype)
        id_of[np.argsort(self.characters)] = np.arange(len(self.characters))
        digest = hashlib.sha256()
        for block in np.split(ids, range(BLOCK, len(ids), BLOCK)):
            block[:] = id_of.take(block, mode="clip")  # several times as fast as indexing
            digest.update(block.data)
        return Text(ids, Vocabulary("".join(map(chr, sorted(self.characters)))), digest.hexdigest())


def code_points(string: str) -> NDArray[np.unsignedinteger]:
    """(N,), one byte each for ASCII, else four."""
    if string.isascii():
        return np.frombuffer(string.encode("ascii"), np.uint8)
    return np.frombuffer(string.encode("utf-32-le"), "<u4")


def split(
    ids: NDArray[np.unsignedinteger], val_fraction: float, test_fraction: float
) -> dict[str, NDArray[np.unsignedinteger]]:
    """The three consecutive parts of a text; no character is in two of them."""
    end_of_train = int(len(ids) * (1 - val_fraction - test_fraction) + 1e-6)  # 0.1 is not exactly a tenth
    end_of_val = len(ids) if test_fraction == 0 else int(len(ids) * (1 - test_fraction) + 1e-6)
    return {"train": ids[:end_of_train], "val": ids[end_of_train:end_of_val], "test": ids[end_of_val:]}
