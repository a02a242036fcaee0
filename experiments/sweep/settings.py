"""What a search is told: how many trials, which metric, and who chooses and stops them."""

import contextlib
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from experiments.sweep.grid import overrides
from training.errors import UserError


@dataclass(frozen=True)
class Search:
    """A search for the best values, with Optuna.

    Args:
        trials: how many combinations of values to try.
        metric: what to optimize, as it is logged, such as val/loss; its last value counts.
        mode: whether a small (min) or a large (max) value is good.
        sampler: chooses the values; tpe learns from the trials before (Bergstra et al. 2011), random does not.
        pruner: median stops a trial whose best value so far is worse than the median of the finished trials at the same
            step; halving stops, at the first validation and whenever four times as many steps are done, all but the
            best quarter (Li et al. 2020, asynchronous successive halving); none stops no trial.
        startup_trials: so many trials are drawn at random; median stops no trial before so many are finished.
    """

    trials: int
    metric: str
    mode: Literal["min", "max"]
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    startup_trials: int = 5

    def check(self) -> None:
        """Raise a ``UserError`` if the search cannot work, or Optuna is not installed."""
        for name, number in (("trials", self.trials), ("startup_trials", self.startup_trials)):
            if number < 1:
                raise UserError(f"search.{name} is {number}; it must be at least 1")
        if self.metric.startswith("test/"):
            raise UserError(
                f"search.metric is {self.metric}, but the test split must not choose the values; "
                f"take a metric of the validation, such as val/{self.metric.removeprefix('test/')}"
            )
        if find_spec("optuna") is None:
            raise UserError(
                "a search needs Optuna, which is not installed; run pip install -e '.[search]' in the project's "
                "folder, or give lists of values without search"
            )


def check_metric(base: Path, values: dict[str, Any], metric: str) -> None:
    """Do one training step and one batch of validation, and write nothing, to see what the model logs.

    Raises:
        UserError: the model does not log the metric, or it cannot be trained with these values.
    """
    from callbacks.contracts import HasTrainingMetrics
    from training.launch import prepare
    from training.messages import set_up_messages
    from training.signals import AbortedRun, InterruptedRun

    set_up_messages()  # again: Lightning, which is imported now, has set its own levels
    words = ["fit", f"--config={base}", *overrides(values), "--trainer.fast_dev_run=1"]
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            run = prepare(words)
            run.fit()
    except (AbortedRun, InterruptedRun) as stopped:
        raise SystemExit(128 + stopped.signum) from None
    known = set(run.trainer.callback_metrics)
    if isinstance(run.model, HasTrainingMetrics):
        known |= run.model.training_metrics().keys()
    check_logged(metric, known, "the model")


def check_logged(metric: str, known: set[str], who: str) -> None:
    if metric not in known:
        logged = ", ".join(sorted(known)) or "nothing"
        raise UserError(f"search.metric is {metric}, but {who} logs {logged}; choose one of these")
