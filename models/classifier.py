"""What every model of this project does around its network: optimize, clip, measure, log.

Legend: B items of a batch, n predictions for each (no such dimension where there is one), K classes.
"""

import math
from statistics import NormalDist
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric

from models.schedules import WarmupCosine

UNSCORED_LOGITS_MAX = 1 << 18
"""How many logits may wait on the device until it is found out whether they were right: a megabyte."""

CLIPPING_EPSILON = 1e-6
"""What torch adds to the norm before it divides by it."""


class Classifier(LightningModule):
    """Trains on a cross-entropy and measures loss and accuracy; a subclass gives ``logits_and_target``.

    What a training step leaves behind stays on the device, and in the checkpoint, until ``training_metrics`` is asked
    for the means: ``train/loss`` (nats per prediction), ``train/accuracy`` (0 to 1), what else ``judge`` finds, and
    ``train/gradient_norm`` (of all parameters, before clipping). Validation and test log the same of the whole split,
    but for the gradient.

    Args:
        judged: names of what ``judge`` may find.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Raises:
        ValueError: from ``configure_optimizers``, if the schedule waits for a metric, or follows a run without an end.
    """

    next_command = "predict"
    """What shows best what was learned."""

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        judged: tuple[str, ...] = ("accuracy",),
    ) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.train_metrics = metrics({name: MeanMetric() for name in ("loss", *judged, "gradient_norm")})
        self.held_out_metrics = metrics({"loss": MeanMetric()} | {name: Share() for name in judged})
        self.steps_to_log: dict[str, list[Tensor]] = {name: [] for name in self.train_metrics}
        self.last_step: tuple[Tensor, Tensor]
        """Logits and target of the latest training step."""
        self._unscored: list[tuple[Tensor, Tensor]] = []  # logits (B, n, K) and target (B, n) of some last steps

    def describe_learning(self) -> str:
        """A sentence that says what the test has shown; nothing where there was none."""
        return ""

    def check_data(self, needed: str, otherwise: str) -> None:
        """Refuse a datamodule without the attribute ``needed``, and say why it cannot be read; loaders alone may pass.

        Raises:
            ValueError: it has none.
        """
        data = self.trainer.datamodule
        if data is not None and not hasattr(data, needed):
            raise ValueError(f"{type(self).__name__} cannot read {type(data).__name__}, {otherwise}")

    def logits_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The network's logits (B, n, K), floating point, and their targets (B, n), int64, for the datamodule's batch;
        where there is one prediction for each item, (B, K) and (B,)."""
        raise NotImplementedError

    def judge(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """What was right, bool, of any shape; its mean is measured under that name."""
        return {"accuracy": most_likely(logits) == target}

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        if self.make_lr_scheduler is None:
            return optimizer
        lr_scheduler = self.make_lr_scheduler(optimizer)
        if isinstance(lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError(
                "the schedule is ReduceLROnPlateau, which waits for a metric; it must be one over optimizer steps, "
                "such as torch.optim.lr_scheduler.CosineAnnealingLR"
            )
        if isinstance(lr_scheduler, WarmupCosine) and self._trainer is not None:
            lr_scheduler.follow(self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits, target = self.logits_and_target(batch)
        loss = cross_entropy(logits, target)
        self.steps_to_log["loss"].append(loss.detach())
        if self._unscored and self._unscored[-1][1].shape[1:] != target.shape[1:]:
            self._score()
        self.last_step = (logits.detach(), target)
        self._unscored.append(self.last_step)
        if (len(self._unscored) + 1) * logits.numel() > UNSCORED_LOGITS_MAX:
            self._score()
        return loss

    def _score(self) -> None:
        """Find out what the last steps got right, for all at once: a call costs more than what it computes."""
        if self._unscored:
            several = len(self._unscored) > 1
            logits, target = map(torch.cat, zip(*self._unscored, strict=True)) if several else self._unscored[0]
            for name, right in self.judge(logits, target).items():
                self.steps_to_log[name].append(right.flatten())
            self._unscored.clear()

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # From the optimizer, not self.parameters(): walking through all modules takes longer than the clipping.
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        self.steps_to_log["gradient_norm"].append(norm)
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            # A norm within the limit would have all of them multiplied by one. Elsewhere, asking costs more than that.
            if not (norm.is_cpu and norm <= gradient_clip_val - CLIPPING_EPSILON):
                nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def training_metrics(self) -> dict[str, Tensor]:
        """Means over the training steps since the last call, and the learning rate of the next step."""
        values = {}
        for name, steps in self._steps_to_log_as_tensors().items():
            if len(steps) == 0:
                continue
            metric = self.train_metrics[name]
            metric.update(steps.float())
            values[f"train/{name}"] = metric.compute()
            metric.reset()
            self.steps_to_log[name].clear()
        values["train/learning_rate"] = torch.tensor(self.trainer.optimizers[0].param_groups[0]["lr"])
        return values

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps_to_log"] = self._steps_to_log_as_tensors()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps_to_log = {name: list(steps.split(1)) for name, steps in checkpoint["steps_to_log"].items()}

    def _steps_to_log_as_tensors(self) -> dict[str, Tensor]:
        """Loss and gradient norm of each step since the last ``training_metrics``, and which predictions were right."""
        self._score()
        empty = torch.empty(0)
        # What comes out of a checkpoint is on the CPU.
        moved = {name: [values.to(self.device) for values in steps] for name, steps in self.steps_to_log.items()}
        return {name: torch.hstack(steps) if steps else empty for name, steps in moved.items()}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._measure(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_held_out("val")

    def on_test_epoch_end(self) -> None:
        self._log_held_out("test")

    def _measure(self, batch: Any) -> None:
        logits, target = self.logits_and_target(batch)
        self.held_out_metrics["loss"].update(cross_entropy(logits, target), weight=target.numel())
        for name, right in self.judge(logits, target).items():
            self.held_out_metrics[name].update(right)

    def _log_held_out(self, stage: str) -> None:
        for name, value in self.take_held_out().items():
            self.log(f"{stage}/{name}", value)

    def take_held_out(self) -> dict[str, Tensor]:
        """What has been measured since the last call, as means over all predictions."""
        means = {}
        for name, metric in self.held_out_metrics.items():
            if metric.update_called:
                means[name] = metric.compute()
                metric.reset()
        return means


def most_likely(logits: Tensor) -> Tensor:
    """The class of the largest logit: (..., K) -> (...) int64."""
    return logits.max(dim=-1).indices  # half the time of argmax


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Nats per prediction, the mean over all: logits (B, n, K) and target (B, n), or (B, K) and (B,)."""
    return functional.cross_entropy(logits.flatten(0, -2), target.flatten())


class Share(Metric):
    """The share of what was right, counted in whole numbers: exact in any precision, and however many there are.

    Attributes:
        counted: how many were right, of how many, when the share was last worked out.
    """

    right: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0, 0
        for name in ("right", "total"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, right: Tensor) -> None:
        """Count in some more: bool, of any shape."""
        self.right += right.sum()
        self.total += right.numel()

    def compute(self) -> Tensor:
        # Of all processes, while it is worked out.
        self.counted = int(self.right), int(self.total)
        return self.right / self.total


def metrics(named: dict[str, Metric]) -> dict[str, Metric]:
    """A ``ModuleDict``, so that the metrics move to the model's device; its type forgets that they are metrics."""
    return cast(dict[str, Metric], nn.ModuleDict(named))


def wilson_interval(right: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval for the probability of what came out ``right`` times in ``num`` independent trials (Wilson 1927).

    It holds near 0 and 1, too, where mean plus or minus two standard errors would be no interval at all.
    """
    share = right / num
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * num)) / (1 + z * z / num)
    margin = z / (1 + z * z / num) * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    # Whatever the rounding, it holds the share itself.
    return max(0.0, min(share, centre - margin)), min(1.0, max(share, centre + margin))


def percent(right: int, num: int) -> str:
    """A share in per cent, two digits after the point; rounded down, so that only all is 100.00 %."""
    return f"{right * 10_000 // num / 100:.2f} %"


def aligned(lines: list[list[str]]) -> list[str]:
    """The lines of a table, given as cells, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
