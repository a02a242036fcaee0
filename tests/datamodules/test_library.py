"""Known books are downloaded once; the tests download from a server on this machine."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datamodules import library
from datamodules.library import BOOKS, KnownBook, download, read_book

TEXT = b"".join(b"%d green bottles, hanging on the wall\n" % i for i in range(20_000))


class Shelf(BaseHTTPRequestHandler):
    """Serves ``content``; the next ``breaks_off`` requests get half of it."""

    content = TEXT
    breaks_off = 0
    status = 200
    num_requests = 0

    def do_GET(self) -> None:
        cls = type(self)
        cls.num_requests += 1
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        num_bytes = len(self.content)
        if cls.breaks_off > 0:
            cls.breaks_off -= 1
            num_bytes //= 2
        self.wfile.write(self.content[:num_bytes])

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Shelf]]:
    """A server on this machine has the book ``shelved``; the cache is empty."""
    handler = type("TestShelf", (Shelf,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    book = KnownBook(f"http://127.0.0.1:{server.server_port}/book.txt")
    monkeypatch.setattr(library, "BOOKS", BOOKS | {"shelved": book})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def expect(sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    book = library.BOOKS["shelved"]._replace(sha256=sha256)
    monkeypatch.setattr(library, "BOOKS", {**library.BOOKS, "shelved": book})


def test_a_book_is_downloaded_once(shelf: type[Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(hashlib.sha256(TEXT).hexdigest(), monkeypatch)
    path = download("shelved")
    assert path.is_relative_to(tmp_path / "cache") and path.read_bytes() == TEXT
    assert download("shelved") == path
    assert shelf.num_requests == 1
    text = read_book("shelved")
    assert text.vocabulary.decode(text.ids.tolist()) == TEXT.decode()
    left = {p.name for p in path.parent.iterdir()}
    assert left == {"shelved.txt", ".shelved.lock"}


def test_a_download_that_breaks_off_leaves_no_file(shelf: type[Shelf], tmp_path: Path) -> None:
    shelf.breaks_off = 1
    with pytest.raises(ValueError, match=r"cannot download shelved from http://127.*; without a network, use"):
        download("shelved")
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".shelved.lock"]
    assert download("shelved").read_bytes() == TEXT


def test_a_download_with_another_checksum_is_removed(
    shelf: type[Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect("0" * 64, monkeypatch)
    with pytest.raises(
        ValueError, match=r"the SHA-256 of shelved from http://127.* is not 000.*, so the download was removed"
    ):
        download("shelved")
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".shelved.lock"]


@pytest.mark.parametrize("page", [b"<!DOCTYPE html>\n<html>", b"\n<html lang='en'>"])
def test_a_web_page_is_rejected(page: bytes, shelf: type[Shelf], tmp_path: Path) -> None:
    shelf.content = page + b"<body>Too many requests</body></html>"
    with pytest.raises(ValueError, match="cannot download shelved from .*web page"):
        download("shelved")
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".shelved.lock"]


def test_a_missing_file_is_reported(shelf: type[Shelf]) -> None:
    shelf.status = 404
    with pytest.raises(ValueError, match="cannot download shelved .*404"):
        download("shelved")


def test_without_a_network_the_message_gives_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # without listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/book.txt"
        monkeypatch.setattr(library, "BOOKS", {"grimm": KnownBook(url)})
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        message = (
            "cannot download grimm .*; without a network, use --data.book python_reference or the path of any text"
        )
        with pytest.raises(ValueError, match=message):
            read_book("grimm")


def test_a_cache_that_cannot_be_written_is_reported(shelf: type[Shelf], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ValueError, match="cannot write shelved to .*cache"):
        download("shelved")


def test_python_reference_needs_no_download() -> None:
    text = read_book("python_reference")
    assert text.provenance.startswith(
        f"Book python_reference: {len(text.ids):,} characters, {len(text.vocabulary)} of them"
    )
    assert len(text.ids) > 100_000
    assert "The Python" in text.vocabulary.decode(text.ids.tolist())


def test_python_reference_has_no_encoding() -> None:
    with pytest.raises(ValueError, match="encoding is 'utf-8', but python_reference is not a file; leave it out"):
        read_book("python_reference", "utf-8")


@pytest.mark.parametrize("book", ["no/such/file.txt", "grim", "https://example.org/book.txt"])
def test_an_unknown_book_is_reported_with_the_known_ones(book: str) -> None:
    with pytest.raises(
        ValueError, match=rf"book is '{book}': no such file; .*, or one of grimm, .*, python_reference$"
    ):
        read_book(book)


def test_the_known_books() -> None:
    """Their numbers, as Project Gutenberg has them, and the checksum of char-rnn's Shakespeare."""
    numbers = {"grimm": 2591, "democracy_in_america": 815, "anna_karenina_nl": 13214, "darwin_nl": 33764, "alice": 11}
    for name, number in numbers.items():
        assert BOOKS[name].url.endswith(f"/{number}/pg{number}.txt")
    assert BOOKS["tinyshakespeare"].sha256 == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
