"""Metrics of training, logged while it runs."""

import inspect
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from callbacks.contracts import HasTrainingMetrics, RunCallback


class TrainingMetrics(RunCallback):
    """Logs ``training_metrics()`` and ``train/steps_per_second`` every ``trainer.log_every_n_steps`` steps.

    It asks the model and every ``RunCallback`` for their metrics, and passes them to the loggers directly, because
    ``LightningModule.log`` takes a quarter of a millisecond for each value. Time spent in validation does not count.
    """

    def __init__(self) -> None:
        self.step_before = 0
        self.time_before = 0.0
        self.validation_started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step_before, self.time_before = trainer.global_step, time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.time_before += time.perf_counter() - self.validation_started

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % trainer.log_every_n_steps != 0 or step == self.step_before:
            return
        metrics: dict[str, Tensor] = {}
        for source in (pl_module, *trainer.callbacks):
            if isinstance(source, HasTrainingMetrics) and inspect.ismethod(source.training_metrics):
                metrics |= source.training_metrics()
        now = time.perf_counter()
        rate = (step - self.step_before) / (now - self.time_before)
        self.step_before, self.time_before = step, now
        trainer.callback_metrics.update(metrics)
        scalars = {name: value.item() for name, value in metrics.items()} | {"train/steps_per_second": rate}
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step=step - 1)  # Lightning counts from 0 here, and so do validation's rows
            logger.save()
