"""Ctrl-C, SIGHUP, SIGTERM and SIGUSR1: received at any time, acted on between two training steps.

Importing this module imports neither torch nor Lightning, so that signals are handled while those are imported.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from training import slurm
from training.processes import is_rank_zero

SIGNALS = (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""The signals that end a run, in the order of their priority.

A request to stop for good has priority over SIGUSR1, with which Slurm asks for a pause. SIGHUP comes when the terminal
is lost. If it is ignored from the start, as under ``nohup``, it stays ignored.
"""


class InterruptedRun(Exception):  # noqa: N818 - it is no error
    """A signal stopped the training after a step, and ``last`` is saved."""

    hint = ""
    """How to resume."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum = signum
        self.step = step

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows."""
        return [f"{self}; {self.hint}"]


class AbortedRun(BaseException):
    """A signal stopped the command at once: a second Ctrl-C, or a signal while there was nothing to save.

    It is no ``KeyboardInterrupt``, which Lightning would turn into exit status 1.
    """

    hint = "what was saved before is intact"

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} at once")
        self.signum = signum

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows."""
        return [f"{self}; {self.hint}"]


class SignalListener:
    """Records signals, so that training can stop after the current step.

    Attributes:
        received: the signal that has come.
        waits_for_step: whether the current training step is finished first. A second Ctrl-C never waits.
        raises: whether a stop at once raises an exception. While libraries are imported it ends the process instead:
            some libraries catch every exception and continue with a half-imported module.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.waits_for_step = False
        self.raises = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Receive signals, pending ones included; restore the previous handlers on exit."""
        before = self.listen()
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS if before else ())
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def listen(self) -> dict[int, Any]:
        """Install the handlers, also after a library has replaced them; returns the previous ones by signal."""
        if threading.current_thread() is not threading.main_thread():
            return {}  # Python delivers signals to the main thread only
        wanted = [s for s in SIGNALS if s != signal.SIGHUP or signal.getsignal(s) != signal.SIG_IGN]
        return {signum: signal.signal(signum, self._receive) for signum in wanted}

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        if not self.raises:
            report_stop(AbortedRun(signum))
            os._exit(128 + signum)
        if not self.waits_for_step or (self.received is not None and signum == signal.SIGINT):
            raise AbortedRun(signum)
        self.received = signum if self.received in (None, signal.SIGUSR1) else self.received


def report_stop(stopped: InterruptedRun | AbortedRun) -> None:
    """Print in one line which signal stopped the run and how to resume it.

    After SIGUSR1, which a Slurm job gets when its time is nearly up, the job is requeued. After SIGTERM it never is, so
    ``scancel`` ends it for good.
    """
    if not is_rank_zero():
        return
    hint = stopped.hint
    # Slurm ends a job that it requeues, often before the line below is printed. A lost terminal may send SIGHUP twice.
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGTERM, signal.SIGHUP)}
    try:
        if stopped.signum == signal.SIGUSR1 and slurm.job_id() is not None:
            try:
                hint = slurm.requeue()
            except OSError as error:
                hint = f"Slurm does not requeue the job ({error}); {hint}"
        print(f"{stopped}; {hint}", file=sys.stderr, flush=True)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
