"""Ctrl-C and SIGTERM: noted at once, acted on between two steps.

A signal inside a step would leave the weights of one step beside the counters of another.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from pytorch_lightning import Callback, LightningModule, Trainer

from callbacks.checkpoints import RunCheckpoints

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedRun(Exception):  # noqa: N818 - it is no error
    """Training was stopped by a signal, and ``last`` is saved.

    Args:
        signum: the signal.
        step: optimizer steps done.
    """

    how_to_go_on = ""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum = signum
        self.step = step


class AbortedRun(BaseException):
    """A second Ctrl-C, or a signal while there is nothing to save: nothing is waited for.

    No ``KeyboardInterrupt``, which Lightning would turn into exit status 1.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} at once; what was saved before is intact")
        self.signum = signum


class StopOnSignal(Callback):
    """Ends training after the step under way when a signal has come, and saves ``last`` first.

    A second Ctrl-C does not wait for the step to end.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.waits_for_the_step = False

    @contextlib.contextmanager
    def listening(self, wait_for_the_step: bool) -> Iterator[None]:
        """Note signals instead of obeying them; what was done about them before is done again afterwards.

        Args:
            wait_for_the_step: whether training goes on to the end of its step, or ends at once.
        """
        self.waits_for_the_step = wait_for_the_step
        before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self._listen()
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _listen(self) -> None:
        for signum in SIGNALS:
            signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if not self.waits_for_the_step or (self.received is not None and signum == signal.SIGINT):
            raise AbortedRun(signum)
        self.received = signum

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._listen()  # again: Lightning has put in a handler of its own, which would end training without saving
        if self.received is not None:
            raise InterruptedRun(self.received, trainer.global_step)

    def between_steps(self, trainer: Trainer, ending: bool) -> None:
        """Stop if a signal has come; called by the loop after every step."""
        if self.received is not None:
            for callback in trainer.callbacks:
                if isinstance(callback, RunCheckpoints):
                    callback.save_last(trainer)
            raise InterruptedRun(self.received, trainer.global_step)
