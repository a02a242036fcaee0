"""The encoding of a text file: its byte order mark, else UTF-8 where that is valid, else what chardet detects."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from datamodules.file_formats import format_of
from datamodules.text_oddities import is_text, num_oddities

SAMPLE_BYTES = 1 << 16
"""Bytes of lines beyond ASCII that an encoding is detected from."""

PIECE_BYTES = 1 << 20
"""Bytes read at a time."""

LINE_PARTS = re.compile(rb".{1,4095}(?:\s|\Z)|.{1,4096}", re.DOTALL)
"""Parts of a line: to its end, or to a space before 4,096 bytes if there is one."""

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

FEW = 8

ODDITIES_MIN = 0.02
"""An encoding in which so large a share of the bytes beyond ASCII looks odd is wrong; fewer are misprints."""

WESTERN = ("cp1252", "iso8859-1")
"""The second is for texts with bytes that the first does not have."""

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

WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
"""Encodings with several bytes for each character, also of ASCII."""

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


class Sample(NamedTuple):
    """Lines of a file that are not ASCII, the number of their bytes beyond ASCII, and of all bytes of the file.

    Every byte beyond ASCII that occurs in the file is in one of the lines.
    """

    lines: list[bytes]
    num_high: int
    num_bytes: int


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
    if western and sample.num_high < max(FEW, SPARSE * sample.num_bytes):
        return western[0].encoding
    best, first = certain[0], candidates[0]
    is_better = best.confidence >= LEAD * first.confidence or first.num_oddities >= ODDITIES_MIN * sample.num_high
    has_evidence = best.confidence >= CONFIDENCE_MIN or best.is_western
    if len(certain) > 1 or not has_evidence or not is_better:
        guesses = list(dict.fromkeys(candidate.encoding for candidate in (*certain, *candidates)))[:GUESSES_MAX]
        raise ValueError(
            f"{path} is not UTF-8, and its encoding is not certain; it may be {' or '.join(guesses)}: convert it to "
            "UTF-8, or, for a book, set data.encoding"
        )
    return best.encoding


class Candidate(NamedTuple):
    """An encoding in which a file is a text.

    Args:
        encoding: its name.
        confidence: chardet's, from 0 to 1.
        num_oddities: in the text, with bytes that are not valid.
        is_western: whether the text is that of Windows-1252, or of ISO-8859-1 if that has no such bytes.
    """

    encoding: str
    confidence: float
    num_oddities: int
    is_western: bool


def candidates_for(lines: list[bytes]) -> list[Candidate]:
    """The encodings in which these lines are a text, the most likely first; one of those that give the same text."""
    import chardet

    content = b"".join(lines)
    results = chardet.detect_all(
        content, ignore_threshold=True, prefer_superset=False, compat_names=False, max_bytes=len(content)
    )
    confidences = {str(result["encoding"]): result["confidence"] for result in results if result["encoding"]}
    enough = max(confidences.values(), default=0.0) / 2
    texts: dict[str, Candidate] = {}
    for encoding in dict.fromkeys([*confidences, *(WIDE if b"\0" in content else ()), *WESTERN]):
        confidence, is_western = confidences.get(encoding, 0.0), encoding in WESTERN
        if confidence < enough and not is_western and encoding not in WIDE:
            continue
        text = decoded(lines, encoding)
        if text in texts:
            if is_western:  # of the names for the same text, the one that most files deserve
                name = WESTERN[0] if encoding == WESTERN[0] else texts[text].encoding
                texts[text] = texts[text]._replace(encoding=name, is_western=True)
        elif is_text(text) and not (encoding in WIDE and not has_spaces(text)):
            confidence = 1.0 if encoding in WIDE else confidence
            texts[text] = Candidate(encoding, confidence, num_oddities(text) + text.count("\ufffd"), is_western)
    return sorted(texts.values(), key=lambda candidate: -candidate.confidence)


def has_spaces(text: str) -> bool:
    """Whether a text has spaces or line ends, which with the bytes in another order are other characters."""
    return text.count(" ") + text.count("\n") > text.count("\u2000") + text.count("\u0a00")


def decoded(lines: list[bytes], encoding: str) -> str:
    """The text of the lines, each of which may end within a character; bytes that are not valid become U+FFFD."""
    make = codecs.getincrementaldecoder(encoding)
    return "".join(make("replace").decode(line) for line in lines)


def read_sample(path: Path) -> Sample:
    """Lines of the whole file: the first ones that are not ASCII, and later ones with further bytes beyond ASCII."""
    lines: list[bytes] = []
    seen: set[int] = set()
    size = num_high = num_bytes = 0
    rest = b""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            num_bytes += len(piece)
            num_high += len(piece) - len(piece.translate(None, HIGH_BYTES))
            if b"\0" in piece and not lines:  # UTF-16, UTF-32 or no text: a line end is more than a byte
                return Sample([piece[:SAMPLE_BYTES]], len(piece), len(piece))
            *complete, rest = parts_of(rest + piece)
            for line in complete:
                if not line.isascii() and (size < SAMPLE_BYTES or not seen.issuperset(line)):
                    lines.append(line)
                    size += len(line)
                    seen.update(line)
    if not rest.isascii() or not lines:
        lines.append(rest)
    return Sample(lines, num_high, num_bytes)


def parts_of(content: bytes) -> list[bytes]:
    """Lines with their ends; long ones are cut at spaces, which are no part of another character."""
    parts = [part for line in content.splitlines(keepends=True) for part in LINE_PARTS.findall(line)]
    return [*parts, b""] if content.endswith((b"\n", b"\r")) else parts


HIGH_BYTES = bytes(range(128, 256))


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
