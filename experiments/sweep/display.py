"""Shows the progress of a sweep: a line for each run that ends, and on a terminal a bar for each running run."""

from collections.abc import Collection
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from experiments.sweep.grid import Run
from experiments.sweep.results import ResultsFolder, num_steps_done

METRICS_SHOWN = ("test/accuracy", "val/accuracy")


class Display(Progress):
    """The lines and bars.

    Args:
        results: the folder of the sweep.
        max_steps: that of a run whose grid has no ``trainer.max_steps``, -1 for no limit.
        metric: that of a search, shown when a run ends; by default it is an accuracy.
    """

    def __init__(self, results: ResultsFolder, max_steps: int, metric: str | None = None) -> None:
        console = Console(soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(30), TaskProgressColumn(), TimeElapsedColumn())
        super().__init__(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.results = results
        self.max_steps = max_steps
        self.metric = metric
        self.ended = {run for run in results.runs if results.result(run) is not None}
        self.bars: dict[Run, TaskID] = {}

    def show(self, running: Collection[Run]) -> None:
        """Print the runs that have ended since the last call, and update the bars of ``running``."""
        for run in self.results.runs:
            if run not in self.ended and (result := self.results.result(run)) is not None:
                self.ended.add(run)
                count = f"{len(self.ended)} of {self.results.num_planned} runs ended"
                self.console.print(
                    f"{run.name}: {outcome(result, self.metric)} ({count})", markup=False, highlight=False
                )
        for run in self.bars.keys() - set(running):
            self.remove_task(self.bars.pop(run))
        for run in () if self.disable else running:
            if run not in self.bars:
                limit = int(run.values.get("trainer.max_steps", self.max_steps))
                self.bars[run] = self.add_task(run.name, total=limit if limit > 0 else None)
            self.update(self.bars[run], completed=num_steps_done(self.results.folder(run)))


def outcome(result: dict[str, Any], metric: str | None) -> str:
    """How a run ended: its error, where it was pruned, or its seconds and its metric, by default an accuracy."""
    if result["status"] == "failed":
        return f"failed: {result['error']}"
    if result["status"] == "pruned":
        return f"pruned after {result['steps']} steps, {result['seconds']:.0f} s"
    if metric is not None:
        return f"{metric} {result['metrics'].get(metric, float('nan')):.4g}, {result['seconds']:.0f} s"
    known = [f"{name} {100 * result['metrics'][name]:.2f} %, " for name in METRICS_SHOWN if name in result["metrics"]]
    return f"{''.join(known[:1])}{result['seconds']:.0f} s"
