"""Progress of a run: a bar in a terminal and in a notebook, plain lines elsewhere."""

import math
import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from callbacks.contracts import RunCallback

SHOWN = {"train/loss": "loss", "val/loss": "val loss", "val/accuracy": "val accuracy"}
"""The metrics of the bar, and their names there."""

MIN_WIDTH_FOR_TIME_LEFT, MIN_WIDTH_FOR_ALL = 80, 100
"""The narrowest terminals, in characters, that show the time left, and all columns."""

WIDTH_BESIDE_BAR = 92
"""Characters that all columns but the bar need together."""


class NotebookBar(Progress):
    """The bar in a notebook. Rich's own needs ipywidgets there; this one replaces what the cell has shown before."""

    shown: Any = None
    """Where the cell shows the bar."""

    def start(self) -> None:
        from IPython.display import display

        self.shown = display(self.make_tasks_table(self.tasks), display_id=True)

    def update(self, *args: Any, **kwargs: Any) -> None:
        super().update(*args, **kwargs)
        self.shown.update(self.make_tasks_table(self.tasks))

    def stop(self) -> None:
        """The last update stays."""


class StepProgress(ProgressBar):
    """A Rich progress bar over optimizer steps in a terminal and in a notebook; elsewhere a line at every validation.

    The bar shows metrics and the words of each callback's ``describe_progress()``.

    Args:
        refresh_seconds: time between two updates of the bar.
    """

    def __init__(self, refresh_seconds: float = 0.2) -> None:
        super().__init__()
        self.refresh_seconds = refresh_seconds
        self.bar: Progress | None = None
        self._next_refresh = 0.0

    def disable(self) -> None:
        self.bar = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        console = Console()
        if (console.is_terminal or console.is_jupyter) and trainer.is_global_zero:
            columns: dict[ProgressColumn, int] = {
                TextColumn("training"): MIN_WIDTH_FOR_ALL,
                BarColumn(bar_width=max(4, console.width - WIDTH_BESIDE_BAR)): 0,
                MofNCompleteColumn(): 0,
                TimeElapsedColumn(): MIN_WIDTH_FOR_ALL,
                TimeRemainingColumn(): MIN_WIDTH_FOR_TIME_LEFT,
                # Only this column may wrap.
                TextColumn("{task.fields[metrics]}", table_column=Column(no_wrap=False)): 0,
            }
            shown = [column for column, width in columns.items() if console.width >= width]
            self.bar = (NotebookBar if console.is_jupyter else Progress)(*shown, console=console)
            self.bar.add_task("training", total=total_steps(trainer), metrics="")
            self.bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self.bar is not None and now >= self._next_refresh:
            self._next_refresh = now + self.refresh_seconds
            self._update(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        if self.bar is not None:
            self._update(trainer)
        elif trainer.is_global_zero:
            total = total_steps(trainer)
            progress = trainer.global_step if total is None else f"{trainer.global_step}/{total}"
            print(f"step {progress}  {self._metrics(trainer)}", file=sys.stdout, flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        if self.bar is not None:
            self._update(trainer)
            self.bar.stop()
            self.bar = None

    def _update(self, trainer: Trainer) -> None:
        assert self.bar is not None
        self.bar.update(self.bar.task_ids[0], completed=trainer.global_step, metrics=self._metrics(trainer))

    def _metrics(self, trainer: Trainer) -> str:
        values = trainer.callback_metrics
        words = [c.describe_progress() for c in trainer.callbacks if isinstance(c, RunCallback)]
        numbers = [f"{shown} {values[name]:.4f}" for name, shown in SHOWN.items() if name in values]
        return "  ".join([*filter(None, words), *numbers])


def total_steps(trainer: Trainer) -> int | None:
    """Optimizer steps of the whole run; ``None`` where something else ends it, such as a time limit."""
    total = trainer.estimated_stepping_batches
    return None if math.isinf(total) else int(total)
