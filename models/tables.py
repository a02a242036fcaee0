"""Tables and percentages as text. No torch and no Lightning, so that every command can import it."""

from collections.abc import Iterable


def format_table(rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines of a table: each column is as wide as its widest cell, and aligned to the right.

    Args:
        rows: the cells of each line, the same number in every line; the first line has the headings.
    """
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def percent(fraction: float, places: int = 2) -> str:
    """A fraction from 0 to 1 in per cent; a fraction below 1 is never shown as 100 %."""
    shown = f"{100 * fraction:.{places}f} %"
    return shown if fraction == 1 or not shown.startswith("100") else f"{100 - 10**-places:.{places}f} %"
