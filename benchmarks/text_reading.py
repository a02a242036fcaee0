"""How fast a large text is read, and what it takes to hold it.

Texts of a given size are made in a temporary folder, and each is read by a process of its own: megabytes per second,
and the growth of its peak memory over that after the imports, for each character.

    python -m benchmarks.text_reading [--megabytes 500]

The peak is read from /proc, so this runs on Linux only.
"""

import argparse
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path

LATIN = "The king\u2019s daughter went into the wood; naïef, één coördinaat, and the wood was dark and deep.\n"
CYRILLIC = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n"  # noqa: RUF001

READ = r"""
import re, sys, time
from pathlib import Path
import numpy, torch
from datamodules.text_file import read_text
def peak():
    return 1024 * int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1])
before, start = peak(), time.perf_counter()
text = read_text(Path(sys.argv[1]))
seconds = time.perf_counter() - start
size = Path(sys.argv[1]).stat().st_size
num, V = len(text.ids), len(text.vocabulary)
print(f"{num:13,} {V:9} {size / seconds / 1e6:8.0f} {(peak() - before) / num:12.2f}  {text.provenance}")
"""


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


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a large text is read, and what it takes to hold it.")
    parser.add_argument("--megabytes", type=int, default=500, help="size of a text (default: %(default)s)")
    megabytes = parser.parse_args().megabytes
    print(f"{megabytes} MB each")
    print(f"{'':18} {'characters':>13} {'different':>9} {'MB/s':>8} {'bytes/char.':>12}")
    for name, piece in kinds():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "book.txt"
            with path.open("wb") as file:
                for _ in range(megabytes * 1_000_000 // len(piece)):
                    file.write(piece)
            print(f"{name:18} ", end="", flush=True)
            subprocess.run([sys.executable, "-c", READ, str(path)], check=True)


if __name__ == "__main__":
    main()
