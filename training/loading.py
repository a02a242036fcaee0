"""Trained models and networks from checkpoints. Importing this module imports neither Lightning nor a book's data."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn

from datamodules.vocabulary import Vocabulary
from models.contracts import ReportingModel
from models.networks.build import build_text_network
from models.networks.stacked_lstm import StackedLSTM
from training.errors import UserError
from training.exported import exported_file, read_exported
from training.recorded_config import import_class
from training.resume import find_checkpoint

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule

Model = TypeVar("Model", bound="LightningModule")

PREFIX = "network."
"""Prefix of the names of the network's weights in the ``state_dict`` of a model."""


def read_model(
    ckpt_path: str, class_name: str = "", option: str = "--ckpt_path"
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Read the checkpoint of a model.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run), or
            what ``python cli.py export --format safetensors`` wrote.
        class_name: of the model; any by default.
        option: that gives ``ckpt_path``, for messages.
    Returns:
        the path of the file, its content, and the arguments of the model's constructor.
    Raises:
        UserError: the checkpoint does not exist, is damaged, or is that of another model.
    """
    if ckpt_path in ("best", "last", "auto"):
        raise UserError(f"{option} {ckpt_path} does not say which run; give its folder, such as runs/lstm_T20")
    if (exported := exported_file(Path(ckpt_path))) is not None:
        path, checkpoint = exported, read_exported(exported)
    else:
        found = find_checkpoint(ckpt_path, Path("runs"), "best", option)
        assert found is not None  # only "auto" may find none
        path, checkpoint, _ = found
    config = checkpoint.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    model = model if isinstance(model, dict) else {}
    name = str(model.get("class_path", "no model")).rpartition(".")[2]
    if not model or (class_name and name != class_name):
        needed = class_name or "a model of this project"
        raise UserError(f"{path} has {name}, but this command needs {needed}; give a checkpoint of that model")
    return path, checkpoint, model["init_args"]


def load_weights(network: nn.Module, path: Path, checkpoint: dict[str, Any], prefix: str = PREFIX) -> None:
    """Load the weights of a checkpoint whose names begin with ``prefix``; a UserError unless all fit and are finite."""
    check_finite(path, checkpoint)
    weights = {name.removeprefix(prefix): w for name, w in checkpoint["state_dict"].items() if name.startswith(prefix)}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not fit its configuration: {error}; give another file") from error


def check_finite(path: Path, checkpoint: dict[str, Any]) -> None:
    """Raise a UserError unless all weights are finite."""
    if not all(weight.isfinite().all() for weight in checkpoint["state_dict"].values()):
        raise UserError(f"the weights in {path} are not all finite; give a checkpoint from before the loss diverged")


def vocabulary_of(checkpoint: dict[str, Any]) -> Vocabulary | None:
    """The characters of the text that a model was trained on; ``None`` if it was no text."""
    data_class = str(checkpoint["config"].get("data", {}).get("class_path", "")).rpartition(".")[2]
    state = checkpoint.get(data_class)
    return Vocabulary(state["characters"]) if isinstance(state, dict) and "characters" in state else None


def load_text_network(ckpt_path: str) -> tuple[Path, StackedLSTM, Vocabulary]:
    """The checkpoint's file, the trained network of a ``TextModel`` and its vocabulary. Errors as for ``read_model``,
    and if weights are not finite."""
    path, checkpoint, arguments = read_model(ckpt_path, "TextModel")
    vocabulary = vocabulary_of(checkpoint)
    if vocabulary is None:
        raise UserError(f"{path} has no vocabulary; give a checkpoint that was trained with BookDataModule")
    # The weights are loaded, so the fastest initialization is enough.
    network = build_text_network(**arguments | {"vocab_size": len(vocabulary), "initialization": "uniform"})
    load_weights(network, path, checkpoint)
    return path, network.eval(), vocabulary


def load_model(model_class: type[Model], ckpt_path: str) -> Model:
    """The model in a checkpoint, on the CPU, in evaluation mode. Arguments that only training uses have their defaults.

    Args:
        model_class: its class, or a base class of it.
        ckpt_path: as for ``read_model``.
    Raises:
        UserError: as for ``read_model``, or the model's class cannot be imported, or its weights are not finite.
    """
    path, checkpoint, recorded = read_model(ckpt_path, option="path")
    class_path = checkpoint["config"]["model"]["class_path"]
    found = import_class(class_path)
    if not (isinstance(found, type) and issubclass(found, model_class)):
        raise UserError(f"{path} has {class_path}, which is no {model_class.__name__}; give another checkpoint")
    train_only = {"optimizer", "lr_scheduler", *getattr(found, "MAY_DIFFER_IN_TEST", ())}
    accepted = inspect.signature(found).parameters.keys() - train_only
    model = found(**{name: value for name, value in recorded.items() if name in accepted})
    load_weights(model, path, checkpoint, prefix="")
    if isinstance(model, ReportingModel):
        model.remember(checkpoint["config"].get("data", {}).get("init_args", {}), vocabulary_of(checkpoint))
    return model.eval()
