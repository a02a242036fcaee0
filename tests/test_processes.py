"""Several processes that train one network end like one process with their batches joined, and resume exactly."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from tests.conftest import Command, write_text_config
from tests.forked import run_python
from tests.test_resume import TRAIN_METRICS, VAL_METRICS, assert_same, rows_of, scalars_of, state_of

ROOT = Path(__file__).parent.parent
LAUNCHERS = {
    "lightning": [],
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"],
}


def fit(launcher: str, config: Path, root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Train in two processes. The launcher starts Python for one of them (Lightning) or for both (torchrun)."""
    words = [*LAUNCHERS[launcher], str(ROOT / "cli.py"), "fit", f"--config={config}", "--trainer.devices=2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return run_python(*words, f"--trainer.default_root_dir={root}", *args, environment=environment, timeout=300)


def the_run(root: Path) -> Path:
    (run,) = root.glob("*/version_*")
    return run


def test_palindromes_in_two_processes(config: Path, command: Command, tmp_path: Path) -> None:
    """With a curriculum, whose pace depends on what all of them complete."""
    curriculum = '--trainer.callbacks+={"class_path": "callbacks.LengthCurriculum", "init_args": {"threshold": 0.1}}'
    args = (curriculum, "--data.length=12", "--trainer.max_steps=25", "--model.network=rnn")
    assert command("fit", *args, "--data.batch_size=32") == 0
    two = fit("lightning", config, tmp_path / "two", *args)
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("The run is in") == 1
    assert_like(the_run(tmp_path / "two"), the_run(tmp_path / "runs"))


def test_a_book_in_two_processes(text_config: Path, text_command: Command, tmp_path: Path) -> None:
    """Without dropout, which each of them draws for itself."""
    args = ("--model.dropout=0", "--model.weight_dropout=0", "--model.reset_probability=0", "--data.eval_batch_size=5")
    args += ("--model.dropout_samples=1", "--trainer.max_steps=25")
    assert text_command("fit", *args, "--data.batch_size=12") == 0
    two = fit("torchrun", text_config, tmp_path / "two", *args)
    assert two.returncode == 0, two.stderr
    assert_like(the_run(tmp_path / "two"), the_run(tmp_path / "runs"))


def assert_like(two: Path, one: Path) -> None:
    ours, theirs = state_of(two), state_of(one)
    assert_close(ours["state_dict"], theirs["state_dict"], rtol=1e-4, atol=1e-6)
    for names in (TRAIN_METRICS, VAL_METRICS, ("test/loss", "test/accuracy")):
        for a, b in zip(rows_of(two, names), rows_of(one, names), strict=True):
            assert {key: float(a[key]) for key in a} == pytest.approx({key: float(b[key]) for key in b}, rel=1e-4)
    curricula = [state["callbacks"].get("LengthCurriculum") for state in (ours, theirs)]
    assert_same(*curricula)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config of a text model, and its run of 25 steps in two processes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = write_text_config(folder)
    ended = fit("lightning", config, folder / "runs", "--trainer.max_steps=25")
    assert ended.returncode == 0, ended.stderr
    return config, the_run(folder / "runs")


@pytest.mark.parametrize(("launcher", "name", "status"), [("torchrun", "SIGUSR1", 1), ("lightning", "SIGTERM", 143)])
def test_two_processes_stop_together_and_resume_exactly(
    launcher: str, name: str, status: int, undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    """The second one gets the signal; each has dropout and a carried state of its own."""
    config, whole = undisturbed
    disturb = (
        '--trainer.callbacks+={"class_path": "tests.training.helpers.SignalAt", "init_args": '
        f'{{"step": 7, "rank": 1, "name": "{name}"}}}}'
    )
    stopped = fit(launcher, config, tmp_path / "parts", "--trainer.max_steps=25", disturb)
    assert stopped.returncode == status  # torchrun has one for whatever goes wrong
    assert f"stopped by {name} after step 7; resume with" in stopped.stderr
    assert stopped.stderr.count("stopped by") == 1
    assert (launcher == "torchrun") or "Traceback" not in stopped.stderr
    again = fit(launcher, config, tmp_path / "parts", "--trainer.max_steps=25", "--ckpt_path=last")
    assert again.returncode == 0, again.stderr
    parts = the_run(tmp_path / "parts")
    assert_same(state_of(parts), state_of(whole))
    first, second = (own["carried_state"] for own in state_of(whole)["of_each_process"])
    assert not torch.equal(first[0], second[0])
    for name in (*TRAIN_METRICS, *VAL_METRICS):
        assert scalars_of(parts, name) == scalars_of(whole, name)


def test_a_process_that_is_killed_ends_the_other_in_one_line(config: Path, tmp_path: Path) -> None:
    disturb = (
        '--trainer.callbacks={"class_path": "tests.training.helpers.SignalAt", '
        '"init_args": {"step": 6, "rank": 1, "name": "SIGKILL"}}'
    )
    ended = fit("lightning", config, tmp_path, "--trainer.max_steps=9", disturb)
    assert ended.returncode == 1
    said = ended.stderr.splitlines()[-1]
    assert said.startswith("another process of this run has ended; resume with: python cli.py fit")
    assert "Traceback" not in ended.stderr and the_run(tmp_path).name in said


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("predict", ("--ckpt_path=best",), "trainer.devices and num_nodes ask for 2 processes; predict takes one"),
        (
            "fit",
            ("--ckpt_path=last", "--trainer.max_steps=9"),
            "was made by 1 process, trainer.devices and num_nodes ask for 2; take as many, or start a new run",
        ),
    ],
)
def test_refused_with_several_processes(
    name: str, args: tuple[str, ...], message: str, command: Command, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command(name, "--trainer.devices=2", *args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("started", [{"RANK": "0", "WORLD_SIZE": "2"}, {"SLURM_STEP_NUM_TASKS": "2"}], ids=list)
def test_processes_that_would_all_train_the_same_are_refused(
    started: dict[str, str], command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    assert command("fit") == 2
    assert "2 processes were started, but trainer.devices and num_nodes ask for 1" in capsys.readouterr().err


def test_a_graph_is_not_shared_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import cli

    words = ["fit", f"--config={ROOT}/configs/gcn_karate.yaml", f"--trainer.default_root_dir={tmp_path}"]
    assert cli.main([*words, "--trainer.devices=2"]) == 2
    assert "but GraphDataModule can only serve one; leave them out" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
