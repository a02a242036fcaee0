"""Speed of reading a large text, and the memory that reading it takes.

Each text is written to a temporary folder and read in a new process: megabytes per second, and the peak memory above
that after the imports, in bytes per character. Linux only, because the peak is read from /proc.

    python -m benchmarks.text_reading [--megabytes 500]
"""

import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from benchmarks.command import at_least, option_parser, print_table
from benchmarks.rounds import in_new_process, with_peak_bytes
from datamodules.text_file import read_text

LATIN = "The king\u2019s daughter went into the wood; naïef, één coördinaat, and the wood was dark and deep.\n"
CYRILLIC = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n"  # noqa: RUF001


def kinds() -> Iterator[tuple[str, bytes]]:
    """Names of kinds of text, and a piece of each."""
    chinese = "".join(chr(0x4E00 + i * 7 % 3000) + ("\n" if i % 40 == 39 else "") for i in range(6000))
    yield "plain ASCII", LATIN.encode("ascii", "ignore") * 100
    yield "UTF-8, Latin", LATIN.encode() * 100
    yield "UTF-8, Cyrillic", CYRILLIC.encode() * 100
    yield "UTF-8, Chinese", chinese.encode()
    yield "UTF-8, not in NFC", unicodedata.normalize("NFD", LATIN).encode() * 100
    yield "Latin-1, CRLF", LATIN.replace("\u2019", "'").replace("\n", "\r\n").encode("latin-1") * 100
    yield "UTF-16", CYRILLIC.encode("utf-16-le") * 100


def measure(path: Path) -> tuple[int, int, float, float, str]:
    """Characters and different characters of a text, MB/s, bytes of peak memory per character, and how it was read."""
    start = time.perf_counter()
    text, num_bytes = with_peak_bytes(lambda: read_text(path))
    seconds, num = time.perf_counter() - start, len(text.ids)
    return num, len(text.vocabulary), path.stat().st_size / seconds / 1e6, num_bytes / num, text.provenance


def rows(megabytes: int) -> Iterator[tuple[float | str, ...]]:
    for name, piece in kinds():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "book.txt"
            with path.open("wb") as file:
                for _ in range(megabytes * 1_000_000 // len(piece)):
                    file.write(piece)
            yield name, *in_new_process(measure, path)


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--megabytes", type=at_least(1), default=500, help="size of each text")
    args = parser.parse_args()
    print(f"{args.megabytes} MB each")
    columns = {"characters": "13,d", "different": "d", "MB/s": ".0f", "bytes/char.": ".2f", "read as": ""}
    print_table({f"{'text':>17}": "", **columns}, rows(args.megabytes), args.output_dir, "text_reading")


if __name__ == "__main__":
    main()
