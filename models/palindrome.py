"""Models that complete palindromes (section 1 of the assignment).

Legend: B batch, T length of the palindrome, n digits to predict (1 or floor(T/2)), K different digits.
"""

from collections.abc import Mapping
from operator import truediv
from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import first_items, most_likely
from models.contracts import Characters, PalindromeData
from models.metrics import wilson_interval
from models.networks.bounds import FAR, worst_case_loss
from models.networks.build import build_palindrome_network
from models.networks.gcn import Connection
from models.networks.initialization import Initialization
from models.networks.path_gcn import PathGCN
from models.networks.recurrent import Backward
from models.sequence import Batch, SequenceModel, check_worst_case, state_gradients
from models.tables import percent


class PalindromeModel(SequenceModel):
    """What all models of palindromes share; a subclass implements ``forward``.

    The loss is the cross-entropy of equation 3, the mean over the digits to predict. If a palindrome has several of
    them, ``exact_match`` is the fraction of palindromes with no wrong digit.

    Args:
        optimizer, lr_scheduler: see ``Classifier``.
    Batch:
        ``(digits, target)``: (B, T-1) and (B,) or (B, n), int64 in [0, K). The n targets belong to the last n steps.
    Raises:
        ValueError: when training begins, the data has no palindromes.
    """

    def setup(self, stage: str) -> None:
        self.check_data(PalindromeData, "no palindromes", "PalindromeDataModule")

    def add_test_results(self, loader: Any, batch: Batch) -> None:
        self.add_test_result(length=batch[0].shape[1] + 1, has_patterns=getattr(loader, "has_patterns", False))

    def on_test_epoch_end(self) -> None:
        """Log ``test/accuracy`` and so on; if several lengths were tested, ``test/accuracy_T20`` and so on.

        On palindromes whose digits repeat it is ``test/accuracy_patterns`` and so on.
        """
        several = len({result["length"] for result in self.test_results}) > 1
        for result in self.test_results:
            suffix = "_patterns" * result["has_patterns"] + (f"_T{result['length']}" if several else "")
            self.log_test_result(result, suffix)

    def test_cells(self, result: dict[str, Any]) -> dict[str, str]:
        """With a 95 % interval of the fraction of completed palindromes, if they are random."""
        accuracies = [name for name in ("accuracy", "exact_match") if name in result]
        num_correct, num = result[f"num_{accuracies[-1]}"]
        bounds = () if result["has_patterns"] else wilson_interval(num_correct, num)
        has_both = any(other["has_patterns"] for other in self.test_results)
        return {
            "T": f"{result['length']:,}",
            **({"digits": "repeat" if result["has_patterns"] else "random"} if has_both else {}),
            "palindromes": f"{num:,}",
            **{f"test/{name}": percent(truediv(*result[f"num_{name}"])) for name in accuracies},
            "95 % interval": " to ".join(map(percent, bounds)),
            "test/loss": f"{result['loss']:.2g}",
        }

    def describe_learning(self) -> str:
        """A sentence: how many palindromes of the test split the model completes, and how many whose digits repeat."""
        random = [result for result in self.test_results if not result["has_patterns"]]
        if not random:
            return ""
        every_digit = "exact_match" in random[0]
        name = "num_exact_match" if every_digit else "num_accuracy"
        num_correct, num = (sum(count) for count in zip(*[result[name] for result in random], strict=True))
        lengths = [f"{result['length']:,}" for result in random]
        of_digits = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else lengths[0]
        digits = "the whole second half" if every_digit else "the last digit"
        chance = "" if every_digit else f" (chance: {percent(1 / self.trainer.datamodule.num_classes)})"
        share = f"{percent(num_correct / num)} of {num:,}"
        repeating = [result[name] for result in self.test_results if result["has_patterns"]]
        also = ""
        if repeating:
            num_correct, num = (sum(count) for count in zip(*repeating, strict=True))
            also = f", and of {percent(num_correct / num)} of {num:,} whose digits repeat"
        return f"The model predicts {digits} of {share} held-out palindromes of {of_digits} digits{chance}{also}."

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading, and a line for each of the first palindromes: input digits, target, prediction, probability."""
        one = not predictions or predictions[0]["target"].shape[1] == 1
        lines = [f"input digits, {'the last digit' if one else 'the second half'}, the prediction and its probability"]
        for digits, target, preds, prob in first_items(predictions, ("digits", "target", "preds", "probs"), num_shown):
            words = ("".join(map(str, ids.tolist())) for ids in (digits, target, preds))
            lines.append(f"{' '.join(words)} {prob:.3f}{'' if torch.equal(preds, target) else '  wrong'}")
        return lines


class PalindromeClassifier(PalindromeModel):
    """Predicts the last digit of a palindrome from the digits before it, or each digit of its second half.

    Args:
        network: ``rnn`` (equations 1-2) or ``lstm`` (equations 4-10).
        hidden_size: hidden units, H.
        num_classes: different digits, K; the CLI links it to the data's.
        initialization: of the weights: ``orthogonal``, ``identity`` (rnn), ``chrono`` (lstm) or ``uniform``, which is
            torch's default; see ``models.networks.initialization``.
        input_scale: standard deviation of the initial input weights; not for ``uniform``.
        recurrent_scale: factor of the initial recurrent weights; not for ``uniform``.
        forget_bias: initial bias of the LSTM's forget gate; by default that of the initialization, 3 for
            ``orthogonal``.
        longest_memory: time steps to remember, for ``chrono``; the CLI links it to the data's length.
        backward: ``bptt`` for the hand-derived backward pass, ``autograd`` for torch's own, which is slower.
        fused: run the steps of ``bptt`` in compiled code: faster on a CPU, needs a C++ compiler.
        worst_case_weight: factor of a second loss, an upper bound of the loss on all sequences of digits together, so
            that what the network remembers can be proved; see ``models.networks.bounds``. 0 for none.
        worst_case_steps: digits of the longest sequences of this bound.
        worst_case_ramp: optimizer steps over which the bound grows from one sequence to all, as their square; for
            ``lstm``, in as many further steps to all values that the cells reach later.
        optimizer: makes the optimizer from the parameters; by default RMSProp, lr 0.001, as in the assignment.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        see ``PalindromeModel``, also for the loss.
    Raises:
        ValueError: an argument is out of its range; the network has no such ``initialization``, or no forget gate;
            ``fused`` cannot be compiled; when training begins, ``worst_case_weight`` with another task than
            ``last_digit``.
    """

    MAY_DIFFER_IN_TEST = (
        "backward",
        "forget_bias",
        "fused",
        "initialization",
        "input_scale",
        "longest_memory",
        "lr_scheduler",
        "optimizer",
        "recurrent_scale",
        "worst_case_ramp",
        "worst_case_steps",
        "worst_case_weight",
    )
    MAY_CHANGE_ON_RESUME = ("backward", "fused", "lr_scheduler", "optimizer")

    def __init__(
        self,
        network: Literal["rnn", "lstm"] = "lstm",
        hidden_size: int = 128,
        num_classes: int = 10,
        initialization: Initialization = "orthogonal",
        input_scale: float = 0.01,
        recurrent_scale: float = 1.0,
        forget_bias: float | None = None,
        longest_memory: int = 100,
        backward: Backward = "bptt",
        fused: bool = False,
        worst_case_weight: float = 0.0,
        worst_case_steps: int = 10,
        worst_case_ramp: int = 1000,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        check_worst_case(worst_case_weight, worst_case_steps, worst_case_ramp)
        if worst_case_weight:
            self.step_metrics.track("worst_case_loss")
        self.worst_case_weight = worst_case_weight
        self.worst_case_steps = worst_case_steps
        self.worst_case_ramp = worst_case_ramp
        if network == "rnn" and forget_bias is not None:
            raise ValueError(f"forget_bias is {forget_bias} with network 'rnn', which has no gates; leave it out")
        self.task = "last_digit"  # of a model that was loaded, the one it was trained for
        self.network = build_palindrome_network(
            network=network,
            num_classes=num_classes,
            hidden_size=hidden_size,
            initialization=initialization,
            input_scale=input_scale,
            recurrent_scale=recurrent_scale,
            forget_bias=forget_bias,
            longest_memory=longest_memory,
            backward=backward,
            fused=fused,
        )

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        logits, _ = self.network(digits, num_last_steps=num_last_steps)
        return logits

    def setup(self, stage: str) -> None:
        super().setup(stage)
        task = getattr(self.trainer.datamodule, "task", "last_digit")
        if stage == "fit" and self.worst_case_weight and task != "last_digit":
            raise ValueError(
                f"worst_case_weight is {self.worst_case_weight} with task {task!r}, but its bound is for 'last_digit'; "
                "set it to 0"
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if not self.worst_case_weight:
            return loss
        # First the bound grows to all sequences of this number of digits, then an LSTM's cells to all later values.
        # Both begin slowly: the network must tell all first digits apart before later ones disturb it.
        progress = self.trainer.global_step / max(1, self.worst_case_ramp)
        share = min(1.0, progress) ** 2
        distance = FAR * min(1.0, max(0.0, progress - 1)) ** 2
        bound = worst_case_loss(self.network, self.worst_case_steps, share, distance)
        self.step_metrics.values["worst_case_loss"].append(bound.detach())
        return loss + self.worst_case_weight * bound

    def remember(self, data_arguments: Mapping[str, Any], vocabulary: Characters | None) -> None:
        self.task = data_arguments.get("task", "last_digit")

    def predict(self, digits: str) -> str:
        """What completes a palindrome: its last digit, or for the task ``every_digit`` its second half.

        Args:
            digits: the first T-1 of T digits, each from 0 to K - 1.
        Raises:
            ValueError: there is no digit, or one that the model does not know.
        """
        ids = self.ids_of(digits)
        num = 1 if self.task == "last_digit" else (len(digits) + 1) // 2
        with torch.no_grad():
            logits = self(ids, num)
        return "".join(map(str, most_likely(logits)[0].tolist()))

    def hidden_states(self, digits: str) -> dict[str, Tensor]:
        """The network's state after each digit.

        Args:
            digits: each from 0 to K - 1; T' of them.
        Returns:
            ``h``, the hidden states, (T', H), and for an LSTM also ``c``, the cell states, (T', H).
        Raises:
            ValueError: there is no digit, or one that the model does not know.
        """
        steps: list[tuple[Tensor, ...]] = []
        state: Any = None
        with torch.no_grad():
            for digit in self.ids_of(digits).unbind(1):
                _, state = self.network(digit[:, None], state)
                steps.append((state,) if isinstance(state, Tensor) else state)
        return dict(zip("hc", (torch.cat(parts) for parts in zip(*steps, strict=True)), strict=False))

    def ids_of(self, digits: str) -> Tensor:
        """The digits as a batch of one palindrome, (1, T') int64, on the model's device."""
        num_classes = self.network.input_size
        unknown = [digit for digit in digits if not (digit.isascii() and digit.isdigit() and int(digit) < num_classes)]
        if unknown or not digits:
            found = f"has {unknown[0]!r}" if unknown else "is empty"
            raise ValueError(f"digits {found}; the model reads digits from 0 to {num_classes - 1}, at least one")
        return torch.tensor([[int(digit) for digit in digits]], device=self.device)

    def hidden_state_gradients(self, batch: Batch) -> Tensor:
        """``dL/dh_t`` for t = 1 ... T-1, where L is the loss of each palindrome by itself: (B, T-1, H)."""
        return state_gradients(self.network, batch)


class PathGraphClassifier(PalindromeModel):
    """A GCN in place of ``PalindromeClassifier``'s network: the digits are the nodes of a path graph.

    The digit that follows a node is predicted at that node, so the last digit of a palindrome is predicted at the last
    of T-1 nodes. The first digit's node is T-2 edges away; a GCN with fewer layers gets no information from it.

    Args:
        hidden_size: features of a node between two layers.
        num_layers: graph convolutions, L.
        num_classes: different digits, K; the CLI links it to the data's.
        connection: ``none``, ``residual`` or ``initial_residual``, from layer to layer; see ``GCN``.
        directed: whether a node gets information only from itself and the node before it; see ``PathGCN``.
        optimizer: makes the optimizer from the parameters; by default RMSProp, lr 0.001, as in the assignment.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        see ``PalindromeModel``, also for the loss.
    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        hidden_size: int = 128,
        num_layers: int = 2,
        num_classes: int = 10,
        connection: Connection = "none",
        directed: bool = False,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.network = PathGCN(num_classes, hidden_size, num_layers, connection, directed)

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        logits: Tensor = self.network(digits, num_last_steps)
        return logits
