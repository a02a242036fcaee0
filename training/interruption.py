"""The end of a training run that a signal asks for."""

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.checkpoints import RunCheckpoints
from training.signals import InterruptedRun, SignalListener


class StopOnSignal(Callback):
    """Ends training after the step under way when a signal has come, and saves ``last`` first.

    A signal inside a step would leave the weights of one step beside the counters of another.

    Args:
        listener: notes the signals.
    """

    def __init__(self, listener: SignalListener) -> None:
        self.listener = listener

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.listener.listen()  # again: Lightning has put in a handler of its own, which would end it without saving
        signum = self._received_by_any(trainer)
        if signum is not None:
            raise InterruptedRun(signum, trainer.global_step)

    def between_steps(self, trainer: Trainer, ending: bool) -> None:
        """Stop if a signal has come; called by the loop after every step."""
        signum = self._received_by_any(trainer)
        if signum is not None:
            for callback in trainer.callbacks:
                if isinstance(callback, RunCheckpoints):
                    callback.between_steps(trainer, ending=True)  # its turn comes after this one's
            raise InterruptedRun(signum, trainer.global_step)

    def _received_by_any(self, trainer: Trainer) -> int | None:
        """The signal that has come to any of the run's processes, so that all stop after the same step."""
        if trainer.world_size == 1:
            return self.listener.received
        signum = torch.tensor(self.listener.received or 0, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(signum, torch.distributed.ReduceOp.MAX)  # SIGTERM outdoes SIGUSR1 and SIGINT
        return int(signum) or None
