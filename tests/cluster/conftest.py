"""Tests that need a real Slurm are skipped where there is none, with the reason in one line."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import MISSING, Cluster, cluster

NODES = ("node1", "node2", "node3", "node4")


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A Slurm of four nodes; with the second and the third, tests may do what they like."""
    if MISSING and not os.environ.get("REQUIRE_SLURM"):
        pytest.skip(f"no Slurm here: {', '.join(MISSING)} not found")
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        cluster(Path(folder), NODES) as one,
    ):  # short: it holds a socket
        yield one
