"""What all models of this project share around their networks: optimizer, clipping, loss, accuracy, logging.

Legend: B items of a batch, n predictions for each item (a dimension that is missing if there is one), K classes.
"""

from typing import Any, ClassVar

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from models.contracts import ReportingModel
from models.loadable import Loadable
from models.metrics import EvalMetrics, StepMetrics
from models.schedules import WarmupCosine
from models.tables import format_table

CLIPPING_EPSILON = 1e-6
"""``torch.nn.utils.clip_grads_with_norm_`` adds this to the norm before it divides by it."""


class Classifier(Loadable, ReportingModel, LightningModule):
    """Minimizes the cross-entropy and measures loss and accuracy; a subclass implements ``logits_and_target``.

    ``training_metrics`` gives the means over the training steps since its last call: ``train/loss`` (nats per
    prediction), ``train/accuracy`` (0 to 1), the other metrics of ``correctness``, and ``train/gradient_norm`` (of all
    parameters, before clipping). Validation and test log the same metrics of the whole split, but no gradient norm.

    Args:
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
        metric_names: the metrics that ``correctness`` may give.
    Attributes:
        last_step: logits and target of the latest training step.
        test_results: of the last test, for each of its dataloaders: the metrics by name, and for each accuracy
            ``num_<name>``, the correct predictions and all predictions. Empty if nothing was tested.
    Raises:
        ValueError: from ``configure_optimizers``: the schedule needs a metric, or the end of a run that has none.
    """

    MAY_DIFFER_IN_TEST: ClassVar[tuple[str, ...]] = ("lr_scheduler", "optimizer")
    MAY_CHANGE_ON_RESUME: ClassVar[tuple[str, ...]] = ("lr_scheduler", "optimizer")
    last_step: tuple[Tensor, Tensor]

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        metric_names: tuple[str, ...] = ("accuracy",),
    ) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.step_metrics = StepMetrics(("loss", *metric_names, "gradient_norm"), self.correctness)
        self.eval_metrics = EvalMetrics(metric_names)
        self.test_results: list[dict[str, Any]] = []

    def logits_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The network's logits (B, n, K), floating point, and the targets (B, n), int64, of a batch of the datamodule.

        With one prediction for each item the shapes are (B, K) and (B,).
        """
        raise NotImplementedError

    def correctness(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Which predictions are correct, bool, of any shape; the mean is measured under the name."""
        return {"accuracy": most_likely(logits) == target}

    def check_data(self, contract: type, lacks: str, use: str) -> None:
        """Raise a ValueError for a datamodule that lacks ``contract``; dataloaders without a datamodule are accepted.

        Args:
            contract: one of the protocols in ``models.contracts``.
            lacks: what other datamodules do not have, for the message.
            use: a datamodule that fulfils the contract, for the message.
        """
        data = self.trainer.datamodule
        if data is not None and not isinstance(data, contract):
            raise ValueError(f"{type(self).__name__} cannot read {type(data).__name__}, which has {lacks}; use {use}")

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        if self.make_lr_scheduler is None:
            return optimizer
        lr_scheduler = self.make_lr_scheduler(optimizer)
        if isinstance(lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise ValueError(
                "lr_scheduler is ReduceLROnPlateau, which needs a metric; use a schedule over optimizer steps, such as "
                "torch.optim.lr_scheduler.CosineAnnealingLR"
            )
        if isinstance(lr_scheduler, WarmupCosine) and self._trainer is not None:
            lr_scheduler.follow(self.trainer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits, target = self.logits_and_target(batch)
        loss = cross_entropy(logits, target)
        self.last_step = (logits.detach(), target)
        self.step_metrics.add(loss.detach(), *self.last_step)
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # From the optimizer, not self.parameters(): a walk through all modules takes longer than the clipping.
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        self.step_metrics.values["gradient_norm"].append(norm)
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            # Within the limit all gradients would be multiplied by 1. On other devices the comparison costs more.
            if not (norm.is_cpu and norm <= gradient_clip_val - CLIPPING_EPSILON):
                nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def training_metrics(self) -> dict[str, Tensor]:
        """Means over the training steps since the last call, and the learning rate of the next step."""
        means = {f"train/{name}": mean for name, mean in self.step_metrics.compute().items()}
        return means | {"train/learning_rate": torch.tensor(self.trainer.optimizers[0].param_groups[0]["lr"])}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps_to_log"] = self.step_metrics.tensors()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step_metrics.load_tensors(checkpoint["steps_to_log"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._evaluate(batch)

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._evaluate(batch)

    def _evaluate(self, batch: Any) -> None:
        logits, target = self.logits_and_target(batch)
        self.eval_metrics.update(cross_entropy(logits, target), target.numel(), self.correctness(logits, target))

    def on_validation_epoch_end(self) -> None:
        for name, mean in self.compute_eval_metrics().items():
            self.log(f"val/{name}", mean)

    def on_test_epoch_start(self) -> None:
        self.test_results = []

    def on_test_epoch_end(self) -> None:
        self.add_test_result()
        for result in self.test_results:
            self.log_test_result(result)

    def compute_eval_metrics(self) -> dict[str, Tensor]:
        """Means over all predictions since the last call; none without predictions."""
        return self.eval_metrics.compute()

    def add_test_result(self, metrics: EvalMetrics | None = None, **others: Any) -> None:
        """Add ``others`` and the means since the last call to ``test_results``, if there are any means.

        Args:
            metrics: in place of ``eval_metrics``, for a second evaluation of the same data.
            others: what the result belongs to.
        """
        computed = self.compute_eval_metrics() if metrics is None else metrics.compute()
        if means := {name: mean.item() for name, mean in computed.items()}:
            accuracies = (metrics or self.eval_metrics).accuracies
            counts = {f"num_{name}": metric.counts for name, metric in accuracies.items()}
            self.test_results.append(others | means | {key: n for key, n in counts.items() if key[4:] in means})

    def test_cells(self, result: dict[str, Any]) -> dict[str, str]:
        """The cells of a line of ``describe_test``, by their headings, from one of the ``test_results``."""
        return {f"test/{name}": f"{value:.4g}" for name, value in result.items() if isinstance(value, float)}

    def describe_test(self) -> list[str]:
        rows = [self.test_cells(result) for result in self.test_results]
        return format_table([rows[0], *(row.values() for row in rows)]) if rows else []

    def log_test_result(self, result: dict[str, Any], suffix: str = "") -> None:
        """Log the means of a test result, each under ``test/<name><suffix>``."""
        for name, value in result.items():
            if isinstance(value, float):
                self.log(f"test/{name}{suffix}", value)


def most_likely(logits: Tensor) -> Tensor:
    """The class of the largest logit: (..., K) -> (...) int64."""
    return logits.max(dim=-1).indices  # half the time of argmax


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The mean over all predictions, in nats: logits (B, n, K) and target (B, n), or (B, K) and (B,)."""
    return functional.cross_entropy(logits.flatten(0, -2), target.flatten())


def first_items(predictions: list[dict[str, Tensor]], keys: tuple[str, ...], num: int) -> list[tuple[Tensor, ...]]:
    """The values under ``keys`` of the first ``num`` items, from the results of ``predict_step`` for each batch."""
    if not predictions:
        return []
    return list(zip(*(torch.cat([batch[key] for batch in predictions])[:num] for key in keys), strict=True))
