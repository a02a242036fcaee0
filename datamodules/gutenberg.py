"""Removal of the header and the licence that Project Gutenberg puts around its books."""

import re
from collections.abc import Iterator

START = re.compile(
    r"\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)[^*]{0,300}\*\*\*[^\n]*\n"
    r"|\*END\*? ?THE SMALL PRINT![^*]{0,100}\*[^*\n]{0,40}\*END\*[^\n]*\n"  # before 2004
)
FAREWELL = r"(?i:(?:the )?end of (?:the |this )?project gutenberg(?:['\u2019]s| ebook| etext)[^\n]*)\n"
END = re.compile(
    rf"\n(?:{FAREWELL}(?:[^\n]+\n)?\s*)?\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG E(?:BOOK|TEXT)|\n{FAREWELL}"
)
CREDITS = re.compile(r"\s*(?:Produced|E-text prepared|Etext prepared|This etext was prepared) by [^\n]*\n(?:[^\n]+\n)*")

WORDS = ("utenberg", "UTENBERG", "SMALL PRINT")
"""Every mark contains one of them."""

HEADER_MAX = 1 << 16
"""Largest number of characters before the mark that starts the first book."""

MARK_MAX = 1000
"""Largest number of characters in a mark, and in the credits below it."""


class LicenceRemover:
    """Removes header and licence, of each book if one file has several."""

    def __init__(self) -> None:
        self.num_removed = 0

    def remove(self, strings: Iterator[str]) -> Iterator[str]:
        """The text without them; a text without a header is not changed."""
        waiting = "".join(self._first(strings, HEADER_MAX + MARK_MAX))
        start = START.search(waiting, 0, HEADER_MAX + MARK_MAX)
        if start is None:
            yield waiting
            yield from strings
            return
        in_book = False
        ended = False
        while not ended:
            # A mark may be split between two pieces, so the end of each piece waits for the next one.
            following = next(strings, None)
            ended = following is None
            waiting += following or ""
            while mark := find_mark(END if in_book else START, waiting):
                if not ended and mark.end() > len(waiting) - MARK_MAX:
                    break
                if in_book:
                    yield waiting[: mark.start() + 1]
                    waiting = waiting[mark.start() + 1 :]
                else:
                    credit = CREDITS.match(waiting, mark.end())
                    begin = credit.end() if credit else mark.end()
                    self.num_removed += begin
                    waiting = waiting[begin:]
                in_book = not in_book
            safe = len(waiting) if ended else max(0, len(waiting) - 2 * MARK_MAX)
            if mark is not None:
                safe = min(safe, mark.start())
            if in_book:
                yield waiting[:safe]
            else:
                self.num_removed += safe
            waiting = waiting[safe:]

    @staticmethod
    def _first(strings: Iterator[str], num: int) -> Iterator[str]:
        while num > 0 and (string := next(strings, None)) is not None:
            num -= len(string)
            yield string


def find_mark(mark: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first mark; only a text with one of its words is searched, which is ten times as fast."""
    return mark.search(text) if any(word in text for word in WORDS) else None
