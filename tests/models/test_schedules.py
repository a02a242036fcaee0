"""The learning rate covers the whole run, in steps or in seconds, and resumes exactly."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import Timer, timer

from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from models.schedules import WarmupCosine
from tests.models.test_classifier import QUIET
from training.trainer import Trainer


class Rates(Callback):
    """The learning rate of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.seen.append(optimizer.param_groups[0]["lr"])


class Clock:
    """A clock on which every step takes a second, and validation three."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


class Ticking(PalindromeClassifier):
    clock: Clock

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.clock.seconds += 1
        return super().training_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.clock.seconds += 3
        super().on_validation_epoch_end()


def model(clock: Clock | None = None, **kwargs: Any) -> Ticking:
    ticking = Ticking(
        hidden_size=4,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
        lr_scheduler=lambda optimizer: WarmupCosine(optimizer, **kwargs),
    )
    ticking.clock = clock or Clock()
    return ticking


def fit(ticking: Ticking, ckpt_path: str | None = None, **kwargs: Any) -> tuple[list[float], Trainer]:
    rates = Rates()
    arguments = QUIET | {"limit_train_batches": 50, "limit_val_batches": 0} | kwargs
    trainer = Trainer(**(arguments | {"callbacks": [rates, *arguments.get("callbacks", [])]}))
    trainer.fit(ticking, PalindromeDataModule(5, batch_size=4, num_val=4), ckpt_path=ckpt_path)
    return rates.seen, trainer


def expected(step: float, total: float, warmup: float, final: float) -> float:
    """Of the optimizer step that is taken when ``step`` of ``total`` are over: read off a drawing, not off the code."""
    if step < warmup * total:
        return max(0.01, step / (warmup * total)) * 0.5
    angle = math.pi * (step - warmup * total) / (total - warmup * total)
    return 0.5 * (final + (1 - final) * math.cos(angle / 2) ** 2)


@pytest.mark.parametrize(("warmup", "final"), [(0.25, 0.1), (0.0, 0.0)])
@pytest.mark.parametrize("bound", [{"max_steps": 20}, {"max_epochs": 2, "limit_train_batches": 10}], ids=str)
def test_follows_steps_and_epochs(bound: dict[str, Any], warmup: float, final: float) -> None:
    rates, _ = fit(model(warmup=warmup, final=final), **bound)
    assert rates == pytest.approx([expected(step, 20, warmup, final) for step in range(20)])


def test_follows_the_seconds_with_validation_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timer, "time", clock)
    bound = {"max_time": {"seconds": 40}, "max_steps": -1}
    rates, _ = fit(
        model(clock, warmup=0.1, final=0.0),
        val_check_interval=5,
        check_val_every_n_epoch=None,
        limit_val_batches=1,
        **bound,
    )
    # The rate is set at the end of the step before, ahead of validation.
    seconds_spent = [step + 3 * max(0, (step - 1) // 5) for step in range(len(rates))]
    assert rates == pytest.approx([expected(seconds, 40, 0.1, 0.0) for seconds in seconds_spent])
    assert len(rates) + 3 * (len(rates) // 5) == 40 + 1  # the time is up in a validation, and found up after a step


def test_the_first_limit_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(timer, "time", clock)
    rates, _ = fit(model(clock, warmup=0.0), max_time={"seconds": 30}, max_steps=20)
    assert rates == pytest.approx([expected(step, 20, 0.0, 0.0) for step in range(20)])


def test_a_resumed_run_continues_its_schedule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clock = Clock()
    monkeypatch.setattr(timer, "time", clock)
    bound = {"max_time": {"seconds": 30}, "max_steps": -1}
    whole, _ = fit(model(clock), **bound)
    begun, trainer = fit(model(clock), callbacks=[StopAfter(12)], **bound)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    clock.seconds += 5000
    rest, _ = fit(model(clock), str(tmp_path / "last.ckpt"), **bound)
    assert begun == whole[:12] and rest == pytest.approx(whole[12:])
    longer, trainer = fit(model(clock), str(tmp_path / "last.ckpt"), **(bound | {"max_time": {"seconds": 60}}))
    assert longer[1:] == pytest.approx([expected(step, 60, 0.03, 0.0) for step in range(13, 60)])


class StopAfter(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


def test_a_run_without_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the run has no limit; set trainer.max_time or trainer.max_steps"):
        fit(model(), max_steps=-1, max_epochs=-1)


def test_a_run_that_may_continue_after_its_limit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer.min_steps is 9, so the run may continue after that; leave one"):
        fit(model(), max_time={"seconds": 30}, min_steps=9)
    with pytest.raises(ValueError, match=r"trainer.min_epochs is 2, so the run may continue after that"):
        fit(model(), max_time={"seconds": 30}, min_epochs=2)
    fit(model(), max_steps=10, min_steps=9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup": 1.0}, "warmup is 1.0; it must be at least 0 and below 1"),
        ({"warmup": -0.1}, "warmup is -0.1; it must be at least 0 and below 1"),
        ({"final": 1.1}, "final is 1.1; it must be from 0 to 1"),
        ({"final": math.nan}, "final is nan; it must be from 0 to 1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, float], message: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(ValueError, match=message):
        WarmupCosine(optimizer, **arguments)


def test_a_timer_without_a_limit_has_no_effect() -> None:
    rates, _ = fit(model(warmup=0.0), max_steps=10, callbacks=[Timer()])
    assert rates == pytest.approx([expected(step, 10, 0.0, 0.0) for step in range(10)])


def test_after_the_end_the_rate_stays() -> None:
    """A step may end after the time is up."""
    schedule = WarmupCosine(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5), final=0.1)
    schedule.fraction_done = lambda: 1.3
    schedule.optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.05])
