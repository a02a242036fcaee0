"""Known graphs, and graphs from files: edge lists and GraphML."""

import logging
from pathlib import Path
from xml.etree.ElementTree import ParseError

import networkx

from datamodules.planetoid import NAMES as PLANETOID
from datamodules.planetoid import read_planetoid
from datamodules.text_file import existing, read_string

log = logging.getLogger(__name__)

FIGURE_2 = ("A-B", "A-E", "A-F", "B-C", "B-D", "C-D", "D-F", "E-F")
"""The edges of the graph in Figure 2 of the assignment."""

NAMED = ("figure2", "karate", *PLANETOID)
"""Known graphs."""

NAME_MAX = 200
"""Characters of a name shown in a message."""

HEADERS = ({"source", "target"}, {"from", "to"})
"""Names of the columns in tables of edges."""


def read_graph(graph: str) -> networkx.Graph:
    """A known graph, or the graph of a file, without features and classes; its nodes are strings.

    Args:
        graph: ``figure2``, ``karate``, ``cora``, ``citeseer``, or the path of an edge list or a GraphML file.
    Raises:
        ValueError: the graph does not exist; see ``read_graph_file`` and ``read_planetoid``.
    """
    if graph == "figure2":
        figure_2 = networkx.Graph()
        figure_2.add_nodes_from("ABCDEF")
        figure_2.add_edges_from(edge.split("-") for edge in FIGURE_2)
        return figure_2
    if graph == "karate":
        return networkx.relabel_nodes(networkx.karate_club_graph(), str)
    if graph in PLANETOID:
        data = read_planetoid(graph)
        citations = networkx.Graph()
        citations.add_nodes_from(map(str, range(data.num_nodes)))
        citations.add_edges_from((str(u), str(v)) for u, v in data.edge_index.t().tolist() if u != v)
        return citations
    if (path := existing(graph)) is None:
        graph = graph if len(graph) <= NAME_MAX else f"{graph[:NAME_MAX]}..."
        raise ValueError(
            f"graph is {graph!r}: there is no such file; give an edge list or a GraphML file, or one of "
            f"{', '.join(NAMED)}"
        )
    return read_graph_file(path)


def read_graph_file(path: Path) -> networkx.Graph:
    """An undirected graph from a GraphML file (``.graphml``), or from a text file with one edge per line.

    A line has the names of the two ends of an edge, separated by a comma or blanks. Text after ``#`` is ignored. An
    edge that occurs twice is one edge. A weight of 1 is allowed. Self-connections are removed with a log message:
    equation 16 gives one to every node.

    Raises:
        ValueError: the file does not exist or cannot be read, its edges are directed or weighted, or it has no edge.
    """
    if not path.is_file():
        problem = "it is not a file" if path.exists() else "there is no such file"
        raise ValueError(f"graph is {str(path)!r}: {problem}; give an edge list or a GraphML file")
    graph = read_graphml(path) if path.suffix.lower() == ".graphml" else read_edge_list(path)
    loops = list(networkx.selfloop_edges(graph))
    if loops:
        graph.remove_edges_from(loops)
        log.info(
            "%s: %d self-connection%s, such as that of %s, removed: equation 16 gives one to every node.",
            path,
            len(loops),
            "" if len(loops) == 1 else "s",
            loops[0][0],
        )
    if graph.number_of_edges() == 0:
        raise ValueError(f"{path} has no edge between two nodes; give another file")
    return graph


def read_edge_list(path: Path) -> networkx.Graph:
    graph = networkx.Graph()
    for number, line in enumerate(read_string(path).splitlines(), start=1):
        content = line.partition("#")[0]
        names = [name.strip() for name in content.split(",")] if "," in content else content.split()
        if not names:
            continue
        weight = number_of(names[2]) if len(names) == 3 else None
        if weight not in (None, 1):
            raise ValueError(
                f"{path}, line {number}: the edge has weight {names[2]}; weights are not supported, so remove them"
            )
        if weight == 1 or names[2:] == ["{}"]:  # networkx writes {} for an edge without attributes
            names.pop()
        if len(names) != 2 or not all(names):
            raise ValueError(
                f"{path}, line {number} is {line.strip()[:60]!r}; expected the names of the two ends of an edge, "
                "separated by a comma or blanks"
            )
        if graph.number_of_edges() == 0:
            first = number, names
        graph.add_edge(*names)
    if graph.number_of_edges() > 1:
        number, names = first
        if {name.lower() for name in names} in HEADERS and all(graph.degree(name) == 1 for name in names):
            raise ValueError(f"{path}, line {number} has names of columns, {' and '.join(names)}; remove it")
    return graph


def read_graphml(path: Path) -> networkx.Graph:
    try:
        reader = networkx.readwrite.graphml.GraphMLReader(node_type=node_name)
        graphs = list(reader(path=path))
    except (ParseError, networkx.NetworkXError, LookupError, ValueError, UnicodeError) as error:
        raise ValueError(f"{path} is not GraphML: {error or type(error).__name__}; give another file") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give another file") from error
    if len(graphs) != 1:
        raise ValueError(f"{path} is not GraphML of one graph, but has {len(graphs)}; give another file")
    (graph,) = graphs
    if graph.is_directed():
        raise ValueError(f'{path} has a directed graph; give an undirected one (edgedefault="undirected")')
    default = graph.graph.get("edge_default", {}).get("weight")
    weighted = [(u, v, w) for u, v, w in graph.edges(data="weight", default=default) if w not in (None, 1)]
    if weighted:
        u, v, weight = weighted[0]
        raise ValueError(f"{path}: the edge {u} {v} has weight {weight}; weights are not supported, so remove them")
    undirected = networkx.Graph(graph)
    for attributes in undirected.nodes.values():
        for key, value in graph.graph.get("node_default", {}).items():
            attributes.setdefault(key, value)
    return undirected


def node_name(name: str | None) -> str:
    if name is None:
        raise ValueError("a node has no id, or an edge no source or target")
    return name


def number_of(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
