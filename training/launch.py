"""From the words of a command to a run: parse them, open the checkpoint, make the objects."""

from typing import Any

from pytorch_lightning import LightningDataModule

from datamodules.sharding import ShardedDataModule
from models.classifier import Classifier
from training.errors import UserError, config_errors
from training.hints import Hints
from training.parser import LINKS_TO_OBJECTS, CommandParser
from training.processes import launched_world_size
from training.resume import OpenCheckpoint, config_to_record, open_to_evaluate, open_to_resume
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
    return CommandParser(words).config_dump


def prepare(words: list[str], listener: SignalListener | None = None) -> Run:
    """The run that a command describes. Everything that can be wrong before anything is written has been checked.

    Args:
        words: the words after ``python cli.py``; ``words[0]`` is the method of the run to call.
        listener: receives signals; by default a new one.
    Raises:
        UserError: the command, its config or its checkpoint is wrong.
    """
    parser = CommandParser(words)
    config_to_record(parser.config_dump)  # refuses a callback that is there twice, before Lightning fails on it
    opened = open_checkpoint(parser, words)
    try:
        model, data, trainer = parser.instantiate()
        check_processes(data, trainer, parser.subcommand)
        with config_errors():
            if parser.subcommand == "fit" and isinstance(model, Classifier):
                # Finds a learning rate of -1 now, and not in the middle of fit. An override may need the trainer.
                Classifier.configure_optimizers(model)
    except BaseException:
        if opened is not None and opened.folder is not None:
            opened.folder.unlock()
        raise
    config, hints = parser.config_dump, Hints(words)
    run = Run(model, data, trainer, parser.experiment_dir, opened, config, parser.save_config, hints, listener)
    del opened  # an exception that a library keeps may keep this frame
    return run


def open_checkpoint(parser: CommandParser, words: list[str]) -> OpenCheckpoint | None:
    """The checkpoint that the command starts from, if there is one."""
    wanted, computed = parser.own_config.ckpt_path, tuple(LINKS_TO_OBJECTS)
    if parser.subcommand == "fit":
        return open_to_resume(wanted, parser.experiment_dir, parser.config_dump, computed, words)
    return open_to_evaluate(wanted or "best", parser.experiment_dir, parser.config_dump, computed)


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
