"""What models of palindromes and models of strings share.

Legend: B batch, T time steps, n predictions for a sequence, K classes.
"""

from typing import Any

from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import Classifier, cross_entropy

Batch = tuple[Tensor, Tensor]


class SequenceModel(Classifier):
    """Reads sequences of symbols and predicts one or several symbols at the last steps; a subclass has ``forward``.

    The loss is the cross-entropy of equation 3, the mean over the predictions. If a sequence has several of them,
    ``exact_match`` is the fraction of sequences with no wrong one.

    Args:
        optimizer, lr_scheduler: see ``Classifier``.
    Batch:
        ``(symbols, target)``: (B, T) and (B,) or (B, n), int64. The n targets belong to the last n steps.
    """

    def __init__(self, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None) -> None:
        super().__init__(optimizer, lr_scheduler, ("accuracy", "exact_match"))

    def forward(self, symbols: Tensor, num_last_steps: int = 1) -> Tensor:
        """Logits of the predictions at the last n steps: (B, T) int64 -> (B, n, K)."""
        raise NotImplementedError

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        symbols, target = batch
        if target.dim() == 1:
            return self(symbols)[:, -1], target
        return self(symbols, target.shape[1]), target

    def correctness(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        accuracy = super().correctness(logits, target)
        return accuracy if target.dim() == 1 else accuracy | {"exact_match": accuracy["accuracy"].all(dim=1)}

    def completed(self) -> Tensor:
        """Which sequences of the latest training step were predicted without a mistake, (B,) bool."""
        correct = self.correctness(*self.last_step)
        return correct.get("exact_match", correct["accuracy"])

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.evaluate_test(batch)
        if batch_idx + 1 == self.trainer.num_test_batches[dataloader_idx]:
            loaders = self.trainer.test_dataloaders
            self.add_test_results(loaders[dataloader_idx] if isinstance(loaders, list) else loaders, batch)

    def evaluate_test(self, batch: Batch) -> None:
        """Update the metrics with a batch of the test split."""
        self._evaluate(batch)

    def add_test_results(self, loader: Any, batch: Batch) -> None:
        """Add what was measured with a dataloader to ``test_results``; called after its last batch."""
        raise NotImplementedError

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``digits`` (B, T) as given, ``target`` and the predictions ``preds``, both (B, n), and ``probs`` (B,): the
        probability that the network gives to its n predictions together."""
        digits, target = batch
        target = target.view(len(digits), -1)
        probs, preds = self(digits, target.shape[1]).softmax(dim=-1).max(dim=-1)
        return {"digits": digits, "target": target, "preds": preds, "probs": probs.prod(dim=1)}


def state_gradients(network: Any, batch: Batch) -> Tensor:
    """``dL/dh_t`` for every time step, where L is the loss of each sequence by itself: (B, T, H).

    The gradients of the parameters stay as they are.
    """
    symbols, target = batch
    target = target.view(len(symbols), -1)
    B, n = target.shape

    def loss(logits: Tensor) -> Tensor:
        return B * cross_entropy(logits, target)  # the sum over sequences of the mean over their predictions

    gradients: Tensor = network.hidden_state_gradients(symbols, loss, num_last_steps=n)
    return gradients


def check_worst_case(weight: float, num_steps: int = 1, ramp: int = 0) -> None:
    """Raise a ValueError unless the arguments of the loss over all sequences are in their ranges."""
    if not 0 <= weight < float("inf"):
        raise ValueError(f"worst_case_weight is {weight}; it must be at least 0, and finite")
    if num_steps < 1:
        raise ValueError(f"worst_case_steps is {num_steps}; it must be at least 1")
    if ramp < 0:
        raise ValueError(f"worst_case_ramp is {ramp}; it must be at least 0")
