"""Tables: printed, filtered, and saved with the figure that shows them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    lines = format_table([list(rows[0]), *([format_value(value) for value in row.values()] for row in rows)])
    print("\n".join(lines))


def format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def save(rows: Rows, draw: Callable[[Rows, Path], None], folder: Path, name: str) -> None:
    """Write ``rows`` to ``name``.csv and their figure to ``name``.png.

    Args:
        rows: the table, at least one row; all rows have the same keys.
        draw: draws the rows and writes the figure to a path.
        folder: is created if it does not exist.
        name: of both files.
    Raises:
        UserError: the folder cannot be written to.
    """
    save_tables({name: rows}, lambda path: draw(rows, path), folder, name)


def save_tables(tables: dict[str, Rows], draw: Callable[[Path], None], folder: Path, name: str) -> None:
    """As ``save``, for a figure that shows several tables; their keys are the names of the CSV files."""
    make_folder(folder)
    try:
        for table, rows in tables.items():
            with (folder / f"{table}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        draw(folder / f"{name}.png")
    except OSError as error:
        raise cannot_write(folder, error) from error
    names = [f"{name}.png", *(f"{table}.csv" for table in tables)]
    print(f"Wrote {', '.join(names)} to {folder}")


def make_folder(folder: Path) -> None:
    """Create a folder that results are written to.

    Raises:
        UserError: it cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write to {folder}: {error.strerror}; choose another folder with --output_dir")
