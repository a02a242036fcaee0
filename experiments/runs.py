"""Reads the files of finished runs: a sweep's ``results.csv`` and a run's ``metrics.csv``."""

import csv
from pathlib import Path
from typing import Any

from training.errors import UserError
from training.run_folder import run_folders, version_number

COLUMNS: dict[str, tuple[str, type]] = {
    "network": ("model.network", str),
    "connection": ("model.connection", str),
    "num_layers": ("model.num_layers", int),
    "learning_rate": ("model.optimizer.lr", float),
    "length": ("data.length", int),
    "graph": ("data.graph", str),
    "seed": ("seed_everything", int),
}
"""What studies call some columns of ``results.csv``, and the types of their values."""


def select(result: dict[str, Any], *names: str) -> dict[str, Any]:
    """Some columns of a run in ``results.csv``: those of ``COLUMNS``, and ``test_<metric>`` for ``test/<metric>``."""
    sources = {name: COLUMNS.get(name, (name.replace("test_", "test/"), float)) for name in names}
    return {name: kind(result[key]) for name, (key, kind) in sources.items()}


def read_results(folder: Path) -> list[dict[str, Any]]:
    """A dictionary for each finished run of a sweep: the columns of ``results.csv`` as text, and its ``folder``.

    Raises:
        UserError: the file does not exist, or it is not that of a sweep.
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
    """The values that a run has logged for a metric, each with the number of optimizer steps before it.

    Raises:
        UserError: the run's ``metrics.csv`` does not exist, or it is damaged.
    """
    path = folder / "metrics.csv"
    try:
        with path.open(newline="") as file:
            return [(int(row["step"]) + 1, float(row[name])) for row in csv.DictReader(file) if row.get(name)]
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"results: {path} is missing or damaged; train that run again") from error


def experiment_of(folder: Path) -> str:
    """The experiment that a run belongs to; for a folder that is no ``version_<k>``, its own name."""
    return folder.parent.name if version_number(folder) >= 0 else folder.name


def runs_with(file_name: str, name: str) -> list[Path]:
    """The run's folder ``name``, or those of all runs of an experiment, the newest first, that have this file."""
    folders = [Path(name), *(run.path for run in reversed(run_folders(Path(name))))]
    found = [folder.resolve() for folder in folders if (folder / file_name).is_file()]
    if not found:
        raise UserError(f"runs has {name}, which has no {file_name}; give the folder of a run or of an experiment")
    return found
