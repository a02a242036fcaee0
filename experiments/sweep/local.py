"""Does the runs of a sweep in processes of this machine, each one run after the other."""

import contextlib
import multiprocessing.forkserver
import os
import signal
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pebble import ProcessExpired, ProcessPool

from experiments.sweep.grid import Run
from experiments.sweep.queue import ToDo, take
from experiments.sweep.results import ResultsFolder
from experiments.sweep.worker import IMPORTED, Stopped, do_run, start_worker
from training.errors import UserError
from training.messages import one_line

REFRESH_SECONDS = 0.5

POOLS_MAX = 5
"""How often processes may die at their start before the sweep stops."""

DEATHS_MAX = 4
"""How often the process of a run may die before the run has failed. It is resumed from its checkpoint."""


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_locally(
    base: Path, results: ResultsFolder, to_do: ToDo, num_workers: int
) -> Generator[Collection[Run], None, None]:
    """Do runs in processes of one thread each.

    Args:
        base: the config that all runs share.
        results: the folder of the sweep.
        to_do: gives the runs.
        num_workers: processes, and so runs at a time.
    Yields:
        now and then the runs that are under way.
    Raises:
        UserError: processes die again and again before they start a run.
    """
    # For the workers: small networks are slower with two threads each than with one.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
    for _ in range(POOLS_MAX):
        with contextlib.suppress(BrokenProcessPool):
            yield from run_in_a_pool(base, results, to_do(), num_workers)
            return
    raise UserError(f"processes died {POOLS_MAX} times before their first run; lower --workers if memory is short")


def run_in_a_pool(
    base: Path, results: ResultsFolder, waiting: Iterator[Run | None], num_workers: int
) -> Generator[Collection[Run], None, None]:
    deaths: Counter[Run] = Counter()
    # torch's threads in this process do not survive a fork: a server that only imports forks the workers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([IMPORTED])
    start_server()
    running: dict[Future[None], Run] = {}
    pool = ProcessPool(num_workers, context=context, initializer=start_worker)
    try:
        while True:
            for run in take(waiting, num_workers - len(running)):
                running[pool.schedule(do_run, args=[base, run, results.folder(run)])] = run
            if not running:
                return
            for future in wait(running, timeout=REFRESH_SECONDS, return_when=FIRST_COMPLETED).done:
                run, error = running.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    raise error
                if isinstance(error, ProcessExpired) and deaths[run] + 1 < DEATHS_MAX:
                    deaths[run] += 1
                    running[pool.schedule(do_run, args=[base, run, results.folder(run)])] = run
                elif error is not None and not isinstance(error, Stopped):
                    results.fail(run, cause_of(error))
            yield running.values()
    finally:
        pool.stop()  # SIGTERM: a worker whose run is under way saves it after the current step
        pool.join()


def start_server() -> None:
    """Start the process that forks the workers. A lost terminal, or Ctrl-\\, ends neither it nor them.

    They keep the mask of signals, so only this process gets SIGHUP; it then lets the workers save their runs.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP, signal.SIGQUIT})
    multiprocessing.forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cause_of(error: BaseException) -> str:
    """Why a run failed that could not record it itself."""
    if not isinstance(error, ProcessExpired):  # the folder cannot be written to, or another process uses it
        return f"{type(error).__name__}: {one_line(str(error))}"
    if error.exitcode is None or error.exitcode >= 0:
        return f"its process ended with exit status {error.exitcode}"
    name = signal.Signals(-error.exitcode).name
    return f"its process ended with {name}" + (", perhaps because memory ran out" if name == "SIGKILL" else "")
