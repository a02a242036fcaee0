"""Books that have a name here: fetched on first use, then kept in the user's cache folder."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datamodules.text_file import Text, as_text, read_text

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a download that breaks off is gone on with."""

TIMEOUT_SECONDS = 30


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
    import filelock
    import pooch
    import requests

    book, folder = BOOKS[name], Path(pooch.os_cache("palimpsest")) / "books"
    way_out = f"without a network, take --data.book {PYTHON_REFERENCE} or the path of any text file"
    pooch.get_logger().setLevel("WARNING")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{name}.lock"):
            path = pooch.retrieve(book.url, book.sha256, f"{name}.txt", folder, downloader=ResumingDownloader(name))
    except requests.RequestException as error:
        raise ValueError(f"cannot download {name} from {book.url}: {reason(error)}; {way_out}") from error
    except OSError as error:
        raise ValueError(f"cannot keep {name} in {folder}: {error.strerror or error}; {way_out}") from error
    except ValueError as error:  # pooch's, when the checksum does not fit
        raise ValueError(
            f"what came from {book.url} is not {name}: its SHA-256 is not {book.sha256}; it was thrown away; {way_out}"
        ) from error
    return Path(path)


class ResumingDownloader:
    """Fetches a file for pooch; a download that breaks off is gone on with, now or the next time.

    Args:
        name: what the part that has come is called.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        import requests

        # Beside the file that it becomes: pooch names a temporary one there.
        part = Path(output_file).parent / f".{self.name}.part"
        version = part.with_suffix(".version")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._fetch(url, part, version)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == ATTEMPTS:
                    raise
        part.replace(output_file)
        version.unlink(missing_ok=True)

    def _fetch(self, url: str, part: Path, version: Path) -> None:
        """Append what is missing to ``part``, or begin anew if the source has changed since."""
        import requests

        # Compressed on the way, a part would not be a part of the file.
        headers = {"Accept-Encoding": "identity"}
        before = json.loads(version.read_text()) if part.exists() and version.exists() else {}
        if before:
            headers["Range"] = f"bytes={part.stat().st_size}-"
        if before.get("validator"):
            headers["If-Range"] = before["validator"]
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()
                raise requests.ConnectionError("the part that was there does not fit", response=response)
            response.raise_for_status()
            if "html" in response.headers.get("Content-Type", ""):
                raise requests.RequestException("a web page came in place of a text", response=response)
            log.info("Downloading %s from %s ...", self.name, url)
            goes_on = response.status_code == requests.codes.partial_content
            size = response.headers.get("Content-Range", "").rpartition("/")[2] if goes_on else ""
            size = size or response.headers.get("Content-Length", "")
            if goes_on and size != before["size"]:
                part.unlink()
                raise requests.ConnectionError("another file is there by now", response=response)
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
            version.write_text(json.dumps({"validator": validator, "size": size}))
            with part.open("ab" if goes_on else "wb") as file:
                for piece in response.iter_content(1 << 16):
                    file.write(piece)
            if size.isdecimal() and part.stat().st_size != int(size):
                raise requests.ConnectionError(f"the connection broke off after {part.stat().st_size} bytes")


def reason(error: Exception) -> str:
    """The innermost reason, without the layers of libraries around it."""
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    inner = getattr(error, "reason", None)
    return reason(inner) if isinstance(inner, Exception) else str(error)
