"""A training step without the hooks and contexts that nobody uses.

Around a small network, Lightning's own step takes longer than the network: it opens profiler contexts, inspects
signatures and walks through hooks that no callback overrides. ``FastStepLoop`` finds the overridden hooks once and
calls only those, in Lightning's order. Lightning's own code runs every step that is not plain: several devices, a
gradient scaler, a profiler, accumulated gradients, manual optimization, an overridden ``optimizer_step``, a schedule
over epochs.

The step depends on names that Lightning calls private. With a version of Lightning that it was not tested with, it
switches itself off, and says so; runs then take longer and end with the same bits. (Lightning skips a step whose
``training_step`` returns ``None``; the fast step refuses it.)
"""

import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.plugins import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.memory import recursive_detach
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from training.errors import UserError
from training.step_loop import StepLoop

log = logging.getLogger(__name__)

TESTED_VERSIONS = ("2.6",)
"""Minor releases of Lightning with which this step was tested."""

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""Hooks of a step that callbacks and the model may override, in the order of the calls."""

STEP_METHODS = ("optimizer_step", "optimizer_zero_grad", "backward", "on_train_batch_start", "lr_scheduler_step")
"""Methods of a model. If it overrides one of them, Lightning's own code runs the step."""

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


class FastStepLoop(StepLoop):
    """A ``StepLoop`` that runs plain steps itself; see the module."""

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self.is_fast = self._can_use_fast_step(data_fetcher)
        trainer, model = self.trainer, self.trainer.lightning_module
        # LightningModule.log reads the current hook's name there. Setting an attribute would go through
        # torch.nn.Module.__setattr__, which takes microseconds.
        self._model_state = vars(model)
        self._hooks = {name: self._overriding(name) for name in HOOKS}
        self._transfers_batches = trainer.strategy.root_device.type != "cpu" or any(
            is_overridden(name, owner) for name in TRANSFER_HOOKS for owner in (model, trainer.datamodule)
        )
        precision = trainer.precision_plugin
        self._forward_context = contextlib.nullcontext if type(precision) is Precision else precision.train_step_context

    def update_lr_schedulers(self, interval: str, update_plateau_schedulers: bool) -> None:
        if not self.is_fast:  # the fast step has stepped them already
            super().update_lr_schedulers(interval, update_plateau_schedulers)

    def _can_use_fast_step(self, data_fetcher: _DataFetcher) -> bool:
        trainer = self.trainer
        precision = trainer.precision_plugin
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
            and type(trainer.profiler) is PassThroughProfiler
            and trainer.accumulate_grad_batches == 1
            and all(
                config.interval == "step" and config.frequency == 1 and not config.reduce_on_plateau
                for config in trainer.lr_scheduler_configs
            )
            and trainer.lightning_module.automatic_optimization
            and is_param_in_hook_signature(trainer.lightning_module.training_step, "batch_idx", min_args=2)
            and type(trainer.optimizers[0]).zero_grad is torch.optim.Optimizer.zero_grad
            and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
            and not any(is_overridden(name, trainer.lightning_module) for name in STEP_METHODS)
        )

    def _overriding(self, name: str) -> list[Callable[..., Any]]:
        """The callbacks' hooks of that name, then the model's, as far as they override Lightning's empty ones."""
        trainer, model = self.trainer, self.trainer.lightning_module
        owners = [owner for owner in (*trainer.callbacks, model) if is_overridden(name, owner)]
        return [getattr(o, name) if o is model else partial(getattr(o, name), trainer, model) for o in owners]

    def _call(self, name: str, *args: Any) -> None:
        for hook in self._hooks[name]:
            self._model_state["_current_fx_name"] = name
            hook(*args)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        if not self.is_fast:
            super().advance(data_fetcher)
            return
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
        if self._results:  # a hook has called self.log
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()

    def _optimize(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """One optimizer step on one batch. Returns the loss and the other outputs of the training step, detached."""
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
                loss, others = (output, {}) if isinstance(output, Tensor) else split_step_output(output, model)
                optimizer_progress.zero_grad.increment_ready()
                self._call("on_before_zero_grad", optimizer)
                optimizer_progress.zero_grad.increment_started()
                for group in optimizer.param_groups:  # as optimizer.zero_grad(), in fewer calls
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


def split_step_output(output: Any, model: LightningModule) -> tuple[Tensor, dict[str, Any]]:
    """The loss in the output of a training step, a UserError if there is none, and the other outputs, detached."""
    if not isinstance(output, Mapping) or not isinstance(output.get("loss"), Tensor):
        raise UserError(
            f"{type(model).__name__}.training_step returned {type(output).__name__}; it must return the loss, a "
            "tensor, or a dictionary with the loss under 'loss'"
        )
    return output["loss"], recursive_detach({name: value for name, value in output.items() if name != "loss"})


def loop_class() -> type[StepLoop]:
    """The loop for the installed version of Lightning."""
    if pl.__version__.startswith(tuple(f"{version}." for version in TESTED_VERSIONS)):
        return FastStepLoop
    tested = ", ".join(TESTED_VERSIONS)
    log.warning("The fast step is off: pytorch-lightning is %s, and it was tested with %s.", pl.__version__, tested)
    return StepLoop
