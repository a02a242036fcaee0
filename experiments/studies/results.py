"""Finished runs of a sweep, as its ``results.csv`` and their own ``metrics.csv`` tell of them."""

import csv
from pathlib import Path
from typing import Any

from training.errors import UserError


def read_results(folder: Path) -> list[dict[str, Any]]:
    """A dictionary for each finished run: the columns of ``results.csv``, text, and ``folder``, the run's.

    Raises:
        UserError: there is no such file, or it is not of a sweep.
    """
    path = folder / "results.csv"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{**row, "folder": folder / row["run_dir"]} for row in rows if row["status"] == "finished"]
    except OSError as error:
        raise UserError(f"results: {path} cannot be read: {error.strerror}; give a sweep's output folder") from error
    except (LookupError, ValueError, csv.Error) as error:
        raise UserError(f"results: {path} is not of a sweep; give a sweep's output folder") from error


def read_metric(folder: Path, name: str) -> list[tuple[int, float]]:
    """What a run has logged under that name: optimizer steps done, and the value."""
    path = folder / "metrics.csv"
    try:
        with path.open(newline="") as file:
            return [(int(row["step"]) + 1, float(row[name])) for row in csv.DictReader(file) if row.get(name)]
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"results: {path} is missing or damaged; do the sweep again") from error


def same(rows: list[dict[str, Any]], **values: Any) -> list[dict[str, Any]]:
    """Those rows that have these values."""
    return [row for row in rows if all(row[key] == value for key, value in values.items())]
