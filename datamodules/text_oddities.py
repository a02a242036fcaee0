"""How odd a text looks: the sign that it was decoded with a wrong encoding.

A wrong encoding turns letters into other letters, symbols and control characters. So capitals, symbols and letters of
other scripts appear inside words.
"""

import functools
import unicodedata
from collections import Counter

ODD_MAX = 0.001
"""Largest fraction of control characters and unassigned code points in a text; in compressed data it is a tenth."""

CONTROLS_OF_TEXT = set("\t\n\v\f\r\x08\x1a\x1b")
"""Control characters that a text may have."""

EAST_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "FULLWIDTH", "IDEOGRAPHIC"}
"""Scripts that are written together, and next to Latin letters."""

NO_LETTER = {"", "SYMBOL", "MARK", "NONE"}

COMMON_WESTERN = set("àáâãäåæçèéêëìíîïñòóôõöøùúûüÿœßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŒªº")

INSIDE_WORDS = set("'\u2019\u2018\u02bc\u00b7\u05f3\u05f4")
"""Punctuation that stands between letters: apostrophes, the Catalan dot, Hebrew marks."""


def is_text(string: str) -> bool:
    """Whether a text has no NUL, and hardly any control character or unassigned code point."""
    odd = (character for character in set(string) if kind(character) == "NONE")
    return "\0" not in string and sum(map(string.count, odd)) <= ODD_MAX * len(string)


def is_common_western(string: str) -> bool:
    """Whether all letters beyond ASCII are those of the large Western languages, not only of Iceland or the Faroes."""
    return all(letter in COMMON_WESTERN for letter in set(string) if letter.isalpha() and not letter.isascii())


def share_of_capitals(string: str) -> float | None:
    """Which share of the letters beyond ASCII are capitals; ``None`` if there are none in two cases."""
    counts = Counter(letter for letter in string if not letter.isascii())
    num_upper = sum(num for letter, num in counts.items() if letter.isupper())
    num_lower = sum(num for letter, num in counts.items() if letter.islower())
    return num_upper / (num_upper + num_lower) if num_upper + num_lower else None


def num_oddities(string: str) -> int:
    """Places in a text, with a character beyond ASCII, that are hardly ever in a text that was decoded rightly."""
    padded = f" {string} "
    places = Counter(zip(padded, padded[1:], padded[2:], strict=False))
    return sum(num for place, num in places.items() if not (place[0] + place[1]).isascii() and is_odd(*place))


@functools.cache
def kind(character: str) -> str:
    """The script of a letter, ``MARK``, ``SYMBOL``, ``NONE`` for what no text has, and an empty string for the rest."""
    category = unicodedata.category(character)
    if category.startswith("L"):
        return unicodedata.name(character, "?").split()[0]
    if category.startswith("M"):
        return "MARK"
    if category in ("So", "Sm", "Sc", "Sk", "No") or character == "\u00b6":
        return "SYMBOL"
    return "NONE" if category in ("Cc", "Cn", "Cs") and character not in CONTROLS_OF_TEXT else ""


def is_odd(before: str, character: str, after: str) -> bool:
    """Whether a character is odd between these two."""
    script, former, latter = kind(character), kind(before), kind(after)
    follows_letter, precedes_letter = former not in NO_LETTER, latter not in NO_LETTER
    if script == "NONE":
        return True
    if script == "SYMBOL":  # within a word, or at its beginning; a superscript may follow
        if former == "SYMBOL" and not before.isascii() and not character.isascii():
            return True
        return precedes_letter and (follows_letter or after.islower() or character == "\u00b6")
    if script == "MARK":
        return former == ""
    if script == "":
        if character == "\u2019" and before.isspace() and latter == "GREEK":
            return True  # in ISO-8859-7 it has the place of a capital in Windows-1253
        is_mark = unicodedata.category(character) in ("Ps", "Pe", "Pi", "Pf", "Po") and not character.isascii()
        return follows_letter and precedes_letter and is_mark and character not in INSIDE_WORDS
    three = {before, character, after}
    if script == former == latter == "LATIN" and len(three) > 1 and not any(map(str.isascii, three)):
        return True  # letters with accents in a row
    if follows_letter and former != script and not {former, script} & (EAST_ASIAN | {"MODIFIER"}):
        return True
    return follows_letter and before.islower() and character.isupper()
