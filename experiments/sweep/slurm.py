"""Does the runs of a sweep as a job array on a Slurm cluster, with submitit."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Generator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

from experiments.sweep.grid import Run
from experiments.sweep.results import ResultsFolder
from experiments.sweep.worker import Stopped, do_run, start_worker
from training.errors import ROOT, UserError

REFRESH_SECONDS = 5.0

JOBS = "jobs.txt"
"""The file with the ids of the jobs that were submitted last."""

DEFAULTS: dict[str, Any] = {"timeout_min": 24 * 60, "cpus_per_task": 1}

FATAL_STATES = ("FAILED", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT", "DEADLINE")
"""States of jobs whose unfinished runs have failed. The runs of a cancelled job are not failed, but unfinished."""


@dataclass
class JobRuns:
    """The runs of one job of the array, done one after the other.

    submitit calls it in the job. Shortly before the job's time limit, submitit calls ``checkpoint`` and queues the same
    runs again; they resume from their checkpoints.
    """

    runs: list[tuple[Path, Run, Path]]  # arguments of do_run
    num_threads: int

    def __call__(self) -> None:
        start_worker(self.num_threads)
        for arguments in self.runs:
            do_run(*arguments)

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def check_cluster() -> None:
    """Raise a ``UserError`` if submitit or Slurm is not installed."""
    for found, lack in (
        (find_spec("submitit"), "submitit is not installed; run pip install -e '.[slurm]' in the project's folder"),
        (which("srun") and which("sbatch"), "srun is not installed here; log in to the cluster"),
    ):
        if not found:
            raise UserError(f"executor is slurm, but {lack}, or use --executor local")


def run_on_slurm(
    base: Path, results: ResultsFolder, num_workers: int | None, parameters: dict[str, Any]
) -> Generator[Collection[Run], None, None]:
    """Submit the unfinished runs as an array of ``num_workers`` jobs, by default one for each run, and wait for them.

    Yields:
        now and then the runs that have not ended.
    Raises:
        UserError: submitit does not know a parameter, or Slurm refuses the jobs.
    """
    import submitit

    # Absolute paths: a job may start in another folder.
    runs = [(base.resolve(), run, results.folder(run).resolve()) for run in results.unfinished()]
    num_workers = min(num_workers or len(runs), len(runs))
    folder = results.path.resolve() / "slurm"
    cancel(folder)
    search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    python = f"env PYTHONPATH={shlex.quote(search_path)} {shlex.quote(sys.executable)}"
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_python=python)
    try:
        parameters = DEFAULTS | parameters
        executor.update_parameters(name="palimpsest", **parameters)
        jobs_runs = [JobRuns(runs[k::num_workers], parameters["cpus_per_task"]) for k in range(num_workers)]
        jobs = executor.submit_array(jobs_runs)
    except (NameError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"slurm: {error}; see --slurm in python cli.py sweep --help") from error
    (folder / JOBS).write_text(" ".join(str(job.job_id) for job in jobs))
    ended = False
    try:
        while not ended:
            time.sleep(REFRESH_SECONDS)
            ended = all(job.done() for job in jobs)  # before the results are read: runs without one then are unfinished
            for job, job_runs in zip(jobs, jobs_runs, strict=True):
                left = [run for _, run, _ in job_runs.runs if results.result(run) is None]
                if left and job.done() and job.state.startswith(FATAL_STATES) and not was_stopped(job):
                    log = job.paths.stderr.relative_to(results.path.resolve())
                    for run in left:
                        results.fail(run, f"Slurm job {job.job_id} ended as {job.state}; see {log}")
            yield results.unfinished()
    finally:
        cancel(folder)


def cancel(folder: Path) -> None:
    """Cancel the jobs that were last submitted from this folder, so that no two jobs do the same run."""
    path = folder / JOBS
    if path.is_file():
        subprocess.run(["scancel", *path.read_text().split()], check=False, capture_output=True)
        path.unlink()


def was_stopped(job: Any) -> bool:
    """Whether a signal stopped a run of a job. submitit passes the exception as text."""
    return Stopped.__name__ in str(job.exception())
