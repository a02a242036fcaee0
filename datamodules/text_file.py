"""Text files of any size and encoding, read piece by piece."""

import codecs
import io
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from datamodules.character_ids import CharacterIds, Text
from datamodules.gutenberg import LicenceRemover
from datamodules.text_encoding import InvalidBytesError, check_encoding, detect_encoding, first_guess, is_damaged_utf8

Collected = TypeVar("Collected")

PIECE_BYTES = 1 << 20
"""Bytes read at a time: enough to make the cost of a call negligible, few enough for the cache."""

INCOMPLETE = ("unexpected end of data", "truncated data", "incomplete multibyte sequence")
"""Reasons that decoders give when a file ends within a character."""


def read_text(path: Path, encoding: str | None = None) -> Text:
    """Read a text file as the ids of its characters.

    Line ends become line feeds, Unicode becomes NFC, Project Gutenberg's header and licence are removed.

    Args:
        path: the file.
        encoding: a codec's name; detected by default.
    Raises:
        ValueError: the file does not exist, is empty, is not a text, or is not valid in that encoding.
    """
    collected, pieces = read_pieces(path, encoding, CharacterIds)
    if not collected.characters:
        raise ValueError(f"{path} has no text but Project Gutenberg's header and licence; give another file")
    return replace(collected.text(), provenance=pieces.provenance())


def text_from_string(string: str) -> Text:
    """The ids of the characters of a string, in NFC."""
    return CharacterIds([unicodedata.normalize("NFC", string)]).text()


def existing(name: str) -> Path | None:
    """The file that a person has named, with the home folder in place of ``~``; ``None`` if there is nothing."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (RuntimeError, OSError):  # "~user" of no user, or the name is too long
        return None


def read_string(path: Path) -> str:
    """A small text file as a string, read by the same rules; Project Gutenberg's licence is kept.

    Raises:
        ValueError: the file does not exist, is empty, or is not a text.
    """
    string, _ = read_pieces(path, None, "".join, keep_licences=True)
    return string


def read_pieces(
    path: Path, encoding: str | None, collect: Callable[[Iterable[str]], Collected], keep_licences: bool = False
) -> tuple[Collected, "TextPieces"]:
    """What ``collect`` makes of a file's pieces, in the given encoding or the detected one."""
    check_file(path)
    if encoding is not None:
        check_encoding(encoding)
    pieces = TextPieces(path, encoding or first_guess(path), keep_licences)
    try:
        return collect(pieces), pieces
    except InvalidBytesError as error:
        if encoding is not None or pieces.encoding != "utf-8" or is_damaged_utf8(path, error):
            raise
        pieces = TextPieces(path, detect_encoding(path), keep_licences)
    return collect(pieces), pieces


def check_file(path: Path) -> None:
    """Reject anything but a readable file that is not empty."""
    try:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give a text file")
        if not path.exists():
            raise ValueError(f"{path}: no such file")
        if not path.is_file():
            raise ValueError(f"{path} is not a regular file; give a text file")
        if path.stat().st_size == 0:
            raise ValueError(f"{path} is empty; give a file with text in it")
        with path.open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


class TextPieces:
    """The characters of a file, piece by piece, and what was changed in them.

    Args:
        path: the file.
        encoding: a codec's name.
        keep_licences: keep Project Gutenberg's header and licence.
    """

    def __init__(self, path: Path, encoding: str, keep_licences: bool) -> None:
        self.path = path
        self.encoding = encoding
        self.licences = None if keep_licences else LicenceRemover()
        self.was_nfc = True
        self.line_ends = io.IncrementalNewlineDecoder(None, translate=True)
        self.ends_incomplete = False

    def __iter__(self) -> Iterator[str]:
        strings = self._with_line_feeds(self._decoded())
        return self._normalized(strings if self.licences is None else self.licences.remove(strings))

    def _decoded(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder(self.encoding)()
        num_bytes = num_characters = 0
        with self.path.open("rb") as file:
            is_last = False
            while not is_last:
                piece = file.read(PIECE_BYTES)
                is_last = not piece
                try:
                    string = decoder.decode(piece, final=is_last)
                except UnicodeDecodeError as error:
                    # The decoder puts the incomplete character at the end of one piece before the next.
                    offset = num_bytes + len(piece) - len(error.object) + error.start
                    valid = error.object[: error.start].decode(self.encoding, "replace")
                    wrong = InvalidBytesError(
                        self.path, self.encoding, error, offset, offset - num_characters - len(valid)
                    )
                    is_certain = self.encoding != "utf-8" or wrong.num_continuation_bytes > 0
                    if is_last and error.reason in INCOMPLETE and is_certain:
                        self.ends_incomplete = True
                        return
                    raise wrong from error
                except UnicodeError as error:  # UTF-16 and UTF-32 without a byte order mark
                    raise ValueError(f"{self.path} is not {self.encoding}: {error}; give another encoding") from error
                num_bytes += len(piece)
                num_characters += len(string)
                yield string

    def _with_line_feeds(self, strings: Iterator[str]) -> Iterator[str]:
        for string in strings:
            # Byte order marks are also in the middle of files that were joined.
            yield self.line_ends.decode(string).replace("\ufeff", "")
        yield self.line_ends.decode("", final=True)

    def _normalized(self, strings: Iterator[str]) -> Iterator[str]:
        """The text in NFC; characters that may combine with the next piece wait for it."""
        waiting = ""
        for string in strings:
            string = waiting + string
            end = last_boundary(string)
            waiting = string[end:]
            yield self._nfc(string[:end])
        yield self._nfc(waiting)

    def _nfc(self, string: str) -> str:
        normalized = unicodedata.normalize("NFC", string)
        self.was_nfc = self.was_nfc and normalized == string
        return normalized

    def provenance(self) -> str:
        """The file's encoding, and what was changed in the text."""
        names = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
        newlines = self.line_ends.newlines or ()
        line_ends = [names[end] for end in ([newlines] if isinstance(newlines, str) else newlines)]
        others = " and ".join(name for name in line_ends if name != "LF")
        facts = [self.encoding]
        if line_ends:
            facts.append(f"line ends {others} converted to LF" if others else "line ends LF")
        facts.append("Unicode in NFC" if self.was_nfc else "Unicode normalized to NFC")
        if self.licences is not None and self.licences.num_removed:
            facts.append(f"Project Gutenberg's header and licence removed ({self.licences.num_removed:,} characters)")
        if self.ends_incomplete:
            facts.append("incomplete character at the end removed")
        return "; ".join(facts)


def last_boundary(string: str) -> int:
    """The last place with no character before it that composes with one after it; 0 if there is none.

    Combining marks, and vowels and final consonants of Hangul, compose with a character before them. No others do.
    """
    for place in range(len(string) - 1, -1, -1):
        character = string[place]
        if character.isascii() or not (
            unicodedata.category(character).startswith("M") or "\u1160" <= character <= "\u11ff"
        ):
            return place
    return 0
