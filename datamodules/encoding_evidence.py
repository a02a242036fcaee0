"""What there is to tell the encoding of a file by: lines beyond ASCII, and how they look in each encoding."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from datamodules.text_oddities import is_common_western, is_text, num_oddities, share_of_capitals

SAMPLE_BYTES = 1 << 16
"""Bytes of lines beyond ASCII that an encoding is detected from."""

PIECE_BYTES = 1 << 20
"""Bytes read at a time."""

LINE_PARTS = re.compile(rb".{1,4095}(?:\s|\Z)|.{1,4096}", re.DOTALL)
"""Parts of a line: to its end, or to a space before 4,096 bytes if there is one."""

FEW = 8
"""Fewer bytes or letters beyond ASCII say nothing."""

CAPITALS_MAX = 0.5
"""Largest share of capitals among the letters beyond ASCII; chardet was made for sentences."""

CAPITALS_OF_SENTENCES = (0.003, 0.2)
"""Smallest and largest share of capitals among the letters of a script other than Latin; Russian prose has 0.03."""

LETTERS_MIN = 500
"""In so many letters of sentences some are capitals."""

WESTERN = ("cp1252", "iso8859-1")
"""The second is for texts with bytes that the first does not have."""

WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
"""Encodings with several bytes for each character, also of ASCII."""

HIGH_BYTES = bytes(range(128, 256))


class Sample(NamedTuple):
    """Lines of a file that are not ASCII, the number of their bytes beyond ASCII, and of all bytes of the file.

    Every byte beyond ASCII that occurs in the file is in one of the lines.
    """

    lines: list[bytes]
    num_high: int
    num_bytes: int

    def num_high_in_lines(self) -> int:
        """Bytes beyond ASCII in the lines of the sample."""
        return sum(len(line) - len(line.translate(None, HIGH_BYTES)) for line in self.lines)


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


class Candidate(NamedTuple):
    """An encoding in which a file is a text.

    Args:
        encoding: its name.
        confidence: chardet's, from 0 to 1.
        num_oddities: in the text, with bytes that are not valid.
        is_western: whether the text is that of Windows-1252, or of ISO-8859-1 if that has no such bytes.
        share_of_letters: among its characters beyond ASCII.
        is_common: whether its letters are those of the large Western languages.
        has_own_script: whether most letters are beyond ASCII, as in Russian or Japanese.
        has_usual_capitals: whether its letters beyond ASCII are neither mostly capitals, which chardet does not know,
            nor, in scripts that have no ASCII letters, all small.
    """

    encoding: str
    confidence: float
    num_oddities: int
    is_western: bool
    share_of_letters: float
    is_common: bool
    has_own_script: bool
    has_usual_capitals: bool


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
            texts[text] = Candidate(
                encoding,
                1.0 if encoding in WIDE else confidence,
                num_oddities(text) + text.count("\ufffd"),
                is_western,
                num_letters_beyond_ascii(text) / max(1, sum(not character.isascii() for character in text)),
                is_common_western(text),
                has_own_script(text),
                has_usual_capitals(text),
            )
    return sorted(texts.values(), key=lambda candidate: -candidate.confidence)


def has_usual_capitals(text: str) -> bool:
    """Whether the share of capitals beyond ASCII is that of sentences."""
    num_letters = num_letters_beyond_ascii(text)
    share = share_of_capitals(text)
    if share is None or num_letters < FEW:
        return True
    low, high = CAPITALS_OF_SENTENCES
    if num_letters > LETTERS_MIN and has_own_script(text):
        return low <= share <= high
    return share <= CAPITALS_MAX


def has_own_script(text: str) -> bool:
    """Whether most letters are beyond ASCII."""
    return 2 * num_letters_beyond_ascii(text) > sum(map(str.isalpha, text))


def num_letters_beyond_ascii(text: str) -> int:
    return sum(letter.isalpha() for letter in text if not letter.isascii())


def has_spaces(text: str) -> bool:
    """Whether a text has spaces or line ends, which with the bytes in another order are other characters."""
    return text.count(" ") + text.count("\n") > text.count("\u2000") + text.count("\u0a00")


def decoded(lines: list[bytes], encoding: str) -> str:
    """The text of the lines, each of which may end within a character; bytes that are not valid become U+FFFD."""
    make = codecs.getincrementaldecoder(encoding)
    return "".join(make("replace").decode(line) for line in lines)
