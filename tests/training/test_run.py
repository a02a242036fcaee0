"""Runs of plain objects, without a command line: they train, resume and test like those of the command line."""

import json
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.callbacks import LambdaCallback
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks import LengthCurriculum
from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.conftest import Command
from tests.training.helpers import SignalAt
from training.checkpoint_file import read_checkpoint
from training.errors import UserError
from training.run import Run
from training.signals import InterruptedRun
from training.trainer import NoteBeginning, Trainer, VerifiedCheckpointIO


def small_run(root: Path, max_steps: int, **kwargs: Any) -> Run:
    torch.manual_seed(1)
    trainer = Trainer(max_steps=max_steps, val_check_interval=4, log_every_n_steps=2, enable_progress_bar=False)
    data = PalindromeDataModule(6, batch_size=8, num_val=20, num_test=20)
    return Run(PalindromeClassifier(hidden_size=8), data, trainer, root / "notebook", **kwargs)


def test_a_run_of_objects_is_kept_tested_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, parts = small_run(tmp_path / "whole", 12), small_run(tmp_path / "parts", 6)
    whole.fit()
    parts.fit()
    assert whole.folder is not None and parts.folder is not None
    capsys.readouterr()
    resumed = small_run(tmp_path / "parts", 12, ckpt_path="last")
    resumed.fit()
    assert resumed.folder is not None and resumed.folder.path == parts.folder.path
    assert f"The run is in {parts.folder.path}" in capsys.readouterr().out
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, resumed.model.state_dict()[name]), name
    summary = json.loads((parts.folder.path / "summary.json").read_text())
    assert summary["steps"] == 12 and {"train/loss", "val/loss", "test/loss"} <= summary["metrics"].keys()
    evaluated = small_run(tmp_path / "parts", 12, ckpt_path="best")
    evaluated.test()
    assert evaluated.trainer.callback_metrics["test/loss"] == pytest.approx(summary["metrics"]["test/loss"])


def test_recorded_values_of_objects_must_match_on_resume(tmp_path: Path) -> None:
    small_run(tmp_path, 4).fit()
    trainer = Trainer(max_steps=8, enable_progress_bar=False)
    data = PalindromeDataModule(6, batch_size=8, num_val=20, num_test=20)
    other = Run(PalindromeClassifier(hidden_size=9), data, trainer, tmp_path / "notebook", ckpt_path="last")
    with pytest.raises(UserError, match=r"model\.init_args\.hidden_size = 8, the config says 9"):
        other.fit()


def test_a_checkpoint_is_read_once_and_not_kept(
    run_dir: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    read_bytes = Path.read_bytes

    def counted(self: Path) -> bytes:
        reads.append(self.name)
        return read_bytes(self)

    loaded: list[weakref.ref[torch.Tensor]] = []
    provide = VerifiedCheckpointIO.provide

    def watched(self: VerifiedCheckpointIO, path: Path, checkpoint: dict[str, Any]) -> None:
        loaded.append(weakref.ref(next(iter(checkpoint["state_dict"].values()))))
        provide(self, path, checkpoint)

    def on_train_batch_end(*_: Any) -> None:
        assert loaded[0]() is None

    monkeypatch.setattr(VerifiedCheckpointIO, "provide", watched)
    monkeypatch.setattr(NoteBeginning, "on_train_batch_end", on_train_batch_end)
    monkeypatch.setattr(Path, "read_bytes", counted)
    limit = ("--trainer.max_steps=9", "--trainer.limit_test_batches=0")
    assert command("fit", "--ckpt_path=last", *limit) == 0
    assert reads.count("last.ckpt") == 1
    assert read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["global_step"] == 9


class Plain(LightningModule):
    """A module that knows nothing of this project."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def step(self, batch: Any, name: str) -> torch.Tensor:
        loss: torch.Tensor = self.layer(batch[0]).square().mean()
        self.log(f"{name}/loss", loss)
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.step(batch, "test")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class PlainData(LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(64, 4)), batch_size=8)

    val_dataloader = test_dataloader = train_dataloader


def run_of(model: LightningModule, data: LightningDataModule, root: Path) -> Run:
    options: dict[str, Any] = {"val_check_interval": 4, "enable_progress_bar": False, "log_every_n_steps": 2}
    return Run(model, data, Trainer(max_steps=10, **options), root / "plain")


def test_a_plain_module_is_trained_and_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(Plain(), PlainData(), tmp_path)
    run.fit()
    out = capsys.readouterr().out
    assert "test/loss" in out and "Nothing was tested" not in out
    assert run.folder is not None and run.folder.checkpoint("best").is_file()
    assert json.loads((run.folder.path / "summary.json").read_text())["metrics"]["test/loss"] < 1


def test_a_plain_module_that_logs_another_name_keeps_the_last_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Underscore(Plain):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", self.layer(batch[0]).mean())

    run = run_of(Underscore(), PlainData(), tmp_path)
    run.fit()
    assert "Underscore does not log val/loss" in caplog.text and "val_loss" in caplog.text
    assert run.folder is not None and run.folder.checkpoint("last").is_file()
    assert not run.folder.checkpoint("best").exists()


@pytest.mark.parametrize("lacking", ["test_step", "test_dataloader"])
def test_a_model_without_test_step_is_trained_and_not_tested(
    lacking: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model_class = type("M", (Plain,), {"test_step": LightningModule.test_step} if lacking == "test_step" else {})
    without = {"test_dataloader": LightningDataModule.test_dataloader} if lacking == "test_dataloader" else {}
    run = run_of(model_class(), type("D", (PlainData,), without)(), tmp_path)
    run.fit()
    assert f"Nothing was tested: {'M' if lacking == 'test_step' else 'D'} has no {lacking}." in capsys.readouterr().out


@pytest.mark.parametrize("lacking", ["training_step", "configure_optimizers"])
def test_a_model_that_cannot_be_trained_is_refused_before_the_first_step(lacking: str, tmp_path: Path) -> None:
    model_class = type("M", (Plain,), {lacking: getattr(LightningModule, lacking)})
    with pytest.raises(UserError, match=lacking):
        run_of(model_class(), PlainData(), tmp_path).fit()
    assert list(tmp_path.iterdir()) == []


class WithObjects(Plain):
    """A module with arguments that no checkpoint can hold."""

    def __init__(self, folder: Path, activation: type[nn.Module], size: Any = 4) -> None:
        super().__init__()
        self.save_hyperparameters()


def test_a_checkpoint_can_be_read_whatever_the_arguments_are(tmp_path: Path) -> None:
    run = run_of(WithObjects(tmp_path, nn.ReLU, np.float64(4)), PlainData(), tmp_path)
    run.fit()
    assert run.folder is not None
    assert read_checkpoint(run.folder.checkpoint("last"))["global_step"] == 10


def test_a_state_that_cannot_be_read_is_refused_at_the_first_checkpoint(tmp_path: Path) -> None:
    class Stateful(Plain):
        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["place"] = tmp_path

    run = run_of(Stateful(), PlainData(), tmp_path)
    with pytest.raises(UserError, match=r"more than tensors and plain values.*; save nothing else in state_dict"):
        run.fit()
    assert run.trainer.global_step == 4


def test_the_command_line_and_objects_test_each_others_checkpoints(run_dir: Path, command: Command) -> None:
    data = PalindromeDataModule(6, batch_size=16)
    run = Run(PalindromeClassifier(hidden_size=8), data, Trainer(), ckpt_path=run_dir)
    run.test()
    accuracy = json.loads((run_dir / "summary.json").read_text())["metrics"]["test/accuracy"]
    assert run.trainer.callback_metrics["test/accuracy"] == pytest.approx(accuracy)


def test_a_curriculum_of_objects_must_match_on_resume(tmp_path: Path) -> None:
    def run_with(*callbacks: Any, **kwargs: Any) -> Run:
        trainer = Trainer(max_steps=4, enable_progress_bar=False, callbacks=list(callbacks))
        data = PalindromeDataModule(8, batch_size=8, num_val=20, num_test=20)
        return Run(PalindromeClassifier(hidden_size=8), data, trainer, tmp_path / "grown", **kwargs)

    run_with(LengthCurriculum(start=5)).fit()
    for callbacks in ([LengthCurriculum(start=6)], []):
        with pytest.raises(UserError, match="LengthCurriculum"):
            run_with(*callbacks, ckpt_path="last").fit()
    run_with(LengthCurriculum(start=5), ckpt_path="last").fit()


def test_a_run_needs_a_trainer_of_its_own(tmp_path: Path) -> None:
    run = run_of(Plain(), PlainData(), tmp_path)
    with pytest.raises(ValueError, match="belongs to another run"):
        Run(Plain(), PlainData(), run.trainer, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"Run needs training\.trainer\.Trainer"):
        Run(Plain(), PlainData(), pl.Trainer(logger=False), tmp_path / "plain")  # type: ignore[arg-type]


def test_a_run_is_trained_once(tmp_path: Path) -> None:
    run = run_of(Plain(), PlainData(), tmp_path)
    run.fit()
    with pytest.raises(UserError, match="make a new Run and a new Trainer, with ckpt_path='last'"):
        run.fit()
    run.test()


class OnPlateau(Plain):
    """Its learning rate falls after each epoch."""

    def __init__(self, monitor: str, lr_interval: str = "epoch") -> None:
        super().__init__()
        self.save_hyperparameters()

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.layer(batch[0]).square().mean()
        self.log("train/mean", loss, on_epoch=True, on_step=False)
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.9)
        config = {"scheduler": scheduler, "monitor": self.hparams.monitor, "interval": self.hparams.lr_interval}
        config["frequency"] = 1 if self.hparams.lr_interval == "epoch" else 3
        return {"optimizer": optimizer, "lr_scheduler": config}


def run_on_plateau(root: Path, *callbacks: Any, ckpt_path: str | None = None, **kwargs: Any) -> Run:
    torch.manual_seed(1)
    options: dict[str, Any] = {"val_check_interval": 3, "enable_progress_bar": False, "log_every_n_steps": 2}
    trainer = Trainer(max_steps=20, callbacks=list(callbacks), **options)
    return Run(OnPlateau(**kwargs), PlainData(), trainer, root / "plateau", ckpt_path)


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_schedule_that_follows_a_metric_resumes_exactly(interval: str, tmp_path: Path) -> None:
    """An epoch has eight steps; what was measured after six decides after eight, whenever the run was stopped."""
    model = {"monitor": "val/loss", "lr_interval": interval}
    whole = run_on_plateau(tmp_path / "whole", **model)
    whole.fit()
    last = None
    for stop in (2 if interval == "epoch" else 4, 7, 8, 14, 16, 17):
        with pytest.raises(InterruptedRun):
            run_on_plateau(tmp_path / "parts", SignalAt(stop), ckpt_path=last, **model).fit()
        last = "last"
    parts = run_on_plateau(tmp_path / "parts", ckpt_path="last", **model)
    parts.fit()
    (ours,), (theirs,) = parts.trainer.optimizers, whole.trainer.optimizers
    assert ours.param_groups[0]["lr"] == theirs.param_groups[0]["lr"] < 0.1
    assert torch.equal(parts.model.layer.weight, whole.model.layer.weight)
    schedulers = [run.trainer.lr_scheduler_configs[0].scheduler.state_dict() for run in (parts, whole)]
    assert schedulers[0] == schedulers[1]


def test_a_schedule_that_follows_half_an_epoch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRun):
        run_on_plateau(tmp_path, SignalAt(7), monitor="train/mean").fit()
    with pytest.raises(UserError, match="the learning rate follows train/mean, a mean over the epoch"):
        run_on_plateau(tmp_path, ckpt_path="last", monitor="train/mean").fit()
    run_on_plateau(tmp_path, ckpt_path="last", monitor="train/mean").test()


def test_a_run_in_a_thread(tmp_path: Path) -> None:
    run = run_of(Plain(), PlainData(), tmp_path)
    thread = threading.Thread(target=run.fit)
    thread.start()
    thread.join()
    assert run.trainer.global_step == 10


def test_an_epoch_whose_data_repeat_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_of(Plain(), PlainData(), tmp_path).fit()  # ten batches, of eight in an epoch
    assert "no state_dict" not in caplog.text
    trainer = Trainer(max_steps=12, val_check_interval=4, log_every_n_steps=2, enable_progress_bar=False)
    Run(Plain(), PlainData(), trainer, tmp_path / "plain", "last").fit()
    assert "no state_dict" in caplog.text


def test_the_fast_step_calls_hooks_of_instances_and_steps_without_an_index(tmp_path: Path) -> None:
    class NoIndex(Plain):
        def training_step(self, batch: Any) -> torch.Tensor:  # type: ignore[override]
            return self.step(batch, "train")

    calls: list[int] = []
    callback = LambdaCallback(on_train_batch_end=lambda *_: calls.append(1))
    trainer = Trainer(max_steps=4, log_every_n_steps=2, enable_progress_bar=False, callbacks=[callback])
    Run(NoIndex(), PlainData(), trainer, tmp_path / "plain").fit()
    assert len(calls) == 4


def test_a_value_error_is_a_refusal_only_if_it_is_raised_on_purpose(tmp_path: Path) -> None:
    class Refusing(PlainData):
        def setup(self, stage: str) -> None:
            raise ValueError("size is 0; it must be at least 1")

    class Buggy(PlainData):
        def train_dataloader(self) -> Any:
            return int("x")

    with pytest.raises(UserError, match="size is 0"):
        run_of(Plain(), Refusing(), tmp_path).fit()
    with pytest.raises(ValueError, match="invalid literal"):
        run_of(Plain(), Buggy(), tmp_path).fit()
