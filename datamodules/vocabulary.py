"""The different characters of a text, and their ids."""

import itertools
import unicodedata
from collections.abc import Iterable, Sequence

UNKNOWN_SHOWN_MAX = 20
"""Largest number of unknown characters in a message."""


class Vocabulary:
    """The different characters of a text in the order of their code points; a character's id is its place there.

    Args:
        characters: the different characters, sorted.
    Raises:
        ValueError: they are not sorted, or one occurs twice.
    """

    def __init__(self, characters: str) -> None:
        if any(a >= b for a, b in itertools.pairwise(characters)):
            raise ValueError("the characters of a vocabulary must be sorted and distinct")
        self.characters = characters
        self.char_to_id = {character: i for i, character in enumerate(characters)}

    def __len__(self) -> int:
        return len(self.characters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def encode(self, text: str) -> list[int]:
        """The ids of the characters.

        Raises:
            ValueError: some of them are not in the vocabulary; the message lists them.
        """
        unknown = self.unknown(text)
        if unknown:
            shown = " ".join(map(shown_character, unknown[:UNKNOWN_SHOWN_MAX]))
            more = f" and {len(unknown) - UNKNOWN_SHOWN_MAX} more" if len(unknown) > UNKNOWN_SHOWN_MAX else ""
            raise ValueError(f"characters that the model has never seen: {shown}{more}")
        return [self.char_to_id[character] for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids."""
        return "".join(self.characters[i] for i in ids)

    def unknown(self, text: str) -> list[str]:
        """The characters of ``text`` that are not in the vocabulary, each once, in order of first occurrence."""
        return [character for character in dict.fromkeys(text) if character not in self.char_to_id]

    def without_unknown(self, text: str) -> str:
        """``text`` without the characters that are not in the vocabulary."""
        return "".join(character for character in text if character in self.char_to_id)

    def with_replacements(self, text: str) -> str:
        """``text`` with similar characters of the vocabulary in place of unknown ones.

        A letter becomes the letter without its accent or in the other case, a typographic quotation mark or dash a
        straight one or the reverse. Any other unknown character becomes a space if the vocabulary has one, else it is
        removed.
        """
        return "".join(
            character if character in self.char_to_id else self._replacement(character) for character in text
        )

    def _replacement(self, character: str) -> str:
        base = unicodedata.normalize("NFKD", character)
        base = "".join(part for part in base if not unicodedata.combining(part))
        alike = next((group for group in LOOK_ALIKES if character in group), "")
        for candidate in (base, base.swapcase(), character.swapcase(), *alike, " "):
            if candidate and all(part in self.char_to_id for part in candidate):
                return candidate
        return ""


LOOK_ALIKES: Sequence[str] = (
    "'\u2019\u2018\u201b`\u00b4",
    '"\u201c\u201d\u201e\u00ab\u00bb',
    "-\u2013\u2014\u2010\u2011\u2015",
    " \t\n",
)
"""Groups of characters that can replace each other."""


def shown_character(character: str) -> str:
    """The character in quotes; an unprintable one as its code point."""
    return f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
