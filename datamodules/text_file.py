"""A text file of any size as the ids of its characters.

The file is read a piece at a time, and nothing is held but the ids themselves, in one, two or four bytes each.
"""

import codecs
import functools
import hashlib
import io
import logging
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from datamodules.gutenberg import Licences
from datamodules.vocabulary import Vocabulary

log = logging.getLogger(__name__)

PIECE_BYTES = 1 << 20
"""What is read at a time: large enough to make the cost of a call disappear, small enough for the cache."""

HEAD_BYTES = 1 << 16
"""What is looked at to tell text from other things."""

CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\x08\x1a\x1b")) + b"\x7f"
"""Control characters that hardly occur in a text, zero among them."""

CONTROLS_MAX = 0.001
"""The largest share of them in a text; in compressed data it is a tenth."""

BEYOND_ASCII_MAX = 0.25
"""The largest share of bytes beyond ASCII in a language that Latin-1 is for; in Cyrillic and Greek it is most."""

CUT_OFF = ("unexpected end of data", "truncated data")
"""What decoders say of a character of which only the beginning is there."""

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

NAMES = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8 with a byte order mark",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16 (little-endian, no byte order mark)",
    "utf-16-be": "UTF-16 (big-endian, no byte order mark)",
    "utf-32": "UTF-32",
    "latin-1": "Latin-1",
    "cp1252": "Windows-1252",
}


@dataclass
class Text:
    """A text as numbers.

    Args:
        ids: (N,) of an unsigned type, the smallest that holds them; each is a character's place in the vocabulary.
        vocabulary: the different characters.
        sha256: of the ids, in hexadecimal digits.
        history: in words, what the file's encoding was and what was changed.
    """

    ids: NDArray[np.unsignedinteger]
    vocabulary: Vocabulary
    sha256: str
    history: str


def read_text(path: Path, encoding: str | None = None) -> Text:
    """Read a text file.

    Line ends become line feeds, Unicode becomes NFC, Project Gutenberg's header and licence are cut off.

    Args:
        path: the file.
        encoding: a codec's name; found out by default (UTF-8, UTF-16, else Latin-1 or Windows-1252).
    Raises:
        ValueError: there is no such file, it is empty, no text, or not in that encoding.
    """
    check_file(path)
    numbered, pieces = read_pieces(path, encoding, Numbered)
    if not numbered.characters:
        raise ValueError(f"{path} has no text in it besides Project Gutenberg's header and licence; give another file")
    return numbered.text(pieces.history())


def as_text(string: str) -> Text:
    """The same of a text that is already there."""
    numbered = Numbered()
    numbered.add(unicodedata.normalize("NFC", string))
    return numbered.text("")


def read_string(path: Path) -> str:
    """A whole text file, read by the same rules, with nothing cut off; for files that are small.

    Raises:
        ValueError: there is no such file, or it is no text.
    """
    check_file(path)
    strings, _ = read_pieces(path, None, Strings, keep_licences=True)
    return "".join(strings)


class Strings(list[str]):
    """The pieces of a text as they are."""

    add = list[str].append

    def has_any_of(self, codes: range) -> bool:
        return any(chr(code) in string for code in codes for string in self)


class Numbered:
    """The pieces of a text as numbers, in the order in which the characters come first, until all are known."""

    def __init__(self) -> None:
        self.characters: list[int] = []  # their code points
        self._number = np.full(0x110000, UNSEEN, np.uint32)
        self._numbers = bytearray()
        self._dtype: np.dtype[np.unsignedinteger] = np.dtype(np.uint8)

    def add(self, string: str) -> None:
        codes = code_points(string)
        numbers = self._number.take(codes, mode="clip")
        unseen = numbers == UNSEEN
        if unseen.any():
            new = np.unique(codes[unseen])
            self._number[new] = np.arange(len(self.characters), len(self.characters) + len(new))
            self.characters += new.tolist()
            numbers = self._number.take(codes, mode="clip")
            self._widen(np.min_scalar_type(len(self.characters) - 1))
        self._numbers += numbers.astype(self._dtype).data

    def has_any_of(self, codes: range) -> bool:
        return not set(self.characters).isdisjoint(codes)

    def text(self, history: str) -> Text:
        """The whole text, its characters numbered in their order; to be called once."""
        order = np.argsort(self.characters)
        id_of = np.empty(len(order), self._dtype)
        id_of[order] = np.arange(len(order))
        ids = np.frombuffer(self._numbers, self._dtype)
        digest = hashlib.sha256()
        for part in np.split(ids, range(PIECE_BYTES, len(ids), PIECE_BYTES)):
            part[:] = id_of.take(part, mode="clip")  # several times as fast as indexing
            digest.update(part.data)
        vocabulary = Vocabulary("".join(map(chr, sorted(self.characters))))
        return Text(ids, vocabulary, digest.hexdigest(), history)

    def _widen(self, dtype: np.dtype[np.unsignedinteger]) -> None:
        """Give each number more bytes, in place: from the end on, so that none is overwritten before it is moved."""
        if dtype == self._dtype:
            return
        narrow = self._dtype
        num = len(self._numbers) // narrow.itemsize
        self._numbers += bytes(num * (dtype.itemsize - narrow.itemsize))
        before, after = np.frombuffer(self._numbers, narrow), np.frombuffer(self._numbers, dtype)
        for end in range(num, 0, -PIECE_BYTES):
            begin = max(0, end - PIECE_BYTES)
            after[begin:end] = before[begin:end].copy()
        self._dtype = dtype


UNSEEN = np.uint32(0xFFFFFFFF)


def check_file(path: Path) -> None:
    """Refuse what is no file with something in it."""
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a text file")
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        if not path.is_file():
            raise ValueError(f"{path} is no plain file; give a text file")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty; give a file with text in it")
        with path.open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


class Pieces:
    """The characters of a file, a piece at a time, and what was found on the way.

    Args:
        path: the file.
        encoding: a codec's name.
        keep_licences: leave Project Gutenberg's header and licence where they are.
    """

    def __init__(self, path: Path, encoding: str, keep_licences: bool) -> None:
        self.path = path
        self.encoding = encoding
        self.licences = None if keep_licences else Licences()
        self.was_composed = True
        self.line_ends: tuple[str, ...] = ()
        self.incomplete_end = False

    def __iter__(self) -> Iterator[str]:
        strings = self._decoded()
        if self.licences is not None:
            strings = self.licences.cut(strings)
        return self._composed(strings)

    def _decoded(self) -> Iterator[str]:
        """The text with line feeds as line ends."""
        codec = codecs.getincrementaldecoder(self.encoding)("strict")
        decoder = io.IncrementalNewlineDecoder(codec, translate=True)
        position, any_beyond_ascii = 0, False
        with self.path.open("rb") as file:
            while True:
                piece = file.read(PIECE_BYTES)
                try:
                    string = decoder.decode(piece, final=not piece)
                except UnicodeDecodeError as error:
                    before = error.object[: error.start].decode(self.encoding, "replace")
                    # A part of the last character of the piece before may stand in front of this one.
                    place = position + len(piece) - len(error.object) + error.start
                    utf8_so_far = any_beyond_ascii or not before.isascii()
                    # Only then is it UTF-8 for certain; the others have been found out by more than one character.
                    certain = utf8_so_far or self.encoding != "utf-8"
                    if not piece and error.reason in CUT_OFF and certain:
                        self.incomplete_end = True
                        return
                    raise WrongEncodingError(error, place, utf8_so_far) from error
                any_beyond_ascii = any_beyond_ascii or not string.isascii()
                string = string.replace("\ufeff", "")  # byte order marks, of files that were joined
                position += len(piece)
                ends = decoder.newlines
                self.line_ends = (ends,) if isinstance(ends, str) else ends or ()
                if string:
                    yield string
                if not piece:
                    return

    def _composed(self, strings: Iterator[str]) -> Iterator[str]:
        """The text in NFC; what may combine with the next piece waits for it."""
        waiting = ""
        for string in strings:
            string = waiting + string
            end = last_boundary(string)
            waiting = string[end:]
            yield self._compose(string[:end])
        yield self._compose(waiting)

    def _compose(self, string: str) -> str:
        if string.isascii():
            return string
        if self.was_composed:
            composed = unicodedata.normalize("NFC", string)
            self.was_composed = composed == string
            return composed
        # What has to be changed once has to be changed often, and unicodedata does that slowly.
        return unicodedata.normalize("NFC", with_pairs_composed(string))

    def history(self) -> str:
        """What the file was like, and what was changed, in words."""
        named = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
        others = [named[end] for end in self.line_ends if end != "\n"]
        words = [NAMES.get(self.encoding, self.encoding)]
        if self.line_ends:
            words.append(f"line ends {' and '.join(others)} made LF" if others else "line ends were LF")
        words.append("Unicode was in NFC" if self.was_composed else "Unicode normalized to NFC")
        if self.licences is not None and self.licences.num_cut:
            words.append(f"Project Gutenberg's header and licence cut off ({self.licences.num_cut:,} characters)")
        if self.incomplete_end:
            words.append("an incomplete character at the very end left out")
        return "; ".join(words)


class WrongEncodingError(Exception):
    """The file cannot be read that way.

    Args:
        error: what the decoder says.
        place: the offending byte's offset in the file.
        beyond_ascii: whether characters beyond ASCII had been read before that.
    """

    def __init__(self, error: UnicodeDecodeError, place: int, beyond_ascii: bool) -> None:
        super().__init__(str(error))
        self.byte = f"byte 0x{error.object[error.start]:02x} at offset {place}"
        self.beyond_ascii = beyond_ascii


Collected = TypeVar("Collected", Numbered, Strings)


def read_pieces(
    path: Path, encoding: str | None, into: type[Collected], keep_licences: bool = False
) -> tuple[Collected, Pieces]:
    """A file's characters, in the encoding given or the one that fits, collected."""
    if encoding is not None:
        return read_as(path, known_encoding(encoding, path), into, keep_licences)
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    guess = encoding_of(head)
    if guess is None:
        raise ValueError(f"{path} is a binary file, not a text; convert it to plain text in UTF-8 first")
    try:
        return collect(path, guess, into, keep_licences)
    except WrongEncodingError as wrong:
        if wrong.beyond_ascii or guess != "utf-8":
            raise ValueError(
                f"{path} looks like {NAMES[guess]}, but is damaged: {wrong.byte} does not belong there; mend the file, "
                "or convert it to UTF-8"
            ) from wrong
    # Not UTF-8 from the first character beyond ASCII on. Latin-1 has control characters from 0x80 to 0x9f, which no
    # text uses; Windows-1252 has typeset quotation marks and dashes there, and is the same beyond.
    if len(head.translate(None, bytes(range(0x80)))) > BEYOND_ASCII_MAX * len(head):
        log.warning("%s is not UTF-8 and is read as Latin-1, which it hardly is; if so, name its encoding.", path)
    collected, pieces = collect(path, "latin-1", into, keep_licences)
    if not collected.has_any_of(range(0x80, 0xA0)):
        return collected, pieces
    try:
        return collect(path, "cp1252", into, keep_licences)
    except WrongEncodingError as wrong:
        raise ValueError(
            f"{path} is neither UTF-8 nor UTF-16 nor Latin-1 nor Windows-1252; convert it to UTF-8"
        ) from wrong


def read_as(path: Path, encoding: str, into: type[Collected], keep_licences: bool) -> tuple[Collected, Pieces]:
    """The same in the encoding that a person has named."""
    try:
        return collect(path, encoding, into, keep_licences)
    except (WrongEncodingError, UnicodeError) as error:
        where = f": {error.byte}" if isinstance(error, WrongEncodingError) else ""
        raise ValueError(
            f"{path} is not {NAMES.get(encoding, encoding)}{where}; name another encoding, or none to have it found out"
        ) from error


def collect(path: Path, encoding: str, into: type[Collected], keep_licences: bool) -> tuple[Collected, Pieces]:
    pieces, collected = Pieces(path, encoding, keep_licences), into()
    for string in pieces:
        collected.add(string)
    return collected, pieces


def known_encoding(name: str, path: Path) -> str:
    """The codec of that name; a byte order mark is no part of the text."""
    try:
        codec = codecs.lookup(name)
        "a".encode(codec.name)
    except (LookupError, ValueError):
        raise ValueError(
            f"encoding is {name!r}; it must be one that Python knows, such as utf-8, latin-1 or utf-16"
        ) from None
    with path.open("rb") as file:
        head = file.read(4)
    marked = next((encoding for bom, encoding in BOMS if head.startswith(bom)), None)
    # The same, but for the byte order mark, which is no part of the text.
    if marked is not None and codec.name in (marked, marked.removesuffix("-sig"), f"{marked}-le", f"{marked}-be"):
        return marked
    return codec.name.replace("iso8859-1", "latin-1")


def encoding_of(head: bytes) -> str | None:
    """A first guess from the beginning of a file: ``utf-8`` where it may also be Latin-1, ``None`` for no text."""
    for bom, encoding in BOMS:
        if head.startswith(bom):
            return encoding
    num_controls = len(head) - len(head.translate(None, CONTROLS))
    if num_controls <= CONTROLS_MAX * len(head) and 0 not in head:
        return "utf-8"
    return utf16_of(head)


def utf16_of(head: bytes) -> str | None:
    """The kind of UTF-16 without a byte order mark that ``head`` is the beginning of; ``None`` if it is none.

    The first bytes of a text's characters are fewer different ones than the second: there are few blocks of characters
    in it, and many in each.
    """
    head = head[: len(head) // 2 * 2]
    guess = "utf-16-be" if len(set(head[::2])) < len(set(head[1::2])) else "utf-16-le"
    text = codecs.getincrementaldecoder(guess)("replace").decode(head)  # its last character may be cut in two
    num_odd = sum(unicodedata.category(character) in UNUSED for character in text) + text.count("\ufffd")
    return guess if "\0" not in text and num_odd <= CONTROLS_MAX * len(text) else None


UNUSED = ("Cn", "Co", "Cs")
"""Categories of code points that stand for no character."""


def last_boundary(string: str) -> int:
    """The last place before which nothing combines with anything after it; 0 if there is none.

    What follows it is a character that begins anew: no combining mark, nor a vowel or final consonant of Hangul, which
    are the characters that can be the second of a composed pair.
    """
    for place in range(len(string) - 1, -1, -1):
        character = string[place]
        if character.isascii() or not (
            unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
        ):
            return place
    return 0


def with_pairs_composed(string: str) -> str:
    """The same text, with the commonest marks (accents, diaereses, ...) composed with the letters before them."""
    codes = code_points(string)
    marks = np.flatnonzero((codes >= FIRST_MARK) & (codes <= LAST_MARK))
    marks = marks[marks > 0]
    letters = codes[marks - 1]
    composed = np.where(
        letters <= LAST_LETTER, composed_pairs()[np.minimum(letters, LAST_LETTER), codes[marks] - FIRST_MARK], 0
    )
    marks, composed = marks[composed > 0], composed[composed > 0]
    codes = codes.copy()
    codes[marks - 1] = composed
    kept = np.ones(len(codes), dtype=bool)
    kept[marks] = False
    return codes[kept].tobytes().decode("utf-32-le")


FIRST_MARK, LAST_MARK = 0x300, 0x36F
"""The combining diacritical marks."""

LAST_LETTER = 0x4FF
"""Latin, Greek and Cyrillic letters end here."""


@functools.cache
def composed_pairs() -> NDArray[np.uint32]:
    """What a letter and a mark are together, (letters, marks); 0 where there is no such character."""
    table = np.zeros((LAST_LETTER + 1, LAST_MARK + 1 - FIRST_MARK), np.uint32)
    for code in range(0x2000):
        pair = unicodedata.decomposition(chr(code)).split()
        if len(pair) == 2 and not pair[0].startswith("<"):
            letter, mark = (int(part, 16) for part in pair)
            if letter <= LAST_LETTER and FIRST_MARK <= mark <= LAST_MARK:
                table[letter, mark - FIRST_MARK] = code
    table[FIRST_MARK : LAST_MARK + 1] = 0  # of two marks the first goes with the letter before both
    return table


def code_points(string: str) -> NDArray[np.unsignedinteger]:
    """(N,), in one, two or four bytes each."""
    if string.isascii():
        return np.frombuffer(string.encode("ascii"), np.uint8)
    return np.frombuffer(string.encode("utf-32-le"), "<u4")
