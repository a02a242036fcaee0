"""The trials of a search: their values, their runs, and what is to be done next."""

import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from experiments.sweep.definition import WAY_OUT
from experiments.sweep.grid import Grid, Run, format_value, overrides
from experiments.sweep.optuna_study import Journal, State, draw_values, frozen_trial, worst_for
from experiments.sweep.results import ResultsFolder
from experiments.sweep.settings import Search, check_logged
from training.errors import UserError

if TYPE_CHECKING:
    from experiments.sweep.pruning import TrialPruning

TRIALS = "trials.json"
JOURNAL = "optuna.journal"
BEST = "best.yaml"


@dataclass(frozen=True, eq=False)
class TrialRun(Run):
    """The run of a trial with one of the seeds.

    Args:
        trial: the number of the trial, from 0.
        search: what prunes the run; ``None`` if nothing does.
        journal: the trials with which it is compared.
    """

    trial: int
    search: Search | None
    journal: Path

    def key(self) -> dict[str, Any]:
        return {"trial": self.trial, **super().key()}

    def pruning(self) -> "TrialPruning | None":
        from experiments.sweep.pruning import TrialPruning  # imports Lightning, which the workers need

        return None if self.search is None else TrialPruning(self.search, self.journal)


@dataclass(frozen=True, eq=False)
class Trial:
    """One combination of values, with a run for each seed; the first run decides whether the others are done."""

    number: int
    values: dict[str, Any]
    runs: list[TrialRun]


class Trials:
    """All trials of a search that have begun.

    Args:
        search: how many there will be, and what is optimized.
        grid: lists and ranges.
        seeds: of the runs of each trial.
        results: the folder of the search; its ``runs`` and ``num_planned`` are kept up to date.
    """

    def __init__(self, search: Search, grid: Grid, seeds: list[int], results: ResultsFolder) -> None:
        self.search = search
        self.grid = grid
        self.seeds = seeds
        self.results = results
        self.begun: list[Trial] = []
        self.ended: dict[int, FrozenTrial] = {}
        self._journal: Journal | None = None

    def read(self) -> None:
        """Read the trials that an earlier start has begun.

        Raises:
            UserError: their file is damaged, or a finished run has not logged the metric.
        """
        path = self.results.path / TRIALS
        try:
            values = json.loads(path.read_text())
            if not all(of_one.keys() == self.grid.keys() for of_one in values):
                raise ValueError
        except FileNotFoundError:
            values = []
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is damaged or cannot be read; {WAY_OUT}") from error
        self.begun = [self._trial(number, of_one) for number, of_one in enumerate(values)]
        self.ended.clear()
        self.update()

    def to_do(self) -> Iterator[Run | None]:
        """The runs in the order in which to do them, each when it is asked for; ``None`` if none can be done now.

        Runs that had begun are first. A new trial is drawn only if no run of the others is waiting.
        """
        if self._journal is None:
            trials = [trial for _, trial in sorted(self.ended.items())]
            self._journal = Journal(self.results.path / JOURNAL, self.search, trials)
        given: set[Run] = set()
        while True:
            self.update()
            waiting = [run for run in self.results.unfinished() if run not in given]
            if not waiting and len(self.begun) < self.search.trials:
                waiting = [self._begin()]
            given.update(waiting[:1])
            yield waiting[0] if waiting else None

    def update(self) -> None:
        """Record the trials that have ended, and which runs are due."""
        for trial in self.begun:
            if trial.number not in self.ended and (state := self.state(trial)) != "running":
                self.ended[trial.number] = self._frozen(trial, state)
                if self._journal is not None:
                    self._journal.add(self.ended[trial.number])
        self.results.runs[:] = [run for trial in self.begun for run in self.due(trial)]
        num_ended = sum(len(self.due(self.begun[number])) for number in self.ended)
        self.results.num_planned = num_ended + (self.search.trials - len(self.ended)) * len(self.seeds)

    def due(self, trial: Trial) -> list[TrialRun]:
        """The runs of a trial that are done or to do: the first, and all if the first is neither pruned nor failed."""
        return trial.runs if self.results.status(trial.runs[0]) == "finished" else trial.runs[:1]

    def state(self, trial: Trial) -> State:
        statuses = [self.results.status(run) for run in self.due(trial)]
        if "to do" in statuses:
            return "running"
        return "failed" if "failed" in statuses else "pruned" if "pruned" in statuses else "finished"

    def best(self) -> Trial | None:
        """The finished trial with the best value, the first of several; ``None`` if there is none."""
        finished = {number: trial.value for number, trial in self.ended.items() if trial.values}
        known = {number: value for number, value in finished.items() if value is not None and math.isfinite(value)}
        if not known:
            return None
        sign = 1 if self.search.mode == "min" else -1
        return self.begun[min(known, key=lambda number: (sign * known[number], number))]

    def report_best(self, base: Path) -> None:
        """Write the config of the best trial, if there is one, and print its values and its name."""
        best = self.best()
        if best is None:
            return
        from training.parser import Command

        words = ["fit", f"--config={base}", *overrides(best.values), f"--seed_everything={self.seeds[0]}"]
        path = self.results.path / BEST
        coming = path.with_name(f".{BEST}.tmp")
        Command(words).save_config(coming)
        value = f"{self.search.metric} {self.ended[best.number].value:.4g}"
        self.results.write(BEST, f"# Trial {best.number} of {len(self.begun)}: {value}.\n{coming.read_text()}")
        coming.unlink()
        shown = ", ".join(f"{key} = {format_value(given)}" for key, given in best.values.items())
        print(f"Best: trial {best.number}, {value}, {shown}")
        print(f"Next: python cli.py fit --config {shlex.quote(str(path))}")

    def _begin(self) -> TrialRun:
        """Draw the values of the next trial and record them; returns its first run."""
        number = len(self.begun)
        others = [
            self.ended.get(trial.number) or frozen_trial(self.grid, trial.number, trial.values, "running")
            for trial in self.begun
        ]
        values = draw_values(self.search, self.grid, self.seeds, number, others)
        self.begun.append(self._trial(number, values))
        all_values = [trial.values for trial in self.begun]
        self.results.write(TRIALS, json.dumps(all_values, indent=2) + "\n")
        self.results.runs.append(self.begun[-1].runs[0])
        return self.begun[-1].runs[0]

    def _trial(self, number: int, values: dict[str, Any]) -> Trial:
        # Absolute: a Slurm job may start in another folder.
        journal = (self.results.path / JOURNAL).resolve()
        runs = [
            TrialRun(
                values,
                seed,
                f"trial_{number}+seed={seed}",
                number,
                self.search if self.search.pruner != "none" and seed == self.seeds[0] else None,
                journal,
            )
            for seed in self.seeds
        ]
        return Trial(number, values, runs)

    def _frozen(self, trial: Trial, state: State) -> FrozenTrial:
        results = [self.results.result(run) or {} for run in self.due(trial)]
        value = None
        if state == "finished":
            for run, result in zip(trial.runs, results, strict=True):
                check_logged(self.search.metric, set(result["metrics"]), f"the run {run.name}")
            value = sum(result["metrics"][self.search.metric] for result in results) / len(results)
            value = worst_for(self.search) if math.isnan(value) else value
        of_first = {int(step): value for step, value in results[0].get("intermediate_values", {}).items()}
        return frozen_trial(self.grid, trial.number, trial.values, state, value, of_first, results[0].get("notes"))
