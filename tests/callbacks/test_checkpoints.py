"""``best`` is the best, ``last`` the last, ``previous`` the one before it."""

import os
from pathlib import Path

import pytest

from callbacks import RunCheckpoints
from tests.conftest import Command
from tests.test_resume import rows_of
from training.checkpoint_file import read_checkpoint


def step_of(run: Path, name: str) -> int:
    return int(read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["global_step"])


def test_best_last_and_previous(command: Command, tmp_path: Path) -> None:
    callback = '--trainer.callbacks={"class_path": "callbacks.RunCheckpoints", "init_args": {"every_n_steps": 3}}'
    args = ["--trainer.max_steps=20", "--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=20", callback]
    assert command("fit", *args) == 0
    run = tmp_path / "runs" / "small" / "version_0"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert (step_of(run, "last"), step_of(run, "previous")) == (20, 18)
    scores = {int(row["step"]) + 1: float(row["val/loss"]) for row in rows_of(run, ("val/loss",))}
    best = min(scores, key=lambda step: scores[step])
    assert list(scores) == [4, 8, 12, 16, 20] and best != 20  # a rate of 20 makes it worse in between
    assert step_of(run, "best") == best
    saved = read_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"]["RunCheckpoints"]
    assert saved == {"best_score": pytest.approx(scores[best]), "best_step": best}


def test_a_worse_score_after_resuming_is_not_best(command: Command, tmp_path: Path) -> None:
    args = [
        "--model.optimizer=torch.optim.SGD",
        "--model.optimizer.lr=50",
    ]  # from the first validation on it gets worse
    run = tmp_path / "runs" / "small" / "version_0"
    assert command("fit", *args, "--trainer.max_steps=4") == 0
    assert command("fit", *args, "--trainer.max_steps=20", "--ckpt_path=last") == 0
    scores = [float(row["val/loss"]) for row in rows_of(run, ("val/loss",))]
    assert len(scores) == 5 and scores[0] < min(scores[1:])
    assert step_of(run, "best") == 4


def test_best_is_made_good_if_the_process_ended_before_it_was_copied(run_dir: Path, command: Command) -> None:
    assert step_of(run_dir, "best") == step_of(run_dir, "last") == 7
    (run_dir / "checkpoints" / "best.ckpt").unlink()
    assert command("fit", "--ckpt_path=last") == 0
    assert step_of(run_dir, "best") == 7


def test_checkpoints_hold_only_tensors_and_plain_values(run_dir: Path) -> None:
    checkpoint = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")  # refuses anything else
    assert checkpoint["config"]["model"]["class_path"] == "models.PalindromeClassifier"
    assert checkpoint["config"]["data"]["init_args"]["seed"] == 42


def test_the_sanity_check_decides_nothing(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=50"]  # every later validation is worse
    assert command("fit", *args, "--trainer.num_sanity_val_steps=1") == 0
    assert step_of(tmp_path / "runs" / "small" / "version_0", "best") == 4
    assert "step 0/" not in capsys.readouterr().out


def test_a_metric_that_is_not_measured_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    callback = '--trainer.callbacks={"class_path": "callbacks.RunCheckpoints", "init_args": {"monitor": "nope"}}'
    assert command("fit", callback) == 2
    assert "RunCheckpoints.monitor is nope; it must be one of train/accuracy" in capsys.readouterr().err


def test_saving_less_often_than_every_step_only() -> None:
    with pytest.raises(ValueError, match="every_n_steps is 0; it must be at least 1"):
        RunCheckpoints(every_n_steps=0)


def test_curves_are_on_the_disk_before_the_checkpoint_that_follows_them_and_then_its_name(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = Path.replace

    def fsync(fd: int) -> None:
        done.append(Path(f"/proc/self/fd/{fd}").readlink().name)

    def replace(self: Path, target: Path) -> Path:
        done.append(f"{self.name} to {target.name}")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    assert command("fit", "--trainer.log_every_n_steps=1") == 0
    named = [k for k, what in enumerate(done) if what == "coming.ckpt to last.ckpt"]
    assert len(named) >= 2
    for before, after in zip([-1, *named], named, strict=False):
        assert {"metrics", "events"} <= {what.split(".")[0] for what in done[before + 1 : after]}
        assert done[after + 1] == "checkpoints"  # the folder, with the new names
