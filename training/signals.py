"""Ctrl-C, SIGTERM and SIGUSR1: noted at once, acted on between two steps of training.

Importing this module imports neither torch nor Lightning, so that it listens while they are imported.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from training import slurm
from training.processes import is_first

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


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

    how_to_go_on = "what was saved before is intact"

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name} at once")
        self.signum = signum


class SignalListener:
    """Notes signals instead of obeying them.

    Attributes:
        received: the signal that has come.
        waits_for_the_step: whether training goes on to the end of its step, or ends at once. A second Ctrl-C never
            waits.
        raises: whether what ends at once does so by an exception. While libraries are imported it does not: some would
            catch it, and go on with another of which only a half is there.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.waits_for_the_step = False
        self.raises = True

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Listen, also to what has been waiting; what was done about the signals before is done again afterwards."""
        before = {signum: signal.getsignal(signum) for signum in SIGNALS}
        self.listen()
        blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def listen(self) -> None:
        """Put in the handlers, again if some library has put in its own."""
        for signum in SIGNALS:
            signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if not self.raises:
            say_what_now(AbortedRun(signum))
            os._exit(128 + signum)
        if not self.waits_for_the_step or (self.received is not None and signum == signal.SIGINT):
            raise AbortedRun(signum)
        # Whoever wants the job to end outdoes Slurm, which wants it to make room.
        self.received = signum if self.received in (None, signal.SIGUSR1) else self.received


def say_what_now(stopped: InterruptedRun | AbortedRun) -> None:
    """Say in one line that a run was stopped, by what, and how it goes on; of several processes, the first does.

    After SIGUSR1, which a Slurm job gets when its time is nearly up, the job is queued again; after SIGTERM it never
    is, so that ``scancel`` ends it for good.
    """
    if not is_first():
        return
    going_on = stopped.how_to_go_on
    # Slurm ends the job that it queues again, and is often quicker than what is said here.
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        if stopped.signum == signal.SIGUSR1 and slurm.job_id() is not None:
            try:
                going_on = slurm.requeue()
            except OSError as error:
                going_on = f"Slurm does not queue the job again ({error}); {going_on}"
        print(f"{stopped}; {going_on}", file=sys.stderr, flush=True)
    finally:
        signal.signal(signal.SIGTERM, before)
