"""What a model does around its network: scoring, clipping, means over steps."""

from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from torch.nn import functional

from datamodules import PalindromeDataModule
from models import PalindromeClassifier, metrics
from training.trainer import Trainer

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "accelerator": "cpu",
}


def fit(model: Any, steps: int, *callbacks: Callback, **kwargs: Any) -> Trainer:
    limits = {"max_steps": steps, "limit_train_batches": 50, "limit_val_batches": 0}
    trainer = Trainer(**(QUIET | limits | {"callbacks": list(callbacks)} | kwargs))
    trainer.fit(model, PalindromeDataModule(5, batch_size=8))
    return trainer


class Recorder(Callback):
    """What every step did, computed independently."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.right: list[float] = []
        self.norms: list[float] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        logits, target = pl_module.logits_and_target(batch)
        self.losses.append(functional.cross_entropy(logits, target).item())
        self.right.append((logits.argmax(1) == target).float().mean().item())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.norms.append(torch.cat([p.grad.flatten() for p in pl_module.parameters()]).norm().item())


@pytest.mark.parametrize("max_waiting", [0, 100, 1 << 18])
def test_training_metrics_are_means_over_the_steps(max_waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_WAITING_LOGITS", max_waiting)
    model, recorder = PalindromeClassifier(hidden_size=8), Recorder()
    fit(model, 7, recorder, gradient_clip_val=1e-3)
    measured = {name: value.item() for name, value in model.training_metrics().items()}
    assert measured == pytest.approx(
        {
            "train/loss": sum(recorder.losses) / 7,
            "train/accuracy": sum(recorder.right) / 7,
            "train/gradient_norm": sum(recorder.norms) / 7,
            "train/learning_rate": 1e-3,
        },
        rel=1e-5,
    )
    assert not any(model.step_metrics.values.values())


@pytest.mark.parametrize(("clip", "algorithm"), [(1e-3, "norm"), (1e-3, None), (1e-4, "value"), (None, None)])
def test_gradients_are_clipped_as_the_trainer_asks(clip: float | None, algorithm: str | None) -> None:
    class Clipped(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
            gradient = torch.cat([p.grad.flatten() for p in pl_module.parameters()])
            self.norm, self.largest = gradient.norm().item(), gradient.abs().max().item()

    clipped, recorder = Clipped(), Recorder()
    fit(
        PalindromeClassifier(hidden_size=8),
        1,
        clipped,
        recorder,
        gradient_clip_val=clip,
        gradient_clip_algorithm=algorithm,
    )
    assert recorder.norms[0] > 1e-2
    if algorithm == "value":
        assert clipped.largest == pytest.approx(1e-4)
    elif clip is not None:
        assert clipped.norm == pytest.approx(1e-3, rel=1e-3)
    else:
        assert clipped.norm == pytest.approx(recorder.norms[0])


@pytest.mark.parametrize("limit", [0.5, 1 - 1e-7, 1.0, 1 + 1e-7, 2.0])
def test_gradients_are_clipped_bit_for_bit_as_torch_does(limit: float) -> None:
    model = PalindromeClassifier(hidden_size=8)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    parameters = list(model.parameters())
    limit *= torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item()
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]
    for parameter, their in zip(parameters, theirs, strict=True):
        their.grad = None if parameter.grad is None else parameter.grad.clone()
    torch.nn.utils.clip_grad_norm_(theirs, limit)
    model.configure_gradient_clipping(torch.optim.SGD(parameters, lr=0.1), limit)
    for parameter, their in zip(parameters, theirs, strict=True):
        assert parameter.grad is not None and their.grad is not None and torch.equal(parameter.grad, their.grad)


def test_held_out_metrics_are_over_the_whole_split() -> None:
    model, data = PalindromeClassifier(hidden_size=8), PalindromeDataModule(6, num_test=100, eval_batch_size=64)
    trainer = Trainer(**QUIET)
    (result,) = trainer.test(model, data, verbose=False)
    digits, target = (torch.cat(parts) for parts in zip(*data.test_dataloader()[0], strict=True))
    assert len(target) == 93  # a full batch of 64 and a smaller one
    logits = model(digits)[:, -1]
    assert result["test/loss"] == pytest.approx(functional.cross_entropy(logits, target).item(), rel=1e-5)
    assert result["test/accuracy"] == pytest.approx((logits.argmax(1) == target).float().mean().item())


def test_the_schedule_is_stepped_at_every_optimizer_step() -> None:
    model = PalindromeClassifier(
        hidden_size=8, lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    )
    trainer = fit(model, 5)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 / 4)


def test_means_of_training_are_exact_with_parameters_of_low_precision() -> None:
    model = PalindromeClassifier(hidden_size=8, backward="autograd")
    fit(model, 7, precision="bf16-true")
    num_correct = 7 * 8 * model.training_metrics()["train/accuracy"].item()
    assert num_correct == pytest.approx(round(num_correct), abs=1e-4)
