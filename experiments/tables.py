"""Tables: printed, filtered, and saved with the figure that shows them."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from experiments.provenance import Record, record
from models.tables import format_table
from training.errors import UserError

Rows = list[dict[str, Any]]


def filter_rows(rows: Rows, **values: Any) -> Rows:
    """The rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


def column(rows: Rows, key: str) -> list[Any]:
    """The value of each row under a key."""
    return [row[key] for row in rows]


def values_of(rows: Rows, key: str) -> list[Any]:
    """The distinct values under a key, in ascending order."""
    return sorted(set(column(rows, key)))


def print_table(rows: Rows) -> None:
    """The keys of the first row as headings, a line for each row; floats with four significant digits."""
    cells = ([f"{value:.4g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows)
    print("\n".join(format_table([rows[0], *cells])))


def save(
    rows: Rows | dict[str, Rows],
    draw: Callable[[Any, Path], None],
    folder: Path,
    name: str,
    made_from: Iterable[Record] = (),
) -> None:
    """Write ``rows`` to ``name``.csv, their figure to ``name``.png and ``name``.svg, and a record of both.

    Args:
        rows: at least one row; all rows have the same keys. Or several tables, by the names of their CSV files.
        draw: draws ``rows`` and writes the figure to a path.
        folder: is created if it does not exist.
        name: of the figure, and of a single table.
        made_from: the records of the results that were read.
    Raises:
        UserError: the folder cannot be written to.
    """
    make_folder(folder)
    tables = rows if isinstance(rows, dict) else {name: rows}
    try:
        for table, its_rows in tables.items():
            write_table(its_rows, folder / f"{table}.csv")
        draw(rows, folder / f"{name}.png")
        record(folder, [f"{table}.csv" for table in tables], made_from)
    except OSError as error:
        raise cannot_write(folder, error) from error
    print(f"Wrote {', '.join([f'{name}.png', f'{name}.svg', *(f'{table}.csv' for table in tables)])} to {folder}")


def write_table(rows: Rows, path: Path) -> None:
    """Write a CSV file; the keys of the first row are the headings."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def make_folder(folder: Path) -> None:
    """Create a folder that results are written to; a UserError if that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {folder}: {error.strerror}; choose another folder with --output_dir")
