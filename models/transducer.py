"""Models that read a string and write another (Delétang et al. 2023).

Legend: B batch, n symbols of a string, T time steps, m symbols to predict, K different symbols to predict.
"""

import string
from operator import truediv
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import cross_entropy, first_items
from models.contracts import StringData
from models.metrics import EvalMetrics, wilson_interval
from models.networks import StackRNN
from models.networks.build import build_string_network
from models.networks.initialization import Initialization
from models.networks.recurrent import Backward
from models.networks.stack_bounds import reversal_bound
from models.sequence import Batch, SequenceModel, check_worst_case, state_gradients
from models.tables import percent

SIGNS_MAX = 36
"""Symbols that have a digit or a letter."""


class Transducer(SequenceModel):
    """Reads a string and predicts symbols: the string in reverse, what is left on a stack, or the open brackets.

    A stack RNN is tested twice. ``soft`` is the network as it was trained, whose actions are probabilities; with
    ``hardened`` actions it takes the most likely one at each step, so its stack is an ordinary one.

    Args:
        network: ``stack_rnn``, ``lstm`` or ``rnn``.
        hidden_size: hidden units, H.
        stack_size: features of a cell of the stack, M; for ``stack_rnn``.
        in_features: different symbols in the input; the CLI links it to the data's.
        out_features: different symbols to predict, K; the CLI links it to the data's.
        initialization: of the weights of ``lstm`` and ``rnn``; see ``models.networks.initialization``. By default that
            of the network.
        input_scale: standard deviation of the initial input weights; by default that of the network.
        recurrent_scale: factor of the initial recurrent weights; by default that of the network.
        backward: ``bptt`` for the hand-derived backward pass, ``autograd`` for torch's own, which is slower.
        soft_test_length: strings of more symbols are tested with hardened actions alone. Soft actions take time in
            proportion to the square of the length, hardened ones to the length.
        worst_case_weight: factor of a second loss, a bound of the loss on all strings together, so that it can be
            proved that every string is written in reverse; see ``models.networks.stack_bounds``. 0 for none.
        worst_case_ramp: optimizer steps over which the bound grows to all strings.
        optimizer: makes the optimizer from the parameters; by default Adam, lr 0.005.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(symbols, target)``: (B, T) and (B, m), int64. The targets belong to the last m steps.
    Raises:
        ValueError: an argument is out of its range; ``worst_case_weight`` with another network than ``stack_rnn``; when
            training begins, the data has no strings, or ``worst_case_weight`` with another task than ``reverse``.
    """

    MAY_DIFFER_IN_TEST = (
        "backward",
        "initialization",
        "input_scale",
        "lr_scheduler",
        "optimizer",
        "recurrent_scale",
        "soft_test_length",
        "worst_case_ramp",
        "worst_case_weight",
    )
    MAY_DIFFER_ON_RESUME = ("soft_test_length",)
    MAY_CHANGE_ON_RESUME = ("backward", "lr_scheduler", "optimizer")

    def __init__(
        self,
        network: Literal["stack_rnn", "lstm", "rnn"] = "stack_rnn",
        hidden_size: int = 32,
        stack_size: int = 8,
        in_features: int = 12,
        out_features: int = 10,
        initialization: Initialization | None = None,
        input_scale: float | None = None,
        recurrent_scale: float | None = None,
        backward: Backward = "bptt",
        soft_test_length: int = 2000,
        worst_case_weight: float = 0.0,
        worst_case_ramp: int = 2000,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.network = build_string_network(
            network=network,
            in_features=in_features,
            out_features=out_features,
            hidden_size=hidden_size,
            stack_size=stack_size,
            initialization=initialization,
            input_scale=input_scale,
            recurrent_scale=recurrent_scale,
            backward=backward,
        )
        check_worst_case(worst_case_weight, ramp=worst_case_ramp)
        if soft_test_length < 0:
            raise ValueError(f"soft_test_length is {soft_test_length}; it must be at least 0")
        if worst_case_weight and not isinstance(self.network, StackRNN):
            raise ValueError(
                f"worst_case_weight is {worst_case_weight} with network {network!r}, but its bound is for 'stack_rnn'; "
                "set it to 0"
            )
        if worst_case_weight:
            self.step_metrics.track("worst_case_loss")
        self.worst_case_weight = worst_case_weight
        self.worst_case_ramp = worst_case_ramp
        self.soft_test_length = soft_test_length
        self.hardened_metrics = EvalMetrics(("accuracy", "exact_match"))

    def setup(self, stage: str) -> None:
        self.check_data(StringData, "no strings", "StringDataModule")
        task = getattr(self.trainer.datamodule, "task", None)
        if stage == "fit" and self.worst_case_weight and task != "reverse":
            raise ValueError(
                f"worst_case_weight is {self.worst_case_weight} with task {task!r}, but its bound is for 'reverse'; "
                "set it to 0"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if not self.worst_case_weight or not isinstance(self.network, StackRNN):
            return loss
        bound = reversal_bound(self.network, min(1.0, self.trainer.global_step / max(1, self.worst_case_ramp)))
        self.step_metrics.values["worst_case_loss"].append(bound.detach())
        return loss + self.worst_case_weight * bound

    def forward(self, symbols: Tensor, num_last_steps: int = 1) -> Tensor:
        return self.network.logits(symbols, num_last_steps)

    def evaluate_test(self, batch: Batch) -> None:
        symbols, target = batch
        if isinstance(self.network, StackRNN):
            logits = self.network.logits(symbols, target.shape[1], hardened=True)
            correct = self.correctness(logits, target)
            self.hardened_metrics.update(cross_entropy(logits, target), target.numel(), correct)
        if not isinstance(self.network, StackRNN) or symbols.shape[1] <= 2 * self.soft_test_length + 1:
            super().evaluate_test(batch)

    def add_test_results(self, loader: Any, batch: Batch) -> None:
        length = getattr(loader, "length", batch[0].shape[1])
        self.add_test_result(length=length, is_hardened=False)
        self.add_test_result(self.hardened_metrics, length=length, is_hardened=True)

    def on_test_epoch_end(self) -> None:
        """Log ``test/accuracy`` and so on, ``test/accuracy_hardened``; of several lengths ``test/accuracy_n50``."""
        several = len({result["length"] for result in self.test_results}) > 1
        for result in self.test_results:
            suffix = "_hardened" * result["is_hardened"] + (f"_n{result['length']}" if several else "")
            self.log_test_result(result, suffix)

    def test_cells(self, result: dict[str, Any]) -> dict[str, str]:
        """With a 95 % interval of the fraction of strings without a mistake."""
        accuracies = [name for name in ("accuracy", "exact_match") if name in result]
        num_correct, num = result[f"num_{accuracies[-1]}"]
        has_both = any(other["is_hardened"] for other in self.test_results)
        return {
            "n": f"{result['length']:,}",
            **({"actions": "hardened" if result["is_hardened"] else "soft"} if has_both else {}),
            "strings": f"{num:,}",
            **{f"test/{name}": percent(truediv(*result[f"num_{name}"])) for name in accuracies},
            "95 % interval": " to ".join(map(percent, wilson_interval(num_correct, num))),
            "test/loss": f"{result['loss']:.2g}",
        }

    def describe_learning(self) -> str:
        """A sentence: on how many strings of the test split the model makes no mistake."""
        parts = []
        for is_hardened in (False, True):
            results = [result for result in self.test_results if result["is_hardened"] == is_hardened]
            if results:
                num_correct, num = (
                    sum(n) for n in zip(*[result["num_exact_match"] for result in results], strict=True)
                )
                lengths = [f"{result['length']:,}" for result in results]
                of_symbols = " to ".join(dict.fromkeys((lengths[0], lengths[-1])))
                actions = " with hardened actions" if is_hardened else ""
                parts.append(
                    f"on {percent(num_correct / num)} of {num:,} held-out strings of {of_symbols} symbols{actions}"
                )
        return f"The model makes no mistake {', and '.join(parts)}." if parts else ""

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading, and a line for each of the first strings: input, target, prediction, probability."""
        lines = ["input (a is 10, and so on; _ is a blank), what to predict, the prediction and its probability"]
        num_symbols = self.network.input_size
        for symbols, target, preds, prob in first_items(predictions, ("digits", "target", "preds", "probs"), num_shown):
            words = (written(ids.tolist(), num_symbols) for ids in (symbols, target, preds))
            lines.append(f"{' '.join(words)} {prob:.3f}{'' if torch.equal(preds, target) else '  wrong'}")
        return lines

    def hidden_state_gradients(self, batch: Batch) -> Tensor:
        """``dL/dh_t`` for every time step, where L is the loss of each string by itself: (B, T, H)."""
        return state_gradients(self.network, batch)


def written(ids: list[int], num_symbols: int) -> str:
    """Symbols as text: digits and letters, or if there are more, numbers with dots between. The last, a blank, is _."""
    signs = (string.digits + string.ascii_lowercase)[:num_symbols] if num_symbols <= SIGNS_MAX else ()
    names = [*(signs or map(str, range(num_symbols)))]
    names[-1] = "_"
    return ("" if signs else ".").join(names[symbol] for symbol in ids)
