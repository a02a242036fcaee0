"""A handwritten network that foretells how signals spread over a graph (question 3.4b of the assignment).

Legend: B batch, T time steps, N nodes, K = 2 classes: not excited, excited.
"""

from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torchmetrics import MeanMetric

from models.classifier import Classifier, Share, aligned, metrics, most_likely
from models.networks.gcn import normalize_adjacency
from models.networks.gcn_lstm import GCNLSTM
from models.networks.recurrent import Backward

Batch = tuple[Tensor, Tensor, Tensor, Tensor]

NODES_SHOWN = 30
"""Nodes of a graph that are shown of a prediction."""


def adam(parameters: Any) -> torch.optim.Optimizer:
    """Adam with a learning rate of 0.01."""
    return torch.optim.Adam(parameters, lr=0.01)


class SpreadClassifier(Classifier):
    """Tells at each time step which nodes of a graph will be excited at the next, from what was observed until then.

    The loss is the cross-entropy, the mean over time steps and nodes. As few nodes are excited, ``recall`` is measured
    beside the accuracy: the share of the excitations that were foretold. The test also measures what one would reach
    who knew the hidden states, on the same sequences: ``best_possible_loss`` and ``best_possible_accuracy``.

    Args:
        network: ``gcn_lstm`` sees neighbours and remembers; ``gcn`` sees neighbours but at the present step only;
            ``lstm`` remembers, but each node sees itself only.
        neighbourhood_size: features of a node's neighbourhood; not for ``lstm``.
        hidden_size: units of the LSTM, of ``gcn`` of the hidden layer in its place, H.
        backward: ``bptt`` for the backward pass derived by hand, ``autograd`` for torch's own, which is slower.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(A, signals, target, probability)``: adjacency matrices (B, N, N); who is excited, (B, T, N), 0 or 1, floating
        point; who is one step later, (B, T, N) int64; and with which probability that was to be expected, (B, T, N).
    Raises:
        ValueError: a size is below 1; when work begins, the data has no signals on graphs.
    """

    def __init__(
        self,
        network: Literal["gcn_lstm", "gcn", "lstm"] = "gcn_lstm",
        neighbourhood_size: int = 8,
        hidden_size: int = 32,
        backward: Backward = "bptt",
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, judged=("accuracy", "recall"))
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        neighbours, memory = network != "lstm", network != "gcn"
        self.network = GCNLSTM(1, neighbourhood_size, hidden_size, 2, neighbours, memory, backward)
        self.best_possible = metrics({"loss": MeanMetric(), "accuracy": Share()})
        self.test_results: dict[str, float] = {}

    def setup(self, stage: str) -> None:
        self.check_data("refractory", "which has no signals on graphs; give it SpreadDataModule")

    def forward(self, A: Tensor, signals: Tensor) -> Tensor:
        """Logits of each node's next step: adjacency matrices (B, N, N), signals (B, T, N) -> (B, T, N, K)."""
        logits: Tensor = self.network(normalize_adjacency(A), signals.unsqueeze(-1))
        return logits

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        A, signals, target, _ = batch
        return self(A, signals).flatten(1, 2), target.flatten(1)

    def judge(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        right = super().judge(logits, target)["accuracy"]
        return {"accuracy": right, "recall": right[target == 1]}

    def on_test_epoch_start(self) -> None:
        self.test_results = {"sequences": 0}
        for metric in self.best_possible.values():
            metric.reset()

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().test_step(batch, batch_idx, dataloader_idx)
        *_, target, probability = batch
        self.test_results["sequences"] += len(target)
        of_target = torch.where(target == 1, probability, 1 - probability)
        self.best_possible["loss"].update(-of_target.log(), weight=1.0)
        self.best_possible["accuracy"].update(of_target > 0.5)

    def on_test_epoch_end(self) -> None:
        means = self.take_held_out()
        means |= {f"best_possible_{name}": metric.compute() for name, metric in self.best_possible.items()}
        for name, value in means.items():
            self.log(f"test/{name}", value)
            self.test_results[name] = value.item()

    def describe_test(self) -> list[str]:
        """A heading and a line with what the test has measured, the best possible beside it."""
        results = self.test_results
        if not results:
            return []
        cells = {
            "sequences": f"{results['sequences']:,}",
            "test/loss": f"{results['loss']:.4f}",
            "best possible": f"{results['best_possible_loss']:.4f}",
            "test/accuracy": f"{100 * results['accuracy']:.2f} %",
            "best possible accuracy": f"{100 * results['best_possible_accuracy']:.2f} %",
            "excitations foretold": f"{100 * results['recall']:.2f} %",
        }
        return aligned([list(cells), list(cells.values())])

    def describe_learning(self) -> str:
        """A sentence: how many excitations are foretold."""
        if not self.test_results:
            return ""
        recall, accuracy = (f"{100 * self.test_results[name]:.1f} %" for name in ("recall", "accuracy"))
        return (
            f"On graphs that it never saw it foretells {recall} of the excitations, and {accuracy} of all that happens."
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``signals`` and ``target`` as given and the predictions ``preds``, int64, all (B, T, N)."""
        A, signals, target, _ = batch
        return {"signals": signals, "target": target, "preds": most_likely(self(A, signals))}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading and a line for each of the first sequences: the last step observed, the next one, and what was
        expected of it."""
        lines = ["excited nodes (#) at the last step observed, at the next, and as foretold"]
        if not predictions:
            return lines
        rows = zip(
            *(torch.cat([p[key] for p in predictions])[:num_shown, -1] for key in ("signals", "target", "preds")),
            strict=True,
        )
        for signals, target, preds in rows:
            shown = ("".join(".#"[int(x)] for x in some[:NODES_SHOWN]) for some in (signals, target, preds))
            num_wrong = int((preds != target).sum())
            lines.append(f"{' '.join(shown)}{f'  {num_wrong} wrong' if num_wrong else ''}")
        return lines
