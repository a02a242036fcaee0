"""How much of a text occurs in another one: the longest match at each place, by a suffix array (Manber and Myers 1993).

Legend: N characters of the text that is searched.
"""

import bisect
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


def suffix_array(ids: NDArray[np.unsignedinteger]) -> NDArray[np.int64]:
    """The places of a text, ordered by the suffixes that begin there: (N,) -> (N,)."""
    n = len(ids)
    rank = ids.astype(np.int64)
    width = 1
    while True:
        following = np.full(n, -1)
        following[: n - width] = rank[width:]  # the rank of the next ``width`` characters; nothing is first
        order = np.lexsort((following, rank))
        differs = (np.diff(rank[order]) != 0) | (np.diff(following[order]) != 0)
        rank[order] = np.concatenate([[0], np.cumsum(differs)])
        width *= 2
        if width >= n or rank[order[-1]] == n - 1:
            return order


class Searched:
    """A text in which others are searched.

    Args:
        text: at least one character.
        ids: its characters as numbers in the order of their code points, (N,).
    """

    def __init__(self, text: str, ids: NDArray[np.unsignedinteger]) -> None:
        self.text = text
        self._suffixes: list[int] = suffix_array(ids).tolist()

    def longest_matches(self, sample: str) -> Iterator[int]:
        """For each place of ``sample`` the length of the longest string that begins there and occurs in the text."""
        for i in range(len(sample)):
            rest = sample[i:]
            k = bisect.bisect_left(self._suffixes, rest, key=lambda place: self.text[place : place + len(rest)])
            yield max(common_prefix(rest, self.text[j : j + len(rest)]) for j in self._suffixes[max(k - 1, 0) : k + 1])


def common_prefix(a: str, b: str) -> int:
    """How many characters at their beginning two strings have in common."""
    return next((i for i, (of_a, of_b) in enumerate(zip(a, b, strict=False)) if of_a != of_b), min(len(a), len(b)))
