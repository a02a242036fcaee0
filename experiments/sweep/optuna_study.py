"""Optuna's part in a search: it draws the values of a trial, and decides which trials to prune.

Both use only what their arguments say: a study in memory is made for each decision. So a search that was killed draws
and prunes the same again.
"""

import json
import math
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from experiments.sweep.grid import Grid
from experiments.sweep.ranges import range_of
from experiments.sweep.settings import Search

State = Literal["running", "finished", "pruned", "failed"]

STATES: dict[State, TrialState] = {
    "running": TrialState.RUNNING,
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}

DIRECTIONS: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}


def distributions_of(grid: Grid) -> dict[str, BaseDistribution]:
    """The distribution of each key. A value of a list is drawn as its JSON, because Optuna takes no objects."""
    distributions: dict[str, BaseDistribution] = {}
    for key, given in sorted(grid.items()):
        if isinstance(given, list):
            distributions[key] = CategoricalDistribution([json.dumps(value) for value in given])
            continue
        values = range_of(key, given)
        if values.is_whole:
            step = 1 if values.step is None else int(values.step)
            distributions[key] = IntDistribution(int(values.low), int(values.high), values.log, step)
        else:
            distributions[key] = FloatDistribution(values.low, values.high, values.log, values.step)
    return distributions


def draw_values(
    search: Search, grid: Grid, seeds: list[int], number: int, others: Iterable[FrozenTrial]
) -> dict[str, Any]:
    """The values of a trial, drawn with a seed of its own that follows from ``seeds`` and its number.

    Args:
        search: names the sampler.
        grid: lists and ranges.
        seeds: those of the sweep.
        number: of the trial, from 0.
        others: the trials before it; those that are running have only values, which the sampler avoids.
    """
    seed = int(numpy.random.SeedSequence([*seeds, number]).generate_state(1)[0])
    is_tpe = search.sampler == "tpe"
    sampler = TPESampler(n_startup_trials=search.startup_trials, seed=seed) if is_tpe else RandomSampler(seed)
    study = study_in_memory(search, sampler=sampler)
    study.add_trials(others)
    drawn = study.ask(distributions_of(grid)).params
    return {key: value_of(given, drawn[key]) for key, given in grid.items()}


def value_of(given: list[Any] | dict[str, Any], drawn: Any) -> Any:
    """What a config gets for a drawn value: the value whose JSON was drawn, or a number with four digits."""
    if isinstance(given, list):
        return json.loads(drawn)
    if isinstance(drawn, int) or given.get("step") is not None:
        return drawn
    return min(max(float(f"{drawn:.4g}"), given["low"]), given["high"])


class Decision(NamedTuple):
    """Whether to stop a run, and what the pruner notes about its trial for the decisions about later trials."""

    is_pruned: bool
    notes: dict[str, Any]


def decide(search: Search, journal: Path, intermediate_values: dict[int, float]) -> Decision:
    """Compare a run with the trials in the journal.

    Args:
        search: names the pruner.
        journal: all trials that have ended.
        intermediate_values: the metric of the run after each validation, by optimizer steps; at least one.
    """
    steps = sorted(intermediate_values)
    is_median = search.pruner == "median"
    pruner = MedianPruner(search.startup_trials) if is_median else SuccessiveHalvingPruner(min_resource=steps[0])
    study = study_in_memory(search, sampler=RandomSampler(), pruner=pruner)
    study.add_trials(optuna.load_study(study_name=STUDY, storage=storage_in(journal)).trials)
    trial = study.ask()
    is_pruned = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of values that are all NaN
        for step in steps:  # each of them, because halving makes a note at some of them
            trial.report(intermediate_values[step], step)
            is_pruned = trial.should_prune()
    return Decision(is_pruned, study.trials[-1].system_attrs)


def study_in_memory(search: Search, **options: Any) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(direction=DIRECTIONS[search.mode], **options)


def frozen_trial(
    grid: Grid,
    number: int,
    values: dict[str, Any],
    state: State,
    value: float | None = None,
    intermediate_values: dict[int, float] | None = None,
    notes: dict[str, Any] | None = None,
) -> FrozenTrial:
    """A trial as Optuna records it.

    Args:
        grid: that of the search.
        number: of the trial.
        values: for the keys of the grid.
        state: how it has ended, or that it has not.
        value: that of a finished trial.
        intermediate_values: the metric after each validation, by optimizer steps.
        notes: those of the last ``Decision`` about it.
    """
    return optuna.trial.create_trial(
        state=STATES[state],
        value=value,
        params={
            key: json.dumps(values[key]) if isinstance(given, list) else values[key] for key, given in grid.items()
        },
        distributions=distributions_of(grid),
        user_attrs={"trial": number},
        intermediate_values=intermediate_values,
        system_attrs=notes,
    )


def worst_for(search: Search) -> float:
    """The value of a trial that has diverged."""
    return math.inf if search.mode == "min" else -math.inf


STUDY = "search"
"""The name of the study in the journal."""


class Journal:
    """The ended trials of a search in a file, from which workers prune, and which other tools of Optuna can read.

    Each start of a search writes it again, so it need not survive a kill. Only this object writes it.
    """

    def __init__(self, path: Path, search: Search, trials: Iterable[FrozenTrial]) -> None:
        coming = path.with_name(f"{path.name}.tmp")
        for left_over in (coming, *(path.with_name(f"{name}.lock") for name in (path.name, coming.name))):
            left_over.unlink(missing_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=STUDY, storage=storage_in(coming), direction=DIRECTIONS[search.mode], sampler=RandomSampler()
        )
        study.add_trials(trials)
        coming.replace(path)
        self._study = optuna.load_study(study_name=STUDY, storage=storage_in(path), sampler=RandomSampler())

    def add(self, trial: FrozenTrial) -> None:
        self._study.add_trial(trial)


def storage_in(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))
