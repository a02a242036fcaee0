"""What all commands that look into a checkpoint do first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from training.errors import UserError
from training.resume import find_checkpoint

NETWORK = "network."
"""What the names of a network's weights begin with in a model's."""


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint, read and checked.

    Args:
        path: its file.
        checkpoint: what it holds.
        arguments: those that the model was made with.
    """

    path: Path
    checkpoint: dict[str, Any]
    arguments: dict[str, Any]

    def load_weights(self, network: nn.Module) -> None:
        """Give ``network`` the trained weights.

        Raises:
            UserError: they are not all finite.
        """
        weights = self.checkpoint["state_dict"].items()
        network.load_state_dict({name.removeprefix(NETWORK): w for name, w in weights if name.startswith(NETWORK)})
        if not all(weight.isfinite().all() for weight in network.parameters()):
            raise UserError(
                f"the weights in {self.path} are not all finite; give a checkpoint from before they diverged"
            )


def trained_model(ckpt_path: str, class_name: str, *keys: str) -> TrainedModel:
    """Read a checkpoint of a model of that class.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment's folder (the best of its newest run).
        class_name: the model's.
        keys: what else the checkpoint must hold.
    Raises:
        UserError: there is no such checkpoint, it is damaged, or it holds another model.
    """
    if ckpt_path in ("best", "last", "auto"):
        raise UserError(f"--ckpt_path {ckpt_path}: of which run? Give the folder of one, such as runs/lstm_T20")
    found = find_checkpoint(ckpt_path, Path("runs"), "best")
    assert found is not None  # only auto may find nothing
    path, checkpoint = found.path, found.load()
    config = checkpoint.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    model = model if isinstance(model, dict) else {}
    name = str(model.get("class_path", "no model")).rpartition(".")[2]
    if name != class_name or not checkpoint.keys() >= set(keys):
        raise UserError(f"{path} holds {name}, and no {class_name} of this project; give a checkpoint of one")
    return TrainedModel(path, checkpoint, model["init_args"])
