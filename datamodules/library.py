"""Books that have a name here: fetched on first use, then kept in the user's cache folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from datamodules.download import cache_folder, fetch
from datamodules.text_file import Text, as_text, read_text


@dataclass(frozen=True)
class KnownBook:
    """A book that can be downloaded.

    Args:
        url: where it is.
        title: what it is.
        sha256: of the file; ``None`` where the source makes the file anew from time to time.
    """

    url: str
    title: str
    sha256: str | None = None


def gutenberg(number: int, title: str) -> KnownBook:
    """Number ``number`` of Project Gutenberg, whose files are made anew when a mistake is mended."""
    return KnownBook(f"https://www.gutenberg.org/cache/epub/{number}/pg{number}.txt", title)


BOOKS: Mapping[str, KnownBook] = {
    "grimm": gutenberg(2591, "Grimms' Fairy Tales, in English"),
    "democracy_in_america": gutenberg(815, "Tocqueville, Democracy in America, volume 1, in English"),
    "anna_karenina_nl": gutenberg(13214, "Tolstoy, Anna Karenina, in Dutch"),
    "darwin_nl": gutenberg(33764, "Darwin, The Voyage of the Beagle, in Dutch"),
    "alice": gutenberg(11, "Carroll, Alice's Adventures in Wonderland"),
    "tinyshakespeare": KnownBook(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "40,000 lines of Shakespeare, as in char-rnn",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}

PYTHON_REFERENCE = "python_reference"
"""The name of the one text that every machine has: Python's own language reference."""


def read_book(book: str, encoding: str | None = None) -> Text:
    """The text of a known book, which is downloaded if need be, or of any text file.

    Args:
        book: a known book's name, or a path.
        encoding: of the file; found out by default.
    Returns:
        the text; its ``history`` begins with the book's name.
    Raises:
        ValueError: there is no such book or file, it cannot be downloaded, or it is no text.
    """
    if book == PYTHON_REFERENCE:
        from pydoc_data.topics import topics

        if encoding is not None:
            raise ValueError(f"encoding is {encoding!r}, but {book} is no file; leave it out")
        text = as_text("\n".join(topics[topic] for topic in sorted(topics)))
        return described(book, text, "shipped with Python")
    if book in BOOKS:
        path = download(book)
        return described(f"{book} ({path})", read_text(path, encoding))
    path = Path(book).expanduser()
    if not path.exists():
        where = "download it and give the file's path" if "://" in book else "give the path of a text file"
        raise ValueError(f"book is {book!r}: no such file; {where}, or one of {', '.join([*BOOKS, PYTHON_REFERENCE])}")
    return described(book, read_text(path, encoding))


def described(name: str, text: Text, history: str = "") -> Text:
    size = f"{len(text.ids):,} characters, {len(text.vocabulary)} of them different"
    return replace(text, history=f"Book {name}: {size}; {history or text.history}.")


def download(name: str) -> Path:
    """The file of a known book in the user's cache folder, fetched unless it is there.

    Raises:
        ValueError: it cannot be fetched, or is not what it should be.
    """
    book = BOOKS[name]
    way_out = f"without a network, take --data.book {PYTHON_REFERENCE} or the path of any text file"
    return fetch(name, book.url, book.sha256, cache_folder("books") / f"{name}.txt", way_out)
