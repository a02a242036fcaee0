"""Models of nodes: what they compute, how they are trained and tested."""

import csv
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
import yaml
from torch.nn import functional

import cli
from datamodules import GraphDataModule, PalindromeDataModule
from models import NodeClassifier, NodeSequenceClassifier, PalindromeClassifier, TextModel
from models.graph import mean_cosine_distance, traversal
from models.networks.gcn import adjacency_matrix, normalize_adjacency
from tests.models.test_classifier import QUIET
from training.trainer import Trainer


@pytest.fixture
def communities(tmp_path: Path) -> Path:
    """Three groups of 20 nodes with many edges inside and few between."""
    graph = networkx.planted_partition_graph(3, 20, 0.5, 0.02, seed=1)
    for node in graph:
        graph.nodes[node]["class"] = f"group {graph.nodes[node].pop('block')}"
    graph.graph.clear()
    path = tmp_path / "communities.graphml"
    networkx.write_graphml(graph, path)
    return path


def fit(data: Any, *args: str, root: Path) -> dict[str, Any]:
    """The metrics of a run of ``fit`` on a graph."""
    config = root / "graph.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": {"class_path": "models.NodeClassifier"},
                "data": {"class_path": "datamodules.GraphDataModule", "init_args": data},
                "trainer": {"max_steps": 60, "val_check_interval": 5, "log_every_n_steps": 10},
            }
        )
    )
    assert cli.main(["fit", "--config", str(config), f"--trainer.default_root_dir={root / 'runs'}", *args]) == 0
    metrics: dict[str, Any] = json.loads(
        sorted((root / "runs" / "graph").glob("version_*/summary.json"))[-1].read_text()
    )["metrics"]
    return metrics


@pytest.mark.parametrize("model", ["NodeClassifier", "NodeSequenceClassifier"])
def test_communities_are_learned_by_fit(
    model: str, communities: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"graph": str(communities), "train_per_class": 4, "num_val": 12}
    metrics = fit(data, f"--model=models.{model}", root=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    heading = next(k for k, line in enumerate(lines) if "test/accuracy" in line)
    assert lines[heading + 1].split()[0] == "36"
    if model == "NodeClassifier":
        assert metrics["test/accuracy"] >= 0.9 and 0.3 < metrics["test/distance"] < 1.2
    else:
        assert "test/accuracy" in metrics and metrics["train/loss"] < 1.0


def test_a_resumed_run_equals_one_that_was_not_stopped(communities: Path, tmp_path: Path) -> None:
    data = {"graph": str(communities), "train_per_class": 4, "num_val": 12}
    logged: list[set[tuple[str, str, str]]] = []
    for name, stops in (("whole", [40]), ("parts", [13, 40])):
        root = tmp_path / name
        root.mkdir()
        for k, stop in enumerate(stops):
            fit(data, f"--trainer.max_steps={stop}", *(["--ckpt_path=last"] if k else []), root=root)
        with (root / "runs" / "graph" / "version_0" / "metrics.csv").open() as file:
            columns = ("train/loss", "train/accuracy", "val/loss")
            logged.append({(row["step"], c, row[c]) for row in csv.DictReader(file) for c in columns if row[c]})
    assert len(logged[0]) == 4 + 4 + 8
    assert logged[1] - logged[0] == {(step, c, value) for step, c, value in logged[1] if step == "12"}  # its last
    assert logged[0] <= logged[1]


def test_learning_and_predictions_are_shown(
    communities: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"graph": str(communities), "train_per_class": 4, "num_val": 12}
    fit(data, root=tmp_path)
    table, learned = capsys.readouterr().out.splitlines()[-4:-2]
    num, right = table.split()[:2]
    assert learned == f"The model predicts the class of {right} of {num} held-out nodes, among 3 classes."
    args = ["--config", str(tmp_path / "graph.yaml"), f"--trainer.default_root_dir={tmp_path / 'runs'}"]
    assert cli.main(["predict", *args]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("node, its class") and len(lines) == 11
    assert all(line.split()[1:3] in (["group", str(k)] for k in range(3)) for line in lines[1:])


def karate_batch() -> tuple[torch.Tensor, ...]:
    return GraphDataModule("karate").batch("train")


def test_the_network_is_equation_14_twice() -> None:
    features, edges, nodes, target = karate_batch()
    model = NodeClassifier(34, 4, dropout=0.5).eval()
    adj_norm = normalize_adjacency(adjacency_matrix(edges, 34).to_dense())
    W_0, W_1 = (layer.W for layer in model.network.layers)
    expected = adj_norm @ (adj_norm @ features.to_dense() @ W_0).relu() @ W_1
    logits, same_target = model.logits_and_target((features, edges, nodes, target))
    assert torch.allclose(logits, expected[nodes], atol=1e-6) and same_target is target


@pytest.mark.parametrize("cls", [NodeClassifier, NodeSequenceClassifier])
def test_the_loss_includes_weight_decay_and_the_logged_loss_does_not(cls: Any) -> None:
    batch = karate_batch()
    model = cls(34, 4, dropout=0.0, weight_decay=0.1)
    W = model.network.layers[0].W if cls is NodeClassifier else model.network.W_x
    logits, target = model.logits_and_target(batch)
    plain = functional.cross_entropy(logits, target)
    assert model.training_step(batch, 0).item() == pytest.approx((plain + 0.05 * W.square().sum()).item(), rel=1e-5)
    assert model.step_metrics.values["loss"][0].item() == pytest.approx(plain.item(), rel=1e-5)
    model.weight_decay = 0.0
    assert model.training_step(batch, 0).item() == pytest.approx(plain.item(), rel=1e-5)


def test_adj_norm_is_computed_once_for_each_graph() -> None:
    features, edges, _, _ = karate_batch()
    model = NodeClassifier(34, 4)
    first = model.adj_norm(features, edges)
    assert model.adj_norm(features, edges) is first
    fewer = edges[:, 1:]
    assert not torch.equal(model.adj_norm(features, fewer).to_dense(), first.to_dense())
    assert model.adj_norm(features.double(), fewer).dtype == torch.float64


@pytest.mark.parametrize("order", ["bfs", "dfs", "random"])
def test_each_node_is_predicted_after_it_was_read(order: Any) -> None:
    features, edges, _, _ = karate_batch()
    model = NodeSequenceClassifier(34, 4, hidden_size=8, order=order).eval()
    nodes = traversal(edges, 34, order)
    logits = model(features, edges)
    for place in (0, 5, 33):
        alone, _ = model.network(features.to_dense()[nodes[: place + 1]].unsqueeze(0))
        assert torch.allclose(logits[nodes[place]], alone[0, -1], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_orders_are_breadth_and_depth_first(seed: int) -> None:
    graph = networkx.gnm_random_graph(40, 45, seed=seed)  # of several components
    edges = torch.tensor([sorted(edge) for edge in graph.edges]).t()
    sizes = sorted(map(len, networkx.connected_components(graph)), reverse=True)
    assert len(sizes) > 1
    orders = {order: traversal(edges, 40, order).tolist() for order in ("bfs", "dfs", "random")}
    assert all(sorted(order) == list(range(40)) for order in orders.values())
    for name in ("bfs", "dfs"):
        begin = 0
        for size in sizes:
            part = orders[name][begin : begin + size]
            component = networkx.node_connected_component(graph, part[0])
            assert set(part) == component
            assert graph.degree[part[0]] == max(graph.degree[node] for node in component)
            begin += size
    first = orders["bfs"][: sizes[0]]
    hops = [networkx.shortest_path_length(graph, first[0], node) for node in first]
    assert hops == sorted(hops)
    deep = orders["dfs"][: sizes[0]]
    for k, node in enumerate(deep[1:], start=1):  # it hangs on the latest node that has a neighbour not yet read
        parents = [u for u in deep[:k] if set(graph[u]) - set(deep[:k])]
        assert node in graph[parents[-1]]


def test_distance_is_the_mean_over_pairs() -> None:
    H = torch.randn(9, 4)
    pairs = [1 - functional.cosine_similarity(H[i], H[j], dim=0) for i, j in combinations(range(9), 2)]
    assert mean_cosine_distance(H).item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)
    alike = torch.tensor([1.0, 1e-30, 3e5]).unsqueeze(1) * torch.tensor([[1.0, 2.0]])
    assert mean_cosine_distance(alike).item() == pytest.approx(0, abs=1e-9)
    assert mean_cosine_distance(torch.zeros(5, 3)).item() == 0
    assert mean_cosine_distance(torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])).item() == pytest.approx(2 / 3)
    assert mean_cosine_distance(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item() == pytest.approx(2)
    assert mean_cosine_distance(torch.zeros(1, 3)).item() == mean_cosine_distance(torch.zeros(0, 3)).item() == 0


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (NodeClassifier(), PalindromeDataModule(5), "cannot read PalindromeDataModule, which has no graph"),
        (PalindromeClassifier(), GraphDataModule("karate"), "cannot read GraphDataModule, which has no palindromes"),
        (TextModel(), GraphDataModule("karate"), "cannot read GraphDataModule, which has no vocabulary"),
    ],
)
def test_data_of_another_kind_is_refused(model: Any, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Trainer(**(QUIET | {"max_steps": 1})).fit(model, data)


@pytest.mark.parametrize("cls", [NodeClassifier, NodeSequenceClassifier])
def test_precisions(cls: Any) -> None:
    data = GraphDataModule("karate")
    for precision in ("32-true", "64-true"):
        model = cls(34, 4)
        Trainer(**(QUIET | {"max_steps": 2, "limit_val_batches": 0, "precision": precision})).fit(model, data)
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    for precision in ("16-true", "bf16-true"):
        with pytest.raises(ValueError, match=f"precision is {precision}, in which torch has no sparse products"):
            Trainer(**(QUIET | {"max_steps": 2, "limit_val_batches": 0, "precision": precision})).fit(
                cls(34, 4), GraphDataModule("karate")
            )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: NodeClassifier(weight_decay=float("inf")), "weight_decay is inf; it must be at least 0 and finite"),
        (lambda: NodeClassifier(weight_decay=-1.0), "weight_decay is -1.0; it must be at least 0 and finite"),
        (lambda: NodeClassifier(weight_decay=float("nan")), "weight_decay is nan"),
        (lambda: NodeClassifier(num_layers=0), "num_layers is 0"),
        (lambda: NodeSequenceClassifier(dropout=1.0), "dropout is 1.0"),
        (lambda: NodeSequenceClassifier(hidden_size=0), "hidden_size is 0"),
    ],
)
def test_wrong_values_are_named(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()
