"""What to type next: how to resume a run, and how to look at it."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from training.run_folder import RunFolder


class Hints:
    """Suggests commands that can be typed as they are.

    Args:
        words: the words after ``python cli.py``; empty for a run that no command line started.
    """

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words = list(words)

    def how_to_resume(self, folder: RunFolder | None) -> str:
        """A way to continue a run that was stopped."""
        if folder is None or not folder.has_checkpoint():
            start = f"; start with: {self.command('fit')}" if self.words else ""
            return f"nothing was saved{start}"
        path = shlex.quote(str(folder.path))
        return (
            f"resume with: {self.command('fit')} --ckpt_path {path}" if self.words else f"resume with ckpt_path={path}"
        )

    def what_next(self, folder: RunFolder, next_command: str) -> str:
        """Commands that show the curves of a finished run and what its model has learned."""
        curves = shlex.join([as_typed("tensorboard"), "--logdir", str(folder.path.parent.parent)])
        if not self.words or not next_command:
            return curves
        if next_command == "generate":
            look = shlex.join([as_typed("python"), "cli.py", "generate", "--ckpt_path", str(folder.path)])
        else:
            look = f"{self.command(next_command)} --ckpt_path {shlex.quote(str(folder.path))}"
        return f"{curves}, or {look}"

    def command(self, name: str) -> str:
        """A command with the words of this one, without its ``--ckpt_path``."""
        words = [name]
        skip_next = False
        for word in self.words[1:]:
            if not skip_next and not word.startswith("--ckpt_path"):
                words.append(word)
            skip_next = word == "--ckpt_path"
        return shlex.join([as_typed("python"), "cli.py", *words])


def as_typed(program: str) -> str:
    """The name of a program of this environment if the shell finds it by name, otherwise its path."""
    path = Path(sys.executable).with_name(program)
    found = shutil.which(program)
    if found is not None and Path(found).absolute() == path:
        return program
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
