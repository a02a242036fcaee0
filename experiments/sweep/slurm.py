"""Does the runs of a sweep as a job array on a Slurm cluster, with submitit."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.sweep.display import Display
from experiments.sweep.grid import Run, fit_words
from experiments.sweep.results import ResultsFolder, write_result
from experiments.sweep.worker import Stopped, do_run, start_worker
from training.errors import ROOT, UserError

REFRESH_SECONDS = 5.0

JOBS = "jobs.txt"
"""The file with the ids of the jobs that were submitted last."""

DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60, "cpus_per_task": 1}

FATAL_STATES = ("FAILED", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "DEADLINE")
"""States of jobs whose unfinished runs have failed. The runs of a cancelled job are not failed, but unfinished."""


class JobRuns:
    """The runs of one job of the array, done one after the other.

    submitit calls it in the job. Shortly before the job's time limit, submitit calls ``checkpoint`` and queues the same
    runs again; they resume from their checkpoints.
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
    """Refuse a sweep on a cluster if this machine has none.

    Raises:
        UserError: submitit or Slurm is not installed.
    """
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise UserError(
            "executor is slurm, but submitit is not installed; run pip install -e '.[slurm]' in the project's folder, "
            "or use --executor local"
        ) from None
    if shutil.which("srun") is None or shutil.which("sbatch") is None:
        raise UserError(
            "executor is slurm, but srun is not installed here; log in to the cluster, or use --executor local"
        )


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
        base: the config of fit that all runs share.
        results: of the sweep.
        pending: the runs to do.
        num_workers: number of jobs; by default one for each run.
        parameters: of the jobs, as submitit names them, such as ``slurm_partition``.
        display: shows the progress.
    Raises:
        UserError: submitit does not know a parameter, or Slurm refuses the jobs.
    """
    import submitit

    num_workers = min(num_workers or len(pending), len(pending))
    folder = results.path.resolve() / "slurm"
    cancel(folder)
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_python=python_command())
    # Absolute paths: a job may start in another folder.
    folders = [results.folder(run).resolve() for run in pending]
    work = [(fit_words(base.resolve(), run, target), target) for run, target in zip(pending, folders, strict=True)]
    try:
        parameters = DEFAULTS | parameters
        executor.update_parameters(name="palimpsest", **parameters)
        num_threads = parameters["cpus_per_task"]
        jobs_runs = [JobRuns(work[k::num_workers], num_threads) for k in range(num_workers)]
        jobs = executor.map_array(JobRuns.__call__, jobs_runs)
    except (NameError, ValueError, TypeError, RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"slurm: {error}; see --slurm in python cli.py sweep --help") from error
    (folder / JOBS).write_text(" ".join(str(job.job_id) for job in jobs))
    ended = False
    try:
        while not ended:
            time.sleep(REFRESH_SECONDS)
            ended = all(job.done() for job in jobs)  # before the results are read: runs without one then are unfinished
            for k, job in enumerate(jobs):
                if job.done() and job.state.startswith(FATAL_STATES):
                    record_failures(results, pending[k::num_workers], job)
            results.refresh(results.unfinished())
            results.write_csv()
            display.update([run for run in pending if results.result(run) is None])
    finally:
        cancel(folder)


def python_command() -> str:
    """The command that starts Python in a job, with the project's folder on the module search path."""
    search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return f"env PYTHONPATH={shlex.quote(search_path)} {shlex.quote(sys.executable)}"


def cancel(folder: Path) -> None:
    """Cancel the jobs that were last submitted from this folder, so that no two jobs do the same run."""
    path = folder / JOBS
    if path.is_file():
        subprocess.run(["scancel", *path.read_text().split()], check=False, capture_output=True)
        path.unlink()


def record_failures(results: ResultsFolder, runs: list[Run], job: Any) -> None:
    """Record the unfinished runs of a job as failed, unless a signal stopped it."""
    if Stopped.__name__ in str(job.exception()):  # submitit passes the exception as text
        return
    results.refresh(runs)
    for run in runs:
        if results.result(run) is None:
            log = job.paths.stderr.relative_to(results.path.resolve())
            write_result(results.folder(run), "failed", f"Slurm job {job.job_id} ended as {job.state}; see {log}")
