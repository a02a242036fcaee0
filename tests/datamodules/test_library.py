"""Known books are downloaded once, by the real code, from a server on this machine."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from datamodules import library
from datamodules.library import BOOKS, KnownBook, download, read_book

TEXT = b"".join(b"%d green bottles, hanging on the wall\n" % i for i in range(20_000))


class Shelf(BaseHTTPRequestHandler):
    """Serves ``content``; ``breaks_off`` requests after half of what is asked for, in ``ranges`` if it can."""

    content = TEXT
    breaks_off = 0
    ranges = True
    validator: str | None = '"1"'
    status = 200
    content_type = "text/plain"
    tells_length = True
    asked: list[str | None] = []  # noqa: RUF012 - reset by the fixture

    def do_GET(self) -> None:
        cls, wanted = type(self), self.headers["Range"]
        cls.asked.append(wanted)
        assert self.headers["Accept-Encoding"] == "identity"
        begin = 0
        if wanted and self.ranges and self.headers["If-Range"] in (None, self.validator):
            begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if begin > 0 and begin >= len(self.content):
            self.send_response(416)
            self.end_headers()
            return
        body = self.content[begin:]
        self.send_response(206 if begin else self.status)
        self.send_header("Content-Type", self.content_type)
        if self.tells_length or not begin:
            self.send_header("Content-Length", str(len(body)))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        if self.validator:
            self.send_header("ETag", self.validator)
        self.end_headers()
        if cls.breaks_off > 0:
            cls.breaks_off -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


Serve = Callable[..., type[Shelf]]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Shelf]]:
    """The book ``shelved`` stands on a server of this machine; the cache is empty."""
    handler = type("TestShelf", (Shelf,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    book = KnownBook(f"http://127.0.0.1:{server.server_port}/book.txt", "a test")
    monkeypatch.setattr(library, "BOOKS", BOOKS | {"shelved": book})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def expect(sha256: str, monkeypatch: pytest.MonkeyPatch) -> None:
    book = replace(library.BOOKS["shelved"], sha256=sha256)
    monkeypatch.setattr(library, "BOOKS", {**library.BOOKS, "shelved": book})


def test_a_book_is_downloaded_once(shelf: type[Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(hashlib.sha256(TEXT).hexdigest(), monkeypatch)
    path = download("shelved")
    assert path.is_relative_to(tmp_path / "cache") and path.read_bytes() == TEXT
    assert download("shelved") == path
    assert shelf.asked == [None]
    text = read_book("shelved")
    assert text.vocabulary.decode(text.ids.tolist()) == TEXT.decode()
    left = {p.name for p in path.parent.iterdir()}
    assert left == {"shelved.txt", ".shelved.lock"}


def test_a_download_that_breaks_off_is_gone_on_with(shelf: type[Shelf]) -> None:
    shelf.breaks_off = 2
    assert download("shelved").read_bytes() == TEXT
    first, *later = shelf.asked
    begins = [int(str(asked).removeprefix("bytes=").removesuffix("-")) for asked in later]
    assert first is None and len(begins) == 2
    # What has come is a whole number of pieces of 64 KiB.
    half = len(TEXT) // 2
    assert half - 65536 < begins[0] <= half < begins[1] < len(TEXT)


def test_it_is_gone_on_with_the_next_time_too(shelf: type[Shelf], monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.breaks_off, shelf.validator = 3, None
    with pytest.raises(ValueError, match=r"cannot download shelved from http://127.*; without a network, take"):
        download("shelved")
    assert download("shelved").read_bytes() == TEXT
    assert shelf.asked[3] is not None and shelf.asked[3] > "bytes=0-"


def test_it_is_gone_on_with_where_the_server_does_not_tell_how_much_is_left(shelf: type[Shelf]) -> None:
    shelf.breaks_off, shelf.tells_length = 2, False
    assert download("shelved").read_bytes() == TEXT
    assert len(shelf.asked) == 3


@pytest.mark.parametrize(
    ("validator", "other"), [('"2"', TEXT.swapcase()), (None, TEXT.swapcase() + b"!"), (None, b"Short")]
)
def test_of_another_file_nothing_is_kept(validator: str | None, other: bytes, shelf: type[Shelf]) -> None:
    shelf.breaks_off, shelf.validator = 3, validator and '"1"'
    with pytest.raises(ValueError, match="cannot download"):
        download("shelved")
    shelf.content, shelf.validator = other, validator
    assert download("shelved").read_bytes() == shelf.content


def test_a_server_without_ranges_will_do(shelf: type[Shelf]) -> None:
    shelf.breaks_off, shelf.ranges = 1, False
    assert download("shelved").read_bytes() == TEXT


def test_a_part_that_is_the_whole_is_no_obstacle(shelf: type[Shelf], tmp_path: Path) -> None:
    shelf.breaks_off = 3
    with pytest.raises(ValueError, match="cannot download"):
        download("shelved")
    (part,) = (tmp_path / "cache").rglob(".shelved.part")
    part.write_bytes(TEXT)
    assert download("shelved").read_bytes() == TEXT


def test_what_has_another_checksum_is_thrown_away(
    shelf: type[Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect("0" * 64, monkeypatch)
    with pytest.raises(ValueError, match=r"is not shelved: its SHA-256 is not 000.*; it was thrown away"):
        download("shelved")
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == [".shelved.lock"]


def test_a_web_page_is_no_book(shelf: type[Shelf]) -> None:
    shelf.content_type = "text/html; charset=utf-8"
    with pytest.raises(ValueError, match="a web page came in place of a text"):
        download("shelved")


def test_a_missing_file_is_told(shelf: type[Shelf]) -> None:
    shelf.status = 404
    with pytest.raises(ValueError, match="cannot download shelved .*404"):
        download("shelved")


def test_without_a_network_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/book.txt"
        monkeypatch.setattr(library, "BOOKS", {"grimm": KnownBook(url, "a test")})
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        message = (
            "cannot download grimm .*; without a network, take --data.book python_reference or the path of any text"
        )
        with pytest.raises(ValueError, match=message):
            read_book("grimm")


def test_a_cache_that_cannot_be_written_is_told(shelf: type[Shelf], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(ValueError, match="cannot keep shelved in .*cache"):
        download("shelved")


def test_python_has_a_book_of_its_own() -> None:
    text = read_book("python_reference")
    assert text.history.startswith(
        f"Book python_reference: {len(text.ids):,} characters, {len(text.vocabulary)} of them"
    )
    assert len(text.ids) > 100_000
    assert "The Python" in text.vocabulary.decode(text.ids.tolist())


def test_what_is_no_file_has_no_encoding() -> None:
    with pytest.raises(ValueError, match="encoding is 'utf-8', but python_reference is no file; leave it out"):
        read_book("python_reference", "utf-8")


@pytest.mark.parametrize("book", ["no/such/file.txt", "grim", "https://example.org/book.txt"])
def test_an_unknown_book_is_told_with_all_that_are_known(book: str) -> None:
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
