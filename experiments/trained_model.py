"""Reads the checkpoint of a model, for commands that need no Lightning."""

from pathlib import Path
from typing import Any

from torch import nn

from training.errors import UserError
from training.resume import find_checkpoint

PREFIX = "network."
"""Prefix of the names of the network's weights in the ``state_dict`` of a model."""


def read_model(ckpt_path: str, class_name: str, *keys: str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Read the checkpoint of a model.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
        class_name: of the model.
        keys: that the checkpoint must also have.
    Returns:
        the path of the file, its content, and the arguments of the model's constructor.
    Raises:
        UserError: the checkpoint does not exist, is damaged, or is that of another model.
    """
    if ckpt_path in ("best", "last", "auto"):
        raise UserError(f"--ckpt_path {ckpt_path} does not say which run; give its folder, such as runs/lstm_T20")
    found = find_checkpoint(ckpt_path, Path("runs"), "best")
    assert found is not None  # only "auto" may find none
    path, checkpoint = found.path, found.checkpoint
    assert path is not None
    config = checkpoint.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    model = model if isinstance(model, dict) else {}
    name = str(model.get("class_path", "no model")).rpartition(".")[2]
    if name != class_name or not checkpoint.keys() >= set(keys):
        raise UserError(f"{path} has {name}, but this command needs {class_name}; give a checkpoint of that model")
    return path, checkpoint, model["init_args"]


def load_weights(network: nn.Module, path: Path, checkpoint: dict[str, Any]) -> None:
    """Load the weights of a checkpoint into ``network``.

    Raises:
        UserError: they are not all finite.
    """
    weights = checkpoint["state_dict"].items()
    network.load_state_dict({name.removeprefix(PREFIX): w for name, w in weights if name.startswith(PREFIX)})
    if not all(weight.isfinite().all() for weight in network.parameters()):
        raise UserError(f"the weights in {path} are not all finite; give a checkpoint from before the loss diverged")
