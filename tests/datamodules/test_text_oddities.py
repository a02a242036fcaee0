"""What a wrong encoding makes of words looks odd."""

import pytest

from datamodules.encoding_evidence import has_usual_capitals
from datamodules.text_oddities import num_oddities
from tests.datamodules import prose


@pytest.mark.parametrize("encoding", ["cp437", "cp1252", "mac-roman"])
def test_russian_words_in_a_western_encoding_look_odd(encoding: str) -> None:
    word = "домик".encode("koi8-r").decode(encoding)
    assert num_oddities(f"a {word} word") >= 2


@pytest.mark.parametrize("text", [prose.FRENCH, prose.GERMAN, prose.RUSSIAN, prose.POLISH, prose.HEBREW])
def test_prose_does_not_look_odd(text: str) -> None:
    assert num_oddities(text) == 0


def test_capitals_are_not_those_of_sentences() -> None:
    assert has_usual_capitals(prose.RUSSIAN * 5)
    assert not has_usual_capitals(prose.RUSSIAN.upper() * 5) and not has_usual_capitals(prose.RUSSIAN.lower() * 5)
