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
from experiments.sweep.queue import ToDo, take
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
    base: Path,
    results: ResultsFolder,
    to_do: ToDo,
    num_workers: int,
    parameters: dict[str, Any],
    one_by_one: bool = False,
) -> Generator[Collection[Run], None, None]:
    """Submit runs as arrays of jobs, and wait for them.

    Args:
        base: the config that all runs share.
        results: the folder of the sweep.
        to_do: gives the runs.
        num_workers: jobs at a time.
        parameters: of the jobs, as submitit names them.
        one_by_one: give each run a job of its own as soon as fewer than ``num_workers`` jobs are left; by default all
            runs are shared out among the jobs at once.
    Yields:
        now and then the runs that have not ended.
    Raises:
        UserError: submitit does not know a parameter, or Slurm refuses the jobs.
    """
    import submitit

    waiting = to_do()
    folder = results.path.resolve() / "slurm"
    cancel(folder)
    search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    python = f"env PYTHONPATH={shlex.quote(search_path)} {shlex.quote(sys.executable)}"
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_python=python)
    parameters = DEFAULTS | parameters
    jobs: dict[Any, JobRuns] = {}
    try:
        while True:
            free = num_workers - len(jobs)
            runs = take(waiting, free if one_by_one else None)
            # Absolute paths: a job may start in another folder.
            new = [(base.resolve(), run, results.folder(run).resolve()) for run in runs]
            if new:
                num_new = min(free, len(new))
                jobs |= submit(executor, [new[k::num_new] for k in range(num_new)], parameters)
                (folder / JOBS).write_text(" ".join(str(job.job_id) for job in jobs))
            if not jobs:
                return
            time.sleep(REFRESH_SECONDS)
            # All of them before the results are read: runs without one then are unfinished.
            ended = [job for job in jobs if job.done()]
            for job in ended:
                left = [run for _, run, _ in jobs.pop(job).runs if results.result(run) is None]
                if left and job.state.startswith(FATAL_STATES) and not was_stopped(job):
                    log = job.paths.stderr.relative_to(results.path.resolve())
                    for run in left:
                        results.fail(run, f"Slurm job {job.job_id} ended as {job.state}; see {log}")
            yield results.unfinished()
    finally:
        cancel(folder)


def submit(executor: Any, shares: list[list[tuple[Path, Run, Path]]], parameters: dict[str, Any]) -> dict[Any, JobRuns]:
    """Submit an array with a job for each share. Errors as for ``run_on_slurm``."""
    try:
        executor.update_parameters(name="palimpsest", **parameters)
        jobs_runs = [JobRuns(share, parameters["cpus_per_task"]) for share in shares]
        return dict(zip(executor.submit_array(jobs_runs), jobs_runs, strict=True))
    except (NameError, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"slurm: {error}; see --slurm in python cli.py sweep --help") from error


def cancel(folder: Path) -> None:
    """Cancel the jobs that were last submitted from this folder, so that no two jobs do the same run."""
    path = folder / JOBS
    if path.is_file():
        subprocess.run(["scancel", *path.read_text().split()], check=False, capture_output=True)
        path.unlink()


def was_stopped(job: Any) -> bool:
    """Whether a signal stopped a run of a job. submitit passes the exception as text."""
    return Stopped.__name__ in str(job.exception())
