"""A resumed run has the bits of a run without a stop, wherever it was stopped."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Command
from training import fast_step
from training.checkpoint_file import read_checkpoint, write_checkpoint

TRAIN_METRICS = ("train/loss", "train/accuracy", "train/gradient_norm", "train/learning_rate")
VAL_METRICS = ("val/loss", "val/accuracy")
SCHEDULE = (
    "--model.lr_scheduler=torch.optim.lr_scheduler.ExponentialLR",
    "--model.lr_scheduler.gamma=0.9",
    "--trainer.max_steps=25",
)


def run_of(root: Path) -> Path:
    (run,) = (root / "small").iterdir()
    return run


def state_of(run: Path) -> dict[str, Any]:
    """Everything in ``last`` that must not depend on how often the run was stopped."""
    checkpoint = read_checkpoint(run / "checkpoints" / "last.ckpt")
    del checkpoint["callbacks"]["RunSummary"]  # seconds
    return checkpoint


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert_same(a, b)
    elif isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


def rows_of(run: Path, names: tuple[str, ...]) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[names[0]]]
    return [{name: row[name] for name in ("step", *names)} for row in rows]


def scalars_of(run: Path, name: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(run)).Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(name)]


@pytest.fixture(params=["fast step", "Lightning's step"])
def step(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both training steps; without the fast one, as with a version of Lightning that it was not tested with."""
    if request.param != "fast step":
        monkeypatch.setattr(fast_step, "TESTED_VERSIONS", ())


@pytest.fixture
def whole(command: Command, tmp_path: Path) -> Path:
    """A run of 25 steps, never stopped: epochs end after 10 and 20, validation comes after 4, 8, ... and 25."""
    root = tmp_path / "whole"
    assert command("fit", *SCHEDULE, f"--trainer.default_root_dir={root}") == 0
    return run_of(root)


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("stops", [[7], [10], [12], [3, 4, 20, 24]], ids=str)
def test_a_resumed_run_equals_one_without_a_stop(
    stops: list[int], whole: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    last: tuple[str, ...] = ()
    for stop in stops:
        disturb = (
            f'--trainer.callbacks={{"class_path": "tests.training.helpers.SignalAt", "init_args": {{"step": {stop}}}}}'
        )
        assert command("fit", *SCHEDULE, root, disturb, *last) == 130
        last = ("--ckpt_path=last",)
    assert command("fit", *SCHEDULE, root, *last) == 0
    parts = run_of(tmp_path / "parts")
    assert_same(state_of(parts), state_of(whole))
    for names in (TRAIN_METRICS, VAL_METRICS, ("test/loss", "test/accuracy")):
        assert rows_of(parts, names) == rows_of(whole, names)
    for name in (*TRAIN_METRICS, *VAL_METRICS):
        assert scalars_of(parts, name) == scalars_of(whole, name)
    assert (parts / "config.yaml").exists()
    for path in parts.glob("config*.yaml"):
        assert yaml.safe_load(path.read_text())["ckpt_path"] is None  # it can be run again as it is
    assert {path.name for path in parts.glob("config.resume_*")} == {f"config.resume_{stop}.yaml" for stop in stops}


def test_a_resumed_run_with_a_time_limit_counts_earlier_seconds(command: Command, tmp_path: Path) -> None:
    """Of a day next to nothing is spent, so that the schedule follows the steps, until a checkpoint says otherwise."""
    args = ("--model.lr_scheduler=models.schedules.WarmupCosine", "--trainer.max_time=01:00:00:00")
    args += ("--trainer.max_steps=25", "--trainer.log_every_n_steps=1")
    assert command("fit", *args, f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    stop = '--trainer.callbacks={"class_path": "tests.training.helpers.SignalAt", "init_args": {"step": 7}}'
    assert command("fit", *args, root, stop) == 130
    parts = run_of(tmp_path / "parts")
    last = parts / "checkpoints" / "last.ckpt"
    stopped = read_checkpoint(last)
    half_a_day = 43200.0
    stopped["callbacks"]["Timer"]["time_elapsed"]["train"] = half_a_day
    write_checkpoint(stopped, last)
    assert command("fit", *args, root, "--ckpt_path=last") == 0
    assert read_checkpoint(last)["callbacks"]["Timer"]["time_elapsed"]["train"] > half_a_day
    rates, of_whole = (
        [float(row["train/learning_rate"]) for row in rows_of(run, TRAIN_METRICS)]  # of the step after
        for run in (parts, run_of(tmp_path / "whole"))
    )
    assert rates[:7] == of_whole[:7] and rates[12:] == of_whole[12:]
    in_the_middle = max(of_whole) * (1 + math.cos(math.pi * 0.47 / 0.97)) / 2
    assert rates[7:12] == pytest.approx([in_the_middle] * 5, rel=1e-3)


def test_seconds_before_the_limit_was_set_count(
    run_dir: Path, command: Command, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    last = run_dir / "checkpoints" / "last.ckpt"
    before = read_checkpoint(last)
    assert "Timer" not in before["callbacks"]
    before["callbacks"]["RunSummary"]["seconds"] = 100.0
    write_checkpoint(before, last)
    limit = ("--ckpt_path=last", "--trainer.max_steps=-1", "--trainer.max_time=00:00:01:40")
    assert command("fit", *limit) == 0
    assert "No step was taken: trainer.max_time (100 seconds) is used up" in caplog.text
    assert read_checkpoint(last)["global_step"] == before["global_step"]
    capsys.readouterr()
    assert command("fit", *limit[:2], "--trainer.max_time=00:00:01:41") == 0
    step = read_checkpoint(last)["global_step"]
    assert f"Training ended after step {step}: trainer.max_time (101 seconds) is used up." in capsys.readouterr().out
    assert step > before["global_step"]


@pytest.mark.usefixtures("step")
def test_a_stop_waits_for_the_optimizer_step(command: Command, tmp_path: Path) -> None:
    args = ("--trainer.accumulate_grad_batches=3", "--trainer.max_steps=9")
    assert command("fit", *args, f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    stop = '--trainer.callbacks={"class_path": "tests.training.helpers.SignalAt", "init_args": {"batch": 4}}'
    assert command("fit", *args, root, stop) == 130
    assert state_of(run_of(tmp_path / "parts"))["global_step"] == 2
    assert command("fit", *args, root, "--ckpt_path=last") == 0
    whole, parts = run_of(tmp_path / "whole"), run_of(tmp_path / "parts")
    assert_same(state_of(parts)["state_dict"], state_of(whole)["state_dict"])
    rows = rows_of(whole, TRAIN_METRICS)
    assert [row["step"] for row in rows] == ["2", "5", "8"] and rows_of(parts, TRAIN_METRICS) == rows


@pytest.mark.usefixtures("step")
def test_epochs_cut_short_resume_exactly(command: Command, tmp_path: Path) -> None:
    args = ("--trainer.limit_train_batches=7", "--trainer.max_epochs=3", "--trainer.max_steps=-1")
    assert command("fit", *args, f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    for stop, last in ((7, ()), (16, ("--ckpt_path=last",))):
        disturb = (
            f'--trainer.callbacks={{"class_path": "tests.training.helpers.SignalAt", "init_args": {{"step": {stop}}}}}'
        )
        assert command("fit", *args, root, disturb, *last) == 130
    assert command("fit", *args, root, "--ckpt_path=last") == 0
    whole, parts = run_of(tmp_path / "whole"), run_of(tmp_path / "parts")
    assert state_of(whole)["global_step"] == 21
    assert_same(state_of(parts), state_of(whole))
    assert rows_of(parts, VAL_METRICS) == rows_of(whole, VAL_METRICS)


@pytest.mark.usefixtures("step")
def test_a_crash_loses_only_what_came_after_the_last_checkpoint(whole: Path, command: Command, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    every_5 = '--trainer.callbacks=[{"class_path": "callbacks.RunCheckpoints", "init_args": {"every_n_steps": 5}}'
    crash = ', {"class_path": "tests.training.helpers.CrashAt", "init_args": {"step": 19}}'
    with pytest.raises(RuntimeError, match="a bug"):
        command("fit", *SCHEDULE, root, every_5 + crash + "]")
    parts = run_of(tmp_path / "parts")
    assert state_of(parts)["global_step"] == 16  # after 15 by the interval, after 16 since validation improved
    assert rows_of(parts, TRAIN_METRICS)[-1]["step"] == "17"
    assert command("fit", *SCHEDULE, root, "--ckpt_path=last", every_5 + "]") == 0
    assert_same(state_of(parts), state_of(whole))
    assert rows_of(parts, TRAIN_METRICS) == rows_of(whole, TRAIN_METRICS)
    assert scalars_of(parts, "train/loss") == scalars_of(whole, "train/loss")


def test_a_finished_run_resumes_with_more_steps(whole: Path, command: Command, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    assert command("fit", *SCHEDULE, root, "--trainer.max_steps=-1", "--trainer.max_epochs=2") == 0
    assert command("fit", *SCHEDULE, root, "--ckpt_path=last") == 0
    assert_same(state_of(run_of(tmp_path / "parts"))["state_dict"], state_of(whole)["state_dict"])
    assert_same(state_of(run_of(tmp_path / "parts"))["optimizer_states"], state_of(whole)["optimizer_states"])


def test_resuming_from_best_removes_later_values(whole: Path, command: Command) -> None:
    best = read_checkpoint(whole / "checkpoints" / "best.ckpt")["global_step"]
    before = state_of(whole)
    rows = rows_of(whole, TRAIN_METRICS)
    path = whole / "checkpoints" / "best.ckpt"
    assert command("fit", *SCHEDULE, f"--ckpt_path={path}") == 0
    assert (whole / f"config.resume_{best}.yaml").exists()
    assert_same(state_of(whole), before)
    assert rows_of(whole, TRAIN_METRICS) == rows


def test_a_damaged_last_costs_a_few_steps_but_no_bits(
    whole: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = state_of(whole)
    last = whole / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    assert command("fit", *SCHEDULE, f"--ckpt_path={whole}") == 0
    assert_same(state_of(whole), before)


def test_the_saved_config_gives_the_same_run(whole: Path, tmp_path: Path) -> None:
    import cli

    root = tmp_path / "again"
    assert cli.main(["fit", "--config", str(whole / "config.yaml"), f"--trainer.default_root_dir={root}"]) == 0
    assert_same(state_of(root / "config" / "version_0")["state_dict"], state_of(whole)["state_dict"])


def test_a_run_killed_after_its_last_step_ends_with_the_same_metrics(command: Command, run_dir: Path) -> None:
    """Its test had not ended; what was measured in training is not measured again."""
    summary = json.loads((run_dir / "summary.json").read_text())
    (run_dir / "summary.json").unlink()
    assert command("fit", "--ckpt_path=last") == 0
    again = json.loads((run_dir / "summary.json").read_text())
    assert set(again["metrics"]) >= {"train/loss", "val/loss", "test/loss"}
    assert again["metrics"] == summary["metrics"]
    assert again["steps"] == summary["steps"]


def test_metrics_outlast_starts_that_log_nothing(command: Command, tmp_path: Path) -> None:
    assert command("fit", "--trainer.max_steps=4") == 0  # training is logged at step 3
    run = tmp_path / "runs" / "small" / "version_0"
    loss = json.loads((run / "summary.json").read_text())["metrics"]["train/loss"]
    for max_steps in (5, 5):  # one more step, then none
        assert command("fit", "--ckpt_path=last", f"--trainer.max_steps={max_steps}") == 0
        assert json.loads((run / "summary.json").read_text())["metrics"]["train/loss"] == loss


def a_run_of(root: Path, *args: str) -> tuple[str, ...]:
    return (f"--trainer.default_root_dir={root}", "--trainer.max_steps=25", *args)


def signal_at(step: int) -> str:
    return f'--trainer.callbacks+={{"class_path": "tests.training.helpers.SignalAt", "init_args": {{"step": {step}}}}}'


@pytest.mark.usefixtures("step")
@pytest.mark.parametrize("carry_state", ["true", "false"])
@pytest.mark.parametrize("stops", [[7], [3, 4, 24]], ids=str)
def test_a_resumed_text_run_equals_one_without_a_stop(
    stops: list[int], carry_state: str, text_command: Command, tmp_path: Path
) -> None:
    """With dropout of units and weights, the state carried along and now and then reset, and early stopping."""
    stopping = (
        '--trainer.callbacks+={"class_path": "pytorch_lightning.callbacks.EarlyStopping", '
        '"init_args": {"monitor": "val/loss", "patience": 3}}'
    )
    args = (f"--data.carry_state={carry_state}", *SCHEDULE[:2], stopping)
    if carry_state == "false":
        args += ("--model.reset_probability=0",)
    assert text_command("fit", *a_run_of(tmp_path / "whole", *args)) == 0
    last: tuple[str, ...] = ()
    for stop in stops:
        assert text_command("fit", *a_run_of(tmp_path / "parts", *args, signal_at(stop), *last)) == 130
        last = ("--ckpt_path=last",)
    assert text_command("fit", *a_run_of(tmp_path / "parts", *args, *last)) == 0
    whole, parts = tmp_path / "whole" / "text" / "version_0", tmp_path / "parts" / "text" / "version_0"
    assert (state_of(whole)["carried_state"] is None) == (carry_state == "false")
    assert_same(state_of(parts), state_of(whole))
    for names in (TRAIN_METRICS, (*VAL_METRICS, "val/perplexity"), ("test/loss", "test/bits_per_character")):
        assert rows_of(parts, names) == rows_of(whole, names)


@pytest.mark.usefixtures("step")
def test_a_resumed_run_on_graphs_equals_one_without_a_stop(
    config: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(
        "model: {class_path: models.SpreadClassifier, init_args: {hidden_size: 8}}\n"
        "data: {class_path: datamodules.SpreadDataModule,\n"
        "       init_args: {num_nodes: 8, num_steps: 6, batch_size: 4, num_val: 9, num_test: 9}}\n"
        "trainer: {max_steps: 12, limit_train_batches: 5, log_every_n_steps: 2, val_check_interval: 4}\n"
    )
    assert command("fit", *a_run_of(tmp_path / "whole")) == 0
    last: tuple[str, ...] = ()
    for stop in (3, 7):
        assert command("fit", *a_run_of(tmp_path / "parts", signal_at(stop), *last)) == 130
        last = ("--ckpt_path=last",)
    assert command("fit", *a_run_of(tmp_path / "parts", *last)) == 0
    whole, parts = run_of(tmp_path / "whole"), run_of(tmp_path / "parts")
    assert_same(state_of(parts), state_of(whole))
    for names in ((*TRAIN_METRICS, "train/recall"), (*VAL_METRICS, "val/recall"), ("test/loss", "test/recall")):
        assert rows_of(parts, names) == rows_of(whole, names) != []


def test_a_text_run_ends_early_where_validation_no_longer_improves(
    text_command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = (
        '--trainer.callbacks+={"class_path": "pytorch_lightning.callbacks.EarlyStopping", '
        '"init_args": {"monitor": "val/loss", "patience": 2, "min_delta": 100}}'
    )
    assert text_command("fit", *a_run_of(tmp_path / "runs", stopping)) == 0
    run = tmp_path / "runs" / "text" / "version_0"
    assert state_of(run)["global_step"] == 12  # validated after 4, 8 and 12
    assert json.loads((run / "summary.json").read_text())["steps"] == 12
    told = "Training ended after step 12: Monitored metric val/loss did not improve in the last 2 records."
    assert told in capsys.readouterr().out


def test_early_stopping_on_what_is_not_measured_ends_in_one_line(
    text_command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = "--trainer.callbacks=pytorch_lightning.callbacks.EarlyStopping", "--trainer.callbacks.monitor=val/los"
    assert text_command("fit", *a_run_of(tmp_path / "runs", *stopping)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: Early stopping conditioned on metric `val/los` which is not available")
    assert err.count("\n") == 1 and "val/loss" in err


def test_the_path_of_a_book_may_change_but_not_its_text(
    text_command: Command, text_run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = tmp_path / "book.txt"
    moved = book.rename(tmp_path / "moved.txt")
    on = ("--ckpt_path=last", "--trainer.max_steps=9", f"--data.book={moved}")
    assert text_command("fit", *on) == 0
    text = moved.read_text(encoding="utf-8")
    moved.write_text(text[::-1], encoding="utf-8")
    capsys.readouterr()
    assert text_command("fit", *on, "--trainer.max_steps=11") == 2
    assert "which is not the text that the checkpoint was trained on; give that" in capsys.readouterr().err
    assert text_command("test", f"--data.book={moved}") == 0
    moved.write_text(text + "?", encoding="utf-8")
    capsys.readouterr()
    assert text_command("test", f"--data.book={moved}") == 2
    assert "different characters, not the" in capsys.readouterr().err


def test_settings_of_training_may_differ_in_a_test(text_command: Command, text_run_dir: Path) -> None:
    without = (
        "--data.carry_state=false",
        "--model.reset_probability=0",
        "--model.dropout=0",
        "--model.dropout_samples=1",
    )
    assert text_command("test", *without, "--data.eval_batch_size=3") == 0
    assert text_command("fit", "--ckpt_path=last", "--data.carry_state=false", "--trainer.max_steps=9") == 2
    assert text_command("fit", "--ckpt_path=last", "--model.dropout=0", "--trainer.max_steps=9") == 2


def test_the_config_of_a_text_run_can_be_run_again(text_run_dir: Path, text_command: Command, tmp_path: Path) -> None:
    from cli import main

    saved = yaml.safe_load((text_run_dir / "config.yaml").read_text())
    assert "vocab_size" not in saved["model"]["init_args"]  # it follows from the book
    checkpoint = state_of(text_run_dir)
    num_characters = len(checkpoint["BookDataModule"]["characters"])
    assert checkpoint["config"]["model"]["init_args"]["vocab_size"] == num_characters
    again = f"--trainer.default_root_dir={tmp_path / 'again'}"
    assert main(["fit", "--config", str(text_run_dir / "config.yaml"), again]) == 0
    (run,) = (tmp_path / "again").glob("*/version_0")
    assert_same(state_of(run)["state_dict"], state_of(text_run_dir)["state_dict"])
