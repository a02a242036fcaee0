"""The encoding of a text file: its byte order mark, else UTF-8 where that is valid, else what chardet detects."""

import codecs
import unicodedata
from pathlib import Path

SAMPLE_BYTES = 1 << 16
"""Bytes that an encoding is detected from."""

ODD_MAX = 0.001
"""Largest fraction of control characters and unassigned code points in a text; in compressed data it is a tenth."""

CONTROLS_OF_TEXT = set("\t\n\v\f\r\x08\x1a\x1b")
"""Control characters that a text may have."""

CONFIDENCE_MIN = 0.1
"""Below this confidence, Windows-1252 is a better guess than chardet's; a few words of a Western text have it."""

CONTINUATION_BYTES_MIN = 8
"""So many continuation bytes of UTF-8 do not occur by chance. One in seven characters of GB 18030 is valid UTF-8."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class InvalidBytesError(ValueError):
    """A file has bytes that are not valid in the encoding it is read in.

    Args:
        path: the file.
        encoding: the codec.
        error: from the decoder.
        offset: of the first invalid byte, in the file.
        num_continuation_bytes: bytes before ``offset`` less the characters that they encode.
    """

    def __init__(
        self, path: Path, encoding: str, error: UnicodeDecodeError, offset: int, num_continuation_bytes: int
    ) -> None:
        super().__init__(
            f"{path} is read as {encoding}, but byte 0x{error.object[error.start]:02x} at offset {offset} is not valid "
            "in it; repair the file or convert it to UTF-8, or, for a book, set data.encoding to its encoding"
        )
        self.offset = offset
        self.num_continuation_bytes = num_continuation_bytes


def check_encoding(name: str) -> None:
    """Reject names of encodings that Python cannot decode text with."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding is {name!r}; it must be a text encoding of Python, such as utf-8, cp1252 or utf-16"
        ) from None


def first_guess(path: Path) -> str:
    """UTF-8, unless the first bytes of the file are a byte order mark of another encoding, or not text in UTF-8.

    Raises:
        ValueError: the file is not a text.
    """
    head = read_sample(path, 0)
    marked = (encoding for mark, encoding in BYTE_ORDER_MARKS if head.startswith(mark))
    return next(marked, None) or ("utf-8" if is_text(head, "utf-8") else detect_encoding(path, 0))


def detect_encoding(path: Path, offset: int) -> str:
    """The encoding that chardet detects in the bytes from ``offset`` on; all before it are ASCII."""
    import chardet

    sample = read_sample(path, offset)
    guess = chardet.detect(sample, prefer_superset=False, compat_names=False)
    encoding = guess["encoding"]
    if encoding == "iso8859-1" or guess["confidence"] < CONFIDENCE_MIN:
        encoding = "cp1252"  # it has typographic quotes where Latin-1 has control characters, which no text uses
    if encoding is None or not is_text(sample, encoding):
        raise ValueError(
            f"{path} is a binary file, but a text is expected; convert it to UTF-8, or, for a book, set data.encoding "
            "to its encoding"
        )
    return encoding


def is_text(sample: bytes, encoding: str) -> bool:
    """Whether the sample has no NUL, and hardly any control character or unassigned code point."""
    string = codecs.getincrementaldecoder(encoding)("replace").decode(sample)  # its last character may be incomplete
    odd = (c for c in set(string) - CONTROLS_OF_TEXT if unicodedata.category(c) in {"Cc", "Cn", "Cs"})
    return "\0" not in string and sum(map(string.count, odd)) <= ODD_MAX * len(string)


def is_damaged_utf8(path: Path, error: InvalidBytesError) -> bool:
    """Whether a file that is not valid UTF-8 is UTF-8 all the same: most characters beyond ASCII are valid."""
    if error.num_continuation_bytes >= CONTINUATION_BYTES_MIN:
        return True
    string = read_sample(path, error.offset).decode("utf-8", "replace")
    num_invalid = string.count("\ufffd")
    num_valid = len(string) - len(string.encode("ascii", "ignore")) - num_invalid
    return error.num_continuation_bytes + num_valid > num_invalid


def read_sample(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(SAMPLE_BYTES)
