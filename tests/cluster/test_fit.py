"""Training as a job of a real Slurm: it ends with the bits of an undisturbed run, whatever the cluster does to it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from tests.cluster.slurm import Cluster, wait_for
from tests.test_processes import fit
from tests.test_resume import VAL_METRICS, assert_same, rows_of, scalars_of, state_of
from training.checkpoint_file import read_checkpoint

ROOT = Path(__file__).parent.parent.parent
SBATCH = ROOT / "configs" / "cluster" / "fit.sbatch"
CONFIG = """\
model: {class_path: models.PalindromeClassifier, init_args: {hidden_size: 8}}
data: {class_path: datamodules.PalindromeDataModule, init_args: {length: 6, batch_size: 16, steps_per_epoch: 10}}
trainer: {max_steps: 60, gradient_clip_val: 10.0, log_every_n_steps: 1, val_check_interval: 20}
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
def whole(slurm: Cluster, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment's folder with two undisturbed runs, of seeds 0 and 1."""
    root = tmp_path_factory.mktemp("whole")
    for seed in (0, 1):
        words = ["fit", f"--config={config}", f"--trainer.default_root_dir={root}", f"--seed_everything={seed}"]
        assert cli.main(words) == 0
    return root / "small"


class Jobs:
    """Submits training jobs whose runs are in ``folder / "runs" / "small"``."""

    def __init__(self, slurm: Cluster, config: Path, folder: Path) -> None:
        self.slurm = slurm
        self.folder = folder
        self.experiment = folder / "runs" / "small"
        self.words = [f"--config={config}", f"--trainer.default_root_dir={folder / 'runs'}", pace(0.15)]

    def submit(self, *args: str, options: tuple[str, ...] = ("--cpus-per-task=1",)) -> str:
        """Submit a job like a person does, from the project's folder; its id."""
        places = (f"--chdir={ROOT}", f"--output={self.folder}/%A_%a.out", f"--export=ALL,PYTHON={sys.executable}")
        return self.slurm.submit(*places, *options, str(SBATCH), *self.words, *args)

    def run(self, k: int = 0) -> Path:
        return self.experiment / f"version_{k}"

    def wait_for_training(self, k: int = 0) -> None:
        """Wait until a step has been logged since now."""
        metrics = self.run(k) / "metrics.csv"
        before = metrics.read_text() if metrics.exists() else ""
        wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) > len(before.splitlines()) + 1, 60)

    def wait_for_end(self, job: str, state: str = "COMPLETED") -> dict[str, str]:
        known = self.slurm.wait_for_end(job)
        assert known["JobState"] == state, self.output()
        return known

    def output(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.out")))


@pytest.fixture
def jobs(slurm: Cluster, config: Path, tmp_path: Path) -> Jobs:
    return Jobs(slurm, config, tmp_path)


def assert_same_run(ours: Path, theirs: Path) -> None:
    """The same bits, and one curve without a step missing or twice."""
    assert_same(state_of(ours), state_of(theirs))
    for names in (("train/loss",), VAL_METRICS, ("test/loss",)):
        assert rows_of(ours, names) == rows_of(theirs, names)
    assert scalars_of(ours, "train/loss") == scalars_of(theirs, "train/loss")
    assert len(list(ours.parent.glob("*/hpc_ckpt*"))) == 0


def test_a_job_whose_time_is_up_is_queued_again_and_goes_on(jobs: Jobs, whole: Path) -> None:
    limit = ("--time=1", "--signal=SIGUSR1@45", "--cpus-per-task=1")
    job = jobs.submit("--seed_everything=0", pace(0.6), options=limit)
    known = jobs.wait_for_end(job)
    assert int(known["Restarts"]) >= 1 and "stopped by SIGUSR1" in jobs.output()
    assert_same_run(jobs.run(), whole / "version_0")


def test_a_signal_by_hand_does_the_same(jobs: Jobs, whole: Path) -> None:
    job = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    jobs.slurm.run("scancel", "--signal=USR1", job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and known["ExitCode"] == "0:0"
    assert f"; job {job} is queued again, and goes on by itself" in jobs.output()
    assert_same_run(jobs.run(), whole / "version_0")


def test_a_cancelled_job_stays_ended_and_loses_no_step(jobs: Jobs, whole: Path, config: Path) -> None:
    job = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    jobs.slurm.run("scancel", job)
    known = jobs.wait_for_end(job, "CANCELLED")
    wait_for(lambda: "stopped by SIGTERM after step" in jobs.output(), 10)
    assert "go on with: python cli.py fit" in jobs.output()
    assert known["Restarts"] == "0"
    saved = read_checkpoint(jobs.run() / "checkpoints" / "last.ckpt")["global_step"]
    assert saved >= int(rows_of(jobs.run(), ("train/loss",))[-1]["step"]) + 1
    assert cli.main(["fit", *jobs.words[:2], "--seed_everything=0", "--ckpt_path=last"]) == 0
    assert_same_run(jobs.run(), whole / "version_0")


def test_a_job_that_the_cluster_queues_again_goes_on(jobs: Jobs, whole: Path) -> None:
    job = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    jobs.slurm.run("scontrol", "requeue", job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and "stopped by SIGTERM after step" in jobs.output()
    assert_same_run(jobs.run(), whole / "version_0")


def test_two_jobs_of_one_experiment_keep_to_their_own_runs(jobs: Jobs, whole: Path) -> None:
    first = jobs.submit("--seed_everything=0")
    jobs.wait_for_training()
    second = jobs.submit("--seed_everything=1")
    jobs.wait_for_training(1)
    jobs.slurm.run("scancel", "--signal=USR1", first, second)
    assert [jobs.wait_for_end(job)["Restarts"] for job in (first, second)] == ["1", "1"]
    assert sorted(path.name for path in jobs.experiment.iterdir()) == ["version_0", "version_1"]
    for k in (0, 1):
        assert_same_run(jobs.run(k), whole / f"version_{k}")


def test_each_task_of_an_array_is_a_run_with_a_seed_of_its_own(jobs: Jobs, whole: Path) -> None:
    array = jobs.submit(options=("--array=0-1", "--cpus-per-task=1"))
    jobs.wait_for_training(1)
    jobs.slurm.run("scancel", "--signal=USR1", f"{array}_1")
    assert [jobs.wait_for_end(f"{array}_{task}")["Restarts"] for task in (0, 1)] == ["0", "1"]
    runs = {state_of(jobs.run(k))["config"]["data"]["init_args"]["seed"]: jobs.run(k) for k in (0, 1)}
    for seed in (0, 1):
        assert_same_run(runs[seed], whole / f"version_{seed}")


def test_two_tasks_train_one_network(jobs: Jobs, config: Path, tmp_path: Path) -> None:
    undisturbed = fit("lightning", config, tmp_path / "whole", "--seed_everything=0")
    assert undisturbed.returncode == 0, undisturbed.stderr
    job = jobs.submit("--seed_everything=0", options=("--ntasks-per-node=2", "--cpus-per-task=1"))
    jobs.wait_for_training()
    jobs.slurm.run("scancel", "--signal=USR1", job)
    known = jobs.wait_for_end(job)
    assert known["Restarts"] == "1" and known["NumTasks"] == "2"
    assert jobs.output().count("is queued again") == jobs.output().count("The run is in") == 1
    assert_same_run(jobs.run(), tmp_path / "whole" / "small" / "version_0")


@pytest.mark.parametrize("kill", [Cluster.kill_node, Cluster.kill_slurmd])
def test_a_job_outlasts_its_node(kill: Callable[[Cluster, str], None], jobs: Jobs, whole: Path) -> None:
    """Slurm gives a node up after half a minute; where only its slurmd has ended, the job is then still at work."""
    job = jobs.submit("--seed_everything=0", pace(0.8))
    jobs.wait_for_training()
    kill(jobs.slurm, "node1")
    try:
        wait_for(lambda: jobs.slurm.job(job)["Restarts"] == "1", 60)
    finally:
        jobs.slurm.start_node("node1")
    assert jobs.wait_for_end(job)["Restarts"] == "1"
    assert_same_run(jobs.run(), whole / "version_0")


def test_a_wrong_config_is_the_jobs_failure(jobs: Jobs) -> None:
    job = jobs.submit("--model.hidden_size=0")
    assert jobs.wait_for_end(job, "FAILED")["ExitCode"] == "2:0"
    assert "error: hidden_size is 0; it must be at least 1" in jobs.output()
