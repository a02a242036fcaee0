"""Warm start: a new run begins with the weights of a checkpoint, and with nothing else of it."""

import json
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningDataModule, LightningModule
from torch import Tensor

from models.contracts import ReportingModel
from training.errors import UserError
from training.loading import check_finite
from training.parser import LINKS, LINKS_TO_OBJECTS
from training.processes import print_rank_zero
from training.recorded_config import Config, import_class
from training.resume import OpenCheckpoint, find_checkpoint

NAMED_MAX = 3
"""The most weights that a message names."""


def open_source(init_from: str, sha256: str | None) -> OpenCheckpoint:
    """The checkpoint that a new run takes its weights from.

    Args:
        init_from: a checkpoint file, or the folder of a run or of an experiment (the best of its newest run).
        sha256: the checksum that the file must have, if any.
    Raises:
        UserError: there is no such checkpoint, it is damaged, or it has another checksum.
    """
    if init_from in ("best", "last", "auto"):
        raise UserError(f"--init_from {init_from} does not say which run; give its folder, such as runs/lstm_T20")
    opened = find_checkpoint(init_from, Path("runs"), "best", option="--init_from")
    assert opened is not None  # only "auto" may find none
    if sha256 is not None and sha256 != opened.sha256:
        raise UserError(
            f"init_sha256 is {sha256}, but the file {opened.path} has the checksum {opened.sha256}; give the file that "
            "the run started from, or leave init_sha256 out"
        )
    return opened


def sizes(opened: OpenCheckpoint, config: Config) -> list[str]:
    """The arguments that decide the network of a checkpoint, as words that the config's own overrides.

    Raises:
        UserError: the checkpoint is of another class of model than the config's.
    """
    recorded = opened.checkpoint.get("config")
    theirs = recorded.get("model") if isinstance(recorded, dict) else None
    if not isinstance(theirs, dict):
        raise UserError(f"{opened.path} has no configuration of a model; give a checkpoint of this project")
    model = config["model"]
    model_class = import_class(model.get("class_path", ""))
    if import_class(theirs["class_path"]) is not model_class:
        names = [path.rpartition(".")[2] for path in (theirs["class_path"], model["class_path"])]
        raise UserError(
            f"--init_from {opened.path} has weights of {names[0]}, the config says {names[1]}; give another"
        )
    train_only = getattr(model_class, "MAY_DIFFER_IN_TEST", ())
    arguments = {name: value for name, value in theirs.get("init_args", {}).items() if name not in train_only}
    given: dict[str, dict[str, Any]] = {"model": {}, "data": {}}
    for name, value in arguments.items():
        target = f"model.init_args.{name}"
        if target not in LINKS_TO_OBJECTS:
            group, _, argument = LINKS.get(target, target).split(".")
            given[group][argument] = value
    return [
        f"--{group}={json.dumps({'class_path': config[group]['class_path'], 'init_args': init_args})}"
        for group, init_args in given.items()
        if init_args
    ]


def load_weights(model: LightningModule, data: LightningDataModule, opened: OpenCheckpoint) -> None:
    """Load the weights of a checkpoint into a model of the same class, whose data may be others.

    Raises:
        UserError: the model has other weights than the checkpoint, or weights are not finite.
    """
    path, checkpoint = opened.path, opened.checkpoint
    weights: dict[str, Tensor] = checkpoint["state_dict"]
    check_finite(path, checkpoint)
    adapted = ""
    if isinstance(model, ReportingModel):
        data_class = checkpoint["config"]["data"]["class_path"].rpartition(".")[2]
        weights, adapted = model.adapt_weights(weights, checkpoint.get(data_class, {}), data)
    if differing := differences(weights, model.state_dict()):
        more = f" and {len(differing) - NAMED_MAX} more" if len(differing) > NAMED_MAX else ""
        raise UserError(
            f"--init_from {path} does not fit: {', '.join(differing[:NAMED_MAX])}{more}; leave the sizes out of the "
            "config, or set them as there"
        )
    model.load_state_dict(weights)
    print_rank_zero(f"Weights from {path}, step {checkpoint['global_step']:,}{adapted and f': {adapted}'}.")


def differences(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> list[str]:
    """A phrase for each weight that only one of two models has, or that has another shape."""
    shapes = {
        name: [str(tuple(w[name].shape)) if name in w else "missing" for w in (theirs, ours)] for name in theirs | ours
    }
    return [f"{name} is {there} there and {here} here" for name, (there, here) in shapes.items() if there != here]
