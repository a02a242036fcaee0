"""Counts the updates that a message needs from one node of a graph to another (question 3.2 of the assignment).

Legend: N nodes, l updates (layers of equation 14).
"""

import difflib
import warnings
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from torch import Tensor

from datamodules.graph_files import read_graph
from experiments.plotting import new_figure, save_figure
from experiments.tables import Rows, print_table, save
from models.networks.gcn import GraphConvolution, adjacency_matrix, normalize_adjacency
from training.errors import UserError

EXAMPLE = "python cli.py hops --config configs/hops/figure2.yaml"

PRINTED_MAX = 20
"""The most nodes of a graph whose A-tilde is printed."""

DRAWN_MAX = 60
"""The most nodes that are drawn; of a larger graph those nearest to the path of the message."""

NODE_NAME_MAX = 12
"""The most characters of a node's name in the figure."""

NEVER = -1
"""The number of updates for a node that the message cannot reach."""


def hops(graph: str, source: str | int, target: str | int, output_dir: str) -> None:
    """Show how many updates (equation 14) a message needs from one node of a graph to another.

    The number is computed twice. First with powers of A-tilde (equation 16): their entry for target and source becomes
    positive at this power. Then with gradients: the target's activation after l layers has a nonzero gradient with
    respect to the source's input from this l on. Prints both numbers, and A-tilde if the graph is small. Writes
    hops.csv, the number of updates for each node and a shortest path, hops.png, and A_tilde.csv if it is printed.

    Args:
        graph: figure2, karate, cora, citeseer, or the path of an edge list or a GraphML file.
        source: name of the node that sends the message.
        target: name of the node that receives it.
        output_dir: folder for the files.
    """
    source, target = str(source), str(target)
    read = read_graph(graph)
    names = list(read)
    places = {name: k for k, name in enumerate(names)}
    for key, name in (("source", source), ("target", target)):
        if name not in places:
            near = difflib.get_close_matches(name, names, n=3) or names[:3]
            raise UserError(f"{key} is {name!r}, but {graph} has no such node; it has {', '.join(near)} and others")
    edges = torch.tensor([(places[u], places[v]) for u, v in read.edges]).t()
    A = adjacency_matrix(edges, len(names))
    tables: dict[str, Rows] = {}
    if len(names) <= PRINTED_MAX:
        tables["A_tilde"] = table_of(A, names)
        print_table(tables["A_tilde"])
    else:
        num = len(A.values()) + len(names)
        print(f"A-tilde has {len(names):,} x {len(names):,} entries, {num:,} of them 1.")
    counts = updates_by_powers(A, places[source])
    by_powers = int(counts[places[target]])
    by_gradient = updates_by_gradient(A, places[source], places[target])
    if by_powers != by_gradient:
        raise AssertionError(f"by powers of A-tilde {by_powers} updates, by the gradient {by_gradient}")
    print(f"Updates from {source} to {target}: {words(by_powers)} by powers of A-tilde,")
    print(f"{words(by_gradient)} by the gradient of the activation of {target} with respect to the input of {source}.")
    message = networkx.shortest_path(read, source, target) if by_powers != NEVER else []
    if len(message) > 1:
        print(f"A shortest path: {' - '.join(message)}")
    updates = dict(zip(names, counts.tolist(), strict=True))
    place = {node: k for k, node in enumerate(message)}
    tables["hops"] = [
        {"node": name, "updates": words(num), "place_on_the_way": place.get(name, "")} for name, num in updates.items()
    ]
    folder = Path(output_dir)
    save(tables, lambda _, path: draw(read, updates, message, source, target, path), folder, "hops")


def words(updates: int) -> str:
    return "never" if updates == NEVER else str(updates)


def table_of(A: Tensor, names: list[str]) -> Rows:
    """A-tilde = A + I_N (equation 16), a row for each node."""
    A_tilde = (A.to_dense() + torch.eye(len(names))).int().tolist()
    return [{"A-tilde": name} | dict(zip(names, row, strict=True)) for name, row in zip(names, A_tilde, strict=True)]


def updates_by_powers(A: Tensor, source: int) -> Tensor:
    """For each node i the smallest l with ``(A~^l)_{i, source} > 0``, (N,) int64; ``NEVER`` if there is none.

    Only the source's column of the powers is computed. Its positive entries are set to 1, so that nothing overflows.
    """
    updates = torch.full((len(A),), NEVER)
    column = torch.zeros(len(A), 1, dtype=A.dtype)
    column[source] = 1
    num_updates = 0
    while True:
        is_new = (column[:, 0] > 0) & (updates == NEVER)
        if not is_new.any():
            return updates
        updates[is_new] = num_updates
        column = ((A @ column + column) > 0).to(A.dtype)
        num_updates += 1


def updates_by_gradient(A: Tensor, source: int, target: int) -> int:
    """The smallest number of layers after which the target's activation depends on the source's input.

    The layers are equation 14 with one feature. Weights and inputs are positive, so that every ReLU is open and paths
    cannot cancel each other. The backward passes run layer by layer. Positive entries of the gradient are set to 1
    in between, so that nothing underflows in a thousand layers.
    """
    A_hat = normalize_adjacency(A.double())
    layer = GraphConvolution(1, 1).double()
    with torch.no_grad():
        layer.W.fill_(1.0)
    gradient = torch.zeros(len(A), 1, dtype=torch.float64)
    gradient[target] = 1
    reached = 0
    num_layers = 0
    while gradient[source] == 0:
        num_reached = int(gradient.sum())
        if num_reached == reached:  # another layer reaches no new node
            return NEVER
        reached = num_reached
        H = torch.ones(len(A), 1, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(A_hat, H).relu(), H, gradient)
        gradient = (gradient > 0).double()
        num_layers += 1
    return num_layers


def shortest_path_edges(graph: networkx.Graph, source: str, target: str) -> list[tuple[str, str]]:
    """The edges that belong to any shortest path between two nodes; none if there is no path."""
    if source == target or not networkx.has_path(graph, source, target):
        return []
    from_source, to_target = (networkx.single_source_shortest_path_length(graph, node) for node in (source, target))
    length = from_source[target]
    return [
        (a, b)
        for edge in graph.edges
        for a, b in (edge, edge[::-1])
        if a in from_source and b in to_target and from_source[a] + 1 + to_target[b] == length
    ]


def draw(
    graph: networkx.Graph, updates: dict[str, int], message: list[str], source: str, target: str, path: Path
) -> None:
    """The graph: colours show the number of updates for each node, bold edges the path of the message.

    Dashed edges belong to other paths that are as short.
    """
    shown = induced(graph, nearest(graph, message or [source, target]))
    positions: Any = layout(shown)
    figure, axes = new_figure(1, 1, *((3.8, 2.8) if len(shown) <= PRINTED_MAX else (7, 5.5)))
    last = max(1, *(updates[node] for node in shown))
    networkx.draw_networkx_edges(shown, positions, ax=axes, edge_color="#bbbbbb")
    of_message = {frozenset(edge) for edge in pairwise(message)}
    others = [edge for edge in shortest_path_edges(graph, source, target) if frozenset(edge) not in of_message]
    for edges, style in ((list(pairwise(message)), "-"), (others, (0, (2, 2)))):
        drawn = [edge for edge in edges if shown.has_edge(*edge)]
        style_of_edges: Any = style  # networkx's annotation knows no dashes
        networkx.draw_networkx_edges(
            shown, positions, ax=axes, edgelist=drawn, width=3, edge_color="#d55e00", style=style_of_edges
        )
    size = 420 if len(shown) <= PRINTED_MAX else 200
    steps = ListedColormap([colormaps["viridis_r"](number / last) for number in range(last + 1)])
    colours = ScalarMappable(BoundaryNorm([number - 0.5 for number in range(last + 2)], last + 1), steps)
    ends = [node in (source, target) for node in shown]
    networkx.draw_networkx_nodes(
        shown,
        positions,
        ax=axes,
        node_color=[
            "#dddddd" if updates[node] == NEVER else colormaps["viridis_r"](updates[node] / last) for node in shown
        ],
        node_size=size,
        edgecolors=["#d55e00" if is_end else "#444444" for is_end in ends],
        linewidths=[2.5 if is_end else 0.5 for is_end in ends],
    )
    for node, (x, y) in positions.items():
        axes.text(
            x,
            y,
            shortened(node, NODE_NAME_MAX),
            ha="center",
            va="center",
            fontsize=9 if size > 200 else 6,
            color="white" if updates[node] > last / 2 else "black",
            parse_math=False,  # a name with dollars is no formula
        )
    ticks = range(last + 1) if last <= PRINTED_MAX else None
    bar = figure.colorbar(colours, ax=axes, ticks=ticks, shrink=0.7)
    bar.set_label(f"updates from {shortened(source)} to a node", parse_math=False)
    left_out = len(graph) - len(shown)
    title = f"Updates from {shortened(source)} to {shortened(target)}: {words(updates[target])}"
    title += f"; {left_out:,} of {len(graph):,} nodes are not shown" if left_out else ""
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.axis("off")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # letters that the font lacks are drawn as boxes
        save_figure(figure, path)


def shortened(name: str, length: int = 30) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def layout(graph: networkx.Graph) -> dict[str, tuple[float, float]]:
    """The position of each node. Distances are close to the lengths of shortest paths (Kamada and Kawai 1989).

    Components are next to each other, the largest on the left.
    """
    positions: dict[str, tuple[float, float]] = {}
    left = 0.0
    for part in sorted(networkx.connected_components(graph), key=len, reverse=True):
        radius = len(part) ** 0.5
        places = networkx.kamada_kawai_layout(induced(graph, part), scale=radius)
        positions |= {node: (left + radius + x, y) for node, (x, y) in places.items()}
        left += 2 * radius + 1
    return positions


def induced(graph: networkx.Graph, nodes: Collection[str]) -> networkx.Graph:
    """The subgraph of these nodes in the order of ``graph``; that of ``networkx.subgraph`` may change with each run."""
    subgraph = graph.copy()
    subgraph.remove_nodes_from(graph.nodes - set(nodes))
    return subgraph


def nearest(graph: networkx.Graph, message: list[str]) -> list[str]:
    """The nodes to draw: those of the path (of a long one its ends), then those nearest to it."""
    half = DRAWN_MAX // 2
    found = dict.fromkeys(message if len(message) <= DRAWN_MAX else message[:half] + message[-half:])
    for node in networkx.multi_source_dijkstra_path_length(graph, message, weight=None):
        if len(found) >= DRAWN_MAX:
            break
        found[node] = None
    if len(graph) <= DRAWN_MAX:
        found |= dict.fromkeys(graph)
    return list(found)
