"""Checks the values of a grid against the base config."""

from pathlib import Path
from typing import Any

from callbacks.run_summary import flatten
from experiments.sweep.grid import Grid, format_value, overrides
from training.errors import UserError
from training.launch import resolved_config

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
            config = resolve(base, first, f"grid has {key} = {format_value(value)}, which {base} does not accept")
    return flat_config(config)


def resolve(base: Path, values: dict[str, Any], message: str) -> dict[str, Any]:
    """The complete configuration for these values; a failure is reported with ``message`` and its reason."""
    try:
        return resolved_config(["fit", f"--config={base}", *overrides(values)])
    except (UserError, SystemExit) as error:  # some keys, such as --print_config, exit
        if values:
            resolve(base, {}, f"base {base} is not a config of fit")
        reason = str(error).partition("; see python cli.py")[0].rstrip(": ")
        raise UserError(f"{message}: {reason}") from error


def flat_config(config: dict[str, Any]) -> dict[str, Any]:
    """A complete configuration with keys as on the command line, without unset arguments of the trainer."""
    trainer = {key: value for key, value in config["trainer"].items() if value is not None}
    flat = flatten({**config, "trainer": trainer})
    return {key: value for key, value in flat.items() if key not in LOCATION_KEYS}
