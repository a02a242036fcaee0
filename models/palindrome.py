"""A handwritten network that completes palindromes (section 1 of the assignment)."""

from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import Classifier
from models.networks import LSTM, VanillaRNN
from models.networks.initialization import Initialization
from models.networks.recurrent import Backward

NETWORKS = {"rnn": VanillaRNN, "lstm": LSTM}


def rmsprop(parameters: Any) -> torch.optim.Optimizer:
    """RMSProp with a learning rate of 0.001, the assignment's default."""
    return torch.optim.RMSprop(parameters, lr=1e-3)


class PalindromeClassifier(Classifier):
    """Names the last digit of a palindrome from the digits before it, with the cross-entropy of equation 3.

    Args:
        network: ``rnn`` (equations 1-2) or ``lstm`` (equations 4-10).
        hidden_size: hidden units, H.
        num_classes: different digits, K; the CLI links it to the data's.
        initialization: how the weights start, ``orthogonal`` or ``uniform``; see the networks.
        backward: ``bptt`` for the backward pass derived by hand, ``autograd`` for torch's own, which is slower.
        fused: take the steps of ``bptt`` in compiled code: faster on a CPU, needs a C++ compiler.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(digits, target)``: (B, T-1) and (B,), int64 in [0, K).
    Raises:
        ValueError: ``hidden_size`` or ``num_classes`` is below 1; ``fused`` where nothing can be compiled.
    """

    def __init__(
        self,
        network: Literal["rnn", "lstm"] = "lstm",
        hidden_size: int = 128,
        num_classes: int = 10,
        initialization: Initialization = "orthogonal",
        backward: Backward = "bptt",
        fused: bool = False,
        optimizer: OptimizerCallable = rmsprop,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(num_classes, optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.network = NETWORKS[network](
            num_classes, hidden_size, num_classes, initialization=initialization, backward=backward, fused=fused
        )

    def forward(self, digits: Tensor) -> Tensor:
        """Logits of the last digit: (B, T-1) int64 -> (B, K)."""
        logits, _ = self.network(digits, num_last_steps=1)
        return logits[:, -1]

    def logits_and_target(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        digits, target = batch
        return self.forward(digits), target

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """``digits`` (B, T-1) and ``target`` (B,) as given, the predictions ``preds`` (B,) and their ``probs`` (B,)."""
        digits, target = batch
        probs, preds = self(digits).softmax(dim=1).max(dim=1)
        return {"digits": digits, "target": target, "preds": preds, "probs": probs}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading and a line for each of the first predictions: what was read, what came, what was named."""
        lines = ["digits read, the last digit, the prediction and its probability"]
        if not predictions:
            return lines
        rows = zip(
            *(torch.cat([p[key] for p in predictions]) for key in ("digits", "target", "preds", "probs")), strict=True
        )
        for digits, target, pred, prob in list(rows)[:num_shown]:
            text = "".join(map(str, digits.tolist()))
            lines.append(f"{text} {target} {pred} {prob:.3f}{'' if pred == target else '  wrong'}")
        return lines
