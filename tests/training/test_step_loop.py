"""Our loop does what Lightning's does: the same hooks in the same order, the same weights bit for bit."""

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import Callback
from pytorch_lightning.profilers import SimpleProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

from callbacks.contracts import RunCallback
from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.models.test_classifier import QUIET
from training import fast_step
from training.errors import UserError
from training.fast_step import HOOKS, FastStepLoop
from training.step_loop import StepLoop
from training.trainer import Trainer

STEPS = 25


class Witness(Callback):
    """Notes every hook that is called, in order, and what it was called with."""

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []


def note(name: str) -> Any:
    def hook(self: Witness, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.seen.append((name, trainer.global_step, pl_module._current_fx_name, [describe(arg) for arg in args]))

    return hook


def describe(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, dict):
        return {k: describe(v) for k, v in value.items()}
    return type(value).__name__ if isinstance(value, torch.optim.Optimizer) else value


for hook_name in (*HOOKS, "on_train_epoch_start", "on_train_epoch_end", "on_validation_end"):
    setattr(Witness, hook_name, note(hook_name))


class Logging(PalindromeClassifier):
    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.log("step", float(self.trainer.global_step), on_step=True, on_epoch=True)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("outputs", outputs["loss"], prog_bar=True)


class LoggingMore(Logging):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return {"loss": loss, "twice": [2 * loss], "index": batch_idx}


def decaying(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)


def fit(
    trainer_class: type[pl.Trainer], witness: Witness, kind: type[PalindromeClassifier] = Logging, **kwargs: Any
) -> tuple[PalindromeClassifier, pl.Trainer]:
    torch.manual_seed(0)
    model = kind(hidden_size=8, lr_scheduler=decaying)
    arguments = QUIET | {"max_steps": STEPS, "gradient_clip_val": 0.5, "callbacks": [witness]} | kwargs
    arguments = {
        "val_check_interval": 5,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 2,
        "limit_train_batches": 10,
    } | arguments
    trainer = trainer_class(**arguments)
    trainer.fit(model, PalindromeDataModule(6, batch_size=8, num_val=20))
    return model, trainer


def was_fast(trainer: pl.Trainer) -> bool:
    loop = trainer.fit_loop.epoch_loop
    return isinstance(loop, FastStepLoop) and loop.is_fast


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"precision": "bf16-mixed"}, {"limit_train_batches": 7}, {"max_epochs": 2}, {"kind": LoggingMore}],
)
def test_equals_lightnings_loop(kwargs: dict[str, Any]) -> None:
    seen_by_ours, seen_by_theirs = Witness(), Witness()
    ours, our_trainer = fit(Trainer, seen_by_ours, **kwargs)
    theirs, their_trainer = fit(pl.Trainer, seen_by_theirs, **kwargs)
    assert was_fast(our_trainer)
    assert seen_by_ours.seen == seen_by_theirs.seen
    assert len(seen_by_ours.seen) > 100
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)
    torch.testing.assert_close(
        ours.trainer.optimizers[0].state_dict(), theirs.trainer.optimizers[0].state_dict(), rtol=0, atol=0
    )
    assert our_trainer.fit_loop.state_dict() == their_trainer.fit_loop.state_dict()
    theirs_logged = their_trainer.callback_metrics  # ours has TrainingMetrics, too
    assert {name: our_trainer.callback_metrics[name] for name in theirs_logged} == theirs_logged


@pytest.mark.parametrize("output", [None, {}, {"loss": None}, 1.0])
def test_a_training_step_without_a_loss_is_refused(output: Any) -> None:
    model = type("Forgetful", (PalindromeClassifier,), {"training_step": lambda self, batch, batch_idx: output})
    trainer = Trainer(**(QUIET | {"max_steps": 3}))
    with pytest.raises(UserError, match=r"Forgetful\.training_step returned \w+; it must return the loss"):
        trainer.fit(model(hidden_size=8), PalindromeDataModule(6, batch_size=8))


def test_the_fast_step_is_off_with_a_version_that_it_was_not_tested_with(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ours, _ = fit(Trainer, Witness())
    assert "fast step" not in caplog.text
    monkeypatch.setattr(fast_step, "TESTED_VERSIONS", ("1.9", "2.60"))
    other, trainer = fit(Trainer, Witness())
    assert not was_fast(trainer) and isinstance(trainer.fit_loop.epoch_loop, StepLoop)
    (line,) = [record.message for record in caplog.records if "fast step" in record.message]
    assert pl.__version__ in line and "1.9, 2.60" in line
    torch.testing.assert_close(dict(ours.state_dict()), dict(other.state_dict()), rtol=0, atol=0)


class AnotherStrategy(SingleDeviceStrategy):
    """Neither Lightning's nor ours."""


@pytest.mark.parametrize(
    "kwargs",
    [{"profiler": SimpleProfiler()}, {"accumulate_grad_batches": 2}, {"strategy": AnotherStrategy("cpu")}],
    ids=["profiler", "accumulation", "strategy"],
)
def test_steps_that_are_not_plain_use_lightnings_own_code(kwargs: dict[str, Any]) -> None:
    _, trainer = fit(Trainer, Witness(), **(kwargs | {"max_steps": 3}))
    assert not was_fast(trainer)
    assert trainer.global_step == 3


@pytest.mark.parametrize(
    "hook", ["optimizer_step", "optimizer_zero_grad", "backward", "on_train_batch_start", "lr_scheduler_step"]
)
def test_an_overridden_step_is_called(hook: str) -> None:
    calls = []

    def overridden(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(hook)
        return getattr(pl.LightningModule, hook)(self, *args, **kwargs)

    model = type("Overriding", (PalindromeClassifier,), {hook: overridden})(hidden_size=8, lr_scheduler=decaying)
    trainer = Trainer(**(QUIET | {"max_steps": 3, "limit_val_batches": 0}))
    trainer.fit(model, PalindromeDataModule(6, batch_size=8))
    assert not was_fast(trainer) and calls == [hook] * 3


@pytest.mark.parametrize(
    ("config", "factor"), [({"interval": "epoch"}, 0.9**2), ({"interval": "step", "frequency": 4}, 0.9**4)]
)
def test_a_schedule_over_epochs_is_stepped_by_lightning(config: dict[str, Any], factor: float) -> None:
    class Model(PalindromeClassifier):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            return [optimizer], [{"scheduler": decaying(optimizer), **config}]

    trainer = Trainer(**(QUIET | {"max_steps": 20, "limit_train_batches": 10, "limit_val_batches": 0}))
    trainer.fit(Model(hidden_size=8), PalindromeDataModule(6, batch_size=8))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(factor)


@pytest.mark.parametrize("owner", [PalindromeClassifier, PalindromeDataModule])
def test_transfer_hooks_are_called(owner: type) -> None:
    class Model(PalindromeClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            seen.append(batch[0].max().item())
            return super().training_step(batch, batch_idx)

    def zeroed(self: Any, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] * 0, batch[1]

    seen: list[int] = []
    hooks = {"on_after_batch_transfer": zeroed}
    model = type("M", (Model,), hooks if owner is PalindromeClassifier else {})(hidden_size=8)
    data = type("D", (PalindromeDataModule,), hooks if owner is PalindromeDataModule else {})(6, batch_size=8)
    trainer = Trainer(**(QUIET | {"max_steps": 2, "limit_val_batches": 0}))
    if owner is PalindromeDataModule:
        trainer.fit(model, data)
    else:
        trainer.fit(model, data.train_dataloader(), data.val_dataloader())
    assert was_fast(trainer) and seen == [0, 0]


def test_on_step_complete_comes_after_every_step_and_knows_the_end() -> None:
    class Between(RunCallback):
        def __init__(self) -> None:
            self.seen: list[tuple[int, bool]] = []

        def on_step_complete(self, trainer: Any, is_last: bool) -> None:
            progress = trainer.fit_loop.epoch_loop.batch_progress.current
            assert progress.ready == progress.completed
            self.seen.append((trainer.global_step, is_last))

    between = Between()
    fit(Trainer, Witness(), callbacks=[between], max_steps=13)
    assert between.seen == [(step, step in (10, 13)) for step in range(1, 14)]


@pytest.mark.parametrize(
    ("kwargs", "validated_after"),
    [({"max_steps": 12}, [5, 10, 12]), ({"max_steps": -1, "max_epochs": 1, "val_check_interval": 4}, [4, 8, 10])],
)
def test_the_last_step_is_validated(kwargs: dict[str, Any], validated_after: list[int]) -> None:
    witness = Witness()
    fit(Trainer, witness, **kwargs)
    assert [step for name, step, *_ in witness.seen if name == "on_validation_end"] == validated_after


def test_a_validation_waits_for_the_accumulated_step() -> None:
    witness = Witness()
    fit(Trainer, witness, accumulate_grad_batches=2, max_steps=8)  # it is due after 5, 10 and 15 batches
    assert [step for name, step, *_ in witness.seen if name == "on_validation_end"] == [3, 5, 8]
