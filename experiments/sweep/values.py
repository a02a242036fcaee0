"""Checks the values of a grid against the base config."""

from pathlib import Path
from typing import Any

from callbacks.run_summary import flatten
from experiments.sweep.grid import Grid, format_value, overrides
from training.errors import UserError
from training.resolved_config import resolved_config

LOCATION_KEYS = ("config", "ckpt_path", "trainer.default_root_dir")
"""Keys that say where a run is saved; they do not change its results."""


def check_values(base: Path, grid: Grid) -> dict[str, Any]:
    """Try each value of the grid once, before any run starts.

    Returns:
        the complete configuration for the first value of each key, flat.
    Raises:
        UserError: the base is not a config of fit, or it has no such key, or the key does not accept a value.
    """
    first: dict[str, Any] = {}
    for key, values in grid.items():
        for value in reversed(values):  # the first value is last: it stays
            first[key] = value
            config = resolve(base, first, key)
    return flat_config(config)


def resolve(base: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    try:
        return resolved_config(["fit", f"--config={base}", *overrides(values)])
    except (UserError, SystemExit) as error:  # some keys, such as --print_config, exit
        if reason := reason_for_refusing(base):
            raise UserError(f"base {base} is not a config of fit: {reason}") from error
        raise UserError(
            f"grid has {key} = {format_value(values[key])}, which {base} does not accept: {reason_of(error)}"
        ) from error


def reason_of(error: BaseException) -> str:
    return str(error).partition("; see python cli.py")[0].rstrip(": ")


def reason_for_refusing(base: Path) -> str:
    """The error in the base itself; empty if it is a config of fit."""
    try:
        resolved_config(["fit", f"--config={base}"])
    except UserError as error:
        return reason_of(error)
    return ""


def flat_config(config: dict[str, Any]) -> dict[str, Any]:
    """A complete configuration with keys as on the command line, without unset arguments of the trainer."""
    trainer = {key: value for key, value in config["trainer"].items() if value is not None}
    flat = flatten({**config, "trainer": trainer})
    return {key: value for key, value in flat.items() if key not in LOCATION_KEYS}
