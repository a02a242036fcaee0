"""The configuration of a run that exists: a command that names a run needs no ``--config``."""

import argparse
from pathlib import Path
from typing import Any

import yaml

from training.checkpoint_file import read_checkpoint
from training.errors import UserError
from training.messages import one_line
from training.parser import LINKS, LINKS_TO_OBJECTS
from training.recorded_config import with_current_optimizer
from training.resume import locate
from training.run_folder import run_folder_of


def own_config(words: list[str]) -> tuple[list[str], Path | None]:
    """What a command without ``--config`` starts from: the configuration of the run that ``--ckpt_path`` names.

    Args:
        words: the words after ``python cli.py``.
    Returns:
        a word ``--config=...`` and the folder of the run's experiment; no word and ``None`` if the words name a config,
        or no run.
    Raises:
        UserError: there is no such run, or nothing says how it was trained.
    """
    name, ckpt_path, has_config = words[0], *config_and_checkpoint(words)
    if has_config or ckpt_path is None:
        return [], None
    if ckpt_path in ("best", "last", "auto"):
        if not any(word.startswith("--model") for word in words):
            raise UserError(
                f"--ckpt_path {ckpt_path} does not say which run; give the run's folder, such as runs/lstm_T20, or its "
                "--config"
            )
        return [], None
    path = locate(ckpt_path, Path("runs"), "last" if name == "fit" else "best")[0]
    folder = run_folder_of(path)
    file = None if folder is None else folder.config_at(step_of(path) if folder.was_resumed() else 0)
    if folder is not None and file is not None:
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
            config["model"] = with_current_optimizer(config["model"])
        except (OSError, ValueError, TypeError, LookupError, AttributeError, yaml.YAMLError) as error:
            raise UserError(f"cannot read {file} ({one_line(str(error))}); repair it, or give --config") from error
        return [f"--config={yaml.safe_dump(config)}"], folder.path.parent
    if name == "fit":
        raise UserError(f"{path} has no config.yaml of its run beside it; give --config")
    return [f"--config={yaml.safe_dump(recorded_config(path))}"], None


def config_and_checkpoint(words: list[str]) -> tuple[str | None, bool]:
    """The value of ``--ckpt_path``, and whether the words name a config."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--ckpt_path")
    parser.add_argument("-c", "--config")
    try:
        given, _ = parser.parse_known_args(words[1:])
    except argparse.ArgumentError:  # a word without its value, which the command's own parser reports
        return None, True
    return given.ckpt_path, given.config is not None


def step_of(path: Path) -> int:
    return int(read_checkpoint(path)["global_step"])


def recorded_config(path: Path) -> dict[str, Any]:
    """Model and data as the checkpoint itself records them, for the commands that only evaluate it."""
    recorded = read_checkpoint(path).get("config")
    if not (isinstance(recorded, dict) and all(isinstance(recorded.get(group), dict) for group in ("model", "data"))):
        raise UserError(f"{path} has no configuration of a model; give a checkpoint of this project, or --config")
    config: dict[str, Any] = {"model": with_current_optimizer(recorded["model"]), "data": recorded["data"]}
    config["seed_everything"] = config["data"].get("init_args", {}).get("seed", 42)
    for target in LINKS | LINKS_TO_OBJECTS:
        group, _, argument = target.split(".")
        given = config[group].get("init_args", {})
        config[group] = config[group] | {
            "init_args": {name: value for name, value in given.items() if name != argument}
        }
    return config
