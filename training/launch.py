"""From the words of a command to a run: parse them, and make the objects."""

from typing import Any

from pytorch_lightning import LightningDataModule

from datamodules.sharding import ShardedDataModule
from models.classifier import Classifier
from training.errors import UserError, config_errors
from training.parser import Command
from training.processes import launched_world_size
from training.resume import config_to_record
from training.run import Run
from training.signals import SignalListener
from training.trainer import Trainer


def resolved_config(words: list[str]) -> dict[str, Any]:
    """The complete configuration of a command, defaults included, as nested dictionaries. No object is made.

    Args:
        words: the words after ``python cli.py``.
    Raises:
        UserError: a key is unknown, or a value of the wrong type.
    """
    return Command(words).config_dump


def prepare(words: list[str], listener: SignalListener | None = None) -> Run:
    """The run that a command describes.

    Args:
        words: the words after ``python cli.py``; ``words[0]`` is the method of the run to call.
        listener: receives signals; by default a new one.
    Raises:
        UserError: the command or its config is wrong.
    """
    command = Command(words)
    config_to_record(command.config_dump)  # refuses a callback that is there twice, before Lightning fails on it
    model, data, trainer = command.instantiate()
    check_processes(data, trainer, command.name)
    ckpt_path = command.config.ckpt_path
    if command.name != "fit":
        ckpt_path = ckpt_path or "best"
    elif isinstance(model, Classifier):
        with config_errors():
            # Finds a learning rate of -1 now, and not in the middle of fit. An override may need the trainer.
            Classifier.configure_optimizers(model)
    return Run(model, data, trainer, command.experiment_dir, ckpt_path, command, listener)


def check_processes(data: LightningDataModule, trainer: Trainer, subcommand: str) -> None:
    """Reject several processes where the work cannot be divided among them.

    Raises:
        UserError: their number differs from what was launched, or the command or the data takes one process only.
    """
    num, launched = trainer.world_size, launched_world_size()
    if num < launched:
        raise UserError(
            f"{launched} processes were started, but trainer.devices and num_nodes ask for {num}; set them to what was "
            "started, or start one"
        )
    if num > 1 and subcommand == "predict":
        raise UserError(f"trainer.devices and num_nodes ask for {num} processes; predict takes one")
    if num > 1 and not isinstance(data, ShardedDataModule):
        raise UserError(
            f"trainer.devices and num_nodes ask for {num} processes, but {type(data).__name__} can only serve one; "
            "leave them out"
        )
