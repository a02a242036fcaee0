"""What every model of this project does around its network: optimize, clip, measure, log.

Legend: B predictions of a batch, K classes.
"""

from typing import Any, cast

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy


class Classifier(LightningModule):
    """Trains on a cross-entropy and measures loss and accuracy; a subclass gives ``logits_and_target``.

    What a training step leaves behind stays on the device until every ``trainer.log_every_n_steps``-th step, when
    the means over the steps since the last time are logged: ``train/loss`` (nats per prediction), ``train/accuracy``
    (0 to 1), ``train/gradient_norm`` (of all parameters, before clipping) and the ``train/learning_rate`` of that step.
    Steps not yet logged are part of the checkpoint. Validation and test log ``loss`` and ``accuracy`` of the split.

    Args:
        num_classes: classes, K.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    """

    def __init__(
        self, num_classes: int, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
    ) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.make_lr_scheduler = lr_scheduler
        self.train_metrics = metrics({name: MeanMetric() for name in ("loss", "accuracy", "gradient_norm")})
        self.held_out_metrics = metrics(
            {"loss": MeanMetric(), "accuracy": MulticlassAccuracy(num_classes, average="micro")}
        )
        self.steps_to_log: dict[str, list[Tensor]] = {name: [] for name in self.train_metrics}

    def logits_and_target(self, batch: Any) -> tuple[Tensor, Tensor]:
        """The network's logits (B, K), floating point, and their targets (B,), int64, for a batch of the datamodule."""
        raise NotImplementedError

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        if self.make_lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_lr_scheduler(optimizer), "interval": "step"},
        }

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        logits, target = self.logits_and_target(batch)
        loss = functional.cross_entropy(logits, target)
        self.steps_to_log["loss"].append(loss.detach())
        self.steps_to_log["accuracy"].append(logits.argmax(dim=1) == target)
        return loss

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        # From the optimizer, not self.parameters(): walking through all modules takes longer than the clipping.
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters])
        self.steps_to_log["gradient_norm"].append(norm)
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            nn.utils.clip_grads_with_norm_(parameters, gradient_clip_val, norm)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step % self.trainer.log_every_n_steps == 0:
            self.log_training_steps()

    def log_training_steps(self) -> None:
        """Log the means over the training steps since the last call, and the learning rate."""
        for name, metric in self.train_metrics.items():
            metric.update(torch.stack(self.steps_to_log[name]).float())
            self.log(f"train/{name}", metric.compute(), prog_bar=name != "gradient_norm")
            metric.reset()
            self.steps_to_log[name].clear()
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["steps_to_log"] = {name: torch.stack(v) for name, v in self.steps_to_log.items() if v}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, values in checkpoint["steps_to_log"].items():
            self.steps_to_log[name] = list(values)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._measure(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_held_out("val")

    def on_test_epoch_end(self) -> None:
        self._log_held_out("test")

    def _measure(self, batch: Any) -> None:
        logits, target = self.logits_and_target(batch)
        self.held_out_metrics["loss"].update(functional.cross_entropy(logits, target), weight=len(target))
        self.held_out_metrics["accuracy"].update(logits, target)

    def _log_held_out(self, stage: str) -> None:
        for name, metric in self.held_out_metrics.items():
            self.log(f"{stage}/{name}", metric.compute(), prog_bar=True)
            metric.reset()


def metrics(named: dict[str, Metric]) -> dict[str, Metric]:
    """A ``ModuleDict``, so that the metrics move to the model's device; its type forgets that they are metrics."""
    return cast(dict[str, Metric], nn.ModuleDict(named))
