"""Training as a job of a real Slurm: it ends with the bits of an undisturbed run, whatever the cluster does to it.

The jobs of all cases run at the same time, as most of them wait for Slurm most of the time.
"""

import shlex
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

import cli
from tests.cluster.slurm import Cluster, wait_for
from tests.forked import run_python
from tests.test_commands import commands_of
from tests.test_processes import fit
from tests.test_resume import VAL_METRICS, assert_same, rows_of, scalars_of, state_of
from training.checkpoint_file import read_checkpoint

ROOT = Path(__file__).parent.parent.parent
SBATCH = ROOT / "configs" / "cluster" / "fit.sbatch"
CONFIG = """\
model: {class_path: models.PalindromeClassifier, init_args: {hidden_size: 8}}
data: {class_path: datamodules.PalindromeDataModule, init_args: {length: 6, batch_size: 16}}
trainer: {max_steps: 60, limit_train_batches: 10, gradient_clip_val: 10.0, log_every_n_steps: 1, val_check_interval: 20}
"""


def pace(seconds: float) -> str:
    return (
        f'--trainer.callbacks=[{{"class_path": "tests.training.helpers.Pace", "init_args": {{"seconds": {seconds}}}}}]'
    )


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "small.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def wholes(slurm: Cluster, config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Undisturbed runs of seeds 0 and 1, and one of two processes."""
    root = tmp_path_factory.mktemp("whole")
    for seed in (0, 1):
        words = ["fit", f"--config={config}", f"--trainer.default_root_dir={root}", f"--seed_everything={seed}"]
        assert cli.main(words) == 0
    two = fit("lightning", config, root / "two", "--seed_everything=0")
    assert two.returncode == 0, two.stderr
    runs = {str(k): root / "small" / f"version_{k}" for k in (0, 1)}
    return {**runs, "two": root / "two" / "small" / "version_0"}


class Jobs:
    """Submits training jobs whose runs are in ``folder / "runs" / "small"``."""

    def __init__(self, slurm: Cluster, config: Path, folder: Path, wholes: dict[str, Path]) -> None:
        self.slurm = slurm
        self.folder = folder
        self.wholes = wholes
        self.experiment = folder / "runs" / "small"
        self.words = [f"--config={config}", f"--trainer.default_root_dir={folder / 'runs'}", pace(0.15)]

    def submit(self, *args: str, options: tuple[str, ...] = (), node: str = "node1") -> str:
        """Submit a job like a person does, from the project's folder; its id."""
        places = (f"--chdir={ROOT}", f"--output={self.folder}/%A_%a.out", f"--export=ALL,PYTHON={sys.executable}")
        options = (f"--nodelist={node}", "--cpus-per-task=1", *options)
        return self.slurm.submit(*places, *options, str(SBATCH), *self.words, *args)

    def run(self, k: int = 0) -> Path:
        return self.experiment / f"version_{k}"

    def wait_for_training(self, k: int = 0) -> None:
        """Wait until some steps have been logged."""
        metrics = self.run(k) / "metrics.csv"
        wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > 3, 600)

    def signal(self, *jobs: str) -> None:
        self.slurm.run("scancel", "--signal=USR1", *jobs)

    def wait_for_end(self, job: str, state: str = "COMPLETED") -> dict[str, str]:
        known = self.slurm.wait_for_end(job)
        assert known["JobState"] == state, self.output()
        return known

    def output(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.out")))

    def expect_same(self, ours: Path, whole: str) -> None:
        """The same bits as an undisturbed run, and one curve without a step missing or twice."""
        theirs = self.wholes[whole]
        assert_same(state_of(ours), state_of(theirs))
        for names in (("train/loss",), VAL_METRICS, ("test/loss",)):
            assert rows_of(ours, names) == rows_of(theirs, names)
        assert scalars_of(ours, "train/loss") == scalars_of(theirs, "train/loss")
        assert not list(ours.parent.glob("*/hpc_ckpt*"))


def its_time_is_up(jobs: Jobs) -> None:
    job = jobs.submit("--seed_everything=0", pace(1.5), options=("--time=2", "--signal=SIGUSR1@30"))
    known = jobs.wait_for_end(job)
    assert int(known["Restarts"]) >= 1 and "stopped by SIGUSR1" in jobs.output()
    jobs.expect_same(jobs.run(), "0")


def it_gets_the_signal_by_hand(jobs: Jobs) -> None:
    job = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    jobs.signal(job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and known["ExitCode"] == "0:0"
    assert f"; job {job} is queued again and will resume by itself" in jobs.output()
    jobs.expect_same(jobs.run(), "0")


def it_is_cancelled(jobs: Jobs) -> None:
    """It stays ended, has lost no step, and can be resumed by hand."""
    job = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    jobs.slurm.run("scancel", job)
    known = jobs.wait_for_end(job, "CANCELLED")
    wait_for(lambda: "stopped by SIGTERM after step" in jobs.output(), 30)
    assert "resume with: python cli.py fit" in jobs.output() and known["Restarts"] == "0"
    saved = read_checkpoint(jobs.run() / "checkpoints" / "last.ckpt")["global_step"]
    assert saved >= int(rows_of(jobs.run(), ("train/loss",))[-1]["step"]) + 1
    resumed = run_python("cli.py", "fit", *jobs.words, "--seed_everything=0", "--ckpt_path=last")
    assert resumed.returncode == 0, resumed.stderr
    jobs.expect_same(jobs.run(), "0")


def slurm_queues_it_again(jobs: Jobs) -> None:
    job = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    jobs.slurm.run("scontrol", "requeue", job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and "stopped by SIGTERM after step" in jobs.output()
    jobs.expect_same(jobs.run(), "0")


def another_is_of_the_same_experiment(jobs: Jobs) -> None:
    """Each keeps to its own run."""
    first = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    second = jobs.submit("--seed_everything=1", pace(0.3))
    jobs.wait_for_training(1)
    jobs.signal(second)
    assert [jobs.wait_for_end(job)["Restarts"] for job in (first, second)] == ["0", "1"]
    assert sorted(path.name for path in jobs.experiment.iterdir()) == ["version_0", "version_1"]
    for k in (0, 1):
        jobs.expect_same(jobs.run(k), str(k))


def it_is_an_array(jobs: Jobs) -> None:
    """Each task is a run with a seed of its own."""
    array = jobs.submit(pace(0.8), options=("--array=0-1",))
    jobs.wait_for_training(1)
    jobs.signal(f"{array}_1")
    assert [jobs.wait_for_end(f"{array}_{task}")["Restarts"] for task in (0, 1)] == ["0", "1"]
    runs = {state_of(jobs.run(k))["config"]["data"]["init_args"]["seed"]: jobs.run(k) for k in (0, 1)}
    for seed in (0, 1):
        jobs.expect_same(runs[seed], str(seed))


def two_tasks_train_one_network(jobs: Jobs) -> None:
    job = jobs.submit("--seed_everything=0", options=("--ntasks-per-node=2",))
    jobs.wait_for_training()
    jobs.signal(job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and known["NumTasks"] == "2"
    assert jobs.output().count("is queued again") == jobs.output().count("The run is in") == 1
    jobs.expect_same(jobs.run(), "two")


def two_nodes_train_one_network(jobs: Jobs) -> None:
    job = jobs.submit("--seed_everything=0", options=("--nodes=2",), node="node1,node4")
    jobs.wait_for_training()
    jobs.signal(job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and known["NumNodes"] == "2" and known["NumTasks"] == "2"
    assert jobs.output().count("is queued again") == jobs.output().count("The run is in") == 1
    jobs.expect_same(jobs.run(), "two")


def its_node_is_gone(jobs: Jobs) -> None:
    outlast(jobs, "node2", jobs.slurm.kill_node)


def slurm_no_longer_hears_from_its_node(jobs: Jobs) -> None:
    """The job is still at work there when it is queued again."""
    outlast(jobs, "node3", jobs.slurm.kill_slurmd)


def outlast(jobs: Jobs, node: str, kill: Callable[[str], None]) -> None:
    """Slurm gives a node up after half a minute."""
    job = jobs.submit("--seed_everything=0", pace(1.2), node=node)
    jobs.wait_for_training()
    kill(node)
    try:
        wait_for(lambda: jobs.slurm.job(job)["Restarts"] == "1", 120)
    finally:
        jobs.slurm.start_node(node)
    assert jobs.wait_for_end(job)["Restarts"] == "1"
    jobs.expect_same(jobs.run(), "0")


def it_is_the_readmes(jobs: Jobs) -> None:
    (command,) = (command for command in commands_of("README.md") if command.startswith("sbatch "))
    _, script, *words = shlex.split(command)
    assert script == str(SBATCH.relative_to(ROOT))
    jobs.words = words
    few = ["--trainer.max_steps=20", "--trainer.val_check_interval=10", "--data.num_val=20", "--data.num_test=20"]
    jobs.wait_for_end(jobs.submit(f"--trainer.default_root_dir={jobs.folder}", *few))
    assert "The model predicts the last digit of" in jobs.output()


def its_config_is_wrong(jobs: Jobs) -> None:
    """That is the job's failure."""
    job = jobs.submit("--model.hidden_size=0")
    assert jobs.wait_for_end(job, "FAILED")["ExitCode"] == "2:0"
    assert "error: hidden_size is 0; it must be at least 1" in jobs.output()


CASES = (
    its_time_is_up,
    it_gets_the_signal_by_hand,
    it_is_cancelled,
    slurm_queues_it_again,
    another_is_of_the_same_experiment,
    it_is_an_array,
    two_tasks_train_one_network,
    two_nodes_train_one_network,
    its_node_is_gone,
    slurm_no_longer_hears_from_its_node,
    it_is_the_readmes,
    its_config_is_wrong,
)


@pytest.fixture(scope="module")
def outcomes(
    slurm: Cluster, config: Path, wholes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future[None]]:
    """Of each case: nothing, or what it raised."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        folders = [tmp_path_factory.mktemp(case.__name__) for case in CASES]
        started = [
            pool.submit(case, Jobs(slurm, config, folder, wholes)) for case, folder in zip(CASES, folders, strict=True)
        ]
    return {case.__name__: future for case, future in zip(CASES, started, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_job_survives_what_the_cluster_does(case: Callable[[Jobs], None], outcomes: dict[str, Future[None]]) -> None:
    outcomes[case.__name__].result()
