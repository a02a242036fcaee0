"""Accuracy and speed of the handwritten GCN, relative to torch-geometric's ``GCNConv``.

- accuracy: ``fit`` with ``configs/gcn_cora.yaml`` and ``configs/gcn_citeseer.yaml`` (public split), with our layers and
  with ``GCNConv`` in their place, everything else the same, weights at the start included. Then
  ``configs/gcn_karate.yaml``. Means over seeds with 95 % intervals, and the difference between the two.
- speed: an epoch (one step on the whole graph: forward, backward, Adam), without validation, in turns in one process.
  Theirs is torch-geometric's own example (16 hidden units, dropout 0.5, learning rate 0.01, weight decay 0.0005 of the
  first layer, ``cached=True``, dense features); ours has the sparse features that the data module serves.
- size: time and peak memory of training steps on random graphs with 10,000 to 1,000,000 edges, 10 for each node,
  16 features; each in a new process, memory above that before the graph was made.

    python -m benchmarks.gcn [accuracy] [speed] [size] [--seeds 20] [--graph cora]
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.rounds import in_new_process, mean_seconds, take_turns, with_peak_bytes
from datamodules import GraphDataModule
from experiments.plotting import mean_and_interval
from models import NodeClassifier
from models.networks import GCN
from models.networks.gcn import GraphConvolution, adjacency_matrix, normalize_adjacency

PUBLISHED = {"cora": 81.5, "citeseer": 70.3, "karate": None}
"""Test accuracy in per cent (Kipf and Welling 2017, table 2), the mean of 100 runs."""
MODELS = {"ours": (), "GCNConv": ("--model=benchmarks.gcn.GCNConvClassifier",)}
SECONDS_PER_TURN = 0.5


class TheirLayer(nn.Module):
    """``GCNConv`` in the place of one of our layers, with its initial weights and without bias.

    In the place of A-hat it takes the edges in both directions.
    """

    def __init__(self, ours: GraphConvolution) -> None:
        from torch_geometric.nn import GCNConv

        super().__init__()
        with torch.random.fork_rng():  # its own weights are replaced, and later random numbers must stay the same
            self.conv: Any = GCNConv(*ours.W.shape, cached=True, bias=False)
        with torch.no_grad():
            self.W.copy_(ours.W.t())

    @property
    def W(self) -> Tensor:
        return self.conv.lin.weight

    def forward(self, edge_index: Tensor, H: Tensor) -> Tensor:
        return self.conv(H.to_dense(), edge_index)


def with_their_layers(network: GCN) -> GCN:
    """The same network with torch-geometric's layers."""
    for k, layer in enumerate(network.layers):
        network.layers[k] = cast(GraphConvolution, TheirLayer(layer))
    return network


class GCNConvClassifier(NodeClassifier):
    """``NodeClassifier`` with torch-geometric's layers; initial weights and dropout are drawn as for ours."""

    def __init__(self, in_features: int = 1, out_features: int = 2) -> None:
        super().__init__(in_features, out_features)
        with_their_layers(self.network)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        return self.network(both_directions(edges), features)


def both_directions(edges: Tensor) -> Tensor:
    return torch.cat([edges, edges.flip(0)], dim=1)


def accuracy(num_seeds: int, folder: Path | None = None) -> None:
    def rows() -> Iterator[tuple[float | str | None, ...]]:
        for graph, published in PUBLISHED.items():
            ours: list[float] = []
            for network, arguments in MODELS.items() if published else [("ours", ())]:
                per_cent = accuracies(graph, num_seeds, *arguments)
                ours = ours or per_cent
                mean, low, high = mean_and_interval(per_cent)
                extremes = f"{low:.2f} to {high:.2f}", min(per_cent), max(per_cent)
                margin, low, high = mean_and_interval([a - b for a, b in zip(ours, per_cent, strict=True)])
                difference = f"{margin:+.2f} ({low:+.2f} to {high:+.2f})"
                yield graph, network, num_seeds, mean, *extremes, published, difference

    columns = {"network": "", "seeds": "d", "test, %": ".2f", "95 % interval": "", "lowest": ".2f", "highest": ".2f"}
    print_table({"graph": "", **columns, "published": ".1f", "ours minus this": ""}, rows(), folder, "gcn_accuracy")


def accuracies(graph: str, num_seeds: int, *model: str) -> list[float]:
    """Test accuracy in per cent with each seed, from 1 on; ``model`` are arguments of ``fit``."""
    seeds = (f"--seed_everything={seed}" for seed in range(1, num_seeds + 1))
    runs = (prepare_run(f"configs/gcn_{graph}.yaml", seed, *model) for seed in seeds)
    per_cent = [100 * fit(run)["metrics"]["test/accuracy"] for run in runs]
    print(graph, *model, *(f"{value:.1f}" for value in per_cent), file=sys.stderr)
    return per_cent


def training_step(network: GCN, A: Tensor, X: Tensor, nodes: Tensor, target: Tensor) -> Callable[[], None]:
    """An epoch; the weights of the first layer decay."""
    first, *others = [layer.W for layer in network.layers]
    groups: list[dict[str, Any]] = [{"params": [first], "weight_decay": 5e-4}, {"params": others}]
    optimizer = torch.optim.Adam(groups, lr=0.01)
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(A, X)[nodes], target).backward()
        optimizer.step()

    return step


def speed(graph: str, folder: Path | None = None, rounds: int = 15) -> None:
    data = GraphDataModule(graph)
    features, edges, nodes, target = data.batch("train")
    ours, theirs = (GCN(data.num_features, 16, data.num_classes, num_layers=2, dropout=0.5) for _ in range(2))
    A_hat = normalize_adjacency(adjacency_matrix(edges, len(features)))
    steps = {
        "ours": training_step(ours, A_hat, features, nodes, target),
        "GCNConv": training_step(with_their_layers(theirs), both_directions(edges), features.to_dense(), nodes, target),
    }
    seconds = take_turns({name: partial(mean_seconds, step, SECONDS_PER_TURN) for name, step in steps.items()}, rounds)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {name: [a / b for a, b in zip(seconds[name], seconds["GCNConv"], strict=True)] for name in steps}
    rows = (
        (name, 1e3 * median, median / medians["GCNConv"], min(ratios[name]), max(ratios[name]), rounds)
        for name, median in medians.items()
    )
    columns = {"of GCNConv": ".3f", "lowest": ".3f", "highest": ".3f", "rounds": "d"}
    print_table({"network": "", "ms an epoch": ".2f", **columns}, rows, folder, "gcn_speed")


def size(folder: Path | None = None) -> None:
    def row(num_edges: int) -> tuple[float | str, ...]:
        normalize, epoch, num_bytes = in_new_process(measure, num_edges)
        memory = num_bytes / 2**20, num_bytes / num_edges
        return num_edges, 1e3 * normalize, 1e3 * epoch, 1e9 * epoch / num_edges, *memory

    columns = {"A-hat, ms": ".1f", "epoch, ms": ".1f", "ns an edge": ".0f", "peak, MiB": ".0f", "bytes an edge": ",.0f"}
    print_table({"edges": ",d", **columns}, map(row, (10_000, 30_000, 100_000, 300_000, 1_000_000)), folder, "gcn_size")


def measure(num_edges: int, num_features: int = 16, num_classes: int = 7) -> tuple[float, float, int]:
    """Seconds of the normalization and of a training step, and the bytes of peak memory, for a random graph."""
    torch.manual_seed(0)
    GCN(1, 1, 1)(torch.eye(2).to_sparse_csr(), torch.ones(2, 1)).sum().backward()  # loads libraries
    num_nodes = num_edges // 10

    def train() -> tuple[float, float]:
        edges = torch.randint(num_nodes, (2, num_edges))
        edges = edges[:, edges[0] != edges[1]]
        X = torch.randn(num_nodes, num_features)
        target = torch.randint(num_classes, (num_nodes,))
        start = time.perf_counter()
        A_hat = normalize_adjacency(adjacency_matrix(edges, num_nodes))
        normalize = time.perf_counter() - start
        network = GCN(num_features, 16, num_classes, num_layers=2, dropout=0.5)
        step = training_step(network, A_hat, X, torch.arange(num_nodes), target)
        return normalize, statistics.median(mean_seconds(step, SECONDS_PER_TURN) for _ in range(5))

    seconds, num_bytes = with_peak_bytes(train)
    return *seconds, num_bytes


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("what", nargs="*", choices=["accuracy", "speed", "size", []], help="all if none is given")
    parser.add_argument("--seeds", type=at_least(1), default=20, help="seeds of the accuracy, from 1 on")
    parser.add_argument("--graph", default="cora", help="graph of which epochs are timed")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    parts = {
        "speed": lambda: speed(args.graph, args.output_dir),
        "size": lambda: size(args.output_dir),
        "accuracy": lambda: accuracy(args.seeds, args.output_dir),
    }
    for part in args.what or parts:
        parts[part]()


if __name__ == "__main__":
    main()
