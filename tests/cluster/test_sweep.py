"""A sweep as a job array of a real Slurm."""

import os
from pathlib import Path

import pytest

import cli
from experiments.sweep import slurm as sweep_on_slurm
from tests.cluster.slurm import Cluster
from tests.experiments.sweep.test_search import trials_of, write_search
from tests.experiments.sweep.test_sweep import rows_of, write_sweep

SACCT = """\
#!/bin/sh
# What submitit asks of Slurm's accounting, which is not there: the states of the jobs after -j.
echo "JobID|State|NodeList"
while [ $# -gt 0 ]; do
    if [ "$1" = -j ]; then
        scontrol -o show job "$2" | sed -E \\
            's/^JobId=([0-9]+) ArrayJobId=([0-9]+) ArrayTaskId=([0-9]+) .*JobState=([A-Z_]+) .*/\\2_\\3|\\4|node1/'
    fi
    shift
done
"""


@pytest.fixture
def login(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is one of the cluster's."""
    sacct = tmp_path / "bin" / "sacct"
    sacct.parent.mkdir()
    sacct.write_text(SACCT)
    sacct.chmod(0o755)
    monkeypatch.setenv("PATH", str(sacct.parent), prepend=os.pathsep)
    for name in ("SLURM_CONF", "MASTER_ADDR"):
        monkeypatch.setenv(name, slurm.environment[name])
    monkeypatch.setattr(sweep_on_slurm, "REFRESH_SECONDS", 0.5)


def test_its_runs_are_those_of_one_machine(login: None, tmp_path: Path) -> None:
    """One of the two dies with its job; the other is what a local sweep makes of it."""
    killer = {"class_path": "tests.training.helpers.SignalAt", "init_args": {"step": 3, "name": "SIGKILL"}}
    grid = {"trainer.callbacks": [[killer], [{**killer, "init_args": {"step": 1000}}]]}
    words = write_sweep(tmp_path, grid, slurm={"timeout_min": 5}, executor="slurm")
    assert cli.main(words) == 1
    died, finished = rows_of(tmp_path / "out")
    assert died["status"] == "failed" and died["error"].startswith("Slurm job ")
    local = tmp_path / "local"
    local.mkdir()
    grid["trainer.callbacks"].pop(0)
    assert cli.main(write_sweep(local, grid, workers=1)) == 0
    (there,) = rows_of(local / "out")
    assert finished["test/loss"] == there["test/loss"] and finished["status"] == "finished"


def test_a_search_has_the_trials_of_one_machine(login: None, tmp_path: Path) -> None:
    search = {"trials": 2, "metric": "val/loss", "mode": "min", "pruner": "halving", "startup_trials": 1}
    local = tmp_path / "local"
    local.mkdir()
    words = write_search(tmp_path, search=search, slurm={"timeout_min": 5}, executor="slurm")
    assert cli.main(words) == 0 == cli.main(write_search(local, search=search))
    assert trials_of(tmp_path / "out") == trials_of(local / "out")
    assert len(trials_of(local / "out")) == 2
