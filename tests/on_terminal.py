"""``python -m tests.on_terminal TERMINAL [--nohup] PROGRAM ...``: run a program whose controlling terminal that is."""

import os
import runpy
import signal
import sys

if __name__ == "__main__":
    terminal, *words = sys.argv[1:]
    # A sweep in an earlier test may have started the server that forks processes, with these signals blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP, signal.SIGQUIT})
    signal.signal(signal.SIGHUP, signal.SIG_IGN if words[0] == "--nohup" else signal.SIG_DFL)
    words = [word for word in words if word != "--nohup"]
    os.setsid()
    os.login_tty(os.open(terminal, os.O_RDWR))
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
