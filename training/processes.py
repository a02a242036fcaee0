"""The rank of this process among the processes of a run.

Importing this module imports neither torch nor Lightning.
"""

import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where torchrun, Lightning and Slurm write the rank, in the order in which Lightning reads them."""


class LostProcess(Exception):  # noqa: N818 - the error is in another process
    """Another process of this run has died, and training cannot continue without it."""


def is_rank_zero() -> bool:
    """Whether this process writes files and messages: the first of several, or the only one."""
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), 0) == 0


def launched_world_size() -> int:
    """The number of processes of this command that torchrun or srun has started."""
    if "RANK" in os.environ:
        return int(os.environ.get("WORLD_SIZE", "1"))
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def print_rank_zero(line: str) -> None:
    """Print a line once for all processes."""
    if is_rank_zero():
        print(line)
