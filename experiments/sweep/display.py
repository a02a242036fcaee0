"""What a person sees while a sweep goes on: a live table on a terminal, a line for each ended run elsewhere."""

import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from experiments.sweep.grid import Run
from experiments.sweep.results import ResultsFolder, num_steps_done
from experiments.sweep.schedule import Schedule

NUM_ENDED_SHOWN = 8
METRICS_SHOWN = ("test/accuracy", "val/accuracy")


class Display:
    """Shows how far a sweep is.

    Args:
        results: what has ended.
        max_steps: the most optimizer steps that each run may take, by its name; -1 where there is no such limit.
    """

    def __init__(self, results: ResultsFolder, max_steps: dict[str, int]) -> None:
        self.results = results
        self.max_steps = max_steps
        self.console = Console()
        self.ended = [run for run in results.runs if results.result(run) is not None]
        keys = results.runs[0].key()
        self.keys = [key for key in keys if len({str(run.key()[key]) for run in results.runs}) > 1]
        self.began = time.monotonic()
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> "Display":
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live is not None:
            self.live.stop()

    def update(self, schedule: Schedule, running: list[Run], num_workers: int) -> None:
        """Show what has ended since the last time and what is being done now."""
        new = [run for run in self.results.runs if run not in self.ended and self.results.result(run) is not None]
        self.ended += new
        shares = {run: self.share_done(run) for run in running}
        left = schedule.seconds_left(shares, num_workers)
        summary = self.summary(len(running), left)
        if self.live is None:
            for run in new:
                print(f"{run.name}: {self.outcome(run)} ({summary})", flush=True)
        else:
            self.live.update(Group(self.table(shares), Text(summary)), refresh=True)

    def share_done(self, run: Run) -> float:
        steps = self.max_steps[run.name]
        return min(1.0, num_steps_done(self.results.folder(run)) / steps) if steps > 0 else 0.0

    def table(self, shares: dict[Run, float]) -> Table:
        table = Table(*self.keys, "", "", box=None, header_style="bold", pad_edge=False)
        failed = self.results.failed()
        for run in self.ended[-NUM_ENDED_SHOWN:]:
            colour = "red" if run in failed else "green"
            table.add_row(
                *self.cells(run), "", Text(self.outcome(run), style=colour, overflow="ellipsis", no_wrap=True)
            )
        for run, share in shares.items():
            bar = ProgressBar(total=1.0, completed=share, width=30)
            table.add_row(*self.cells(run), bar, f"{100 * share:.0f} %")
        return table

    def cells(self, run: Run) -> list[str]:
        """What tells the run from others."""
        key = run.key()
        return [str(key[name]) for name in self.keys]

    def outcome(self, run: Run) -> str:
        """How it ended, in a few words."""
        result = self.results.result(run)
        assert result is not None
        if result["status"] == "failed":
            return f"failed: {result['error']}"
        known = [(name, result["metrics"][name]) for name in METRICS_SHOWN if name in result["metrics"]]
        measured = [f"{name} {100 * value:.2f} %" for name, value in known[:1]]
        return ", ".join([*measured, f"{result['seconds']:.0f} s"])

    def summary(self, num_running: int, seconds_left: float | None) -> str:
        """How many there are of each kind, and how long it will take."""
        num_failed = len(self.results.failed())
        parts = [f"{len(self.ended)} of {len(self.results.runs)} runs ended"]
        parts += [f"{num_failed} failed"] if num_failed else []
        parts += [f"{num_running} running"] if num_running else []
        parts.append(f"{duration(time.monotonic() - self.began)} so far")
        parts += [f"about {duration(seconds_left)} left"] if seconds_left is not None and num_running else []
        return ", ".join(parts)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
