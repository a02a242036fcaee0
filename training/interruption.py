"""Stops a training run after a signal."""

import torch
from pytorch_lightning import LightningModule, Trainer

from callbacks.checkpoints import RunCheckpoints
from callbacks.contracts import RunCallback, RunTrainer
from training.signals import SIGNALS, InterruptedRun, SignalListener


class StopOnSignal(RunCallback):
    """Stops training after the current step once a signal has come, and saves ``last`` first.

    A stop inside a step would save the weights of one step with the counters of another.

    Attributes:
        listener: receives the signals; ``None`` leaves signals to Lightning.
    """

    def __init__(self) -> None:
        self.listener: SignalListener | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.listener is None:
            return
        self.listener.listen()  # again: Lightning has installed its own handler, which would end without saving
        if (signum := self._received_by_any(trainer)) is not None:
            raise InterruptedRun(signum, trainer.global_step)

    def on_step_complete(self, trainer: RunTrainer, is_last: bool) -> None:
        if (signum := self._received_by_any(trainer)) is not None:
            for callback in trainer.callbacks:
                if isinstance(callback, RunCheckpoints):
                    callback.on_step_complete(trainer, is_last=True)  # Lightning calls checkpoint callbacks last
            raise InterruptedRun(signum, trainer.global_step)

    def _received_by_any(self, trainer: Trainer) -> int | None:
        """The signal that any process of the run has received, so that all of them stop after the same step."""
        if self.listener is None or trainer.world_size == 1:
            return self.listener.received if self.listener else None
        received = self.listener.received
        priority = torch.tensor(0 if received is None else 1 + SIGNALS.index(received))
        priority = priority.to(trainer.strategy.root_device)
        torch.distributed.all_reduce(priority, torch.distributed.ReduceOp.MAX)
        return SIGNALS[int(priority) - 1] if priority else None
