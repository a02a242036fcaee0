"""The Slurm job of this process, and how to requeue it.

Importing this module imports neither torch nor Lightning.
"""

import os
import subprocess


def job_id() -> str | None:
    """The job's id, for a task of an array ``<array>_<task>``; ``None`` outside Slurm."""
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def restart_count() -> str:
    """How often the job was requeued so far."""
    return os.environ.get("SLURM_RESTART_COUNT", "0")


def requeue() -> str:
    """Requeue this job, and say so. Slurm first ends it, by SIGTERM; an ``OSError`` says why it refuses."""
    job = str(job_id())
    result = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise OSError(" ".join(result.stderr.split()) or f"scontrol ended with exit status {result.returncode}")
    return f"job {job} is queued again and will resume by itself"
