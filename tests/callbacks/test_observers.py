"""Callbacks change no weight and no random number, and write where they should."""

import csv
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import (
    GradientFlow,
    LengthCurriculum,
    RunCheckpoints,
    RunSummary,
    StepProgress,
    TrainingMetrics,
    progress,
)
from callbacks.run_summary import flatten, git_commit
from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.conftest import Command
from tests.models.test_classifier import QUIET
from training.run_folder import RunFolder
from training.trainer import Trainer


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    def train(trainer: pl.Trainer) -> tuple[dict[str, torch.Tensor], torch.Tensor, list[float]]:
        torch.manual_seed(0)
        model, losses = PalindromeClassifier(hidden_size=8), []
        original = model.training_step

        def training_step(batch: Any, batch_idx: int) -> Any:
            loss = original(batch, batch_idx)
            losses.append(loss.item())
            return loss

        model.training_step = training_step  # type: ignore[method-assign]
        trainer.fit(model, PalindromeDataModule(6, batch_size=8))
        return dict(model.state_dict()), torch.get_rng_state(), losses

    options = QUIET | {"max_steps": 12, "log_every_n_steps": 3, "val_check_interval": 5}
    options["check_val_every_n_epoch"] = None
    without = train(pl.Trainer(**options))
    all_on = options | {"enable_checkpointing": True, "enable_progress_bar": True}
    ours = Trainer(**all_on, callbacks=[RunCheckpoints(every_n_steps=2)])
    kinds = {type(callback).__name__ for callback in ours.callbacks}
    assert kinds >= {"RunCheckpoints", "RunSummary", "StepProgress", "TrainingMetrics"}
    ours.folder = RunFolder(tmp_path)
    ours.folder.make_checkpoint_folder(None)
    torch.testing.assert_close(train(ours), without, rtol=0, atol=0)
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {f"checkpoints/{name}.ckpt" for name in ("best", "last", "previous")} | {"summary.json"}


def test_observers_work_under_lightnings_own_trainer(tmp_path: Path) -> None:
    options = QUIET | {
        "max_steps": 4,
        "log_every_n_steps": 2,
        "default_root_dir": tmp_path,
        "enable_progress_bar": True,
    }
    observers = [TrainingMetrics(), RunSummary(), StepProgress(), GradientFlow(2), LengthCurriculum(start=5)]
    trainer = pl.Trainer(**options, callbacks=observers)
    trainer.fit(PalindromeClassifier(hidden_size=8), PalindromeDataModule(6, batch_size=8, num_val=20))
    assert {"train/loss", "train/length"} <= trainer.callback_metrics.keys()
    assert json.loads((tmp_path / "summary.json").read_text())["steps"] == 4
    assert {path.name for path in (tmp_path / "gradients").iterdir()} == {"step_000000.csv", "step_000002.csv"}


def test_checkpoints_between_steps_need_our_trainer() -> None:
    trainer = pl.Trainer(**(QUIET | {"enable_checkpointing": True}), max_steps=1, callbacks=[RunCheckpoints()])
    with pytest.raises(ValueError, match=r"RunCheckpoints needs training\.trainer\.Trainer.*ModelCheckpoint"):
        trainer.fit(PalindromeClassifier(hidden_size=8), PalindromeDataModule(6))


def test_the_run_folder_holds_what_the_design_says(run_dir: Path) -> None:
    names = {
        re.sub(r"\.tfevents\..*", "", str(path.relative_to(run_dir))) for path in run_dir.rglob("*") if path.is_file()
    }
    assert names == {
        "config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        "events.out",
        "metrics.csv",
        "summary.json",
        "job.json",
        ".lock",
    }


def test_the_summary_holds_the_final_figures(run_dir: Path) -> None:
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["steps"] == 7
    assert summary["seconds"] > 0
    assert summary["steps_per_second"] == pytest.approx(7 / summary["seconds"])
    assert summary["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]  # "+cu124" may be left out
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"step", *summary["metrics"], "train/steps_per_second"}
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        last = [float(row[name]) for row in rows if row[name]][-1]
        assert summary["metrics"][name] == pytest.approx(last)


def test_seconds_add_up_over_resumes(run_dir: Path, command: Command) -> None:
    before = json.loads((run_dir / "summary.json").read_text())["seconds"]
    assert command("fit", "--ckpt_path=last", "--trainer.max_steps=8") == 0
    assert json.loads((run_dir / "summary.json").read_text())["seconds"] > before


def test_the_git_commit_is_that_of_the_checkout() -> None:
    root = Path(__file__).parent.parent.parent
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    assert (git_commit() or "").removesuffix("-dirty") == head


def test_tensorboard_has_the_curves_and_hyper_parameters_with_metrics(run_dir: Path) -> None:
    events = EventAccumulator(str(run_dir)).Reload()
    expected = {f"train/{name}" for name in ("loss", "accuracy", "gradient_norm", "learning_rate", "steps_per_second")}
    expected |= {"val/loss", "val/accuracy", "test/loss", "test/accuracy"}
    assert expected == set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("train/loss")] == [2, 5]
    hparams = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"model.hidden_size" in hparams and b"data.length" in hparams
    assert "_hparams_/experiment" not in events.Tags()["tensors"]


def test_flatten_gives_the_path_to_a_value() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": True}}, "e": None, "f": [1]}) == {
        "a.b": 1,
        "a.c.d": True,
        "e": "None",
        "f": "[1]",
    }


def test_plain_lines_where_there_is_no_terminal(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(lines) == 2
    for line, step in zip(lines, (4, 7), strict=True):
        assert re.fullmatch(rf"step {step}/7  loss \d\.\d{{4}}  val loss \d\.\d{{4}}  val accuracy \d\.\d{{4}}", line)


@pytest.mark.parametrize("width", [30, 80, 120])
def test_a_bar_fits_its_terminal(
    width: int, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "Console", lambda: Console(force_terminal=True, width=width))
    assert command("fit") == 0
    out = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    drawn = out[: out.rindex("7/7") + 200].replace("\r", "\n").splitlines()
    assert "━" in out and "…" not in out and ("training" in out) == (width == 120)
    assert all(len(line) <= width for line in drawn if "━" in line)
    assert "val accuracy" in " ".join(out[out.rindex("7/7") :].split())
    assert not [line for line in out.splitlines() if line.startswith("step ")]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_that_ends_by_time_shows_its_steps(
    terminal: bool, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "Console", lambda: Console(force_terminal=terminal, width=120))
    enough = '--trainer.callbacks={"class_path": "tests.training.helpers.EnoughAt", "init_args": {"step": 5}}'
    assert command("fit", "--trainer.max_steps=-1", "--trainer.max_epochs=-1", enough) == 0
    out = capsys.readouterr().out
    assert re.search(r"\d+/\?" if terminal else r"(?m)^step \d+  loss", out)
