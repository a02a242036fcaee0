"""Callbacks that disturb a run; named in configs by their class path."""

import contextlib
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback


class SignalAt(Callback):
    """Sends this process, or one of several, a signal in the middle of a step."""

    def __init__(self, step: int = 0, name: str = "SIGINT", times: int = 1, batch: int = -1, rank: int = 0) -> None:
        self.rank = rank
        self.step = step
        self.signum = signal.Signals[name]
        self.times = times
        self.batch = batch

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step - 1 and trainer.global_rank == self.rank:
            for _ in range(self.times):
                signal.raise_signal(self.signum)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch:
            signal.raise_signal(self.signum)

    def on_test_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.step == -1:
            signal.raise_signal(self.signum)


class SignalUnlessResumed(SignalAt):
    """Sends no signal if the run began from a checkpoint."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.global_step > 0:
            self.step = -2


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


class EnoughAt(Callback):
    """Asks for the end of training after some step, as one that watches the time does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.global_step >= self.step


class Pace(Callback):
    """Makes each step take so many seconds at least, so that there is time to disturb the run."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, *args: Any) -> None:
        time.sleep(self.seconds)


class SpoilDiskAt(Callback):
    """Leaves no space in a folder after some step, or lets nobody write to the run's checkpoints any more."""

    def __init__(self, step: int, folder: str, how: str) -> None:
        self.step = step
        self.folder = Path(folder)
        self.how = how

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        if trainer.global_step != self.step:
            return
        if self.how == "read-only":
            mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", f"{trainer.log_dir}/checkpoints"]
            subprocess.run(mount, check=True)
            return
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
