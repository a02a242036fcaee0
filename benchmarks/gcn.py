"""How good and how fast is the handwritten GCN, beside torch-geometric's ``GCNConv``?

- accuracy: ``configs/gcn_cora.yaml`` and ``configs/gcn_citeseer.yaml`` (public split) with our layers and with
  ``GCNConv`` in their place: the same command, hyper-parameters, weights at the start, dropout and choice of the
  checkpoint; the test set is looked at once in each run. Then ``configs/gcn_karate.yaml``. Means over seeds with 95 %
  intervals, and what the two differ by.
- speed: an epoch (a step on the whole graph: forward, backward, Adam), validation excluded, in turns in one process.
  Theirs as in torch-geometric's own example (16 hidden units, dropout 0.5, learning rate 0.01, weight decay 0.0005 of
  the first layer, ``cached=True``, dense features), ours with the sparse ones that the data module gives it.
- size: time and peak memory of training steps on random graphs with 10,000 to 1,000,000 edges, 10 for each node,
  16 features; each size in a process of its own, memory beyond what that had before the graph.

    python -m benchmarks.gcn [accuracy] [speed] [size] [--seeds 20] [--graph cora]
"""

import argparse
import contextlib
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodules import GraphDataModule
from experiments.plotting import mean_and_interval
from experiments.tables import Rows, print_table
from models import NodeClassifier
from models.networks import GCN
from models.networks.gcn import GraphConvolution, adjacency_matrix, normalize_adjacency
from training.messages import ignore_library_warnings, set_up_messages

HIDDEN_SIZE, DROPOUT, LEARNING_RATE, WEIGHT_DECAY = 16, 0.5, 0.01, 5e-4

PUBLISHED = {"cora": 81.5, "citeseer": 70.3}
"""Test accuracy in per cent (Kipf and Welling 2017, table 2), the mean of 100 runs."""

EDGES_PER_NODE = 10
NUM_EDGES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
NUM_FEATURES, NUM_CLASSES = 16, 7
SECONDS_PER_TURN = 0.5


class TheirLayer(nn.Module):
    """``GCNConv`` in the place of a layer of ours, with its weights at the start; in the place of A-hat, it takes the
    edges in both directions. No bias, as ours has none."""

    def __init__(self, ours: GraphConvolution) -> None:
        from torch_geometric.nn import GCNConv

        super().__init__()
        with torch.random.fork_rng():  # the weights that it draws are not kept: what is drawn later stays the same
            self.conv: Any = GCNConv(*ours.W.shape, cached=True, bias=False)
        with torch.no_grad():
            self.W.copy_(ours.W.t())

    @property
    def W(self) -> Tensor:
        weights: Tensor = self.conv.lin.weight
        return weights

    def forward(self, edge_index: Tensor, H: Tensor) -> Tensor:
        H_next: Tensor = self.conv(H.to_dense(), edge_index)
        return H_next


def with_their_layers(network: GCN) -> GCN:
    """The same network with torch-geometric's layers."""
    for k, layer in enumerate(network.layers):
        network.layers[k] = cast(GraphConvolution, TheirLayer(layer))
    return network


class GCNConvClassifier(NodeClassifier):
    """``NodeClassifier`` with torch-geometric's layers; weights at the start and dropout are drawn as for ours."""

    def __init__(self, in_features: int = 1, out_features: int = 2) -> None:
        super().__init__(in_features, out_features)
        with_their_layers(self.network)

    def forward(self, features: Tensor, edges: Tensor) -> Tensor:
        logits: Tensor = self.network(both_directions(edges), features)
        return logits


def both_directions(edges: Tensor) -> Tensor:
    return torch.cat([edges, edges.flip(0)], dim=1)


def accuracy(num_seeds: int) -> None:
    rows: Rows = []
    for graph in ("cora", "citeseer", "karate"):
        runs = {"ours": accuracies_of(graph, num_seeds, [])}
        if graph in PUBLISHED:
            runs["GCNConv"] = accuracies_of(graph, num_seeds, ["--model=benchmarks.gcn.GCNConvClassifier"])
        for network, per_cent in runs.items():
            mean, low, high = mean_and_interval(per_cent)
            differences = [a - b for a, b in zip(runs["ours"], per_cent, strict=True)]
            difference, *ends = mean_and_interval(differences)
            is_theirs = network == "GCNConv"
            rows.append(
                {
                    "graph": graph,
                    "network": network,
                    "seeds": num_seeds,
                    "test accuracy": f"{mean:.2f} %",
                    "95 % interval": f"{low:.2f} to {high:.2f} %",
                    "lowest": f"{min(per_cent):.2f} %",
                    "highest": f"{max(per_cent):.2f} %",
                    "ours beyond it": f"{difference:+.2f} ({ends[0]:+.2f} to {ends[1]:+.2f})" if is_theirs else "",
                    "published": f"{PUBLISHED[graph]} %" if graph in PUBLISHED else "",
                }
            )
    print_table(rows)


def accuracies_of(graph: str, num_seeds: int, model: list[str]) -> list[float]:
    """On the test set, in per cent, for each seed from 1 on."""
    per_cent = [100 * accuracy_of(graph, seed, model) for seed in range(1, num_seeds + 1)]
    print(graph, *model, *(f"{value:.1f}" for value in per_cent), file=sys.stderr)
    return per_cent


def accuracy_of(graph: str, seed: int, model: list[str]) -> float:
    """The share of the test set that a run of ``fit`` names right."""
    from training.launch import prepare

    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        args = [f"--config=configs/gcn_{graph}.yaml", *model, f"--seed_everything={seed}"]
        trainer = [f"--trainer.default_root_dir={root}", "--trainer.enable_progress_bar=false"]
        prepare(["fit", *args, *trainer]).fit()
        (summary,) = Path(root).rglob("summary.json")
        share: float = json.loads(summary.read_text())["metrics"]["test/accuracy"]
    return share


def epoch(network: nn.Module, first: Tensor, A: Tensor, X: Tensor, nodes: Tensor, target: Tensor) -> Callable[[], None]:
    """A step of training; ``first`` are the weights that decay."""
    others = [weights for weights in network.parameters() if weights is not first]
    groups: list[dict[str, Any]] = [{"params": [first], "weight_decay": WEIGHT_DECAY}, {"params": others}]
    optimizer = torch.optim.Adam(groups, LEARNING_RATE)
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(A, X)[nodes], target).backward()
        optimizer.step()

    return step


def speed(graph: str, rounds: int = 15) -> None:
    data = GraphDataModule(graph)
    features, edges, nodes, target = data.batch("train")
    ours = GCN(data.num_features, HIDDEN_SIZE, data.num_classes, 2, DROPOUT)
    theirs = with_their_layers(GCN(data.num_features, HIDDEN_SIZE, data.num_classes, 2, DROPOUT))
    A_hat = normalize_adjacency(adjacency_matrix(edges, len(features)))
    steps = {
        "ours": epoch(ours, ours.layers[0].W, A_hat, features, nodes, target),
        "GCNConv": epoch(theirs, theirs.layers[0].W, both_directions(edges), features.to_dense(), nodes, target),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()  # the turn before it left the caches to the other
            seconds[name].append(timed(step))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = [a / b for a, b in zip(seconds["ours"], seconds["GCNConv"], strict=True)]
    print_table(
        [{"network": name, "ms an epoch": 1e3 * m, "of GCNConv": m / medians["GCNConv"]} for name, m in medians.items()]
    )
    print(f"the ratio lay between {min(ratios):.3f} and {max(ratios):.3f} in {rounds} rounds")


def timed(step: Callable[[], None]) -> float:
    """Seconds of a step, the mean over a turn."""
    num, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS_PER_TURN:
        step()
        num += 1
    return (time.perf_counter() - start) / num


def size() -> None:
    """Each size in a process of its own."""
    rows: Rows = []
    for num_edges in NUM_EDGES:
        result = measured(num_edges)
        rows.append(
            {
                "edges": f"{num_edges:,}",
                "A-hat, ms": 1e3 * result["normalize"],
                "epoch, ms": 1e3 * result["epoch"],
                "ns an edge": 1e9 * result["epoch"] / num_edges,
                "peak, MiB": result["peak_bytes"] / 2**20,
                "bytes an edge": result["peak_bytes"] / num_edges,
            }
        )
    print_table(rows)


def measured(num_edges: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.gcn", "--measure", str(num_edges)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(num_edges: int) -> dict[str, Any]:
    """Seconds of the normalization and of a step, and the peak memory, of a random graph."""
    torch.manual_seed(0)
    GCN(1, 1, 1)(torch.eye(2).to_sparse_csr(), torch.ones(2, 1)).sum().backward()  # what libraries load by and by
    num_nodes = num_edges // EDGES_PER_NODE
    before = reset_peak()
    edges = torch.randint(num_nodes, (2, num_edges))
    edges = edges[:, edges[0] != edges[1]]
    X = torch.randn(num_nodes, NUM_FEATURES)
    target = torch.randint(NUM_CLASSES, (num_nodes,))
    start = time.perf_counter()
    A_hat = normalize_adjacency(adjacency_matrix(edges, num_nodes))
    normalized = time.perf_counter() - start
    network = GCN(NUM_FEATURES, HIDDEN_SIZE, NUM_CLASSES, 2, DROPOUT)
    step = epoch(network, network.layers[0].W, A_hat, X, torch.arange(num_nodes), target)
    step()
    seconds = statistics.median(timed(step) for _ in range(5))
    return {"normalize": normalized, "epoch": seconds, "peak_bytes": memory("VmHWM") - before}


def reset_peak() -> int:
    """Begin anew to note the peak memory; returns the bytes in use. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory("VmRSS")


def memory(name: str) -> int:
    """Bytes that Linux notes of this process under that name."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["accuracy", "speed", "size", []], help="all by default")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--graph", default="cora", help="whose epochs are timed (default: %(default)s)")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds is {arguments.seeds}; it must be at least 1")
    ignore_library_warnings()
    set_up_messages()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    what = arguments.what or ["accuracy", "speed", "size"]
    if "speed" in what:
        speed(arguments.graph)
    if "size" in what:
        size()
    if "accuracy" in what:
        accuracy(arguments.seeds)


if __name__ == "__main__":
    main()
