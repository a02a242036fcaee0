"""Graphs out of files: edge lists and GraphML, read by networkx or as networkx would."""

import logging
from pathlib import Path
from xml.etree.ElementTree import ParseError

import networkx

from datamodules.text_file import read_string

log = logging.getLogger(__name__)


def read_graph_file(path: Path) -> networkx.Graph:
    """An undirected graph from a GraphML file (``.graphml``), or from a text file with an edge a line.

    An edge's line has the names of its two ends, with a comma or blanks between them; what follows ``#`` is left out.
    An edge given twice is one edge. Self-connections are left out, which is said: equation 16 gives every node one.

    Raises:
        ValueError: there is no such file, it cannot be read, its edges have directions or weights, or it has no edge.
    """
    if not path.is_file():
        raise ValueError(f"graph is {str(path)!r}: there is no such file; give an edge list or a GraphML file")
    graph = read_graphml(path) if path.suffix.lower() == ".graphml" else read_edge_list(path)
    loops = list(networkx.selfloop_edges(graph))
    if loops:
        graph.remove_edges_from(loops)
        log.info(
            "%s: %d self-connection%s, such as that of %s, left out: equation 16 gives every node one.",
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
        if len(names) == 3 and is_number(names[2]):
            raise ValueError(
                f"{path}, line {number}: the edge has a weight, {names[2]}; weights are not used here: leave them out"
            )
        if len(names) == 3 and names[2] == "{}":  # networkx writes it so where there is nothing to say
            names.pop()
        if len(names) != 2 or not all(names):
            raise ValueError(
                f"{path}, line {number} is {line.strip()[:60]!r}; expected the names of an edge's two ends, "
                "a comma or blanks between them"
            )
        graph.add_edge(*names)
    return graph


def read_graphml(path: Path) -> networkx.Graph:
    try:
        graph = networkx.read_graphml(path)
    except (ParseError, networkx.NetworkXError, LookupError, ValueError, UnicodeError) as error:
        raise ValueError(f"{path} is no GraphML: {error or type(error).__name__}; give another file") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}; give another file") from error
    if graph.is_directed():
        raise ValueError(f'{path} is a directed graph; give an undirected one (edgedefault="undirected")')
    weighted = [(u, v, weight) for u, v, weight in graph.edges(data="weight") if weight not in (None, 1)]
    if weighted:
        u, v, weight = weighted[0]
        raise ValueError(f"{path}: the edge {u} {v} has weight {weight}; weights are not used here: leave them out")
    return networkx.Graph(graph)


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
