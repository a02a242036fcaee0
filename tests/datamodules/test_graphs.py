"""Graphs with classes, and the splits of their nodes."""

from itertools import chain
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch

from datamodules import GraphDataModule
from datamodules.graph_files import read_graph

NUM_NODES = 24


@pytest.fixture
def graphml(tmp_path: Path) -> Path:
    """Two rings of twelve nodes with an edge between them; the class of a node is its ring, the last node has none."""
    graph = networkx.disjoint_union(networkx.cycle_graph(12), networkx.cycle_graph(12))
    graph.add_edge(0, 12)
    for node in range(NUM_NODES - 1):
        graph.nodes[node]["class"] = "left" if node < 12 else "right"
        graph.nodes[node]["parity"] = node % 2
    path = tmp_path / "rings.graphml"
    networkx.write_graphml(networkx.relabel_nodes(graph, lambda node: f"n{node}"), path)
    return path


def splits(data: GraphDataModule) -> dict[str, list[int]]:
    return {split: nodes.tolist() for split, nodes in data.nodes.items()}


def test_figure_2_has_the_edges_of_the_assignment() -> None:
    graph = read_graph("figure2")
    assert {"".join(sorted(edge)) for edge in graph.edges} == {"AB", "AE", "AF", "BC", "BD", "CD", "DF", "EF"}


def test_the_karate_clubs_classes_are_four_communities_and_one_of_each_is_labelled() -> None:
    data = GraphDataModule("karate")
    club = networkx.karate_club_graph()
    communities = [(data.graph.classes == k).nonzero().flatten().tolist() for k in range(4)]
    assert networkx.community.modularity(club, communities, weight=None) == pytest.approx(0.4198, abs=5e-5)
    assert sorted(data.graph.classes[data.nodes["train"]].tolist()) == [0, 1, 2, 3]
    assert len(data.nodes["val"]) == 0 and list(data.val_dataloader()) == [] and len(data.val_dataloader()) == 0
    assert sorted(data.nodes["train"].tolist() + data.nodes["test"].tolist()) == list(range(34))
    assert {tuple(sorted(edge)) for edge in club.edges} == set(map(tuple, data.graph.edges.t().tolist()))
    for node, k in zip(data.nodes["train"].tolist(), data.graph.classes[data.nodes["train"]].tolist(), strict=True):
        assert club.degree[node] == max(club.degree[member] for member in communities[k])


def test_classes_are_read_from_graphml(graphml: Path) -> None:
    data = GraphDataModule(str(graphml), train_per_class=2, num_val=5)
    assert data.graph.class_names == ["left", "right"]
    assert data.graph.classes.tolist() == [0] * 12 + [1] * 11 + [-1]
    assert data.graph.names == [f"n{node}" for node in range(NUM_NODES)]
    assert data.features.to_dense().equal(torch.eye(NUM_NODES))
    assert sorted(data.graph.classes[data.nodes["train"]].tolist()) == [0, 0, 1, 1]
    parts = splits(data)
    assert len(parts["val"]) == 5
    assert sorted(chain(*parts.values())) == list(range(NUM_NODES - 1))  # each once, and not the one without a class
    other = GraphDataModule(str(graphml), class_attribute="parity", train_per_class=1)
    assert other.graph.class_names == ["0", "1"] and other.graph.classes[:4].tolist() == [0, 1, 0, 1]


def test_the_split_depends_on_the_seed_alone(graphml: Path) -> None:
    torch.manual_seed(1)
    first = splits(GraphDataModule(str(graphml), train_per_class=3, seed=5))
    torch.manual_seed(2)
    assert splits(GraphDataModule(str(graphml), train_per_class=3, seed=5)) == first
    drawn = [splits(GraphDataModule(str(graphml), train_per_class=3, seed=seed))["train"] for seed in range(30)]
    assert len(set(map(tuple, drawn))) > 20
    assert set(chain(*drawn)) == set(range(NUM_NODES - 1))  # every node of a class is drawn at times


def test_a_batch_is_the_whole_graph_and_the_nodes_of_the_split(graphml: Path) -> None:
    data = GraphDataModule(str(graphml), train_per_class=2, num_val=5)
    for split, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
        ("test", data.predict_dataloader()),
    ):
        features, edges, nodes, target = next(iter(loader))
        assert features is data.features and edges is data.graph.edges
        assert nodes.equal(data.nodes[split]) and target.equal(data.graph.classes[nodes])


def test_the_graph_is_moved_to_a_device_once(graphml: Path) -> None:
    data = GraphDataModule(str(graphml), train_per_class=2, num_val=5)
    first, second = (
        data.transfer_batch_to_device(data.batch(split), torch.device("meta"), 0) for split in ("train", "val")
    )
    assert all(tensor.is_meta for tensor in (*first, *second))
    assert first[0] is second[0] and first[1] is second[1]
    back = data.transfer_batch_to_device(data.batch("train"), torch.device("cpu"), 0)
    assert not back[0].is_meta


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"graph": "nowhere.graphml"}, r"'nowhere\.graphml': there is no such file; .* one of figure2, karate, cora"),
        ({"graph": "figure2"}, "no node has the attribute 'class'"),
        ({"class_attribute": "colour"}, "no node has the attribute 'colour'"),
        ({"train_per_class": 12}, "train_per_class is 12, but the class right has 11 nodes"),
        ({}, "train_per_class is 20, but the class left has 12 nodes"),
        ({"train_per_class": 0}, "train_per_class is 0; it must be at least 1"),
        ({"num_val": -1}, "num_val is -1; it must be at least 0"),
        ({"train_per_class": 2, "num_val": 19}, "num_val is 19 and train_per_class 2: that leaves none of 23 nodes"),
        ({"seed": -1}, "seed is -1"),
        ({"graph": "karate", "num_val": 3}, "num_val is 3, but the split of karate is published"),
    ],
)
def test_wrong_values_are_rejected(graphml: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GraphDataModule(**({"graph": str(graphml)} | arguments))


def test_one_class_is_rejected(graphml: Path) -> None:
    graph = networkx.path_graph(3)
    networkx.set_node_attributes(graph, "a", "class")
    networkx.write_graphml(graph, graphml)
    with pytest.raises(ValueError, match="all its nodes have one class"):
        GraphDataModule(str(graphml), train_per_class=1)


def test_a_checkpoint_of_another_graph_is_rejected(graphml: Path) -> None:
    state = GraphDataModule(str(graphml), train_per_class=2).state_dict()
    GraphDataModule(str(graphml), train_per_class=2).load_state_dict(state)
    graph = networkx.read_graphml(graphml)
    graph.remove_edge("n0", "n12")
    networkx.write_graphml(graph, graphml)
    with pytest.raises(ValueError, match="not the graph that the checkpoint was trained on"):
        GraphDataModule(str(graphml), train_per_class=2).load_state_dict(state)


@pytest.mark.parametrize("changed", [{"seed": 2}, {"train_per_class": 3}])
def test_nodes_that_were_trained_on_are_not_tested(changed: dict[str, Any], tmp_path: Path) -> None:
    graph = networkx.gnp_random_graph(40, 0.2, seed=1)
    networkx.set_node_attributes(graph, {node: str(node % 2) for node in graph}, "class")
    networkx.write_graphml(graph, tmp_path / "own.graphml")
    arguments = {"graph": str(tmp_path / "own.graphml"), "train_per_class": 5, "num_val": 4, "seed": 1}
    trained = GraphDataModule(**arguments).state_dict()
    GraphDataModule(**arguments).load_state_dict(trained)
    with pytest.raises(ValueError, match="seed_everything, train_per_class and num_val"):
        GraphDataModule(**{**arguments, **changed}).load_state_dict(trained)


def test_a_checkpoint_with_the_removed_option_loads_only_if_it_normalized(graphml: Path) -> None:
    data = GraphDataModule(str(graphml), train_per_class=2)
    data.load_state_dict(data.state_dict() | {"normalize_features": True})
    with pytest.raises(ValueError, match="normalize_features false"):
        data.load_state_dict(data.state_dict() | {"normalize_features": False})
