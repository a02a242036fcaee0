"""One run of a sweep, in a process that does one after the other."""

import contextlib
import json
import multiprocessing
import os
import threading
import traceback
import warnings
from importlib import import_module
from pathlib import Path

import filelock

from experiments.sweep.results import read_result, write_result
from training.errors import UserError
from training.messages import hush_libraries, one_line, set_up_messages

IMPORTED = "training.command_line"
"""The module that imports torch and Lightning."""

ORPHAN_SECONDS = 60
"""How long a run's folder may stay locked by a process that is about to end."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """A run was stopped by a signal: it has no result yet, and whoever does the runs should stop, too."""


def start_worker(num_threads: int = 1) -> None:
    """Import what is heavy, once for all runs; end with the process that started this one, however that ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    import_module(IMPORTED)
    import torch

    torch.set_num_threads(num_threads)


def end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def do_run(words: list[str], folder: Path) -> None:
    """Train and test as ``words`` say, with all that is said going into ``log.txt``, and note how it ended.

    A run that has been begun goes on where it stood; one that has ended is left alone.

    Raises:
        Stopped: a signal came; nothing is noted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock", timeout=ORPHAN_SECONDS), (folder / "log.txt").open("a") as log:
        if read_result(folder) is not None:
            return
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log), warnings.catch_warnings():
            set_up_messages(log)
            fit(words, folder)


def fit(words: list[str], folder: Path) -> None:
    from experiments.sweep.values import flat_config
    from training.command_line import RunCLI
    from training.signals import AbortedRun, InterruptedRun

    hush_libraries()
    try:
        command = RunCLI(words)
        command.run()
    except (InterruptedRun, AbortedRun) as stopped:
        print(stopped)
        raise Stopped(str(stopped)) from None
    except UserError as error:
        print(f"error: {error}")
        write_result(folder, "failed", str(error))
    except Exception as error:
        traceback.print_exc()
        write_result(folder, "failed", f"{type(error).__name__}: {one_line(str(error))}; see log.txt")
    else:
        if command.folder is None:
            write_result(folder, "failed", "trainer.fast_dev_run keeps no results; leave it out")
            return
        summary = json.loads((command.folder.path / "summary.json").read_text())
        write_result(folder, "finished", "", summary, flat_config(command.config_dump))
