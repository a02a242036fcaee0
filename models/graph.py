"""Nodes of a graph are told apart (section 3 of the assignment).

Legend: N nodes, E edges, d features of a node, K classes, n nodes whose class is asked for.
"""

from typing import Any, Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from models.classifier import Classifier, Share, aligned, percent, wilson_interval
from models.networks import GCN, LSTM
from models.networks.gcn import Connection, adjacency_matrix, normalize_adjacency

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
Order = Literal["bfs", "dfs", "random"]


def adam(parameters: Any) -> torch.optim.Optimizer:
    """Adam with a learning rate of 0.01, that of Kipf and Welling (2017)."""
    return torch.optim.Adam(parameters, lr=0.01)


class NodeModel(Classifier):
    """What models of nodes have in common; a subclass gives ``forward`` and ``decayed``.

    Args:
        weight_decay: half of it times the squared norm of the weights that ``decayed`` gives is added to the loss.
        optimizer, lr_scheduler: see ``Classifier``.
    Batch:
        ``(features, edges, nodes, target)``: (N, d) dense or CSR, (2, E) int64 with each undirected edge once, (n,)
        int64, and the classes of these nodes (n,), int64 in [0, K).
    Raises:
        ValueError: ``weight_decay`` is below 0; when training begins, the data is no graph.
    """

    def __init__(
        self, weight_decay: float, optimizer: OptimizerCallable, lr_scheduler: LRSchedulerCallable | None
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        if not 0 <= weight_decay < float("inf"):
            raise ValueError(f"weight_decay is {weight_decay}; it must be at least 0 and finite")
        self.weight_decay = weight_decay
        self.test_results: dict[str, Any] = {}

    def setup(self, stage: str) -> None:
        self.check_data("graph", "which is no graph; give it GraphDataModule")
        if (precision := self.trainer.precision) in ("bf16-true", "16-true"):
            raise ValueError(
                f"trainer.precision is {precision}, in which torch has no sparse products; take bf16-mixed"
            )

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        """Logits of all nodes, (N, K)."""
        raise NotImplementedError

    def decayed(self) -> Tensor:
        """The weights that are kept small."""
        raise NotImplementedError

    def logits_and_target(self, batch: Batch) -> tuple[Tensor, Tensor]:
        features, edges, nodes, target = batch
        return self(features, edges)[nodes], target

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + self.weight_decay / 2 * self.decayed().square().sum() if self.weight_decay else loss

    def on_test_epoch_start(self) -> None:
        self.test_results = {}

    def on_test_epoch_end(self) -> None:
        share = self.held_out_metrics["accuracy"]
        assert isinstance(share, Share)
        if not share.update_called:
            return
        self.test_results["right"], self.test_results["nodes"] = int(share.right), int(share.total)
        self.test_results["loss"] = float(self.held_out_metrics["loss"].compute())
        super().on_test_epoch_end()

    def describe_test(self) -> list[str]:
        """A heading and a line: how many nodes were right, with a 95 % interval."""
        if not self.test_results:
            return []
        right, num = self.test_results["right"], self.test_results["nodes"]
        low, high = wilson_interval(right, num)
        cells = {
            "nodes": f"{num:,}",
            "right": f"{right:,}",
            "test/accuracy": percent(right, num),
            "95 % interval": f"{100 * low:.2f} % to {100 * high:.2f} %",
            "test/loss": f"{self.test_results['loss']:.2g}",
        }
        return aligned([list(cells), list(cells.values())])

    def describe_learning(self) -> str:
        """A sentence: how many nodes are named right."""
        if not self.test_results:
            return ""
        right, num = self.test_results["right"], self.test_results["nodes"]
        num_classes = self.trainer.datamodule.num_classes
        return (
            f"It names the class of {right:,} of {num:,} nodes of which it was not told, among {num_classes} classes."
        )

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """``nodes``, ``target``, the predictions ``preds`` and the probabilities ``probs`` given to them, all (n,)."""
        logits, target = self.logits_and_target(batch)
        probs, preds = logits.softmax(dim=-1).max(dim=-1)
        return {"nodes": batch[2], "target": target, "preds": preds, "probs": probs}

    def describe_predictions(self, predictions: list[dict[str, Tensor]], num_shown: int = 10) -> list[str]:
        """A heading and a line for each of the first nodes: its name, its class, the prediction."""
        graph = self.trainer.datamodule.graph
        lines = ["node, its class, the prediction and its probability"]
        if predictions:
            keys = ("nodes", "target", "preds", "probs")
            rows = zip(*(torch.cat([p[key] for p in predictions])[:num_shown].tolist() for key in keys), strict=True)
            for node, target, pred, prob in rows:
                words = f"{graph.names[node]} {graph.class_names[target]} {graph.class_names[pred]} {prob:.3f}"
                lines.append(words if pred == target else f"{words}  wrong")
        return lines


class NodeClassifier(NodeModel):
    """A GCN that names the classes of nodes from a few that are told (Kipf and Welling 2017, section 3.1).

    The loss is the cross-entropy, the mean over the labelled nodes. Beside loss and accuracy, the test measures
    ``distance``, how different the outcomes H^(L) of all nodes are: the mean of the cosine distance over pairs of nodes
    (MAD; Chen et al. 2020, "Measuring and relieving the over-smoothing problem"), 0 where all are alike.

    Args:
        in_features: features of a node, d; the CLI links it to the data's.
        out_features: classes, K; the CLI links it to the data's.
        hidden_size: features of a node between two layers.
        num_layers: graph convolutions, L.
        dropout: probability with which each entry of a layer's input is zero in training.
        weight_decay: half of it times the squared norm of the first layer's W is added to the loss.
        connection: ``none``, ``residual`` or ``initial_residual``, from layer to layer; see ``GCN``.
        optimizer: makes the optimizer from the parameters.
        lr_scheduler: makes the learning rate schedule from the optimizer; it is stepped at every optimizer step.
    Batch:
        ``(features, edges, nodes, target)``; see ``NodeModel``.
    Raises:
        ValueError: an argument is out of its range; when training begins, the data is no graph.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 2,
        hidden_size: int = 16,
        num_layers: int = 2,
        dropout: float = 0.5,
        weight_decay: float = 5e-4,
        connection: Connection = "none",
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weight_decay, optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        self.network = GCN(in_features, hidden_size, out_features, num_layers, dropout, connection)
        self._A_hat: tuple[Tensor, Tensor] | None = None  # the edges that it is of, and itself

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        return self.network(self.A_hat(features, edges), features)

    def decayed(self) -> Tensor:
        return self.network.layers[0].W

    def A_hat(self, features: Tensor, edges: Tensor) -> Tensor:
        """Equation 15 of the graph with these edges, (N, N) CSR; worked out once."""
        if self._A_hat is None or self._A_hat[0] is not edges or self._A_hat[1].dtype != features.dtype:
            self._A_hat = (edges, normalize_adjacency(adjacency_matrix(edges, len(features)).to(features.dtype)))
        return self._A_hat[1]

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        super().test_step(batch, batch_idx, dataloader_idx)
        self.test_results["distance"] = mean_cosine_distance(self(*batch[:2])).item()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if self.test_results:
            self.log("test/distance", self.test_results["distance"])


class NodeSequenceClassifier(NodeModel):
    """The handwritten LSTM where ``NodeClassifier`` has a GCN: it reads the nodes one after the other, without edges.

    It names the class of each node after reading it, and knows of the graph what the order tells.

    Args:
        in_features, out_features: as for ``NodeClassifier``.
        hidden_size: hidden units, H.
        order: in which the nodes are read. ``bfs`` or ``dfs``: breadth or depth first, from the node with most edges of
            each component, larger components first. ``random``: the graph is not looked at.
        dropout: probability with which each feature of a node is zero in training.
        weight_decay: half of it times the squared norm of W_x is added to the loss.
        optimizer, lr_scheduler: see ``NodeClassifier``.
    Batch:
        ``(features, edges, nodes, target)``; see ``NodeModel``.
    Raises:
        ValueError: an argument is out of its range; when training begins, the data is no graph.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 2,
        hidden_size: int = 64,
        order: Order = "bfs",
        dropout: float = 0.8,
        weight_decay: float = 5e-4,
        optimizer: OptimizerCallable = adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(weight_decay, optimizer, lr_scheduler)
        self.save_hyperparameters(ignore=["optimizer", "lr_scheduler"], logger=False)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it must be from 0 up to, not including, 1")
        self.order: Order = order
        self.dropout = dropout
        # It begins by looking at each node by itself. From the LSTM's own start, whose memory reaches over twenty
        # nodes, it learns the few labels by heart.
        self.network = LSTM(
            in_features, hidden_size, out_features, input_scale=0.1, recurrent_scale=0.1, forget_bias=-2.0
        )
        self._order: tuple[Tensor, Tensor] | None = None  # the edges that it is of, and itself

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        order = self.reading_order(edges, len(features))
        dense = features if features.layout == torch.strided else features.to_dense()
        logits, _ = self.network(functional.dropout(dense, self.dropout, self.training)[order].unsqueeze(0))
        return torch.empty_like(logits[0]).index_copy(0, order, logits[0])

    def decayed(self) -> nn.Parameter:
        return self.network.W_x

    def reading_order(self, edges: Tensor, num_nodes: int) -> Tensor:
        """The nodes in the order in which they are read, (N,) int64; worked out once."""
        if self._order is None or self._order[0] is not edges:
            self._order = (edges, traversal(edges, num_nodes, self.order).to(edges.device))
        return self._order[1]


def traversal(edges: Tensor, num_nodes: int, order: Order) -> Tensor:
    """All nodes of a graph, each once, breadth first, depth first or in a fixed random order.

    Args:
        edges: (2, E) int64, each undirected edge once.
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
    """The mean of ``1 - cos(h_i, h_j)`` over all pairs of rows of H (N, d), from 0, where all point one way, to 2.

    Rows of zeros are alike, and at a distance of 1 from all others. Of fewer than two rows it is 0.
    """
    N = len(H)
    if N < 2:
        return H.new_zeros(())
    H = H.double()
    largest = H.abs().amax(dim=1, keepdim=True)
    is_zero = largest == 0
    directions = H / largest.masked_fill(is_zero, 1)  # its square might be too small a number
    directions = functional.normalize(directions, dim=1)
    num_zero = is_zero.sum()
    sum_of_cosines = (directions.sum(dim=0).square().sum() - (N - num_zero)) / 2 + num_zero * (num_zero - 1) / 2
    return (1 - sum_of_cosines / (N * (N - 1) / 2)).clamp(min=0)
