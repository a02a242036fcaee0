"""How fast training goes."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Logs ``train/steps_per_second`` at every ``trainer.log_every_n_steps``-th step, validation left out."""

    def __init__(self) -> None:
        self.steps_since = 0
        self.time_since = 0.0
        self.validation_started = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps_since, self.time_since = trainer.global_step, time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validation_started = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.time_since += time.perf_counter() - self.validation_started

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % trainer.log_every_n_steps == 0:
            now = time.perf_counter()
            pl_module.log("train/steps_per_second", (step - self.steps_since) / (now - self.time_since))
            self.steps_since, self.time_since = step, now
