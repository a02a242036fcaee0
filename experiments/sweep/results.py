"""The output folder of a sweep: the folder and the result of each run, and ``results.csv``."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import filelock

from experiments.sweep.definition import WAY_OUT, Definition
from experiments.sweep.grid import Run
from training.errors import UserError
from training.files import write_atomically
from training.run_folder import run_folders

KEYS_BEFORE_METRICS = ("status", "error")
KEYS_AFTER_METRICS = ("steps", "seconds", "git_commit", "run_dir")

STATUSES = ("finished", "pruned", "failed")
"""How a run may end."""

OF_FINISHED: dict[str, Any] = {"metrics": {}, "steps": "", "seconds": "", "git_commit": "", "config": {}}
"""What only a finished or pruned run has, and what a failed run has in its place."""

OF_A_TRIAL: dict[str, Any] = {"intermediate_values": {}, "notes": {}}
"""What a run of a search has, too: the metric after each validation, by optimizer steps, and the pruner's notes."""


class ResultsFolder:
    """``sweep.json``, ``runs/<name>/`` for each of ``runs``, ``results.csv``. The folder need not exist.

    The process that does a run writes the ``result.json`` in its folder. ``results.csv`` is made from these files, so
    it can be written again at any time.

    Args:
        path: the folder.
        runs: those of a grid. A search adds its own when they are due, and sets ``num_planned``.
    """

    def __init__(self, path: Path, runs: list[Run]) -> None:
        self.path = path
        self.runs = runs
        self.num_planned = len(runs)
        self.lock = filelock.FileLock(path / ".lock", timeout=0)
        self._results: dict[str, dict[str, Any]] = {}
        self._num_rows = 0  # of results.csv

    def open(self, definition: Definition) -> None:
        """Create the folder, lock it, and write ``sweep.json``; a UserError if another process has locked it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
            self.write("sweep.json", definition.to_json())
        except filelock.Timeout:
            raise UserError(f"{self.path} is in use by another process; wait until it ends") from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}; {WAY_OUT}") from error

    def write(self, name: str, content: str) -> None:
        """Replace a file of the folder, completely or not at all."""
        write_atomically(self.path / name, content)

    def folder(self, run: Run) -> Path:
        return self.path / "runs" / run.name

    def result(self, run: Run) -> dict[str, Any] | None:
        """The result of a run; ``None`` if it has not ended."""
        if run.name not in self._results and (result := read_result(self.folder(run))) is not None:
            self._results[run.name] = result
        return self._results.get(run.name)

    def status(self, run: Run) -> str:
        """``finished``, ``pruned``, ``failed`` or ``to do``."""
        return (self.result(run) or {"status": "to do"})["status"]

    def unfinished(self) -> list[Run]:
        return [run for run in self.runs if self.result(run) is None]

    def num_left(self) -> int:
        """The number of runs that have not ended, or not even begun."""
        return self.num_planned - len(self.runs) + len(self.unfinished())

    def failed(self) -> list[Run]:
        return [run for run in self.runs if self.status(run) == "failed"]

    def forget(self, run: Run) -> None:
        """Delete the result of a run, so that the run is done again."""
        (self.folder(run) / "result.json").unlink(missing_ok=True)
        self._results.pop(run.name, None)

    def fail(self, run: Run, error: str) -> None:
        """Record a failure that the run could not record itself."""
        if self.result(run) is None:
            try:
                write_result(self.folder(run), error)
            except OSError as obstacle:
                way_out = "make it writable, and start the sweep again"
                raise UserError(f"cannot write to {self.folder(run)}: {obstacle.strerror}; {way_out}") from obstacle

    def write_csv(self) -> None:
        """Write ``results.csv`` if runs have ended: a row for each, in the order of the grid."""
        ended = {run: result for run in self.runs if (result := self.result(run))}
        if len(ended) == self._num_rows:
            return
        self._num_rows = len(ended)
        metrics = sorted({name for result in ended.values() for name in result["metrics"]})
        first = [*self.runs[0].key(), *KEYS_BEFORE_METRICS, *metrics, *KEYS_AFTER_METRICS]
        rows = []
        for run, result in ended.items():
            of_run = {key: result[key] for key in (*KEYS_BEFORE_METRICS, *KEYS_AFTER_METRICS)}
            # The grid's keys and the results have priority over keys of the config.
            rows.append({**result["config"], **result["metrics"], **of_run, **run.key()})
        others = {key for row in rows for key in row} - set(first)
        file = io.StringIO()
        writer = csv.DictWriter(file, [*first, *sorted(others)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write("results.csv", file.getvalue())


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a run; ``None`` if it has not ended or its ``result.json`` is damaged."""
    try:
        result = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return None
    keys = {*KEYS_BEFORE_METRICS, *KEYS_AFTER_METRICS, *OF_FINISHED}
    is_complete = isinstance(result, dict) and result.keys() >= keys and result["status"] in STATUSES
    return result if is_complete and all(isinstance(result[key], dict) for key in ("metrics", "config")) else None


def write_result(folder: Path, error: str = "", ended: dict[str, Any] | None = None, is_pruned: bool = False) -> None:
    """Record that a run has failed with an error, or ended with a summary that includes its ``config``."""
    run_dir = newest_run(folder)
    result = {
        "status": "failed" if ended is None else "pruned" if is_pruned else "finished",
        "error": error,
        "run_dir": str(run_dir.relative_to(folder.parent.parent)) if run_dir else "",
        **{key: (ended or {}).get(key, default) for key, default in (OF_FINISHED | OF_A_TRIAL).items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "result.json", json.dumps(result, indent=2) + "\n")


def num_steps_done(folder: Path) -> int:
    """Optimizer steps of a run so far, from the last line of the newest ``metrics.csv`` in its folder."""
    run_dir = newest_run(folder)
    if run_dir is None:
        return 0
    try:
        with (run_dir / "metrics.csv").open("rb") as file:
            columns = file.readline().decode().rstrip("\n").split(",")
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            last = file.read().decode().splitlines()[-1].split(",")
        return int(last[columns.index("step")]) + 1
    except (LookupError, OSError, ValueError):  # no file yet, or a line that is only partly written
        return 0


def newest_run(folder: Path) -> Path | None:
    """The run folder that ``fit`` has created last in the folder of a sweep's run."""
    runs = [run.path for experiment in sorted(folder.glob("*")) for run in run_folders(experiment)]
    return runs[-1] if runs else None
