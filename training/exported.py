"""Exported models: a folder with the weights in safetensors, and beside them what the weights mean."""

import json
from pathlib import Path
from typing import Any

from training.errors import UserError

WEIGHTS = "model.safetensors"
CONFIG = "config.json"

INSTALL = 'pip install -c constraints.txt -e ".[export]"'
"""Installs the packages that exports need."""


def exported_file(path: Path) -> Path | None:
    """The weights, if ``path`` is an exported folder or such a file; otherwise ``None``."""
    if path.suffix == ".safetensors":
        return path
    return path / WEIGHTS if (path / WEIGHTS).is_file() else None


def needs_package(name: str) -> UserError:
    """The error for a package of the extra ``export`` that is not installed."""
    return UserError(f"this needs the package {name}, which is not installed; install it with {INSTALL}")


def write_exported(checkpoint: dict[str, Any], folder: Path) -> None:
    """Write weights and configuration of a checkpoint into a folder.

    Raises:
        UserError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError as error:
        raise needs_package("safetensors") from error
    weights = {name: weight.detach().cpu().contiguous().clone() for name, weight in checkpoint["state_dict"].items()}
    save_file(weights, folder / WEIGHTS)
    write_config(checkpoint, folder)


def write_config(checkpoint: dict[str, Any], folder: Path) -> None:
    """Write ``config.json``: the configuration, the step, and what the datamodule keeps, such as a vocabulary."""
    data_class = str(checkpoint["config"].get("data", {}).get("class_path", "")).rpartition(".")[2]
    data_state = {name: value for name, value in checkpoint.get(data_class, {}).items() if isinstance(value, str | int)}
    content = {
        "config": checkpoint["config"],
        "global_step": checkpoint["global_step"],
        "data_state": {data_class: data_state} if data_state else {},
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_exported(path: Path) -> dict[str, Any]:
    """The content of an exported model, under the keys of a checkpoint.

    Raises:
        UserError: a file is missing or damaged, or safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise needs_package("safetensors") from error
    config = path.with_name(CONFIG)
    try:
        weights = load_file(path)
        content = json.loads(config.read_text(encoding="utf-8"))
        return {
            "state_dict": weights,
            "config": content["config"],
            "global_step": content["global_step"],
            **content["data_state"],
        }
    except SafetensorError as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}; export the model again") from error
    except OSError as error:
        missing = error.filename or path
        raise UserError(f"cannot read {missing}: {error.strerror or 'no such file'}; export the model again") from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{config} is not that of an exported model; export the model again") from error
