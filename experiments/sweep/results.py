"""The output folder of a sweep: its definition, the folder of each run, and ``results.csv``."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import filelock

from experiments.sweep.grid import Grid, Run, format_value
from training.errors import UserError
from training.files import write_atomically
from training.run_folder import run_folders

KEYS_BEFORE_METRICS = ("status", "error")
KEYS_AFTER_METRICS = ("steps", "seconds", "git_commit", "run_dir")

OF_FINISHED: dict[str, Any] = {"metrics": {}, "steps": "", "seconds": "", "git_commit": "", "config": {}}
"""What only a finished run has, and what a failed run has in its place."""

NOT_SET = "not set"


class ResultsFolder:
    """``sweep.json``, ``runs/<name>/`` for each of ``runs``, ``results.csv``. The folder need not exist.

    The process that does a run writes the ``result.json`` in its folder. ``results.csv`` is made from these files, so
    it can be written again at any time.
    """

    def __init__(self, path: Path, runs: list[Run]) -> None:
        self.path = path
        self.runs = runs
        self.lock = filelock.FileLock(path / ".lock", timeout=0)
        self._results: dict[str, dict[str, Any]] = {}
        self._num_rows = 0  # of results.csv

    def check(self, grid: Grid, seeds: list[int], config: dict[str, Any]) -> None:
        """Refuse a folder with results of another sweep; more seeds than before are accepted.

        ``config`` is the complete configuration for the first values of the grid.

        Raises:
            UserError: the folder has another grid, other seeds, another base, or other files.
        """
        path = self.path / "sweep.json"
        way_out = "choose another --output_dir"
        try:
            sweep = json.loads(path.read_text())
            lists, their_config = (sweep["seeds"], *sweep["grid"].values()), sweep["config"]
            if not all(isinstance(values, list) for values in lists) or not isinstance(their_config, dict):
                raise ValueError
        except FileNotFoundError:
            # A sweep that was killed may have left a lock or a temporary file before it wrote sweep.json.
            if self.path.is_dir() and any(f.name != ".lock" and f.suffix != ".tmp" for f in self.path.iterdir()):
                raise UserError(f"{self.path} is not empty, but has no sweep; {way_out}") from None
            return
        except NotADirectoryError:
            raise UserError(f"{self.path} is not a folder; {way_out}") from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged or cannot be read; {way_out}") from error
        for seed in sweep["seeds"]:
            if seed not in seeds:
                raise UserError(f"{self.path} has results of seed {seed}, which seeds lacks; add it, or {way_out}")
        for what, before, now in (("grid", sweep["grid"], grid), ("base", their_config, config)):
            for key in {**before, **now}:
                if before.get(key, NOT_SET) != now.get(key, NOT_SET):
                    there, here = (format_values(values.get(key, NOT_SET)) for values in (before, now))
                    raise UserError(
                        f"{self.path} has results of another {what}: {key} is {there} there and {here} here; {way_out}"
                    )

    def open(self, grid: Grid, seeds: list[int], config: dict[str, Any]) -> None:
        """Create the folder, lock it, and write ``sweep.json``; a UserError if another process has locked it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.lock.acquire()
            definition = {"grid": grid, "seeds": seeds, "config": config}
            write_atomically(self.path / "sweep.json", json.dumps(definition, indent=2) + "\n")
        except filelock.Timeout:
            raise UserError(f"{self.path} is in use by another process; wait until it ends") from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path}: {error.strerror}; choose another --output_dir") from error

    def folder(self, run: Run) -> Path:
        return self.path / "runs" / run.name

    def result(self, run: Run) -> dict[str, Any] | None:
        """The result of a run; ``None`` if it has not ended."""
        if run.name not in self._results and (result := read_result(self.folder(run))) is not None:
            self._results[run.name] = result
        return self._results.get(run.name)

    def status(self, run: Run) -> str:
        """``finished``, ``failed`` or ``to do``."""
        return (self.result(run) or {"status": "to do"})["status"]

    def unfinished(self) -> list[Run]:
        return [run for run in self.runs if self.result(run) is None]

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
        write_atomically(self.path / "results.csv", file.getvalue())


def format_values(values: Any) -> str:
    return ", ".join(str(format_value(value)) for value in values) if isinstance(values, list) else str(values)


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a run; ``None`` if it has not ended or its ``result.json`` is damaged."""
    try:
        result = json.loads((folder / "result.json").read_text())
    except (OSError, ValueError):
        return None
    keys = {*KEYS_BEFORE_METRICS, *KEYS_AFTER_METRICS, *OF_FINISHED}
    is_complete = isinstance(result, dict) and result.keys() >= keys and result["status"] in ("finished", "failed")
    return result if is_complete and all(isinstance(result[key], dict) for key in ("metrics", "config")) else None


def write_result(folder: Path, error: str = "", finished: dict[str, Any] | None = None) -> None:
    """Record that a run has failed with an error, or finished with a summary that includes its ``config``."""
    run_dir = newest_run(folder)
    result = {
        "status": "failed" if finished is None else "finished",
        "error": error,
        "run_dir": str(run_dir.relative_to(folder.parent.parent)) if run_dir else "",
        **{key: (finished or {}).get(key, default) for key, default in OF_FINISHED.items()},
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
