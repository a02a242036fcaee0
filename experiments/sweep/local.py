"""Runs in processes of this machine, each doing one after the other."""

import multiprocessing
import os
import signal
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from experiments.sweep.display import Display
from experiments.sweep.grid import Run, fit_words
from experiments.sweep.results import ResultsFolder, write_result
from experiments.sweep.schedule import Schedule
from experiments.sweep.worker import IMPORTED, Stopped, do_run, start_worker
from training.errors import UserError
from training.messages import one_line

REFRESH_SECONDS = 0.5

POOLS_MAX = 5
"""How often processes may die at their start, before the sweep gives up."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_locally(base: Path, results: ResultsFolder, pending: list[Run], num_workers: int, display: Display) -> None:
    """Do the pending runs in ``num_workers`` processes of one thread each.

    Raises:
        UserError: processes keep dying before they have begun with a run.
    """
    # For the workers: two threads for each of several small networks take longer than one.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    for _ in range(POOLS_MAX):
        try:
            run_in_a_pool(base, results, pending, min(num_workers, len(pending)), display)
            return
        except BrokenProcessPool:
            results.refresh(pending)
            pending = [run for run in pending if results.result(run) is None]
    raise UserError(f"processes died {POOLS_MAX} times before they had begun; lower --workers if memory is short")


def run_in_a_pool(base: Path, results: ResultsFolder, pending: list[Run], num_workers: int, display: Display) -> None:
    schedule = Schedule(results, pending)
    # torch's threads in this process do not survive a fork: a server that only imports forks the workers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([IMPORTED])
    running: dict[Future[None], Run] = {}
    with ProcessPool(num_workers, context=context, initializer=start_worker) as pool:
        try:
            while schedule.pending or running:
                while schedule.pending and len(running) < num_workers:
                    run = schedule.take()
                    folder = results.folder(run)
                    running[pool.schedule(do_run, args=[fit_words(base, run, folder), folder])] = run
                done, _ = wait(running, timeout=REFRESH_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    finish(future, results, running.pop(future))
                display.update(schedule, list(running.values()), num_workers)
        except BaseException:
            pool.stop()  # a SIGTERM to each: what is under way is saved after its step
            pool.join()
            raise


def finish(future: Future[None], results: ResultsFolder, run: Run) -> None:
    """Note what a run could not note itself, and bring results.csv up to date."""
    try:
        future.result()
    except Stopped:
        pass  # it is still missing
    except BrokenProcessPool:
        raise
    except ProcessExpired as death:
        note_failure(results.folder(run), f"its process ended: {cause_of(death.exitcode)}")
    except Exception as error:  # outside of training: a folder that cannot be written, or that another process holds
        note_failure(results.folder(run), f"{type(error).__name__}: {one_line(str(error))}")
    results.refresh([run])
    results.write_csv()


def note_failure(folder: Path, error: str) -> None:
    try:
        write_result(folder, "failed", error)
    except OSError as obstacle:
        raise UserError(f"cannot write to {folder}: {obstacle.strerror}; the same command goes on") from obstacle


def cause_of(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name
