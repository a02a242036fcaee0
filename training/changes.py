"""A resumed run with another configuration than that of its checkpoint, because a person asked for it."""

import copy
import logging
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop
from torch.optim.lr_scheduler import ReduceLROnPlateau

from models.classifier import Classifier
from training.errors import UserError
from training.loggers import RunTensorBoard
from training.recorded_config import Change

log = logging.getLogger(__name__)

ADAMS = {"torch.optim.Adam", "torch.optim.AdamW"}
"""Their states are the same."""

PLAIN_STATE = (SGD, RMSprop, Adam, AdamW, Adagrad, Adadelta, Adamax, NAdam, RAdam)
"""Optimizers whose state of a parameter may get more parts with other options, all zero at the beginning."""

OWN_KEYS = ("model.init_args.optimizer", "model.init_args.lr_scheduler")
"""Keys whose values are also in the states of optimizers and schedules."""


class ChangesOnPurpose(Callback):
    """Reports what a resumed run changes, and loads the parts of the optimizers' states that fit.

    A schedule is replayed: the learning rate becomes what it would be if the run had had this schedule, and this
    initial learning rate, from the beginning.

    Args:
        changes: at least one.
        checkpoint: of which the states of optimizers and schedules are taken, if the changes concern them. Lightning
            would put the former values back.
    """

    def __init__(self, changes: list[Change], checkpoint: dict[str, Any]) -> None:
        self.changes = changes
        self.num_steps: int = checkpoint["global_step"]
        self.optimizer_states: list[dict[str, Any]] | None = None
        self.scheduler_states: list[dict[str, Any]] = []
        if any(change.name.startswith(OWN_KEYS) for change in changes):
            self.optimizer_states, checkpoint["optimizer_states"] = checkpoint["optimizer_states"], []
            self.scheduler_states, checkpoint["lr_schedulers"] = checkpoint["lr_schedulers"], []

    def check(self, model: pl.LightningModule) -> None:
        """Try the changes before anything is written; errors as for ``replay``."""
        if self.optimizer_states is None or not isinstance(model, Classifier):
            return
        made = Classifier.configure_optimizers(model)
        optimizer, config = (made["optimizer"], made["lr_scheduler"]) if isinstance(made, dict) else (made, None)
        if config is not None:
            replay(LRSchedulerConfig(config["scheduler"]), *self.scheduler_states[:1], num_steps=self.num_steps)
        self.keep(optimizer, self.optimizer_states[0])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        line = described(self.changes, trainer.global_step)
        log.info("%s", line)
        for logger in trainer.loggers:
            if isinstance(logger, RunTensorBoard):
                logger.experiment.add_text("changes", line, trainer.global_step)
        if self.optimizer_states is None:
            return
        for k, config in enumerate(trainer.lr_scheduler_configs):
            num_steps = trainer.global_step if config.interval == "step" else trainer.current_epoch
            replay(config, *self.scheduler_states[k : k + 1], num_steps=num_steps)
        for optimizer, state in zip(trainer.optimizers, self.optimizer_states, strict=False):
            self.keep(optimizer, state)
        self.optimizer_states, self.scheduler_states = None, []  # they take as much memory as the weights

    def keep(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Load the state into an optimizer of the same kind; another kind starts without a state."""
        kinds = [{change.before, change.now} for change in self.changes if change.name.endswith("optimizer.class_path")]
        is_new = any(change.name == "model.init_args.optimizer" for change in self.changes)
        if not is_new and all(kind <= ADAMS for kind in kinds):
            keep_state(optimizer, state)


def described(changes: list[Change], step: int) -> str:
    """The changes in a line."""
    return " ".join(f"Changed at step {step:,}: {'; '.join(map(str, changes))}".split())


def replay(config: LRSchedulerConfig, former: Mapping[str, Any] = MappingProxyType({}), *, num_steps: int) -> None:
    """Bring a new schedule to the place where the run is.

    Args:
        config: Lightning's, of the new schedule.
        former: the state of the former one; empty if there was none.
        num_steps: steps of the schedule so far, if the former state does not count them.
    Raises:
        UserError: the schedule has fewer steps.
    """
    scheduler = config.scheduler
    if isinstance(scheduler, ReduceLROnPlateau):  # it depends on metrics, which are not known any more
        return
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for _ in range(former.get("last_epoch", num_steps)):
                scheduler.step()
    except ValueError as error:
        raise UserError(f"lr_scheduler is {type(scheduler).__name__}: {error}; choose a longer schedule") from error


def keep_state(optimizer: Optimizer, former: dict[str, Any]) -> None:
    """Load the state of each parameter, such as its moments, into a new optimizer whose options stay as they are.

    What the former state lacks, such as the momentum of an optimizer that had none, is zero.

    Args:
        optimizer: of the same kind as the former one, before its first step.
        former: the ``state_dict`` of the former optimizer.
    """
    new = optimizer.state_dict()
    new["state"] = former["state"]
    if type(optimizer) in PLAIN_STATE:
        new["state"] = {
            k: {name: state.get(name, value) for name, value in initial.items()}
            for k, initial in initial_state(optimizer).items()
            if (state := former["state"].get(k))
        }
    optimizer.load_state_dict(new)


def initial_state(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """The state that the optimizer has after a step with gradients of zero."""
    trial = copy.deepcopy(optimizer)
    for group in trial.param_groups:
        for parameter in group["params"]:
            parameter.data.zero_()  # so that its weight decay is zero, too
            parameter.grad = torch.zeros_like(parameter)
    type(trial).step(trial, lambda: 0.0)  # a schedule has replaced the instance's own
    state: dict[int, dict[str, Any]] = trial.state_dict()["state"]
    return state
