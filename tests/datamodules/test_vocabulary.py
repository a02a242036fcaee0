"""Characters and their ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.vocabulary import Vocabulary


@given(st.text(min_size=1))
def test_encoding_and_decoding_are_inverse(text: str) -> None:
    vocabulary = Vocabulary("".join(sorted(set(text))))
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert set(ids) == set(range(len(vocabulary)))
    assert vocabulary.unknown(text) == []


def test_ids_are_in_the_order_of_code_points() -> None:
    assert Vocabulary("\n Aaé漢").encode("aA\n") == [3, 2, 0]
    for wrong in ("ba", "aa"):
        with pytest.raises(ValueError, match="must be sorted and distinct"):
            Vocabulary(wrong)


def test_unknown_characters_are_listed() -> None:
    with pytest.raises(ValueError, match=r"never seen: 'x' U\+0007 'é'$"):
        Vocabulary("ab").encode("axb\x07éx")
    with pytest.raises(ValueError, match=r"'U' and 5 more$"):
        Vocabulary("abc").encode("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[1:])


def test_unknown_characters_can_be_removed_or_replaced() -> None:
    vocabulary = Vocabulary("\n '-Uabefi")
    assert vocabulary.without_unknown("a漢b\u2019!") == "ab"
    assert vocabulary.with_replacements("\u00fcÜAB\u00e9") == "UUabe"
    assert vocabulary.with_replacements("\u2019\u2014\ufb01漢\t") == "'-fi  "
    assert Vocabulary("ab").with_replacements("a漢b") == "ab"
