"""Reads the checkpoint of a model, for commands that need no Lightning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from training.checkpoint_file import read_checkpoint
from training.errors import UserError
from training.run_folder import find_checkpoint

NETWORK = "network."
"""Prefix of the names of the network's weights in the ``state_dict`` of a model."""


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint that has been read and checked.

    Args:
        path: its file.
        checkpoint: its content.
        arguments: of the model's constructor.
    """

    path: Path
    checkpoint: dict[str, Any]
    arguments: dict[str, Any]

    def load_weights(self, network: nn.Module) -> None:
        """Load the trained weights into ``network``.

        Raises:
            UserError: they are not all finite.
        """
        weights = self.checkpoint["state_dict"].items()
        network.load_state_dict({name.removeprefix(NETWORK): w for name, w in weights if name.startswith(NETWORK)})
        if not all(weight.isfinite().all() for weight in network.parameters()):
            raise UserError(
                f"the weights in {self.path} are not all finite; give a checkpoint from before the loss diverged"
            )


def trained_model(ckpt_path: str, class_name: str, *keys: str) -> TrainedModel:
    """Read the checkpoint of a model.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
        class_name: of the model.
        keys: that the checkpoint must also have.
    Raises:
        UserError: the checkpoint does not exist, is damaged, or is that of another model.
    """
    if ckpt_path in ("best", "last", "auto"):
        raise UserError(f"--ckpt_path {ckpt_path} does not say which run; give its folder, such as runs/lstm_T20")
    path = find_checkpoint(ckpt_path, Path("runs"), "best")
    assert path is not None  # only "auto" may find none
    checkpoint = read_checkpoint(path)
    config = checkpoint.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    model = model if isinstance(model, dict) else {}
    name = str(model.get("class_path", "no model")).rpartition(".")[2]
    if name != class_name or not checkpoint.keys() >= set(keys):
        raise UserError(f"{path} has {name}, but this command needs {class_name}; give a checkpoint of that model")
    return TrainedModel(path, checkpoint, model["init_args"])
