"""Runs as a job array of a Slurm cluster, through submitit."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from experiments.sweep.display import Display
from experiments.sweep.grid import Run, fit_words
from experiments.sweep.results import ResultsFolder, write_result
from experiments.sweep.schedule import Schedule
from experiments.sweep.worker import Stopped, do_run, start_worker
from training.errors import UserError

REFRESH_SECONDS = 5.0

JOBS = "jobs.txt"
"""Holds the ids of the jobs that were submitted last."""

DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60, "cpus_per_task": 1}

FATAL_STATES = ("FAILED", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "DEADLINE")
"""What a job ends as when something went wrong; when somebody cancelled it, its runs are missing, not failed."""


class Share:
    """The runs of one job of the array, done one after the other.

    submitit calls it, and asks it for a ``checkpoint`` when the job's time is nearly up: the same share is queued
    again, and goes on where it stood.
    """

    def __init__(self, runs: list[tuple[list[str], Path]], num_threads: int) -> None:
        self.runs = runs
        self.num_threads = num_threads

    def __call__(self) -> None:
        start_worker(self.num_threads)
        for words, folder in self.runs:
            do_run(words, folder)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def check_cluster() -> None:
    """Refuse to sweep on a cluster that is not there.

    Raises:
        UserError: submitit is not installed, or there is no Slurm.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError(
            "executor is slurm, which needs submitit: pip install 'palimpsest[slurm]', or use --executor local"
        ) from None
    if shutil.which("srun") is None or shutil.which("sbatch") is None:
        raise UserError("executor is slurm, but there is no srun here; log in to the cluster, or use --executor local")


def run_on_slurm(
    base: Path,
    results: ResultsFolder,
    pending: list[Run],
    num_workers: int | None,
    parameters: dict[str, Any],
    display: Display,
) -> None:
    """Submit the pending runs as one job array, and wait for them.

    Args:
        base: the config of fit that every run starts from.
        results: where the runs are noted.
        pending: the runs to be done.
        num_workers: jobs among which the runs are shared out; by default each run is a job.
        parameters: of the jobs, as submitit names them, such as ``slurm_partition``.
        display: shows how far it is.
    Raises:
        UserError: submitit does not know a parameter, or Slurm does not take the jobs.
    """
    import submitit

    num_workers = min(num_workers or len(pending), len(pending))
    folder = results.path.resolve() / "slurm"
    cancel(folder)
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm")
    # Absolute: a job need not begin in this folder.
    folders = [results.folder(run).resolve() for run in pending]
    work = [(fit_words(base.resolve(), run, its), its) for run, its in zip(pending, folders, strict=True)]
    try:
        parameters = DEFAULTS | parameters
        executor.update_parameters(name="palimpsest", **parameters)
        num_threads = parameters["cpus_per_task"]
        shares = [Share(work[k::num_workers], num_threads) for k in range(num_workers)]
        jobs = executor.map_array(Share.__call__, shares)
    except (NameError, ValueError, TypeError, RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"slurm: {error}; see --slurm in python cli.py sweep --help") from error
    (folder / JOBS).write_text(" ".join(str(job.job_id) for job in jobs))
    schedule = Schedule(results, pending)
    schedule.pending.clear()
    ended = False
    try:
        while not ended:
            time.sleep(REFRESH_SECONDS)
            ended = all(job.done() for job in jobs)  # before the results are read: what is missing then stays so
            for k, job in enumerate(jobs):
                if job.done() and job.state.startswith(FATAL_STATES):
                    note_deaths(results, pending[k::num_workers], job)
            results.refresh(results.unfinished())
            results.write_csv()
            display.update(schedule, [run for run in pending if results.result(run) is None], num_workers)
    finally:
        cancel(folder)


def cancel(folder: Path) -> None:
    """End the jobs that were last submitted from here, so that no two ever work at the same run."""
    path = folder / JOBS
    if path.is_file():
        subprocess.run(["scancel", *path.read_text().split()], check=False, capture_output=True)
        path.unlink()


def note_deaths(results: ResultsFolder, share: list[Run], job: Any) -> None:
    """Record the runs which a job has left without a result, unless it was stopped by a signal."""
    if Stopped.__name__ in str(job.exception()):  # it comes as text
        return
    results.refresh(share)
    for run in share:
        if results.result(run) is None:
            log = job.paths.stderr.relative_to(results.path.resolve())
            write_result(results.folder(run), "failed", f"Slurm job {job.job_id} ended as {job.state}; see {log}")
