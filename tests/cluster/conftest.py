"""What needs a real Slurm is left out where there is none, and that is said in one line."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import MISSING, Cluster, cluster


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A Slurm of one node with two cores."""
    if MISSING and not os.environ.get("REQUIRE_SLURM"):
        pytest.skip(f"no Slurm here: {', '.join(MISSING)} not found")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, cluster(Path(folder)) as one:  # short: it holds a socket
        yield one
