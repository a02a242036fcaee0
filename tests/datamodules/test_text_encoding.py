"""The encoding of a text file is detected, and what is not a text is rejected."""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest

from datamodules import text_file
from datamodules.text_file import read_string, read_text
from tests.datamodules import prose

TYPEWRITER = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "—": "-", "«": '"', "»": '"', "œ": "oe"})
"""Characters that older encodings lack, and what was typed instead."""


def typed(text: str) -> str:
    return text.translate(TYPEWRITER)


COMMON = (
    *("utf-8", "utf-16-le", "utf-16-be", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("iso8859-1", "iso8859-2", "iso8859-5", "iso8859-7", "koi8-r", "shift_jis", "euc-jp", "euc-kr", "big5", "gb18030"),
)

EAST_ASIAN = ("shift_jis", "euc-jp", "euc-kr", "big5", "gb18030")

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
    ("cp1251", prose.UKRAINIAN),
    ("koi8-u", typed(prose.UKRAINIAN)),
    ("iso8859-5", typed(prose.UKRAINIAN)),
    ("cp1254", prose.TURKISH),
    ("iso8859-9", typed(prose.TURKISH)),
    ("cp1255", prose.HEBREW),
    ("iso8859-8", typed(prose.HEBREW)),
    ("cp1256", prose.ARABIC),
    ("iso8859-6", prose.ARABIC),
    ("cp1250", prose.HUNGARIAN),
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
            monkeypatch.setattr("datamodules.encoding_evidence.SAMPLE_BYTES", num_bytes)
            (tmp_path / "book.txt").write_bytes((text * 5).encode(encoding))
            assert read_string(tmp_path / "book.txt") == text * 5, encoding


@pytest.mark.parametrize("num", [1, 2, 40])
def test_no_text_is_read_wrong(num: int, tmp_path: Path) -> None:
    """Every language in every encoding that has its characters: read rightly, or refused with its best guesses."""
    outcomes = []
    for name, text in vars(prose).items():
        if not name.isupper():
            continue
        is_east_asian = max(text) >= "\u3000"
        for encoding in COMMON:
            if encoding in EAST_ASIAN and not is_east_asian:
                continue
            for spelled in (text, typed(text)):
                try:
                    content = (spelled * num).encode(encoding)
                except UnicodeEncodeError:
                    continue
                (tmp_path / "book.txt").write_bytes(content)
                try:
                    assert read_string(tmp_path / "book.txt") == spelled * num, (name, encoding)
                except ValueError as error:
                    assert "may be" in str(error) and "data.encoding" in str(error), (name, encoding, error)
                outcomes.append(encoding)
                break
    assert len(outcomes) > 90


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1250", "Dvořák Łódź Čapek"),
        ("cp1251", "Пушкин Москва"),
        ("koi8-r", "Пушкин Москва"),
        ("cp1253", "λόγος ψυχή"),
        ("cp1254", "Beşiktaş Ağrı"),
        ("cp1255", "שלום תורה"),
        ("shift_jis", "東京 さくら"),
        ("cp437", "café naïve über"),
        ("mac-roman", "café naïve"),
        ("cp1252", "café naïve “über”"),
    ],
)
@pytest.mark.parametrize("every", [5, 40, 400])
def test_foreign_words_in_english_are_never_read_wrong(encoding: str, words: str, every: int, tmp_path: Path) -> None:
    english = [
        "The",
        "road",
        "was",
        "only",
        "a",
        "path",
        "through",
        "the",
        "wood",
        "and",
        "nobody",
        "had",
        "walked",
        "there",
        "since",
        "spring\n",
    ]
    text = " ".join([*english * every, *words.split(), "\n"] * (3000 // every))
    (tmp_path / "book.txt").write_bytes(text.encode(encoding))
    try:
        assert read_string(tmp_path / "book.txt") == text
    except ValueError:
        assert encoding != "cp1252"


@pytest.mark.parametrize(
    "encoding", ["cp1251", "koi8-r", "iso8859-5", "cp866", "cp1253", "iso8859-7", "cp1254", "cp1250"]
)
def test_capitals_are_never_read_wrong(encoding: str, tmp_path: Path) -> None:
    for text in (prose.RUSSIAN, prose.GREEK, prose.TURKISH, prose.POLISH):
        capitals = typed(text).upper() * 20
        try:
            (tmp_path / "book.txt").write_bytes(capitals.encode(encoding))
        except UnicodeEncodeError:
            continue
        try:
            assert read_string(tmp_path / "book.txt") == capitals
        except ValueError as error:
            assert "not certain" in str(error)


def test_a_change_after_the_beginning_is_seen(tmp_path: Path) -> None:
    """Quotation marks of Windows-1252 far behind text that is also valid ISO-8859-1."""
    text = typed(prose.FRENCH) * 300 + "“Oui”\n"
    (tmp_path / "book.txt").write_bytes(text.encode("cp1252"))
    assert read_string(tmp_path / "book.txt") == text


def test_misprints_do_not_hide_the_encoding(tmp_path: Path) -> None:
    text = (prose.POLISH * 40).replace("że", "ż€", 3)
    (tmp_path / "book.txt").write_bytes(text.encode("cp1250"))
    assert read_string(tmp_path / "book.txt") == text


@pytest.mark.parametrize("line_end", ["", "\r", "\r\n"])
def test_a_text_in_one_line(line_end: str, tmp_path: Path) -> None:
    text = (prose.RUSSIAN * 5).replace("\n", line_end or " ")
    for encoding in ("cp1251", "koi8-r", "utf-16-le", "utf-16-be"):
        (tmp_path / "book.txt").write_bytes((text if "16" in encoding else typed(text)).encode(encoding))
        expected = (text if "16" in encoding else typed(text)).replace("\r\n", "\n").replace("\r", "\n")
        assert read_string(tmp_path / "book.txt") == expected


def test_a_long_line_is_seen_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.encoding_evidence.SAMPLE_BYTES", 5000)
    text = typed(prose.FRENCH).replace("\n", " ") * 60 + "“Oui”"
    (tmp_path / "book.txt").write_bytes(text.encode("cp1252"))
    assert read_string(tmp_path / "book.txt") == text


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (gzip.compress(b"a book", mtime=0), "gzip"),
        (bz2.compress(b"a book"), "bzip2"),
        (lzma.compress(b"a book"), "xz"),
        (zipped({"book.txt": "a book"}), "ZIP"),
        (zipped({"mimetype": "application/epub+zip", "META-INF/container.xml": "x"}), "EPUB"),
        (zipped({"[Content_Types].xml": "x", "word/document.xml": "x"}), "Word"),
        (zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "x"}), "OpenDocument"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512), "Word"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj", "PDF"),
        (b"%PDF-1.7\n1 0 obj\n", "PDF"),
        (b"{\\rtf1\\ansi a book}", "RTF"),
        (b"<!DOCTYPE html>\n<html><body>a book</body></html>", "HTML"),
        (b"\xef\xbb\xbf<!-- saved -->\n<HTML lang=de>" + "für".encode(), "HTML"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x">\n<html/>', "HTML"),
        ("<html><body>für</body></html>".encode("latin-1"), "HTML"),
        (b"A book".ljust(60, b"\0") + b"BOOKMOBI", "Kindle"),
        (b"SQLite format 3\0" + bytes(100), "sqlite"),
    ],
)
def test_other_formats_are_refused_by_name(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(ValueError, match=f"book.txt is .*{name}.*plain text is expected; "):
        read_text(tmp_path / "book.txt")


@pytest.mark.parametrize(
    "text",
    [
        "%PDF is a format.\n",
        "The tag <html> begins a page.\n",
        "<i>A book</i>\n",
        "BZh is no word.\n",
        "{\\r}\n",
        "~{x~}\n",
    ],
)
def test_a_text_about_other_formats_is_a_text(text: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(text)
    assert read_string(tmp_path / "book.txt") == text


def test_the_place_of_a_wrong_byte_is_shown(tmp_path: Path) -> None:
    lines = b"one\ntwo\n" + "drei für\tvier".encode() + b"\xff und f\xc3\xbcnf\nsix\n"
    (tmp_path / "book.txt").write_bytes(lines)
    with pytest.raises(ValueError, match=r"0xff at offset 22 .*line 3: .*drei für vier\\xff und fünf") as raised:
        read_text(tmp_path / "book.txt", "utf-8")
    assert "\n" not in str(raised.value)


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
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", None, "is a file of type image/png"),
        (gzip.compress(RUSSIAN * 50, mtime=0), None, "is a gzip archive"),
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


def test_a_byte_that_does_not_fit_the_rest_is_not_overlooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.encoding_evidence.SAMPLE_BYTES", 1000)
    (tmp_path / "book.txt").write_bytes((prose.POLISH * 5).encode("cp1250") + b"\x81")
    with pytest.raises(ValueError, match="encoding is not certain"):
        read_text(tmp_path / "book.txt")


def test_a_folder_or_a_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(ValueError, match="no such file"):
        read_text(tmp_path / "nothing")
