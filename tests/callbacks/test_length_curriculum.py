"""Lengths grow when they are mastered, shorter ones are mixed in, and a resumed run equals one without a stop."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule
from rich.console import Console

from callbacks import LengthCurriculum, progress
from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.conftest import Command
from tests.models.test_classifier import QUIET
from tests.test_resume import assert_same, rows_of, state_of
from training.checkpoint_file import read_checkpoint, write_checkpoint
from training.trainer import Trainer


class Lengths(Callback):
    """Notes how long the palindromes of each batch were, and says afterwards that a share of them was completed."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self.seen: list[int] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        digits, target = batch
        self.seen.append(digits.shape[1] + 1)
        pl_module.completed = lambda: torch.arange(len(target)) < self.share * len(target)


def lengths_of(curriculum: LengthCurriculum, steps: int, length: int = 40, share: float = 1.0) -> list[int]:
    lengths = Lengths(share)
    trainer = Trainer(**QUIET, max_steps=steps, limit_val_batches=0, callbacks=[lengths, curriculum])
    trainer.fit(PalindromeClassifier(hidden_size=4), PalindromeDataModule(length, batch_size=10))
    return lengths.seen


def test_lengths_grow_after_each_window_up_to_the_datas() -> None:
    curriculum = LengthCurriculum(start=4, growth=1.5, increment=3, window=2, shorter_fraction=0.0)
    assert lengths_of(curriculum, 16, length=40) == [4, 4, 7, 7, 10, 10, 15, 15, 22, 22, 33, 33, 40, 40, 40, 40]
    assert curriculum.describe_progress() == "length 40/40" and curriculum.mastered == 40


@pytest.mark.parametrize(
    ("share", "threshold", "grows"),
    [(0.7, 0.8, False), (0.8, 0.8, True), (0.9, 0.8, True), (0.9, 0.9, True), (0.9, 1.0, False), (1.0, 1.0, True)],
)
def test_lengths_grow_only_if_the_threshold_is_reached(share: float, threshold: float, grows: bool) -> None:
    curriculum = LengthCurriculum(start=5, threshold=threshold, window=3, shorter_fraction=0.0)
    assert lengths_of(curriculum, 4, share=share) == [5, 5, 5, 7 if grows else 5]
    assert curriculum.training_metrics() == {
        "train/length": torch.tensor(7 if grows else 5),
        "train/mastered_length": torch.tensor(5 if grows else 0),
        "train/completed": torch.tensor(share),
    }


def test_an_infinite_growth_goes_to_the_longest_length() -> None:
    curriculum = LengthCurriculum(start=4, growth=1e308, window=1, shorter_fraction=0.0)
    assert lengths_of(curriculum, 3, length=40) == [4, 40, 40]


def test_only_batches_of_the_current_length_count() -> None:
    seen = lengths_of(LengthCurriculum(start=10, growth=2.0, window=3, shorter_fraction=0.5), 60, length=1000)
    reached = [seen.index(length) for length in (10, 20, 40, 80, 160)]
    assert reached == sorted(reached)
    for start, end, length in zip(reached, reached[1:], (10, 20, 40, 80), strict=False):
        assert seen[start:end].count(length) == 3 and max(seen[start:end]) == length
    shorter = [length for k, length in enumerate(seen) if length < max(seen[: k + 1])]
    assert 15 < len(shorter) < 45 and min(shorter) >= 10


def test_the_model_says_what_it_completed() -> None:
    model = PalindromeClassifier(hidden_size=4)
    target = torch.tensor([[1, 2], [3, 4]])
    logits = torch.nn.functional.one_hot(torch.tensor([[1, 2], [3, 5]]), 10).float()
    model.last_step = logits, target
    assert model.completed().tolist() == [True, False]
    model.last_step = logits[:, 1], target[:, 1]
    assert model.completed().tolist() == [True, False]


CURRICULUM = '{"class_path": "callbacks.LengthCurriculum", "init_args": {"start": 2, "threshold": 0.05, "window": 2}}'


def curriculum_and(other: str = "") -> str:
    return f"--trainer.callbacks=[{CURRICULUM}{other}]"


def stop_at(step: int) -> str:
    return f', {{"class_path": "tests.training.helpers.SignalAt", "init_args": {{"step": {step}}}}}'


@pytest.mark.parametrize("task", ["last_digit", "every_digit"])
def test_a_run_resumed_within_a_curriculum_equals_one_without_a_stop(
    task: str, command: Command, tmp_path: Path
) -> None:
    args = ("--data.length=30", f"--data.task={task}", "--data.num_val=20", "--trainer.max_steps=60")
    if task == "every_digit":
        args += ("--model.hidden_size=16", "--model.input_scale=1.0")
    assert command("fit", *args, curriculum_and(), f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0
    whole = tmp_path / "whole" / "small" / "version_0"
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    last: tuple[str, ...] = ()
    for stop in (3, 10, 11, 17, 29):
        assert command("fit", *args, root, curriculum_and(stop_at(stop)), *last) == 130
        last = ("--ckpt_path=last",)
    assert command("fit", *args, root, curriculum_and(), *last) == 0
    parts = tmp_path / "parts" / "small" / "version_0"
    assert_same(state_of(parts), state_of(whole))
    names = ("train/loss", "train/accuracy", "train/length", "train/mastered_length", "train/completed")
    assert rows_of(parts, names) == rows_of(whole, names)
    lengths = [float(row["train/length"]) for row in rows_of(whole, names)]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]
    if task == "last_digit":
        assert state_of(whole)["callbacks"]["LengthCurriculum"]["length"] == 30


def test_the_length_is_in_the_progress_bar_and_in_the_plain_lines(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("--data.length=9", "--trainer.max_steps=40", curriculum_and())
    assert command("fit", *args) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert re.fullmatch(r"step 40/40  length 9/9  loss .*", lines[-1])
    monkeypatch.setattr(progress, "Console", lambda: Console(force_terminal=True, width=120))
    assert command("fit", *args) == 0
    assert "length 9/9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 1}, "LengthCurriculum.start is 1; it must be a number of at least 2"),
        ({"growth": 0.9}, "LengthCurriculum.growth is 0.9; it must be a number of at least 1"),
        ({"growth": float("nan")}, "LengthCurriculum.growth is nan; it must be a number of at least 1"),
        ({"growth": float("inf")}, "LengthCurriculum.growth is inf; it must be"),
        ({"increment": 0}, "LengthCurriculum.increment is 0; it must be a number of at least 1"),
        ({"window": 0}, "LengthCurriculum.window is 0; it must be a number of at least 1"),
        ({"threshold": 0.0}, "LengthCurriculum.threshold is 0.0; it must be above 0 and at most 1"),
        ({"threshold": 1.01}, "LengthCurriculum.threshold is 1.01; it must be above 0 and at most 1"),
        ({"threshold": float("nan")}, "LengthCurriculum.threshold is nan"),
        ({"shorter_fraction": 1.0}, "LengthCurriculum.shorter_fraction is 1.0; it must be at least 0 and below 1"),
        ({"shorter_fraction": -0.1}, "LengthCurriculum.shorter_fraction is -0.1; it must be"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LengthCurriculum(**arguments)


def refused(status: int, capsys: pytest.CaptureFixture[str], *parts: str) -> bool:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return status == 2 and all(part in line for part in parts)


def test_arguments_that_conflict_end_in_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bad = '--trainer.callbacks={"class_path": "callbacks.LengthCurriculum", "init_args": {"threshold": 2}}'
    assert refused(command("fit", bad), capsys, "LengthCurriculum.threshold is 2")
    too_long = '--trainer.callbacks={"class_path": "callbacks.LengthCurriculum", "init_args": {"start": 8}}'
    assert refused(command("fit", too_long), capsys, "data.length is 6", "LengthCurriculum.start is 8")
    assert not (tmp_path / "runs").exists()


def test_a_run_resumes_with_its_own_curriculum_only(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", curriculum_and()) == 0
    capsys.readouterr()
    resume = ("--ckpt_path=last", "--trainer.max_steps=9")
    other = curriculum_and().replace("0.05", "0.06")
    assert refused(command("fit", *resume, other), capsys, "LengthCurriculum.threshold = 0.05", "the config says 0.06")
    assert refused(command("fit", *resume), capsys, "LengthCurriculum = {", "the config says None")
    assert command("fit", *resume, curriculum_and()) == 0


def test_a_checkpoint_from_before_there_were_curricula_was_made_without_one(
    run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    last = run_dir / "checkpoints" / "last.ckpt"
    checkpoint = read_checkpoint(last)
    del checkpoint["config"]["trainer"]["callbacks"]
    write_checkpoint(checkpoint, last)
    capsys.readouterr()
    resume = ("--ckpt_path=last", "--trainer.max_steps=9")
    assert refused(command("fit", *resume, curriculum_and()), capsys, "LengthCurriculum = None")
    assert command("fit", *resume) == 0


def test_two_curricula_are_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(
        command("fit", curriculum_and(f", {CURRICULUM}")), capsys, "trainer.callbacks has LengthCurriculum twice"
    )


def test_the_summary_has_the_last_state_whatever_was_logged(command: Command, tmp_path: Path) -> None:
    args = ("--data.length=9", "--trainer.log_every_n_steps=10", "--trainer.max_steps=9")
    assert command("fit", *args, curriculum_and()) == 0
    run = tmp_path / "runs" / "small" / "version_0"
    state = read_checkpoint(run / "checkpoints" / "last.ckpt")["callbacks"]["LengthCurriculum"]
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    assert metrics["train/mastered_length"] == state["mastered"] > 0
    assert metrics["train/length"] == state["length"]


def test_data_without_lengths_is_refused() -> None:
    class Other(LightningDataModule):
        def train_dataloader(self) -> Any:
            return PalindromeDataModule(5).train_dataloader()

        def val_dataloader(self) -> Any:
            return PalindromeDataModule(5).val_dataloader()

    trainer = Trainer(**QUIET, max_steps=1, limit_val_batches=0, callbacks=[LengthCurriculum()])
    with pytest.raises(ValueError, match="cannot change the lengths of Other for PalindromeClassifier; remove it"):
        trainer.fit(PalindromeClassifier(hidden_size=4), Other())


def test_the_checkpoint_holds_plain_values(command: Command, tmp_path: Path) -> None:
    assert command("fit", curriculum_and()) == 0
    path = tmp_path / "runs" / "small" / "version_0" / "checkpoints" / "last.ckpt"
    state = read_checkpoint(path)["callbacks"]["LengthCurriculum"]
    assert state.keys() == {"length", "accuracy", "mastered", "completed"}
    assert all(right.dtype == torch.bool and right.shape == (16,) for right in state["completed"])
