"""Edge lists and GraphML are read; wrong files are rejected."""

import logging
from pathlib import Path

import networkx
import pytest

from datamodules.graph_files import read_graph_file

GRAPHML = b"""<graphml xmlns="http://graphml.graphdrawing.org/xmlns">"""
ONE = b"""<graph edgedefault="undirected"><node id="a"/><node id="b"/><edge source="a" target="b"/></graph>"""
WEIGHTS = b"""<key id="w" for="edge" attr.name="weight" attr.type="double"><default>2.5</default></key>"""


def edges_of(path: Path) -> set[frozenset[str]]:
    return {frozenset(map(str, edge)) for edge in read_graph_file(path).edges}


@pytest.mark.parametrize(
    "text",
    [
        "a b\nb c\n",
        "# comment\na,b\n\n  b ,c  # more\n",
        "a\tb {}\nb a {}\nc b {}",
        "\ufeffa b\r\nb c\r\n",
        "a,b,1\nb,c,1.0\n",
    ],
)
def test_edge_lists(text: str, tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    path.write_bytes(text.encode())
    assert edges_of(path) == {frozenset("ab"), frozenset("bc")}


def test_self_connections_are_removed_with_a_message(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "edges.txt"
    path.write_text("a a\na b\nb b\n")
    with caplog.at_level(logging.INFO):
        assert edges_of(path) == {frozenset("ab")}
    assert "2 self-connections, such as that of a, removed" in caplog.text


def test_graphml_with_parallel_edges_and_weights_of_one(tmp_path: Path) -> None:
    graph = networkx.MultiGraph([("a", "b"), ("a", "b"), ("b", "c")])
    networkx.set_edge_attributes(graph, 1.0, "weight")
    path = tmp_path / "graph.graphml"
    networkx.write_graphml(graph, path)
    assert edges_of(path) == {frozenset("ab"), frozenset("bc")}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.txt", b"a b 0.5\n", "line 1: the edge has weight 0.5"),
        ("e.txt", b"a b\na b c\n", "line 2 is 'a b c'"),
        ("e.txt", b"a b {'weight': 3}\n", "line 1 is"),
        ("e.txt", b"a\n", "line 1 is 'a'"),
        ("e.txt", b"# of a table\nSource,Target\na,b\n", "line 2 has names of columns, Source and Target"),
        ("e.graphml", GRAPHML + ONE + ONE + b"</graphml>", "but has 2"),
        ("e.graphml", GRAPHML + ONE.replace(b'<node id="b"/>', b"<node/>") + b"</graphml>", "a node has no id"),
        ("e.graphml", GRAPHML + ONE.replace(b'target="b"', b"") + b"</graphml>", "no source or target"),
        ("e.graphml", GRAPHML + WEIGHTS + ONE + b"</graphml>", "the edge a b has weight 2.5"),
        ("e.txt", b"a,\n", "line 1 is 'a,'"),
        ("e.txt", b"", ""),
        ("e.txt", b"# nothing\n", "has no edge"),
        ("e.txt", b"a a\n", "has no edge"),
        ("e.txt", bytes(range(256)) * 50, ""),
        ("e.graphml", b"", "is not GraphML"),
        ("e.graphml", b"<graphml", "is not GraphML"),
        ("e.graphml", b"<html></html>", "is not GraphML"),
        ("e.graphml", bytes(range(256)), "is not GraphML"),
        ("missing.txt", None, "there is no such file"),
    ],
)
def test_wrong_files_end_in_one_line(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_graph_file(path)
    assert message in str(caught.value) and "\n" not in str(caught.value) and name in str(caught.value)


def test_directions_and_weights_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    networkx.write_graphml(networkx.DiGraph([("a", "b")]), path)
    with pytest.raises(ValueError, match="has a directed graph; give an undirected one"):
        read_graph_file(path)
    networkx.write_graphml(networkx.Graph([("a", "b", {"weight": 2.5})]), path)
    with pytest.raises(ValueError, match=r"the edge a b has weight 2\.5; weights are not supported"):
        read_graph_file(path)
    alone = networkx.Graph()
    alone.add_nodes_from("ab")
    networkx.write_graphml(alone, path)
    with pytest.raises(ValueError, match="has no edge between two nodes"):
        read_graph_file(path)


def test_a_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="it is not a file"):
        read_graph_file(tmp_path)


def test_nodes_may_have_the_names_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "flow.txt"
    path.write_text("source target\nsource a\n")
    assert edges_of(path) == {frozenset(("source", "target")), frozenset(("source", "a"))}


def test_nodes_have_default_attributes(tmp_path: Path) -> None:
    path = tmp_path / "graph.graphml"
    key = b'<key id="k" for="node" attr.name="class" attr.type="string"><default>x</default></key>'
    other = ONE.replace(b'<node id="b"/>', b'<node id="b"><data key="k">y</data></node>')
    path.write_bytes(GRAPHML + key + other + b"</graphml>")
    assert networkx.get_node_attributes(read_graph_file(path), "class") == {"a": "x", "b": "y"}
