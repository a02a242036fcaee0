"""A forked process behaves like one that Python has started itself."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.forked import IMPORTED, PythonProcess, run_python

SHOW = """\
import os, sys
print(sys.argv[1:], os.getcwd(), sorted(os.environ.items()), __name__)
print("on stderr", file=sys.stderr)
sys.exit(len(sys.argv))
"""


@pytest.mark.parametrize("name", IMPORTED)
def test_the_server_imports_what_it_is_asked_for(name: str) -> None:
    """It does not complain of a module that is missing; each process would import the rest itself."""
    import_module(name)


def test_streams_arguments_environment_and_status(tmp_path: Path) -> None:
    (tmp_path / "show.py").write_text(SHOW)
    environment = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"} | {"COLOUR": "red"}
    ours = run_python("show.py", "a b", "c", cwd=tmp_path, environment=environment)
    theirs = subprocess.run(
        [sys.executable, "show.py", "a b", "c"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ours.returncode, ours.stdout, ours.stderr) == (3, theirs.stdout, "on stderr\n")
    assert theirs.returncode == 3


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(signum: int, tmp_path: Path) -> None:
    (tmp_path / "wait.py").write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    process = PythonProcess(["wait.py"], tmp_path / "output", cwd=tmp_path)
    while not (tmp_path / "output").exists() or (tmp_path / "output").read_text() != "\n":
        assert process.poll() is None
    process.send_signal(signum)
    assert process.wait(60) == -signum


def test_a_process_that_does_not_end_is_killed(tmp_path: Path) -> None:
    (tmp_path / "wait.py").write_text("import time\ntime.sleep(60)\n")
    process = PythonProcess(["wait.py"], tmp_path / "output", cwd=tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert process.wait(60) == -signal.SIGKILL
