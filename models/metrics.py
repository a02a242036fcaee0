"""Means of losses and accuracies over training steps and over splits.

Legend: B items of a batch, n predictions for each item (a dimension that is missing if there is one), K classes.
"""

import math
from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import cast

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

MAX_WAITING_LOGITS = 1 << 18
"""Logits that may wait on the device until they are compared with their targets: 1 MiB of float32."""


class ExactAccuracy(Metric):
    """The fraction of correct predictions, counted in integers: exact in every precision and for any number.

    Attributes:
        counts: correct predictions and all predictions, of all processes, at the last ``compute``.
    """

    correct: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.counts = 0, 0
        for name in ("correct", "total"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, correct: Tensor) -> None:
        """Add predictions: whether each is correct, bool, of any shape."""
        self.correct += correct.sum()
        self.total += correct.numel()

    def compute(self) -> Tensor:
        # During ``compute`` torchmetrics has summed both over the processes.
        self.counts = int(self.correct), int(self.total)
        return self.correct / self.total


class StepMetrics:
    """Metrics of training steps; ``compute`` gives their means since its last call.

    Comparing the logits of every step with their target, or ``LightningModule.log`` at every step, would cost a small
    network several per cent of its step. So values stay on the device, and logits wait to be compared together.

    Args:
        names: of all metrics: ``loss``, those of ``correctness``, and others whose values are appended to ``values``.
        correctness: from logits and target to accuracies, bool; see ``Classifier.correctness``.
    Attributes:
        values: of each metric, tensors with the values since the last ``compute``.
    """

    def __init__(self, names: Iterable[str], correctness: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
        self.means: dict[str, MeanMetric] = {}
        self.values: dict[str, list[Tensor]] = {}
        for name in names:
            self.track(name)
        self.correctness = correctness
        self._waiting: list[tuple[Tensor, Tensor]] = []  # logits (B, n, K) and target (B, n) of the latest steps

    def track(self, name: str) -> None:
        """Average the values that are appended to ``values[name]``, too."""
        self.means[name] = MeanMetric()
        self.values[name] = []

    def add(self, loss: Tensor, logits: Tensor, target: Tensor) -> None:
        """Add a step; the tensors must not need gradients."""
        self.values["loss"].append(loss)
        if self._waiting and self._waiting[-1][1].shape[1:] != target.shape[1:]:
            self._compare()
        self._waiting.append((logits, target))
        if (len(self._waiting) + 1) * logits.numel() > MAX_WAITING_LOGITS:
            self._compare()

    def _compare(self) -> None:
        """Compare the logits that wait with their targets."""
        if self._waiting:
            several = len(self._waiting) > 1
            logits, target = map(torch.cat, zip(*self._waiting, strict=True)) if several else self._waiting[0]
            for name, correct in self.correctness(logits, target).items():
                self.values[name].append(correct.flatten())
            self._waiting.clear()

    def compute(self) -> dict[str, Tensor]:
        """Means since the last call, over all processes, of the metrics that have values."""
        means = {}
        for name, values in self.tensors().items():
            if len(values) > 0:
                metric = self.means[name].to(values.device)
                metric.update(values.float())
                means[name] = metric.compute()
                metric.reset()
                self.values[name].clear()
        return means

    def tensors(self) -> dict[str, Tensor]:
        """The values since the last ``compute`` as one tensor for each metric, for a checkpoint."""
        self._compare()
        # Values from a checkpoint are on the CPU, later values on the model's device.
        moved = {name: [value.to(values[-1].device) for value in values] for name, values in self.values.items()}
        return {name: torch.hstack(values) if values else torch.empty(0) for name, values in moved.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take the values that ``tensors`` gave."""
        self.values = {name: list(values.split(1)) for name, values in tensors.items()}


class EvalMetrics(nn.Module):
    """Loss and accuracies over all predictions of a split.

    Args:
        names: the accuracies; one without predictions is left out of the results.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__()
        self.loss = MeanMetric()
        self.accuracies = cast(dict[str, ExactAccuracy], nn.ModuleDict({name: ExactAccuracy() for name in names}))

    def update(self, loss: Tensor, num: int, correctness: dict[str, Tensor]) -> None:
        """Add predictions.

        Args:
            loss: the mean of ``num`` predictions, or with ``num`` 1 the loss of each.
            num: weight of ``loss``.
            correctness: of each metric, which predictions are correct, bool.
        """
        self.loss.update(loss, weight=num)
        for name, correct in correctness.items():
            self.accuracies[name].update(correct)

    def compute(self) -> dict[str, Tensor]:
        """Means over all predictions since the last call, of all processes."""
        means = {}
        for name, metric in (("loss", self.loss), *self.accuracies.items()):
            if metric.update_called:
                means[name] = metric.compute()
                metric.reset()
        return means


def wilson_interval(num_correct: int, num: int, confidence: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a probability, from ``num_correct`` successes in ``num`` independent trials (Wilson 1927).

    Unlike the mean plus or minus two standard errors, it is sound near 0 and 1, too.
    """
    # scipy.stats has it, but takes a second to import, longer than many a test run.
    fraction = num_correct / num
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (fraction + z * z / (2 * num)) / (1 + z * z / num)
    margin = z / (1 + z * z / num) * math.sqrt(fraction * (1 - fraction) / num + z * z / (4 * num * num))
    # Rounding must not exclude the fraction itself.
    return max(0.0, min(fraction, centre - margin)), min(1.0, max(fraction, centre + margin))
