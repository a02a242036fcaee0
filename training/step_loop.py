"""The loop over training steps: Lightning's, without what nobody asked for, and with a place between two steps.

Lightning's own loop spends more time around a small network than the network spends computing: it opens profiler
contexts, inspects signatures and walks through hooks that no callback overrides. ``StepLoop`` finds out once which
hooks are overridden and calls those, in Lightning's order. Whatever is not the plain case (several devices, a gradient
scaler, a profiler, accumulated gradients, manual optimization, an overridden ``optimizer_step``, a schedule over
epochs) goes through Lightning's own code.

This leans on names that Lightning calls private; ``setup.cfg`` bounds its version, and a test holds both loops against
each other: the same hooks in the same order, the same weights bit for bit.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.memory import recursive_detach
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.types import LRSchedulerConfig
from torch import Tensor

from training.errors import UserError

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""The hooks of a step that callbacks and the model may override, in the order in which they are called."""

MODEL_HOOKS_OF_LIGHTNING = (
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "on_train_batch_start",
    "lr_scheduler_step",
)
"""Methods of the model which, when overridden, send a step through Lightning's own code."""

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class StepLoop(_TrainingEpochLoop):
    """Runs the steps of an epoch; after each it calls ``between_steps(trainer, ending)`` of every callback that has it.

    ``ending`` says that no step follows in this epoch or run. A checkpoint is taken only there, so that resuming never
    has a half step, or a validation, to make up for. The last step of a run is always followed by validation, if there
    is any.
    """

    restarting: bool

    def reset(self) -> None:
        if self.restarting:
            self.restarting = False  # of val_loop, too: the validation that was due had ended
        else:
            super().reset()

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self._plain = self._is_plain(data_fetcher)
        # In it LightningModule.log finds the hook it is called from. Setting that as an attribute would pass through
        # torch.nn.Module.__setattr__, which takes microseconds.
        self._model_state = vars(self.trainer.lightning_module)
        self._hooks = {name: self._overriding(name) for name in HOOKS}
        self._transfers_batches = self._batches_need_transfer()
        self._between_steps = [c.between_steps for c in self.trainer.callbacks if hasattr(c, "between_steps")]

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if self._plain:
            self._advance_plainly(data_fetcher)
        else:
            super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        accumulating = self._should_accumulate()
        super().on_advance_end(data_fetcher)
        if accumulating:  # an optimizer step is under way, over several batches
            return
        ending = self.done
        for between_steps in self._between_steps:
            between_steps(self.trainer, ending)

    def update_lr_schedulers(self, interval: str, update_plateau_schedulers: bool) -> None:
        if not self._plain:  # where it is, each step has taken care of them, and none waits for a metric
            super().update_lr_schedulers(interval, update_plateau_schedulers)

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        return super()._should_check_val_fx(data_fetcher) or (self._is_last_of_run() and self._should_check_val_epoch())

    def _is_last_of_run(self) -> bool:
        fit_loop = self.trainer.fit_loop
        in_last_epoch = fit_loop.epoch_progress.current.processed + 1 == fit_loop.max_epochs
        return self.global_step == self.max_steps or (in_last_epoch and self._num_ready_batches_reached())

    def _is_plain(self, data_fetcher: _DataFetcher) -> bool:
        trainer = self.trainer
        precision = trainer.precision_plugin
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
            and type(trainer.profiler) is PassThroughProfiler
            and trainer.accumulate_grad_batches == 1
            and all(steps_with_the_optimizer(config) for config in trainer.lr_scheduler_configs)
            and trainer.lightning_module.automatic_optimization
            and type(trainer.optimizers[0]).zero_grad is torch.optim.Optimizer.zero_grad
            and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
            and not any(is_overridden(name, trainer.lightning_module) for name in MODEL_HOOKS_OF_LIGHTNING)
        )

    def _overriding(self, name: str) -> list[Callable[..., Any]]:
        """The callbacks' hooks of that name, then the model's, those that override Lightning's empty ones."""
        trainer = self.trainer
        hooks: list[Callable[..., Any]] = [
            partial(getattr(c, name), trainer, trainer.lightning_module)
            for c in trainer.callbacks
            if overrides(c, name)
        ]
        if is_overridden(name, trainer.lightning_module):
            hooks.append(getattr(trainer.lightning_module, name))
        return hooks

    def _batches_need_transfer(self) -> bool:
        trainer = self.trainer
        if trainer.strategy.root_device.type != "cpu":
            return True
        owners = ((trainer.lightning_module, LightningModule), (trainer.datamodule, LightningDataModule))
        return any(
            owner is not None and is_overridden(name, owner, parent=parent)
            for name in TRANSFER_HOOKS
            for owner, parent in owners
        )

    def _call(self, name: str, *args: Any) -> None:
        for hook in self._hooks[name]:
            self._model_state["_current_fx_name"] = name
            hook(*args)

    def _advance_plainly(self, data_fetcher: _DataFetcher) -> None:
        trainer = self.trainer
        progress = self.batch_progress
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        if self._transfers_batches:
            batch = trainer.lightning_module._on_before_batch_transfer(batch, dataloader_idx=0)
            batch = trainer.strategy.batch_to_device(batch, dataloader_idx=0)

        progress.increment_ready()
        trainer._logger_connector.on_batch_start(batch)
        self._call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()

        outputs = self._optimize(batch, batch_idx)

        progress.increment_processed()
        for config in trainer.lr_scheduler_configs:
            self.scheduler_progress.increment_ready()
            config.scheduler.step()
            self.scheduler_progress.increment_completed()
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        self._model_state["_current_fx_name"] = None
        progress.increment_completed()
        if self._results:  # someone has called self.log
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()

    def _optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """One optimizer step on one batch; returns the loss, and what else the training step returned, detached."""
        trainer = self.trainer
        model = trainer.lightning_module
        optimizer = trainer.optimizers[0]
        optimizer_progress = self.automatic_optimization.optim_progress.optimizer
        outputs: dict[str, Any] = {}

        def closure() -> Tensor:
            with torch.enable_grad():
                self._model_state["_current_fx_name"] = "training_step"
                with self._forward_context():
                    output = model.training_step(batch, batch_idx)
                loss, others = (output, NOTHING_ELSE) if isinstance(output, Tensor) else loss_among(output, model)
                optimizer_progress.zero_grad.increment_ready()
                self._call("on_before_zero_grad", optimizer)
                optimizer_progress.zero_grad.increment_started()
                for group in optimizer.param_groups:  # optimizer.zero_grad(), without its detours
                    for parameter in group["params"]:
                        parameter.grad = None
                optimizer_progress.zero_grad.increment_completed()
                self._call("on_before_backward", loss)
                loss.backward()
            outputs.update({"loss": loss.detach(), **others})
            self._call("on_after_backward")
            self._call("on_before_optimizer_step", optimizer)
            self._model_state["_current_fx_name"] = "configure_gradient_clipping"
            model.configure_gradient_clipping(optimizer, trainer.gradient_clip_val, trainer.gradient_clip_algorithm)
            return outputs["loss"]

        optimizer_progress.step.increment_ready()
        optimizer.step(closure)
        optimizer_progress.step.increment_completed()
        return outputs

    def _forward_context(self) -> contextlib.AbstractContextManager[None]:
        precision = self.trainer.precision_plugin
        return NOTHING if type(precision) is Precision else precision.train_step_context()


NOTHING = contextlib.nullcontext()
NOTHING_ELSE: dict[str, Any] = {}


def loss_among(output: Any, model: LightningModule) -> tuple[Tensor, dict[str, Any]]:
    """The loss that a training step returned among other things, and these, detached.

    Raises:
        UserError: it is not there.
    """
    if not isinstance(output, Mapping) or not isinstance(output.get("loss"), Tensor):
        raise UserError(
            f"{type(model).__name__}.training_step returned {type(output).__name__}; it must return the loss, a "
            "tensor, or a dictionary in which that is the 'loss'"
        )
    return output["loss"], recursive_detach({name: value for name, value in output.items() if name != "loss"})


def steps_with_the_optimizer(config: LRSchedulerConfig) -> bool:
    """Whether a learning rate schedule takes a step after each of the optimizer's and asks for no metric."""
    return config.interval == "step" and config.frequency == 1 and not config.reduce_on_plateau


def overrides(callback: Callback, name: str) -> bool:
    return getattr(type(callback), name) is not getattr(Callback, name)
