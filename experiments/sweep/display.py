"""Shows the progress of a sweep: a line for each run that ends, and on a terminal a bar for each running run."""

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from experiments.sweep.grid import Run
from experiments.sweep.results import ResultsFolder, num_steps_done

METRICS_SHOWN = ("test/accuracy", "val/accuracy")


class Display:
    """Shows the progress of a sweep.

    Args:
        results: of the sweep.
        max_steps: the most optimizer steps of each run, by its name; -1 for no limit.
    """

    def __init__(self, results: ResultsFolder, max_steps: dict[str, int]) -> None:
        self.results = results
        self.max_steps = max_steps
        self.ended = {run for run in results.runs if results.result(run) is not None}
        console = Console(soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.bars: dict[Run, TaskID] = {}

    def __enter__(self) -> "Display":
        self.progress.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.progress.stop()

    def update(self, running: Collection[Run]) -> None:
        """Print the runs that have ended since the last call, and update the bars of ``running``."""
        for run in self.results.runs:
            if run not in self.ended and self.results.result(run) is not None:
                self.ended.add(run)
                count = f"{len(self.ended)} of {len(self.results.runs)} runs ended"
                self.progress.console.print(f"{run.name}: {self.outcome(run)} ({count})", markup=False, highlight=False)
        if self.progress.disable:
            return
        for run in self.bars.keys() - set(running):
            self.progress.remove_task(self.bars.pop(run))
        for run in running:
            if run not in self.bars:
                limit = self.max_steps[run.name]
                self.bars[run] = self.progress.add_task(run.name, total=limit if limit > 0 else None)
            self.progress.update(self.bars[run], completed=num_steps_done(self.results.folder(run)))

    def outcome(self, run: Run) -> str:
        """How a run ended: its error, or its accuracy and seconds."""
        result = self.results.result(run)
        assert result is not None
        if result["status"] == "failed":
            return f"failed: {result['error']}"
        known = [(name, result["metrics"][name]) for name in METRICS_SHOWN if name in result["metrics"]]
        measured = [f"{name} {100 * value:.2f} %" for name, value in known[:1]]
        return ", ".join([*measured, f"{result['seconds']:.0f} s"])
