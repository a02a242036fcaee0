"""Which of a run's processes this one is, if there are several.

Importing this module imports neither torch nor Lightning.
"""

import os

RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
"""Where torchrun, Lightning and Slurm say it; Lightning asks them in the same order."""


class LostProcess(Exception):  # noqa: N818 - it is no error of this one
    """Another process of this run has ended before its time, and training cannot go on without it."""


def is_first() -> bool:
    """Whether this process is the one that writes and speaks: the first, or the only one."""
    return next((int(os.environ[name]) for name in RANKS if name in os.environ), 0) == 0


def num_started() -> int:
    """How many processes of this command torchrun or srun has started."""
    if "RANK" in os.environ:
        return int(os.environ.get("WORLD_SIZE", "1"))
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
