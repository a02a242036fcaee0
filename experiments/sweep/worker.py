"""Does one run of a sweep; a worker process calls it for one run after the other."""

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import traceback
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

from experiments.sweep.grid import Run, fit_words, flat_config
from experiments.sweep.results import read_result, write_result
from training.errors import UserError
from training.messages import ignore_library_warnings, one_line, set_up_messages
from training.terminal import show_threads_on_sigquit

if TYPE_CHECKING:
    from experiments.sweep.pruning import TrialPruning

IMPORTED = "training.launch"
"""The module that imports torch and Lightning."""

ORPHAN_SECONDS = 60
"""How long to wait for the lock of a run's folder; a process that is about to end may still hold it."""


class Stopped(Exception):  # noqa: N818 - it is no error
    """A signal has stopped a run. The run has no result yet, and the process does no other runs."""


def start_worker(num_threads: int = 1) -> None:
    """Prepare a worker process: import slow packages once for all runs, and end when the parent process ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=exit_with, args=(parent,), daemon=True).start()
    show_threads_on_sigquit()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGQUIT})
    import_module(IMPORTED)
    import torch

    torch.set_num_threads(num_threads)


def exit_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


def do_run(base: Path, run: Run, folder: Path) -> None:
    """Train and test a run, write its output to ``log.txt`` in its folder, and record its result.

    A run with a checkpoint is resumed. A run with a result is left unchanged.

    Raises:
        Stopped: a signal stopped the run; it has no result.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock", timeout=ORPHAN_SECONDS), (folder / "log.txt").open("a") as log:
        if read_result(folder) is not None:
            return
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log), warnings.catch_warnings():
            set_up_messages(log)
            fit(fit_words(base, run, folder), folder, run.pruning())


def fit(words: list[str], folder: Path, pruning: "TrialPruning | None") -> None:
    from experiments.sweep.pruning import PrunedTrial
    from training.launch import prepare
    from training.signals import AbortedRun, InterruptedRun

    ignore_library_warnings()
    try:
        run = prepare(words)
        if pruning is not None:
            run.trainer.callbacks.insert(0, pruning)
        is_pruned = False
        try:
            run.fit()
        except PrunedTrial as pruned:
            print(pruned)
            is_pruned = True
        if run.folder is None:
            raise UserError("trainer.fast_dev_run saves no results; leave it out")
    except (InterruptedRun, AbortedRun) as stopped:
        print(stopped)
        raise Stopped(str(stopped)) from None
    except UserError as error:
        print(f"error: {error}")
        write_result(folder, str(error))
    except Exception as error:
        traceback.print_exc()
        write_result(folder, f"{type(error).__name__}: {one_line(str(error))}; see log.txt")
    else:
        summary = json.loads((run.folder.path / "summary.json").read_text())
        of_trial = {} if pruning is None else {"intermediate_values": pruning.values, "notes": pruning.notes}
        ended = summary | {"config": flat_config(run.config)} | of_trial
        write_result(folder, ended=ended, is_pruned=is_pruned)
