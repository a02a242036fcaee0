"""A model that predicts how signals spread over a graph (question 3.4b of the assignment).

Legend: B batch, T time steps, N nodes, C = 2 classes: not excited, excited.
"""

from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor

from models.classifier import Classifier, first_items, most_likely
from models.contracts import SignalData
from models.metrics import EvalMetrics
from models.networks.gcn import normalize_adjacency
from models.networks.gcn_lstm import GCNLSTM
from models.networks.recurrent import Backward
from models.tables import percent

Batch = tuple[Tensor, Tensor, Tensor, Tensor]

NODES_SHOWN = 30
"""Nodes of a graph in the lines of predictions."""


class SpreadClassifier(Classifier):
    """Predicts at each time step which nodes of a graph are excited at the next, from the steps observed so far.

    The loss is the cross-entropy, the mean over time steps and nodes. Few nodes are excited, so ``recall`` is measured,
    too: the fraction of the excitations that were predicted. The test also measures, on the same sequences, what a
    model that knows the hidden states would reach: ``best_possible_loss`` and ``best_possible_accuracy``.

    Args:
        network: ``gcn_lstm`` sees neighbours and remembers; ``gcn`` sees neighbours, but only at the present step;
            ``lstm`` remembers, but each node sees only itself.
        neighbourhood_size: features of a node's neighbourhood; not for ``lstm``.
        hidden_size: units of the LSTM, or with ``gcn`` of the hidden layer that replaces it, H.
        backward: ``bptt`` for the hand-derived backward pass, ``autograd`` for torch's own, which is slower.
        optimizer: makes the optimizer from the parameters; by default Adam, lr 0.01.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(adj, signals, target, probability)``: adjacency matrices (B, N, N); which nodes are excited, (B, T, N), 0 or
        1, floating point; which are excited one step later, (B, T, N) int64; and the probability of that, (B, T, N).
    Raises:
        ValueError: a size is below 1; when training or testing begins, the data has no signals on graphs.
    """

    MAY_DIFFER_IN_TEST = ("backward", "lr_scheduler", "optimizer")
    MAY_CHANGE_ON_RESUME = MAY_DIFFER_IN_TEST

    def __init__(
        self,
        network: Literal["gcn_lstm", "gcn", "lstm"] = "gcn_lstm",
        neighbourhood_size: int = 8,
        hidden_size: int = 32,
        backward: Backward = "bptt",
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, ("accuracy", "recall"))
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        neighbours, memory = network != "lstm", network != "gcn"
        self.network = GCNLSTM(1, neighbourhood_size, hidden_size, 2, neighbours, memory, backward)
        self.best_possible = EvalMetrics(("accuracy",))
        self.num_sequences = 0

    def setup(self, stage: str) -> None:
        self.check_data(SignalData, "no signals on graphs", "SpreadDataModule")

    def forward(self, adj: Tensor, signals: Tensor) -> Tensor:
        """Logits of each node's next step: adjacency matrices (B, N, N), signals (B, T, N) -> (B, T, N, C)."""
        logits: Tensor = self.network(normalize_adjacency(adj), signals.unsqueeze(-1))
        return logits

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        adj, signals, target, _ = batch
        return self(adj, signals).flatten(1, 2), target.flatten(1)

    def correctness(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        accuracy = super().correctness(logits, target)
        return accuracy | {"recall": accuracy["accuracy"][target == 1]}

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.num_sequences = 0

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().test_step(batch, batch_idx, dataloader_idx)
        *_, target, probability = batch
        self.num_sequences += len(target)
        of_target = torch.where(target == 1, probability, 1 - probability)
        self.best_possible.update(-of_target.log(), 1, {"accuracy": of_target > 0.5})

    def compute_eval_metrics(self) -> dict[str, Tensor]:
        best = {f"best_possible_{name}": mean for name, mean in self.best_possible.compute().items()}
        return super().compute_eval_metrics() | best

    def test_cells(self, result: dict[str, Any]) -> dict[str, str]:
        return {
            "sequences": f"{self.num_sequences:,}",
            "test/loss": f"{result['loss']:.4f}",
            "best possible": f"{result['best_possible_loss']:.4f}",
            "test/accuracy": percent(result["accuracy"]),
            "best possible accuracy": percent(result["best_possible_accuracy"]),
            "excitations predicted": percent(result["recall"]),
        }

    def describe_learning(self) -> str:
        """A sentence: how many excitations of the test split the model predicts."""
        if not self.test_results:
            return ""
        (result,) = self.test_results
        recall, accuracy = (percent(result[name], 1) for name in ("recall", "accuracy"))
        return f"On held-out graphs the model predicts {recall} of the excitations, and {accuracy} of all states."

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``signals`` and ``target`` as given and the predictions ``preds``, int64, all (B, T, N)."""
        adj, signals, target, _ = batch
        return {"signals": signals, "target": target, "preds": most_likely(self(adj, signals))}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading, and a line for each of the first sequences: the last step observed, the next one, and its
        prediction."""
        lines = ["excited nodes (#) at the last step observed, at the next step, and as predicted"]
        for rows in first_items(predictions, ("signals", "target", "preds"), num_shown):
            signals, target, preds = (row[-1] for row in rows)
            shown = ("".join(".#"[int(x)] for x in states[:NODES_SHOWN]) for states in (signals, target, preds))
            num_wrong = int((preds != target).sum())
            lines.append(f"{' '.join(shown)}{f'  {num_wrong} wrong' if num_wrong else ''}")
        return lines
