"""Models that predict the classes of a graph's nodes (section 3 of the assignment).

Legend: N nodes, M edges, F features of a node, C classes, n nodes whose class is predicted.
"""

from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from models.classifier import Classifier, first_items, most_likely
from models.contracts import GraphData
from models.metrics import wilson_interval
from models.networks import GCN, LSTM
from models.networks.checks import check_dropout
from models.networks.gcn import Connection, adjacency_matrix, normalize_adjacency
from models.tables import percent

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Order = Literal["bfs", "dfs", "random"]


class NodeModel(Classifier):
    """What all models of nodes share; a subclass implements ``forward`` and ``decayed_weights``.

    Args:
        weight_decay: half of it times the squared norm of ``decayed_weights`` is added to the loss.
        optimizer, lr_scheduler: see ``Classifier``.
    Batch:
        ``(features, edges, nodes, target)``: (N, F) dense or CSR; (2, M) int64 with each undirected edge once; (n,)
        int64; the classes of these nodes (n,), int64 in [0, C).
    Raises:
        ValueError: ``weight_decay`` is below 0; when training begins, the data has no graph, or torch has no sparse
            products in the trainer's precision.
    """

    MAY_DIFFER_IN_TEST: ClassVar[tuple[str, ...]] = ("lr_scheduler", "optimizer", "weight_decay")
    MAY_CHANGE_ON_RESUME: ClassVar[tuple[str, ...]] = MAY_DIFFER_IN_TEST

    def __init__(
        self, weight_decay: float, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        if not 0 <= weight_decay < float("inf"):
            raise ValueError(f"weight_decay is {weight_decay}; it must be at least 0 and finite")
        self.weight_decay = weight_decay

    def setup(self, stage: str) -> None:
        self.check_data(GraphData, "no graph", "GraphDataModule")
        if (precision := self.trainer.precision) in ("bf16-true", "16-true"):
            raise ValueError(f"trainer.precision is {precision}, in which torch has no sparse products; use bf16-mixed")

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Logits of all nodes, (N, C)."""
        raise NotImplementedError

    @torch.no_grad()
    def probabilities(self, features: Tensor, edges: Tensor) -> Tensor:
        """The probability of each class for all nodes, (N, C).

        Args:
            features: (N, F), dense or CSR; those of a ``GraphDataModule`` are its ``features``.
            edges: (2, M) int64, each undirected edge once; those of a ``GraphDataModule`` are its ``graph.edges``.
        """
        return self(features, edges).softmax(dim=1)

    def predict(self, features: Tensor, edges: Tensor) -> Tensor:
        """The most probable class of all nodes, (N,) int64. Arguments as for ``probabilities``."""
        return most_likely(self.probabilities(features, edges))

    def decayed_weights(self) -> Tensor:
        """The weights that ``weight_decay`` keeps small."""
        raise NotImplementedError

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        features, edges, nodes, target = batch
        return self(features, edges)[nodes], target

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + self.weight_decay / 2 * self.decayed_weights().square().sum() if self.weight_decay else loss

    def test_cells(self, result: dict[str, Any]) -> dict[str, str]:
        num_correct, num = result["num_accuracy"]
        return {
            "nodes": f"{num:,}",
            "correct": f"{num_correct:,}",
            "test/accuracy": percent(num_correct / num),
            "95 % interval": " to ".join(map(percent, wilson_interval(num_correct, num))),
            "test/loss": f"{result['loss']:.2g}",
        }

    def describe_learning(self) -> str:
        """A sentence: for how many nodes of the test split the class is predicted correctly."""
        if not self.test_results:
            return ""
        num_correct, num = self.test_results[0]["num_accuracy"]
        num_classes = self.trainer.datamodule.num_classes
        return (
            f"The model predicts the class of {num_correct:,} of {num:,} held-out nodes, among {num_classes} classes."
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``nodes``, ``target``, the predictions ``preds`` and their probabilities ``probs``, all (n,)."""
        logits, target = self.logits_and_target(batch)
        probs, preds = logits.softmax(dim=-1).max(dim=-1)
        return {"nodes": batch[2], "target": target, "preds": preds, "probs": probs}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading, and a line for each of the first nodes: its name, its class, the prediction."""
        graph = self.trainer.datamodule.graph
        lines = ["node, its class, the prediction and its probability"]
        for node, target, pred, prob in first_items(predictions, ("nodes", "target", "preds", "probs"), num_shown):
            line = f"{graph.names[node]} {graph.class_names[target]} {graph.class_names[pred]} {prob:.3f}"
            lines.append(line if pred == target else f"{line}  wrong")
        return lines


class NodeClassifier(NodeModel):
    """A GCN that predicts the classes of nodes from a few labelled nodes (Kipf and Welling 2017, section 3.1).

    The loss is the cross-entropy, the mean over the labelled nodes. The test also measures ``distance``: how different
    the outputs H^(L) of all nodes are. It is the mean cosine distance over pairs of nodes (MAD; Chen et al. 2020,
    "Measuring and relieving the over-smoothing problem"), 0 where all are alike.

    Args:
        in_features: features of a node, F; the CLI links it to the data's.
        out_features: classes, C; the CLI links it to the data's.
        hidden_size: features of a node between two layers.
        num_layers: graph convolutions, L.
        dropout: probability that an entry of a layer's input is set to zero in training.
        weight_decay: half of it times the squared norm of the first layer's W is added to the loss.
        connection: ``none``, ``residual`` or ``initial_residual``, from layer to layer; see ``GCN``.
        optimizer: makes the optimizer from the parameters; by default Adam, lr 0.01 (Kipf and Welling 2017).
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(features, edges, nodes, target)``; see ``NodeModel``.
    Raises:
        ValueError: an argument is out of its range; see also ``NodeModel``.
    """

    MAY_DIFFER_IN_TEST = ("dropout", "lr_scheduler", "optimizer", "weight_decay")
    MAY_CHANGE_ON_RESUME = MAY_DIFFER_IN_TEST

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 2,
        hidden_size: int = 16,
        num_layers: int = 2,
        dropout: float = 0.5,
        weight_decay: float = 5e-4,
        connection: Connection = "none",
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weight_decay, optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.network = GCN(in_features, hidden_size, out_features, num_layers, dropout, connection)
        self._adj_norm: tuple[Tensor, Tensor] | None = None  # the edges for which it was computed, and the matrix
        self._distance: Tensor | None = None

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        return self.network(self.adj_norm(features, edges), features)

    def decayed_weights(self) -> Tensor:
        return self.network.layers[0].W

    def adj_norm(self, features: Tensor, edges: Tensor) -> Tensor:
        """Equation 15 for the graph with these edges, (N, N) CSR; computed once for each graph and dtype."""
        if self._adj_norm is None or self._adj_norm[0] is not edges or self._adj_norm[1].dtype != features.dtype:
            self._adj_norm = (edges, normalize_adjacency(adjacency_matrix(edges, len(features)).to(features.dtype)))
        return self._adj_norm[1]

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().test_step(batch, batch_idx, dataloader_idx)
        self._distance = mean_cosine_distance(self(*batch[:2]))

    def compute_eval_metrics(self) -> dict[str, Tensor]:
        means = super().compute_eval_metrics()
        if self._distance is not None:
            means["distance"], self._distance = self._distance, None
        return means


class NodeSequenceClassifier(NodeModel):
    """The handwritten LSTM in place of ``NodeClassifier``'s GCN: it reads the nodes one after the other, without edges.

    It predicts the class of each node after reading it. Only the order of the nodes depends on the graph.

    Args:
        in_features: features of a node, F; the CLI links it to the data's.
        out_features: classes, C; the CLI links it to the data's.
        hidden_size: hidden units, H.
        order: of the nodes. ``bfs`` or ``dfs``: breadth or depth first, from the node with most edges of each
            component, larger components first. ``random``: independent of the graph.
        dropout: probability that a feature of a node is set to zero in training.
        weight_decay: half of it times the squared norm of W_x is added to the loss.
        optimizer, lr_scheduler: see ``NodeClassifier``.
    Batch, Raises:
        see ``NodeModel``.
    """

    MAY_DIFFER_IN_TEST = ("dropout", "lr_scheduler", "optimizer", "weight_decay")
    MAY_CHANGE_ON_RESUME = MAY_DIFFER_IN_TEST

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 2,
        hidden_size: int = 64,
        order: Order = "bfs",
        dropout: float = 0.8,
        weight_decay: float = 5e-4,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weight_decay, optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        check_dropout(dropout=dropout)
        self.order: Order = order
        self.dropout = dropout
        # With these weights it looks at each node by itself at first. With the LSTM's defaults, whose memory covers
        # twenty nodes, it memorizes the few labels.
        self.network = LSTM(
            in_features, hidden_size, out_features, input_scale=0.1, recurrent_scale=0.1, forget_bias=-2.0
        )
        self._nodes: tuple[Tensor, Tensor] | None = None  # the edges for which the order was computed, and the order

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        nodes = self.reading_order(edges, len(features))
        dense = features if features.layout == torch.strided else features.to_dense()
        logits, _ = self.network(functional.dropout(dense, self.dropout, self.training)[nodes].unsqueeze(0))
        return torch.empty_like(logits[0]).index_copy(0, nodes, logits[0])

    def decayed_weights(self) -> nn.Parameter:
        return self.network.W_x

    def reading_order(self, edges: Tensor, num_nodes: int) -> Tensor:
        """The nodes in the order in which they are read, (N,) int64; computed once for each graph."""
        if self._nodes is None or self._nodes[0] is not edges:
            self._nodes = (edges, traversal(edges, num_nodes, self.order).to(edges.device))
        return self._nodes[1]


def traversal(edges: Tensor, num_nodes: int, order: Order) -> Tensor:
    """All nodes of a graph, each once, breadth first, depth first or in a fixed random order.

    Args:
        edges: (2, M) int64, each undirected edge once.
        num_nodes: N.
        order: ``bfs`` or ``dfs``: the largest component first, each from its node with most edges; ``random``.
    Returns:
        (N,) int64.
    """
    if order == "random":
        return torch.randperm(num_nodes, generator=torch.Generator().manual_seed(0))
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges.t().tolist())
    nodes: list[int] = []
    for component in sorted(networkx.connected_components(graph), key=len, reverse=True):
        source = max(sorted(component), key=graph.degree)
        if order == "bfs":
            nodes += [source, *(v for _, v in networkx.bfs_edges(graph, source))]
        else:
            nodes += networkx.dfs_preorder_nodes(graph, source)
    return torch.tensor(nodes, dtype=torch.int64)


def mean_cosine_distance(H: Tensor) -> Tensor:
    """The mean of ``1 - cos(h_i, h_j)`` over all pairs of rows of H (N, F), from 0 (all in one direction) to 2.

    Rows of zeros have distance 0 from each other, and 1 from all others. With fewer than two rows the mean is 0.
    """
    N = len(H)
    if N < 2:
        return H.new_zeros(())
    H = H.double()
    largest = H.abs().amax(dim=1, keepdim=True)
    is_zero = largest == 0
    directions = H / largest.masked_fill(is_zero, 1)  # the square of a small row could underflow
    directions = functional.normalize(directions, dim=1)
    num_zero = is_zero.sum()
    sum_of_cosines = (directions.sum(dim=0).square().sum() - (N - num_zero)) / 2 + num_zero * (num_zero - 1) / 2
    return (1 - sum_of_cosines / (N * (N - 1) / 2)).clamp(min=0)
