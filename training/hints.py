"""What to type next: how to resume a run, and how to look at it.

``words`` are those after ``python cli.py``; there are none for a run that no command line started.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from training.run_folder import RunFolder

CLI = Path(__file__).resolve().parent.parent / "cli.py"


def how_to_resume(words: Sequence[str], folder: RunFolder | None) -> str:
    """A way to continue a run that was stopped."""
    if folder is None or not folder.has_checkpoint():
        return f"nothing was saved; start with: {command(*words)}" if words else "nothing was saved"
    if not words:
        return f"resume with ckpt_path={shlex.quote(str(folder.path))}"
    return f"resume with: {command('fit', '--ckpt_path', str(folder.path))}"


def what_next(words: Sequence[str], folder: RunFolder, next_command: str) -> str:
    """Commands that show the curves of a finished run and what its model has learned."""
    curves = shlex.join([as_typed("tensorboard"), "--logdir", str(folder.path.parent.parent)])
    can_look = words and next_command and folder.has_checkpoint()
    return f"{curves}, or {command(next_command, '--ckpt_path', str(folder.path))}" if can_look else curves


def command(*words: str) -> str:
    """A command of this project, as it can be typed."""
    return shlex.join([as_typed("python"), "cli.py" if Path("cli.py").resolve() == CLI else str(CLI), *words])


def as_typed(program: str) -> str:
    """The name of a program of this environment if the shell finds it by name, otherwise its path."""
    path = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found is not None and Path(found).absolute() == path:
        return program
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
