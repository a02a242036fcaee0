"""Known books: downloaded on first use, then kept in the user's cache folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from datamodules.character_ids import Text
from datamodules.download import cache_folder, fetch
from datamodules.text_file import existing, read_text, text_from_string


class KnownBook(NamedTuple):
    """A book that can be downloaded.

    Args:
        url: of a text file.
        sha256: of the file; ``None`` if the source updates it.
    """

    url: str
    sha256: str | None = None


def gutenberg(number: int) -> KnownBook:
    """Book ``number`` of Project Gutenberg, which updates its files when mistakes are corrected."""
    return KnownBook(f"https://www.gutenberg.org/cache/epub/{number}/pg{number}.txt")


BOOKS: Mapping[str, KnownBook] = {
    "grimm": gutenberg(2591),  # Grimms' Fairy Tales, in English
    "democracy_in_america": gutenberg(815),  # Tocqueville, Democracy in America, volume 1, in English
    "anna_karenina_nl": gutenberg(13214),  # Tolstoy, Anna Karenina, in Dutch
    "darwin_nl": gutenberg(33764),  # Darwin, The Voyage of the Beagle, in Dutch
    "alice": gutenberg(11),  # Carroll, Alice's Adventures in Wonderland
    "tinyshakespeare": KnownBook(  # 40,000 lines of Shakespeare, as in char-rnn
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}

PYTHON_REFERENCE = "python_reference"
"""A book that needs no download: Python's own language reference, which comes with Python."""


def read_book(book: str, encoding: str | None = None) -> Text:
    """The text of a known book, downloaded if necessary, or of any text file.

    Args:
        book: a known book's name, or a path.
        encoding: of the file; detected by default.
    Returns:
        the text; its ``provenance`` begins with the book's name.
    Raises:
        ValueError: the book or file does not exist, cannot be downloaded, or is not a text.
    """
    if book == PYTHON_REFERENCE:
        from pydoc_data.topics import topics

        if encoding is not None:
            raise ValueError(f"encoding is {encoding!r}, but {book} is not a file; leave it out")
        text = text_from_string("\n".join(topics[topic] for topic in sorted(topics)))
        return described(book, text, "comes with Python")
    if book in BOOKS:
        downloaded = download(book)
        return described(f"{book} ({downloaded})", read_text(downloaded, encoding))
    if (path := existing(book)) is None:
        where = "download it and give the file's path" if "://" in book else "give the path of a text file"
        raise ValueError(f"book is {book!r}: no such file; {where}, or one of {', '.join([*BOOKS, PYTHON_REFERENCE])}")
    return described(book, read_text(path, encoding))


def described(name: str, text: Text, provenance: str = "") -> Text:
    size = f"{len(text.ids):,} characters, {len(text.vocabulary)} of them different"
    return replace(text, provenance=f"Book {name}: {size}; {provenance or text.provenance}.")


def download(name: str) -> Path:
    """The file of a known book in the user's cache folder, downloaded unless it exists."""
    book = BOOKS[name]
    way_out = f"without a network, use --data.book {PYTHON_REFERENCE} or the path of any text file"
    return fetch(name, book.url, book.sha256, cache_folder("books") / f"{name}.txt", way_out)
