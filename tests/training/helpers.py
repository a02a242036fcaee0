"""Callbacks that disturb a run; named in configs by their class path."""

import signal
from typing import Any

from pytorch_lightning import Callback


class SignalAt(Callback):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, step: int, name: str = "SIGINT", times: int = 1) -> None:
        self.step = step
        self.signum = signal.Signals[name]
        self.times = times

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step - 1:
            for _ in range(self.times):
                signal.raise_signal(self.signum)


class SignalAtStart(Callback):
    """Sends this process a signal before the first step."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        signal.raise_signal(signal.SIGINT)


class CrashAt(Callback):
    """Fails after some step, as a bug would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("a bug")
