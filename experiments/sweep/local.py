"""Does the runs of a sweep in processes of this machine, each one run after the other."""

import multiprocessing
import os
import signal
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from experiments.sweep.display import Display
from experiments.sweep.grid import Run, fit_words
from experiments.sweep.results import ResultsFolder, write_result
from experiments.sweep.worker import IMPORTED, Stopped, do_run, start_worker
from training.errors import UserError
from training.messages import one_line

REFRESH_SECONDS = 0.5

POOLS_MAX = 5
"""How often processes may die at their start before the sweep stops."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_locally(base: Path, results: ResultsFolder, pending: list[Run], num_workers: int, display: Display) -> None:
    """Do the pending runs in ``num_workers`` processes of one thread each.

    Raises:
        UserError: processes die again and again before they start a run.
    """
    # For the workers: small networks are slower with two threads each than with one.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    for _ in range(POOLS_MAX):
        try:
            run_in_a_pool(base, results, pending, min(num_workers, len(pending)), display)
            return
        except BrokenProcessPool:
            results.refresh(pending)
            pending = [run for run in pending if results.result(run) is None]
    raise UserError(f"processes died {POOLS_MAX} times before their first run; lower --workers if memory is short")


def run_in_a_pool(base: Path, results: ResultsFolder, pending: list[Run], num_workers: int, display: Display) -> None:
    """Do the runs in the order of ``pending``, which is that of the grid."""
    waiting = deque(pending)
    # torch's threads in this process do not survive a fork: a server that only imports forks the workers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([IMPORTED])
    running: dict[Future[None], Run] = {}
    with ProcessPool(num_workers, context=context, initializer=start_worker) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < num_workers:
                    run = waiting.popleft()
                    folder = results.folder(run)
                    running[pool.schedule(do_run, args=[fit_words(base, run, folder), folder])] = run
                done, _ = wait(running, timeout=REFRESH_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    finish(future, results, running.pop(future))
                display.update(running.values())
        except BaseException:
            pool.stop()  # SIGTERM: each worker saves its run after the current step
            pool.join()
            raise


def finish(future: Future[None], results: ResultsFolder, run: Run) -> None:
    """Record the failures that a run could not record itself, and update results.csv."""
    try:
        future.result()
    except Stopped:
        pass  # the run stays unfinished
    except BrokenProcessPool:
        raise
    except ProcessExpired as death:
        note_failure(results.folder(run), f"its process ended with {cause_of(death.exitcode)}")
    except Exception as error:  # before training: the folder cannot be written to, or another process uses it
        note_failure(results.folder(run), f"{type(error).__name__}: {one_line(str(error))}")
    results.refresh([run])
    results.write_csv()


def note_failure(folder: Path, error: str) -> None:
    try:
        write_result(folder, "failed", error)
    except OSError as obstacle:
        way_out = "make it writable, and start the sweep again"
        raise UserError(f"cannot write to {folder}: {obstacle.strerror}; {way_out}") from obstacle


def cause_of(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name}, perhaps because memory ran out" if name == "SIGKILL" else name
