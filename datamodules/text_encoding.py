"""The encoding of a text file: its byte order mark, else UTF-8 where that is valid, else what chardet detects."""

import codecs
from pathlib import Path

from datamodules.encoding_evidence import FEW, PIECE_BYTES, SAMPLE_BYTES, WIDE, candidates_for, decoded, read_sample
from datamodules.file_formats import format_of
from datamodules.text_oddities import is_text

CONTINUATION_BYTES_MIN = 8
"""So many continuation bytes of UTF-8 do not occur by chance. One in seven characters of GB 18030 is valid UTF-8."""

CONFIDENCE_MIN = 0.15
"""Below this confidence of chardet only Windows-1252 is certain. Texts of 4 kB in languages that it knows have 0.2 and
more."""

LEAD = 0.97
"""Another encoding whose confidence is at least this share of the best is as good."""

SPARSE = 0.01
"""Below this share of bytes beyond ASCII, and below ``FEW`` of them, chardet has no evidence. Then the encoding is
Windows-1252 unless that looks odd: its languages are written with few such letters, others are not."""

OWN_CONFIDENCE_MIN = 0.5
"""The same for a text with few bytes beyond ASCII that is not Windows-1252, and for scripts other than Latin, of which
chardet is more certain."""

ODDITIES_MIN = 0.02
"""An encoding in which so large a share of the bytes beyond ASCII looks odd is wrong; fewer are misprints."""

ODDITIES_MAX = 0.2
"""No text has a larger share of oddities. Some are none, as in Chinese or in Turkish words with many accents."""

RARE = (
    *("cp037", "cp500", "cp720", "cp737", "cp775", "cp852", "cp855", "cp857", "cp858", "cp861", "cp862", "cp863"),
    *("cp864", "cp865", "cp869", "cp1006", "hp-roman8", "johab", "kz1048", "mac-iceland", "mac-latin2", "ptcp154"),
    *("iso8859-3", "iso8859-4", "iso8859-10", "iso8859-14", "iso8859-16"),
)
"""Encodings that lose against others that are as good."""

GUESSES_MAX = 3
"""The most encodings that a message names."""

ISO_2022 = (b"\x1b$@", b"\x1b$B", b"\x1b$)", b"\x1b(J")
"""Escape sequences with which the ISO 2022 encodings of East Asia leave ASCII. All their bytes are valid UTF-8."""

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

EXCERPT_BYTES = 30
"""Bytes before and after an invalid one that a message shows."""


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
            f"in it{place_of(path, offset, encoding)}; repair the file or convert it to UTF-8, or, for a book, set "
            "data.encoding to its encoding"
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


def place_of(path: Path, offset: int, encoding: str) -> str:
    """The line of this byte and the text around it, in brackets; nothing for encodings whose line ends are no bytes."""
    if codecs.lookup(encoding).name.startswith(("utf-16", "utf-32")):
        return ""
    line, before = 1, b""
    with path.open("rb") as file:
        for begin in range(0, offset, PIECE_BYTES):
            piece = file.read(min(PIECE_BYTES, offset - begin))
            line += piece.count(b"\n")
            before = (before + piece)[-EXCERPT_BYTES:]
        after = file.read(EXCERPT_BYTES)
    # The excerpt may begin within a character.
    text = before.rpartition(b"\n")[2].decode(encoding, "ignore") + after.decode(encoding, "backslashreplace")
    shown = "".join(character if character.isprintable() else " " for character in text.partition("\n")[0])
    return f" (line {line}: ...{' '.join(shown.split())}...)"


def first_guess(path: Path) -> str:
    """UTF-8, unless the first bytes of the file are a byte order mark of another encoding, or not text in UTF-8.

    Raises:
        ValueError: the file is not a text.
    """
    with path.open("rb") as file:
        head = file.read(SAMPLE_BYTES)
    if (marked := next((name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)), None)) is not None:
        return marked
    is_plain = is_text(decoded([head], "utf-8"))
    if (found := format_of(head, is_plain)) is not None:
        raise ValueError(f"{path} is {found[0]}, but a plain text is expected; {found[1]}")
    return (seven_bit_encoding(head) or "utf-8") if is_plain else detect_encoding(path)


def seven_bit_encoding(head: bytes) -> str | None:
    """The encoding of East Asia that a text seems to be in, all of whose bytes are ASCII, if any."""
    if not any(escape in head for escape in ISO_2022) and not (b"~{" in head and b"~}" in head):
        return None
    import chardet

    encoding = str(chardet.detect(head, compat_names=False)["encoding"])
    return encoding if encoding.startswith(("iso2022", "hz")) else None


def detect_encoding(path: Path) -> str:
    """The encoding of a file that is not UTF-8.

    Raises:
        ValueError: it is not a text, or several encodings are as likely.
    """
    sample = read_sample(path)
    candidates = candidates_for(sample.lines)
    if not candidates:
        raise ValueError(
            f"{path} is a binary file, but a text is expected; convert it to UTF-8, or, for a book, set data.encoding "
            "to its encoding"
        )
    limit = 2 * min(candidate.num_oddities for candidate in candidates) + 1
    plausible = [candidate for candidate in candidates if candidate.num_oddities <= limit]
    certain = [candidate for candidate in plausible if candidate.confidence >= LEAD * plausible[0].confidence]
    certain = [candidate for candidate in certain if candidate.encoding not in RARE] or certain
    western = [candidate for candidate in plausible if candidate.is_western]
    best, first = certain[0], candidates[0]
    num_high = sample.num_high_in_lines()
    letters = western[0].share_of_letters if western else 1.0  # quotation marks say nothing
    is_sparse = sample.num_high < FEW or letters * sample.num_high < SPARSE * sample.num_bytes
    if is_sparse and western and western[0].is_common and western[0].num_oddities <= max(1, ODDITIES_MIN * num_high):
        return western[0].encoding
    is_better = best.confidence >= LEAD * first.confidence or first.num_oddities >= ODDITIES_MIN * num_high
    least = OWN_CONFIDENCE_MIN if is_sparse or best.has_own_script else CONFIDENCE_MIN
    most_odd = (ODDITIES_MIN if best.is_western else ODDITIES_MAX) * num_high
    is_odd = best.encoding not in WIDE and best.num_oddities > max(1, most_odd)
    is_likely = best.confidence >= least or (best.is_western and best.is_common)
    has_evidence = best.has_usual_capitals and is_likely and not is_odd
    if len(certain) > 1 or not has_evidence or not is_better:
        guesses = list(dict.fromkeys(candidate.encoding for candidate in (*certain, *candidates)))[:GUESSES_MAX]
        raise ValueError(
            f"{path} is not UTF-8, and its encoding is not certain; it may be {' or '.join(guesses)}: convert it to "
            "UTF-8, or, for a book, set data.encoding"
        )
    return best.encoding


def is_damaged_utf8(path: Path, error: InvalidBytesError) -> bool:
    """Whether a file that is not valid UTF-8 is UTF-8 all the same: most characters beyond ASCII are valid."""
    if error.num_continuation_bytes >= CONTINUATION_BYTES_MIN:
        return True
    with path.open("rb") as file:
        file.seek(error.offset)
        string = file.read(SAMPLE_BYTES).decode("utf-8", "replace")
    num_invalid = string.count("\ufffd")
    num_valid = len(string) - len(string.encode("ascii", "ignore")) - num_invalid
    return error.num_continuation_bytes + num_valid > num_invalid
