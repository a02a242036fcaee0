"""The runs of a sweep: one for each combination of the grid's values and each seed."""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.sweep.ranges import range_of
from training.errors import UserError
from training.seeds import check_seeds

if TYPE_CHECKING:
    from experiments.sweep.pruning import TrialPruning

Grid = dict[str, list[Any] | dict[str, Any]]
"""Keys of a config, each with a list of values, or, in a search, with a dictionary that ``range_of`` reads."""

NAME_MAX = 120
"""The most characters of a run's name without its seed; the name is that of a folder."""

PREFIXES = ("model.", "data.", "trainer.")

NOT_IN_A_GRID = {
    "seed_everything": "list the seeds under seeds",
    "ckpt_path": "a sweep finds its checkpoints itself",
    "config": "give one config as base",
    "trainer.default_root_dir": "set output_dir",
    "model": "give its arguments, such as model.network",
    "data": "give its arguments, such as data.length",
}

LOCATION_KEYS = ("config", "ckpt_path", "trainer.default_root_dir")
"""Keys that say where a run is saved; they do not change its results."""


@dataclass(frozen=True, eq=False)
class Run:
    """One training run: values of the grid's keys in their order, ``seed_everything``, and the name of its folder."""

    values: dict[str, Any]
    seed: int
    name: str

    def key(self) -> dict[str, Any]:
        """The columns that identify the run in results.csv."""
        return {**{key: format_value(value) for key, value in self.values.items()}, "seed_everything": self.seed}

    def pruning(self) -> "TrialPruning | None":
        """The callback that may stop the run before its end; a run of a grid has none."""
        return None


def runs_of(grid: Grid, seeds: list[int]) -> list[Run]:
    """Every combination with every seed, in the order of the grid; the seed changes fastest.

    Raises:
        UserError: the grid, the values of a key or the seeds are empty or have duplicates, or a key cannot be in a
            grid, or has a range.
    """
    check(grid, seeds)
    for key, given in grid.items():
        if isinstance(given, dict):
            raise UserError(f"grid has a range for {key}, which needs a search; give a list of values, or add search")
    varied = [key for key, values in grid.items() if len(values) > 1]
    last_parts = [key.rpartition(".")[2] for key in varied]
    shown = {key: last if last_parts.count(last) == 1 else key for key, last in zip(varied, last_parts, strict=True)}
    combinations = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    # Names have no comma, because folders are given in lists.
    names = ["+".join(f"{name}={label(values[key])}" for key, name in shown.items()) for values in combinations]
    if len(set(names)) < len(names) or max(map(len, names)) > NAME_MAX:
        digits = len(str(len(names) - 1))
        names = [f"run_{k:0{digits}}" for k in range(len(names))]
    return [
        Run(values, seed, f"{name}+seed={seed}" if name else f"seed={seed}")
        for values, name in zip(combinations, names, strict=True)
        for seed in seeds
    ]


def check(grid: Grid, seeds: list[int]) -> None:
    """Raise a ``UserError`` for a wrong grid or wrong seeds, before the base is read."""
    if not grid:
        raise UserError("grid is empty; give at least one key with a list of values, such as data.length: [5, 10]")
    plain = [key.replace(".init_args", "") for key in grid]
    for (key, values), short in zip(grid.items(), plain, strict=True):
        for banned, way_out in NOT_IN_A_GRID.items():
            if f"{banned}.".startswith(f"{short}."):
                raise UserError(f"grid has {key}, which cannot be in a grid; {way_out}")
        if plain.count(short) > 1:
            raise UserError(f"grid has {short} {plain.count(short)} times; give each key once")
        if not short.startswith(PREFIXES) or short.endswith(".help"):
            raise UserError(f"grid has {key}; give a key of the config, which begins with {', '.join(PREFIXES)}")
        if not values:
            raise UserError(f"grid has no values for {key}; give at least one, or leave the key out")
        if isinstance(values, dict):
            range_of(key, values)
            continue
        written = [json.dumps(value, sort_keys=True) for value in values]
        for value, text in zip(values, written, strict=True):
            if (count := written.count(text)) > 1:
                raise UserError(f"grid has {key} = {format_value(value)} {count} times; give each value once")
    check_seeds(seeds)


def check_values(base: Path, grid: Grid) -> dict[str, Any]:
    """Try each value of the grid once, before any run starts; of a range, its ends.

    Returns:
        the complete configuration for the first value of each key, flat.
    Raises:
        UserError: the base is not a config of fit, or it has no such key, or the key does not accept a value.
    """
    first: dict[str, Any] = {}
    for key, values in grid.items():
        for value in reversed(values_to_try(values)):  # the first value is last: it stays
            first[key] = value
            config = resolve(base, first, f"grid has {key} = {format_value(value)}, which {base} does not accept")
    return flat_config(config)


def values_to_try(values: list[Any] | dict[str, Any]) -> list[Any]:
    return [values["low"], values["high"]] if isinstance(values, dict) else values


def resolve(base: Path, values: dict[str, Any], message: str) -> dict[str, Any]:
    """The complete configuration for these values; a failure is reported with ``message`` and its reason."""
    from training.launch import resolved_config  # imports Lightning, which --help does not need

    try:
        return resolved_config(["fit", f"--config={base}", *overrides(values)])
    except (UserError, SystemExit) as error:  # some keys, such as --print_config, exit
        if values:
            resolve(base, {}, f"base {base} is not a config of fit")
        reason = str(error).partition("; see python cli.py")[0].rstrip(": ")
        raise UserError(f"{message}: {reason}") from error


def flat_config(config: dict[str, Any]) -> dict[str, Any]:
    """A complete configuration with keys as on the command line, without the trainer's loggers and unset arguments."""
    from callbacks.run_summary import flatten

    trainer = {key: value for key, value in config["trainer"].items() if value is not None and key != "logger"}
    flat = flatten({**config, "trainer": trainer})
    return {key: value for key, value in flat.items() if key not in LOCATION_KEYS}


def overrides(values: dict[str, Any]) -> list[str]:
    """``{"data.length": 5}`` -> ``["--data.length=5"]``."""
    return [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def fit_words(base: Path, run: Run, folder: Path) -> list[str]:
    """The command that starts or resumes a run."""
    place = [f"--trainer.default_root_dir={folder}", "--ckpt_path=auto"]
    return ["fit", f"--config={base}", *overrides(run.values), f"--seed_everything={run.seed}", *place]


def label(value: Any) -> str:
    """A value as part of a folder's name: its letters, digits, points, plus and minus signs."""
    return re.sub(r"[^\w.+-]+", "_", str(format_value(value))).strip("_") or "empty"


def format_value(value: Any) -> Any:
    """A readable value; an object with a class path is shown as its class and arguments."""
    if isinstance(value, dict) and "class_path" in value:
        arguments = ", ".join(f"{key}={format_value(given)}" for key, given in value.get("init_args", {}).items())
        return value["class_path"].rpartition(".")[2] + (f"({arguments})" if arguments else "")
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "null" if value is None else value if isinstance(value, int | float | str) else str(value)
