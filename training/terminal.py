"""A terminal that may be lost while a command runs, as when a connection breaks off.

Importing this module imports neither torch nor Lightning.
"""

import errno
import faulthandler
import io
import signal
import sys
from typing import Any


class TerminalOutput(io.FileIO):
    """The output to a terminal. What is written to it after the terminal was lost is discarded.

    Otherwise the next message would be an error in the middle of the training.
    """

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return memoryview(data).nbytes


def survive_lost_terminal() -> None:
    """From now on, a lost terminal does not disturb what is printed to stdout and stderr."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream.isatty():
            stream.flush()
            buffer = io.BufferedWriter(TerminalOutput(stream.fileno(), "w", closefd=False))
            settings = {"encoding": stream.encoding, "errors": stream.errors, "line_buffering": True}
            setattr(sys, name, io.TextIOWrapper(buffer, **settings))


def show_threads_on_sigquit() -> None:
    """After SIGQUIT (Ctrl-\\), write to stderr where every thread is, and continue; Python would end in a core dump."""
    if sys.stderr is not None:
        faulthandler.register(signal.SIGQUIT)
