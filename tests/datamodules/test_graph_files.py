"""Edge lists and GraphML, right and wrong."""

import logging
from pathlib import Path

import networkx
import pytest

from datamodules.graph_files import read_graph_file


def edges_of(path: Path) -> set[frozenset[str]]:
    return {frozenset(map(str, edge)) for edge in read_graph_file(path).edges}


@pytest.mark.parametrize(
    "text",
    [
        "a b\nb c\n",
        "# comment\na,b\n\n  b ,c  # more\n",
        "a\tb {}\nb a {}\nc b {}",
        "\ufeffa b\r\nb c\r\n",
    ],
)
def test_edge_lists(text: str, tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_bytes(text.encode())
    assert edges_of(path) == {frozenset("ab"), frozenset("bc")}


def test_self_connections_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("a a\na b\nb b\n")
    with caplog.at_level(logging.INFO):
        assert edges_of(path) == {frozenset("ab")}
    assert "2 self-connections, such as that of a, left out" in caplog.text


def test_graphml_with_parallel_edges_and_weights_of_one(tmp_path: Path) -> None:
    graph = networkx.MultiGraph([("a", "b"), ("a", "b"), ("b", "c")])
    networkx.set_edge_attributes(graph, 1.0, "weight")
    path = tmp_path / "graph.graphml"
    networkx.write_graphml(graph, path)
    assert edges_of(path) == {frozenset("ab"), frozenset("bc")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.txt", b"a b 0.5\n", "line 1: the edge has a weight, 0.5"),
        ("e.txt", b"a b\na b c\n", "line 2 is 'a b c'"),
        ("e.txt", b"a b {'weight': 3}\n", "line 1 is"),
        ("e.txt", b"a\n", "line 1 is 'a'"),
        ("e.txt", b"a,\n", "line 1 is 'a,'"),
        ("e.txt", b"", ""),
        ("e.txt", b"# nothing\n", "has no edge"),
        ("e.txt", b"a a\n", "has no edge"),
        ("e.txt", bytes(range(256)) * 50, ""),
        ("e.graphml", b"", "is no GraphML"),
        ("e.graphml", b"<graphml", "is no GraphML"),
        ("e.graphml", b"<html></html>", "is no GraphML"),
        ("e.graphml", bytes(range(256)), "is no GraphML"),
        ("missing.txt", None, "there is no such file"),
    ],
)
def test_wrong_files_are_one_line(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_graph_file(path)
    assert message in str(caught.value) and "\n" not in str(caught.value) and name in str(caught.value)


def test_directions_and_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    networkx.write_graphml(networkx.DiGraph([("a", "b")]), path)
    with pytest.raises(ValueError, match="is a directed graph; give an undirected one"):
        read_graph_file(path)
    networkx.write_graphml(networkx.Graph([("a", "b", {"weight": 2.5})]), path)
    with pytest.raises(ValueError, match=r"the edge a b has weight 2\.5; weights are not used here"):
        read_graph_file(path)
    alone = networkx.Graph()
    alone.add_nodes_from("ab")
    networkx.write_graphml(alone, path)
    with pytest.raises(ValueError, match="has no edge between two nodes"):
        read_graph_file(path)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such file"):
        read_graph_file(tmp_path)
