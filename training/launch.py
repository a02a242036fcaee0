"""From the words of a command to a run: parse them, and make the objects."""

import inspect
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import _InstantiatorFn
from pytorch_lightning.loggers import Logger

from datamodules.sharding import ShardedDataModule
from models.classifier import Classifier
from training.errors import UserError, config_errors
from training.external_loggers import WantedLogger
from training.messages import ignore_library_warnings, set_up_messages
from training.own_config import own_config
from training.parser import LINKS_TO_OBJECTS, Command
from training.processes import launched_world_size
from training.recorded_config import SOURCE_KEYS, config_to_record
from training.resume import OpenCheckpoint, find_checkpoint, requeued_run
from training.run import Run
from training.signals import SignalListener
from training.trainer import Trainer
from training.warm_start import load_weights, open_source, sizes


def resolved_config(words: list[str]) -> dict[str, Any]:
    """The complete configuration of a command, defaults included. No object is made. Errors as for ``prepare``."""
    return parse(words)[0].config_dump


def parse(words: list[str]) -> tuple[Command, OpenCheckpoint | None]:
    """The command, and the checkpoint that a new run takes its weights from. Errors as for ``prepare``."""
    start, experiment_dir = own_config(words)
    command = Command(words, start, experiment_dir)
    if command.config.allow_changes and command.ckpt_path is None:
        raise UserError("allow_changes is true, but no run is resumed; add --ckpt_path, or leave it out")
    init_from, sha256 = (command.config[key] for key in SOURCE_KEYS)
    if init_from is None:
        return command, None
    used = used_checkpoint(command)
    opened = used or open_source(init_from, sha256)
    command = Command(words, [*sizes(opened, command.config_dump), *start], experiment_dir)
    return command, None if used else opened


def used_checkpoint(command: Command) -> OpenCheckpoint | None:
    """The checkpoint that the command resumes or evaluates; ``None`` if a new run starts."""
    wanted, is_fit = command.ckpt_path, command.name == "fit"
    if is_fit and (run := requeued_run(command.experiment_dir, command.words)) is not None:
        wanted = str(run.path) if run.has_checkpoint() else None
    return None if wanted is None else find_checkpoint(wanted, command.experiment_dir, "last" if is_fit else "best")


def prepare(words: list[str], listener: SignalListener | None = None) -> Run:
    """The run that a command describes.

    Args:
        words: the words after ``python cli.py``; ``words[0]`` is the method of the run to call.
        listener: receives signals; by default a new one.
    Raises:
        UserError: a key is unknown, a value is of the wrong type, or a class refuses it.
    """
    ignore_library_warnings()
    set_up_messages()
    command, source = parse(words)
    config_to_record(command.config_dump)  # refuses a callback that is there twice, before Lightning fails on it
    pl.seed_everything(command.config.seed_everything, workers=True)
    command.parser.add_instantiator(Instantiator(command, "model"), LightningModule)
    command.parser.add_instantiator(Instantiator(command, "data"), LightningDataModule)
    command.parser.add_instantiator(WantedLogger.instantiate, Logger)
    with config_errors():
        objects = command.parser.instantiate_classes(command.config)
        trainer = Trainer(**objects.trainer)
        check_processes(objects.data, trainer, command.name)
        if command.name == "fit":
            for wanted in trainer.external_loggers:
                wanted.check()
        if command.name == "fit" and isinstance(objects.model, Classifier):
            # Finds a learning rate of -1 now, and not in the middle of fit. An override may need the trainer.
            Classifier.configure_optimizers(objects.model)
    if source is not None:
        load_weights(objects.model, objects.data, source)
        command.set_source(str(source.path), source.sha256)
    return Run(objects.model, objects.data, trainer, command.experiment_dir, command.ckpt_path, command, listener)


class Instantiator(_InstantiatorFn):
    """Lightning's, which lets ``load_from_checkpoint`` work; it also records what the datamodule gives linked keys."""

    def __init__(self, command: Command, key: str) -> None:
        super().__init__(self, key)
        self.config_dump = command.config_dump

    def _dump_config(self) -> None:
        """Lightning calls it; ``config_dump`` is there already."""

    def __call__(self, class_type: type, *args: Any, applied_instantiation_links: Any, **kwargs: Any) -> Any:
        made = super().__call__(class_type, *args, applied_instantiation_links=applied_instantiation_links, **kwargs)
        arguments = self.config_dump["model"].get("init_args", {}) if self.key == "data" else {}
        for target, source in LINKS_TO_OBJECTS.items():
            name, attribute = target.rpartition(".")[2], source.removeprefix("data.")
            try:
                if name in arguments:
                    arguments[name] = getattr(made, attribute)
            except AttributeError:
                if inspect.getattr_static(made, attribute, None) is not None:
                    raise  # a bug in a property, which jsonargparse would take for a datamodule without it
        return made


def check_processes(data: LightningDataModule, trainer: Trainer, subcommand: str) -> None:
    """Reject several processes if the command or the data takes only one, or if another number was started."""
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
