"""What the base makes of a grid: its complete configurations."""

from pathlib import Path
from typing import Any

from callbacks.run_summary import flatten
from experiments.sweep.grid import Grid, overrides, shown
from training.errors import UserError
from training.launch import resolved_config

NOT_OF_A_RUN = ("config", "ckpt_path", "trainer.default_root_dir")
"""Keys that say where a run is, not what it is."""


def check_values(base: Path, grid: Grid) -> dict[str, Any]:
    """Refuse a grid that the base does not fit, before any run starts; each value is tried once.

    Returns:
        the complete configuration of the grid's first values, flat.
    Raises:
        UserError: the base is no config of fit, it has not such a key, or the key takes no such value.
    """
    first: dict[str, Any] = {}
    for key, values in grid.items():
        for value in reversed(values):  # the first one last: it stays
            first[key] = value
            config = resolve(base, first, key)
    return flat_config(config)


def resolve(base: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    try:
        return resolved_config(["fit", f"--config={base}", *overrides(values)])
    except (UserError, SystemExit) as error:  # some keys print something, and leave
        if reason := reason_for_refusing(base):
            raise UserError(f"base {base} is no config of fit: {reason}") from error
        raise UserError(
            f"grid has {key} = {shown(values[key])}, which {base} does not take: {reason_of(error)}"
        ) from error


def reason_of(error: BaseException) -> str:
    return str(error).partition("; see python cli.py")[0].rstrip(": ")


def reason_for_refusing(base: Path) -> str:
    """What is wrong with the base itself; nothing, if it is a config of fit."""
    try:
        resolved_config(["fit", f"--config={base}"])
    except UserError as error:
        return reason_of(error)
    return ""


def flat_config(config: dict[str, Any]) -> dict[str, Any]:
    """A complete configuration, keys as they are typed, less what is not set in the trainer."""
    trainer = {key: value for key, value in config["trainer"].items() if value is not None}
    flat = flatten({**config, "trainer": trainer})
    return {key: value for key, value in flat.items() if key not in NOT_OF_A_RUN}
