"""A handwritten network that completes palindromes (section 1 of the assignment).

Legend: B batch, T length of the palindrome, n digits of it to be named (1 or floor(T/2)), K different digits.
"""

from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import Classifier, Share, aligned, cross_entropy, percent, wilson_interval
from models.networks import LSTM, VanillaRNN
from models.networks.gcn import Connection
from models.networks.initialization import Initialization
from models.networks.path_gcn import PathGCN
from models.networks.recurrent import Backward

Batch = tuple[Tensor, Tensor]


def rmsprop(parameters: Any) -> torch.optim.Optimizer:
    """RMSProp with a learning rate of 0.001, the assignment's default."""
    return torch.optim.RMSprop(parameters, lr=1e-3)


class PalindromeModel(Classifier):
    """What models of palindromes have in common; a subclass gives ``network``.

    The loss is the cross-entropy of equation 3, the mean over the digits to be named. Where these are several for each
    palindrome, ``exact_match`` is the share of palindromes in which all of them were named.

    Args:
        optimizer, lr_scheduler: see ``Classifier``.
    Batch:
        ``(digits, target)``: (B, T-1) and (B,) or (B, n), int64 in [0, K). The n targets belong to the last n steps.
    Raises:
        ValueError: when training begins, the data has no palindromes.
    """

    def __init__(self, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None) -> None:
        super().__init__(optimizer, lr_scheduler, judged=("accuracy", "exact_match"))
        self.test_results: list[dict[str, Any]] = []

    def setup(self, stage: str) -> None:
        self.check_data("train_lengths", "which has no palindromes; give it PalindromeDataModule")

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        """Logits of the digits that follow the last n input digits: (B, T-1) int64 -> (B, n, K)."""
        raise NotImplementedError

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        digits, target = batch
        if target.dim() == 1:
            return self(digits)[:, -1], target
        return self(digits, target.shape[1]), target

    def judge(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        right = super().judge(logits, target)["accuracy"]
        return {"accuracy": right} if target.dim() == 1 else {"accuracy": right, "exact_match": right.all(dim=1)}

    def completed(self) -> Tensor:
        """Which palindromes of the latest training step were completed without a mistake, (B,) bool."""
        judged = self.judge(*self.last_step)
        return judged.get("exact_match", judged["accuracy"])

    def on_test_epoch_start(self) -> None:
        self.test_results = []

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().test_step(batch, batch_idx, dataloader_idx)
        if batch_idx + 1 == self.trainer.num_test_batches[dataloader_idx]:
            digits, _ = batch
            means = {name: value.item() for name, value in self.take_held_out().items()}
            shares = {name: m.counted for name, m in self.held_out_metrics.items() if isinstance(m, Share)}
            counts = {f"num_{name}": shares[name] for name in shares.keys() & means.keys()}
            self.test_results.append({"length": digits.shape[1] + 1} | means | counts)

    def on_test_epoch_end(self) -> None:
        """Log ``test/accuracy`` and so on, or, where several lengths were tested, ``test/accuracy_T20`` and so on."""
        for result in self.test_results:
            suffix = f"_T{result['length']}" if len(self.test_results) > 1 else ""
            for name in self.held_out_metrics.keys() & result.keys():
                self.log(f"test/{name}{suffix}", result[name])

    def describe_test(self) -> list[str]:
        """A heading and a line for each length that was tested, with a 95 % interval of the palindromes completed."""
        if not self.test_results:
            return []
        every_digit = any("exact_match" in result for result in self.test_results)
        shares = ["accuracy", "exact_match"] if every_digit else ["accuracy"]
        headings = ["T", "palindromes", *(f"test/{name}" for name in shares), "95 % interval", "test/loss"]
        lines = [headings]
        for result in self.test_results:
            num_right, num_palindromes = result[f"num_{shares[-1]}"]
            low, high = wilson_interval(num_right, num_palindromes)
            lines.append(
                [
                    f"{result['length']:,}",
                    f"{num_palindromes:,}",
                    *(percent(*result[f"num_{name}"]) for name in shares),
                    f"{100 * low:.2f} % to {100 * high:.2f} %",
                    f"{result['loss']:.2g}",
                ]
            )
        return aligned(lines)

    def describe_learning(self) -> str:
        """A sentence: how many palindromes it completes."""
        if not self.test_results:
            return ""
        every_digit = "exact_match" in self.test_results[0]
        counts = [result["num_exact_match" if every_digit else "num_accuracy"] for result in self.test_results]
        right, num = (sum(count) for count in zip(*counts, strict=True))
        lengths = [f"{result['length']:,}" for result in self.test_results]
        said = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else lengths[0]
        what = "the whole second half" if every_digit else "the last digit"
        chance = "" if every_digit else f"; guessing, it would be {percent(1, self.trainer.datamodule.num_classes)}"
        share = f"{percent(right, num)} of {num:,}"
        return f"It names {what} of {share} palindromes of {said} digits that it never saw{chance}."

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``digits`` (B, T-1) as given, ``target`` and the predictions ``preds``, both (B, n), and ``probs`` (B,): the
        probability that the network gives to its n predictions together."""
        digits, target = batch
        target = target.view(len(digits), -1)
        probs, preds = self(digits, target.shape[1]).softmax(dim=-1).max(dim=-1)
        return {"digits": digits, "target": target, "preds": preds, "probs": probs.prod(dim=1)}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading and a line for each of the first predictions: what was read, what came, what was named."""
        one = not predictions or predictions[0]["target"].shape[1] == 1
        what = "the last digit" if one else "the second half"
        lines = [f"digits read, {what}, the prediction and its probability"]
        if not predictions:
            return lines
        rows = zip(
            *(torch.cat([p[key] for p in predictions]) for key in ("digits", "target", "preds", "probs")), strict=True
        )
        for digits, target, preds, prob in list(rows)[:num_shown]:
            words = ("".join(map(str, some.tolist())) for some in (digits, target, preds))
            lines.append(f"{' '.join(words)} {prob:.3f}{'' if torch.equal(preds, target) else '  wrong'}")
        return lines


class PalindromeClassifier(PalindromeModel):
    """Names the last digit of a palindrome from the digits before it, or one digit of its second half at each step.

    The loss is the cross-entropy of equation 3, the mean over the digits to be named. Where these are several for each
    palindrome, ``exact_match`` is the share of palindromes in which all of them were named.

    Args:
        network: ``rnn`` (equations 1-2) or ``lstm`` (equations 4-10).
        hidden_size: hidden units, H.
        num_classes: different digits, K; the CLI links it to the data's.
        initialization: how the weights start: ``orthogonal``, ``identity`` (rnn), ``chrono`` (lstm) or ``uniform``,
            which is torch's default; see ``models.networks.initialization``.
        input_scale: standard deviation of the input weights at the start; ``uniform`` has its own.
        recurrent_scale: what the recurrent weights are multiplied by at the start; not for ``uniform``.
        longest_memory: time steps that should be remembered, for ``chrono``; the CLI links it to the data's length.
        backward: ``bptt`` for the backward pass derived by hand, ``autograd`` for torch's own, which is slower.
        fused: take the steps of ``bptt`` in compiled code: faster on a CPU, needs a C++ compiler.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(digits, target)``: (B, T-1) and (B,) or (B, n), int64 in [0, K). The n targets belong to the last n steps.
    Raises:
        ValueError: ``hidden_size`` or ``num_classes`` is below 1; the network has no such ``initialization``; ``fused``
            where nothing can be compiled; when training begins, the data has no palindromes.
    """

    def __init__(
        self,
        network: Literal["rnn", "lstm"] = "lstm",
        hidden_size: int = 128,
        num_classes: int = 10,
        initialization: Initialization = "orthogonal",
        input_scale: float = 0.01,
        recurrent_scale: float = 1.0,
        longest_memory: int = 100,
        backward: Backward = "bptt",
        fused: bool = False,
        optimizer: OptimizerCallable = rmsprop,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        sizes = (num_classes, hidden_size, num_classes)
        options: dict[str, Any] = {
            "initialization": initialization,
            "input_scale": input_scale,
            "recurrent_scale": recurrent_scale,
            "backward": backward,
            "fused": fused,
        }
        self.network: LSTM | VanillaRNN
        if network == "lstm":
            self.network = LSTM(*sizes, longest_memory=longest_memory, **options)
        else:
            self.network = VanillaRNN(*sizes, **options)

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        logits, _ = self.network(digits, num_last_steps=num_last_steps)
        return logits

    def hidden_state_gradients(self, batch: Batch) -> Tensor:
        """``dL/dh_t`` for t = 1 ... T-1, where L is the loss of each palindrome by itself: (B, T-1, H).

        The gradients of the parameters are left alone.
        """
        digits, target = batch
        target = target.view(len(digits), -1)
        B, n = target.shape

        def loss(logits: Tensor) -> Tensor:
            return B * cross_entropy(logits, target)  # the sum over palindromes of the mean over their digits

        return self.network.hidden_state_gradients(digits, loss, num_last_steps=n)


class PathGraphClassifier(PalindromeModel):
    """A GCN in the place of ``PalindromeClassifier``'s network: the digits are the nodes of a path graph.

    What is asked for after a digit is read at its node, so the last digit of a palindrome at the last of T-1 nodes;
    the first digit's node is T-2 edges away, which a GCN of fewer layers cannot hear from.

    Args:
        hidden_size: features of a node between two layers.
        num_layers: graph convolutions, L.
        num_classes: different digits, K; the CLI links it to the data's.
        connection: ``none``, ``residual`` or ``initial_residual``, from layer to layer; see ``GCN``.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        as for ``PalindromeClassifier``.
    Raises:
        ValueError: an argument is out of its range; when training begins, the data has no palindromes.
    """

    def __init__(
        self,
        hidden_size: int = 128,
        num_layers: int = 2,
        num_classes: int = 10,
        connection: Connection = "none",
        optimizer: OptimizerCallable = rmsprop,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.network = PathGCN(num_classes, hidden_size, num_layers, connection)

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        logits: Tensor = self.network(digits, num_last_steps)
        return logits
