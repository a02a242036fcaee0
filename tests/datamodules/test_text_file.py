"""A text file is read piece by piece as its characters, with any line ends, any form of Unicode and any size."""

import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules import character_ids, gutenberg, text_file
from datamodules.character_ids import CharacterIds, Text
from datamodules.text_file import TextPieces, last_boundary, read_string, read_text

DUTCH = "Eén ‘ring’ — naïef, coördinatie; één\nOp de boot vóór Ülm\n" * 3
RUSSIAN = "Все счастливые семьи похожи друг на друга\n" * 5


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def string_of(text: Text) -> str:
    return text.vocabulary.decode(text.ids.tolist())


def test_line_ends_become_line_feeds(tmp_path: Path) -> None:
    read = read_text(written(tmp_path / "book.txt", b"one\r\ntwo\rthree\n\r\n"))
    assert string_of(read) == "one\ntwo\nthree\n\n"
    assert "line ends CR and CRLF converted to LF" in read.provenance
    assert "line ends LF" in read_text(written(tmp_path / "lf.txt", b"one\n")).provenance


def test_unicode_becomes_nfc(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", DUTCH)
    assert decomposed != DUTCH
    read = read_text(written(tmp_path / "book.txt", decomposed.encode()))
    assert string_of(read) == DUTCH
    assert "Unicode normalized to NFC" in read.provenance
    assert "Unicode in NFC" in read_text(written(tmp_path / "nfc.txt", DUTCH.encode())).provenance


PIECES = st.text(st.sampled_from("ab\r\n é́̈ᄀ각ᅡᆨ각াৗো👍漢"))


@settings(max_examples=300, deadline=None)
@given(text=PIECES | st.text(), piece_bytes=st.integers(1, 9), encoding=st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_pieces_of_any_size_make_the_same_text(
    text: str, piece_bytes: int, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = text.encode("utf-8", "ignore").decode()
    path = written(tmp_path_factory.getbasetemp() / "pieces.txt", text.encode(encoding))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(text_file, "PIECE_BYTES", piece_bytes)
        ours = "".join(TextPieces(path, encoding, keep_licences=False))
    assert ours == unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\ufeff", ""))


def test_a_character_that_composes_stays_with_the_one_before_it() -> None:
    pairs = (unicodedata.decomposition(chr(code)).split() for code in range(0x110000))
    seconds = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    hangul = {unicodedata.normalize("NFD", chr(code))[i] for code in range(0xAC00, 0xD7A4) for i in (1, -1)}
    for second in seconds | hangul:
        assert last_boundary("xa" + second) == 1


@pytest.mark.parametrize(("num", "dtype"), [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65537, np.uint32)])
def test_an_id_takes_the_fewest_bytes(num: int, dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "PIECE_BYTES", 1000)
    # For private use; in descending order, so that numbers by first occurrence are all wrong.
    characters = [chr(0xF0000 + i + i // 0xFFFE * 2) for i in range(num)][::-1]
    text = "".join(characters) + "".join(characters[::-1])
    read = read_text(written(tmp_path / "book.txt", text.encode()))
    assert read.ids.dtype == dtype
    assert string_of(read) == text


@pytest.mark.parametrize("num", [255, 300, 70_000])
def test_ids_of_several_widths_become_one_text(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character_ids, "BLOCK", 10)
    text = "".join(chr(0xF0000 + i + i // 0xFFFE * 2) for i in range(num))
    collected = CharacterIds((text + text)[begin : begin + num // 10] for begin in range(0, 2 * num, num // 10))
    assert string_of(collected.text()) == text + text


def test_the_checksum_is_of_the_text(tmp_path: Path) -> None:
    one = read_text(written(tmp_path / "1.txt", DUTCH.encode("utf-16")))
    two = read_text(written(tmp_path / "2.txt", DUTCH.replace("\n", "\r\n").encode()))
    other = read_text(written(tmp_path / "3.txt", DUTCH.replace("boot", "toob").encode()))
    assert one.sha256 == two.sha256 != other.sha256
    assert one.vocabulary == other.vocabulary


def test_byte_order_marks_of_joined_files_are_removed(tmp_path: Path) -> None:
    assert string_of(read_text(written(tmp_path / "book.txt", DUTCH.encode("utf-8-sig") * 2))) == DUTCH * 2


def test_an_incomplete_character_at_the_end_is_removed(tmp_path: Path) -> None:
    read = read_text(written(tmp_path / "book.txt", RUSSIAN.strip().encode()[:-1]))
    assert string_of(read) == RUSSIAN.strip()[:-1]
    assert "incomplete character at the end removed" in read.provenance
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        read = read_text(written(tmp_path / "book.txt", RUSSIAN.encode(encoding)[:-1]))
        assert string_of(read) == RUSSIAN[:-1] and "removed" in read.provenance
        read = read_text(written(tmp_path / "plain.txt", "plain text\n".encode(encoding)[:-1]))
        assert string_of(read) == "plain text"
    latin = read_text(written(tmp_path / "latin.txt", "le café".encode("latin-1")))
    assert string_of(latin) == "le café"


HEADER = "The Project Gutenberg EBook of X\n\nTitle: X\n\n*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n"
OLD_HEADER = "Etext\n\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n"
LICENCE = (
    "\n\n*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n\nSection 1.  General Terms\n*** START: FULL LICENSE ***\n"
)
OLD_LICENCE = "\n\nEnd of Project Gutenberg's X, by Y\n\n"
STORY = "".join(f"{i} green bottles *** hanging\n" for i in range(40))


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (HEADER + STORY + LICENCE, STORY + "\n\n"),
        (HEADER + "\n\nProduced by A, B\nand C\n\n" + STORY + LICENCE, "\n" + STORY + "\n\n"),
        (HEADER + STORY + "\n\nEnd of the Project Gutenberg EBook of X, by Y\n" + LICENCE[1:], STORY + "\n\n"),
        (OLD_HEADER + STORY + OLD_LICENCE, STORY + "\n\n"),
        (OLD_HEADER + STORY + OLD_LICENCE.replace("of P", "of The P").replace("'s", " Etext of"), STORY + "\n\n"),
        (
            2 * (OLD_HEADER + STORY + OLD_LICENCE.replace("of P", "of the P").replace("'s", " eBook of")),
            2 * (STORY + "\n\n"),
        ),
        (HEADER.replace("EBOOK", "ETEXT") + STORY + LICENCE.replace("EBOOK", "ETEXT"), STORY + "\n\n"),
        (2 * (HEADER + "\n\nProduced by A, B\nand C\n\n" + STORY + LICENCE), 2 * ("\n" + STORY + "\n\n")),
        (2 * (HEADER + STORY + LICENCE), 2 * (STORY + "\n\n")),
        (HEADER + STORY, STORY),
        (STORY + LICENCE, STORY + LICENCE),
        (STORY, STORY),
    ],
)
def test_header_and_licence_are_removed(
    text: str, kept: str, piece_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_file, "PIECE_BYTES", piece_bytes)
    monkeypatch.setattr(gutenberg, "HEADER_MAX", 200)
    monkeypatch.setattr(gutenberg, "MARK_MAX", 150)
    path = written(tmp_path / "book.txt", text.encode())
    read = read_text(path)
    assert string_of(read) == kept
    removed = f"licence removed ({len(text) - len(kept):,} characters)"
    assert (removed in read.provenance) == (text != kept)
    assert read_string(path) == text


def test_a_licence_without_a_book_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no text but"):
        read_text(written(tmp_path / "book.txt", HEADER.encode()))


@pytest.mark.slow
def test_memory_is_little_more_than_the_ids(tmp_path: Path) -> None:
    """A text of 30 million characters beyond Latin-1: memory grows by little more than a byte for each."""
    path = tmp_path / "book.txt"
    path.write_text(RUSSIAN * (30_000_000 // len(RUSSIAN)))
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from datamodules.text_file import read_text\n"
        "peak = lambda: 1024 * int(re.search(r'VmHWM:\\s*(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak(); text = read_text(Path(sys.argv[1])); print((peak() - before) / len(text.ids))"
    )
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True, text=True, check=True)
    assert 1 <= float(done.stdout) < 2.5
