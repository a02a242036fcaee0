"""The encoding of a text file is detected, and what is not a text is rejected."""

import gzip
from pathlib import Path

import pytest

from datamodules import text_file
from datamodules.text_file import read_string, read_text
from tests.datamodules import prose

TYPEWRITER = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "—": "-", "«": '"', "»": '"', "œ": "oe"})
"""Characters that older encodings lack, and what was typed instead."""


def typed(text: str) -> str:
    return text.translate(TYPEWRITER)


TABLE = [
    ("utf-8", prose.GERMAN),
    ("utf-8", prose.RUSSIAN),
    ("utf-8", prose.CHINESE_SIMPLIFIED),
    ("utf-8-sig", prose.GREEK),
    ("utf-16", prose.RUSSIAN),
    ("utf-16-le", prose.DUTCH),
    ("utf-16-be", prose.DUTCH),
    ("utf-16-le", prose.RUSSIAN),
    ("utf-16-be", prose.RUSSIAN),
    ("utf-32", prose.JAPANESE),
    ("utf-32-le", prose.POLISH),
    ("cp1252", prose.GERMAN),
    ("cp1252", prose.FRENCH),
    ("cp1252", prose.DUTCH),
    ("latin-1", typed(prose.GERMAN)),
    ("latin-1", typed(prose.FRENCH)),
    ("latin-1", typed(prose.DUTCH)),
    ("latin-1", prose.SPANISH),
    ("latin-1", prose.SWEDISH),
    ("iso8859-15", prose.FRENCH.replace("’", "'")),
    ("cp850", typed(prose.GERMAN)),
    ("mac-roman", prose.FRENCH),
    ("cp1250", prose.POLISH),
    ("cp1250", prose.CZECH),
    ("iso8859-2", typed(prose.POLISH)),
    ("iso8859-2", typed(prose.CZECH)),
    ("cp1251", prose.RUSSIAN),
    ("koi8-r", typed(prose.RUSSIAN)),
    ("iso8859-5", typed(prose.RUSSIAN)),
    ("cp866", typed(prose.RUSSIAN)),
    ("iso8859-7", prose.GREEK),
    ("cp1253", prose.GREEK),
    ("shift_jis", prose.JAPANESE),
    ("euc-jp", prose.JAPANESE),
    ("gb2312", prose.CHINESE_SIMPLIFIED),
    ("gb18030", prose.CHINESE_SIMPLIFIED),
    ("big5", prose.CHINESE_TRADITIONAL),
    ("euc-kr", prose.KOREAN),
]


@pytest.mark.parametrize(("encoding", "text"), TABLE, ids=[f"{encoding}-{text[:5]}" for encoding, text in TABLE])
def test_the_encoding_is_detected(encoding: str, text: str, tmp_path: Path) -> None:
    text *= 5
    (tmp_path / "book.txt").write_bytes(text.encode(encoding))
    assert read_string(tmp_path / "book.txt") == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("koi8-r", typed(prose.RUSSIAN)),
        ("UTF8", "\ufeff" + prose.RUSSIAN),  # the byte order mark is not part of the text
        ("utf-16-le", "\ufeff" + prose.CHINESE_SIMPLIFIED),
        ("utf-16-be", prose.CHINESE_SIMPLIFIED),
        ("iso2022_jp", prose.JAPANESE),
    ],
)
def test_a_given_encoding_is_used(encoding: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(text.encode(encoding))
    read = read_text(tmp_path / "book.txt", encoding)
    assert read.vocabulary.decode(read.ids.tolist()) == text.removeprefix("\ufeff")
    assert read.provenance.startswith(f"{encoding};")


def test_the_sample_may_end_within_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, text in TABLE:
        for num_bytes in (998, 999, 1000, 1001):
            monkeypatch.setattr("datamodules.text_encoding.SAMPLE_BYTES", num_bytes)
            (tmp_path / "book.txt").write_bytes((text * 5).encode(encoding))
            assert read_string(tmp_path / "book.txt") == text * 5, encoding


def test_an_accent_after_much_ascii_is_found(tmp_path: Path) -> None:
    text = "The road was only a path through the wood.\n" * 5000 + "“He sat in a café,” said the king.\n"
    (tmp_path / "book.txt").write_bytes(text.encode("cp1252"))
    assert read_string(tmp_path / "book.txt") == text


@pytest.mark.parametrize("text", ["le café", "één café, naïef\n", "één", "Müller"])
def test_a_few_words_are_read_as_western_european(text: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(text.encode("latin-1"))
    assert read_string(tmp_path / "book.txt") == text


def test_chinese_that_begins_like_utf_8_is_not_damaged_utf_8(tmp_path: Path) -> None:
    text = "谩谩。" + prose.CHINESE_SIMPLIFIED
    encoded = text.encode("gb18030")
    assert encoded[:4].decode("utf-8").isalpha()
    (tmp_path / "book.txt").write_bytes(encoded)
    assert read_string(tmp_path / "book.txt") == text


RUSSIAN = prose.RUSSIAN.encode()


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (b"", None, "is empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", None, "is a binary file"),
        (gzip.compress(RUSSIAN * 50, mtime=0), None, "is a binary file"),
        (bytes(range(1, 256)) * 4, None, "is a binary file"),
        (b"many plain words of text\0" * 50, None, "is a binary file"),
        (RUSSIAN + b"\xff\xfe" + RUSSIAN, None, f"utf-8, but byte 0xff at offset {len(RUSSIAN)} is not valid"),
        (b"one \xc3\xa9 \xc3\xa9 \xff", None, "utf-8, but byte 0xff at offset 10 is not valid"),
        (RUSSIAN + typed(prose.RUSSIAN).encode("koi8-r") * 50, None, f"at offset {len(RUSSIAN)} is not valid"),
        (b"\xff\xfea\0b\0\0\xd8c\0", None, "utf-16, but byte 0x00 at offset 6 is not valid"),
        (b"caf\xe9 \x81", "cp1252", "cp1252, but byte 0x81 at offset 5"),
        (RUSSIAN, "ascii", "ascii, but byte 0xd0 at offset 0"),
        ("één".encode("latin-1"), "utf-8", "utf-8, but byte 0xe9 at offset 0"),
        (RUSSIAN, "utf-16", "is (not|read as) utf-16"),  # Python 3.13 names the byte, too
        (RUSSIAN, "utf-9", "encoding is 'utf-9'; it must be"),
        (RUSSIAN, "base64", "encoding is 'base64'; it must be"),
        (RUSSIAN, "undefined", "encoding is 'undefined'; it must be"),
    ],
)
@pytest.mark.parametrize("piece_bytes", [7, 1 << 20])
def test_files_that_are_not_texts_are_rejected(
    content: bytes,
    encoding: str | None,
    message: str,
    piece_bytes: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_file, "PIECE_BYTES", piece_bytes)
    (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "book.txt", encoding)


def test_a_detected_encoding_that_does_not_fit_the_rest_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datamodules.text_encoding.SAMPLE_BYTES", 1000)
    (tmp_path / "book.txt").write_bytes((prose.POLISH * 5).encode("cp1250") + b"\x81")
    with pytest.raises(ValueError, match="is read as cp1250, but byte 0x81 at offset"):
        read_text(tmp_path / "book.txt")


def test_a_folder_or_a_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        read_text(tmp_path / "nothing")
