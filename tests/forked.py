"""Programs in processes of their own, without the seconds that each would need to import torch and Lightning.

Each process is forked from a server that has imported them. Signals, exit status, streams, working folder and
environment are those of ``python cli.py ...``. Tests of what happens before or during the imports start Python itself.
"""

import multiprocessing.forkserver
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
IMPORTED = ("cli", "tests.forked", "training.launch", "models.palindrome", "models.text", "datamodules.books")
CONTEXT = multiprocessing.get_context("forkserver")


class PythonProcess:
    """``python PROGRAM ...`` or ``python -m MODULE ...``, to be waited for and signalled like a ``subprocess.Popen``.

    Args:
        words: what follows ``python``.
        output: file to which stdout and stderr are appended; ``error`` takes stderr, if it is given.
        cwd: working folder.
        environment: all its variables; by default those of this process.
    """

    def __init__(
        self,
        words: list[str],
        output: Path,
        error: Path | None = None,
        cwd: Path = ROOT,
        environment: dict[str, str] | None = None,
    ) -> None:
        start_server()
        args = (words, output, error or output, cwd, dict(environment or os.environ))
        self._process = CONTEXT.Process(target=run_program, args=args)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; minus the signal's number where one has killed the process; ``None`` while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signum)

    def wait(self, timeout: float = 600) -> int:
        """Wait for the end; the exit status.

        Raises:
            subprocess.TimeoutExpired: the process still runs after ``timeout`` seconds. It is killed.
        """
        self._process.join(timeout)
        if self.returncode is None:
            self.send_signal(signal.SIGKILL)
            raise subprocess.TimeoutExpired("python", timeout)
        return self.returncode


def run_python(
    *words: str, cwd: Path = ROOT, environment: dict[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its exit status and what it wrote.

    Raises:
        subprocess.TimeoutExpired: it does not end within ``timeout`` seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, error = Path(folder, "stdout"), Path(folder, "stderr")
        status = PythonProcess(list(words), output, error, cwd, environment).wait(timeout)
        return subprocess.CompletedProcess(words, status, output.read_text(), error.read_text())


def start_server() -> None:
    """Start the server of this process, unless it runs. It finds what it imports through its working folder."""
    cwd = Path.cwd()
    os.chdir(ROOT)
    try:
        CONTEXT.set_forkserver_preload(list(IMPORTED))
        multiprocessing.forkserver.ensure_running()
    finally:
        os.chdir(cwd)


def run_program(words: list[str], output: Path, error: Path, cwd: Path, environment: dict[str, str]) -> None:
    """In the new process: do what Python does after its own start."""
    for path, stream in ((output, 1), (error, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, stream)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    modules = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    if words[0] == "-m":
        sys.argv = words[1:]
        sys.path[:0] = [str(cwd), *modules]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        program = (cwd / words[0]).absolute()
        sys.argv = [str(program), *words[1:]]
        sys.path[:0] = [str(program.resolve().parent), *modules]
        runpy.run_path(str(program), run_name="__main__")
