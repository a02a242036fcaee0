"""How many updates a message needs from one node of a graph to another (question 3.2 of the assignment).

Legend: N nodes, E edges, l updates (layers of equation 14).
"""

import difflib
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx
import torch
from torch import Tensor

from datamodules.graph_files import read_graph
from experiments.figures import new_figure, save_figure
from experiments.tables import Rows, print_table, write_table
from models.networks.gcn import GraphConvolution, adjacency_matrix, normalize_adjacency
from training.errors import UserError

EXAMPLE = "python cli.py hops --config configs/hops/figure2.yaml"

PRINTED_MAX = 20
"""Nodes of a graph whose A-tilde is printed."""

DRAWN_MAX = 60
"""Nodes of a graph that are drawn: of a larger one those nearest to the message's way."""

NODE_NAME_MAX = 12
"""Characters of a node's name in the figure."""

NEVER = -1


def hops(graph: str, source: str | int, target: str | int, output_dir: str) -> None:
    """Show how many updates (equation 14) a message needs from one node of a graph to another.

    It is found twice, and both must agree: by powers of A-tilde (equation 16), whose entry for target and source is
    above 0 from that power on, and by the gradient of the target's activation after l layers with respect to the
    source's input, which is not 0 from that layer on. Prints A-tilde, where the graph is small, and both numbers;
    writes hops.csv, the updates after which each node has heard from the source and the nodes of the message's way,
    hops.png, its figure, and A_tilde.csv, where it is printed.

    Args:
        graph: figure2, karate, cora, citeseer, or the path of an edge list or a GraphML file.
        source: name of the node that the message comes from.
        target: name of the node that it is for.
        output_dir: where to write.
    """
    source, target = str(source), str(target)
    read = read_graph(graph)
    names = [str(node) for node in read]
    read = networkx.relabel_nodes(read, str)
    places = {name: k for k, name in enumerate(names)}
    for key, name in (("source", source), ("target", target)):
        if name not in places:
            near = difflib.get_close_matches(name, names, n=3) or names[:3]
            raise UserError(f"{key} is {name!r}, and {graph} has no such node; it has {', '.join(near)} and others")
    edges = torch.tensor([(places[str(u)], places[str(v)]) for u, v in read.edges]).t()
    A = adjacency_matrix(edges, len(names))
    A_tilde = table_of(A, names) if len(names) <= PRINTED_MAX else []
    if A_tilde:
        print_table(A_tilde)
    else:
        num = len(A.values()) + len(names)
        print(f"A-tilde has {len(names):,} x {len(names):,} entries, {num:,} of them 1.")
    heard = updates_by_powers(A, places[source])
    by_powers = int(heard[places[target]])
    by_gradient = updates_by_gradient(A, places[source], places[target])
    if by_powers != by_gradient:
        raise AssertionError(f"by powers of A-tilde {by_powers} updates, by the gradient {by_gradient}")
    print(f"Updates until {target} has heard from {source}: {said(by_powers)} by powers of A-tilde,")
    print(f"{said(by_gradient)} by the gradient of its activation with respect to the input of {source}.")
    way = networkx.shortest_path(read, source, target) if by_powers != NEVER else []
    if len(way) > 1:
        print(f"A way of the message: {' - '.join(way)}")
    folder = Path(output_dir)
    updates = dict(zip(names, heard.tolist(), strict=True))
    place = {node: k for k, node in enumerate(way)}
    rows = [
        {"node": name, "updates": "never" if num == NEVER else num, "place_on_the_way": place.get(name, "")}
        for name, num in updates.items()
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(rows, folder / "hops.csv")
        if A_tilde:
            write_table(A_tilde, folder / "A_tilde.csv")
        draw(read, updates, way, source, target, folder / "hops.png")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another with --output_dir") from error
    print(f"The figure is {folder / 'hops.png'}; hops.csv lies beside it.")


def said(updates: int) -> str:
    return "never" if updates == NEVER else str(updates)


def table_of(A: Tensor, names: list[str]) -> Rows:
    """A-tilde = A + I_N (equation 16), a row for each node."""
    A_tilde = (A.to_dense() + torch.eye(len(names))).int().tolist()
    return [{"A-tilde": name} | dict(zip(names, row, strict=True)) for name, row in zip(names, A_tilde, strict=True)]


def updates_by_powers(A: Tensor, source: int) -> Tensor:
    """For each node i the smallest l with ``(A~^l)_{i, source} > 0``, (N,) int64; ``NEVER`` where there is none.

    Of the powers only the source's column is needed, and of that only which entries are above 0, so that no power is
    too large a number.
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

    The layers are equation 14 with one feature and positive weights and inputs, so that no ReLU is closed and no two
    ways cancel each other. Their backward passes follow each other; as it only matters which entries of the gradient
    are 0, the others are set to 1 in between: of a thousand layers they might be too small a number.
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
        if num_reached == reached:  # another layer hears from no other node
            return NEVER
        reached = num_reached
        H = torch.ones(len(A), 1, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(layer(A_hat, H).relu(), H, gradient)
        gradient = (gradient > 0).double()
        num_layers += 1
    return num_layers


def draw(graph: networkx.Graph, updates: dict[str, int], way: list[str], source: str, target: str, path: Path) -> None:
    """The nodes in the colour of the update with which they hear from the source, the message's way drawn bold."""
    shown = graph.subgraph(nearest(graph, way or [source, target]))
    positions: Any = side_by_side(shown)
    figure, axes = new_figure(1, 1, 7, 5.5)
    last = max(1, *(updates[node] for node in shown))
    networkx.draw_networkx_edges(shown, positions, ax=axes, edge_color="#bbbbbb")
    networkx.draw_networkx_edges(
        shown,
        positions,
        ax=axes,
        edgelist=[edge for edge in pairwise(way) if shown.has_edge(*edge)],
        width=3.5,
        edge_color="#d55e00",
    )
    size = 420 if len(shown) <= PRINTED_MAX else 200
    heard = [node for node in shown if updates[node] != NEVER]
    ends = ["#d55e00" if node in (source, target) else "#444444" for node in heard]
    nodes = networkx.draw_networkx_nodes(
        shown,
        positions,
        heard,
        ax=axes,
        node_color=[updates[node] for node in heard],
        cmap="viridis_r",
        vmin=0,
        vmax=last,
        node_size=size,
        edgecolors=ends,
        linewidths=[0.5 if end == "#444444" else 2.5 for end in ends],
    )
    others = [node for node in shown if updates[node] == NEVER]
    if others:
        ends = ["#d55e00" if node == target else "#444444" for node in others]
        networkx.draw_networkx_nodes(
            shown, positions, others, ax=axes, node_color="#dddddd", node_size=size, edgecolors=ends
        )
    for node, (x, y) in positions.items():
        dark = updates[node] > last / 2
        axes.text(
            x,
            y,
            shortened(node, NODE_NAME_MAX),
            ha="center",
            va="center",
            fontsize=9 if size > 200 else 6,
            color="white" if dark else "black",
            parse_math=False,  # a dollar is a dollar
        )
    source, target_name = shortened(source), shortened(target)
    ticks = range(last + 1) if last <= PRINTED_MAX else None
    bar = figure.colorbar(nodes, ax=axes, ticks=ticks, shrink=0.7)
    bar.set_label(f"updates until a node has heard from {source}", parse_math=False)
    left_out = len(graph) - len(shown)
    title = f"From {source} to {target_name}: {said(updates[target])}"
    title += "" if updates[target] == NEVER else " update" if updates[target] == 1 else " updates"
    title += f"; {left_out:,} of {len(graph):,} nodes are left out" if left_out else ""
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.axis("off")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name's letters that the font lacks are boxes
        save_figure(figure, path)


def shortened(name: str, length: int = 30) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def side_by_side(graph: networkx.Graph) -> dict[str, tuple[float, float]]:
    """Where to draw each node: as far from the others as it has steps to them, and parts without a way between them
    beside each other, the largest first."""
    positions: dict[str, tuple[float, float]] = {}
    left = 0.0
    for part in sorted(networkx.connected_components(graph), key=len, reverse=True):
        radius = len(part) ** 0.5
        places = networkx.kamada_kawai_layout(graph.subgraph(part), scale=radius)
        positions |= {node: (left + radius + x, y) for node, (x, y) in places.items()}
        left += 2 * radius + 1
    return positions


def nearest(graph: networkx.Graph, way: list[str]) -> list[str]:
    """The nodes of the way, of a long one its two ends, and, nearest first, others around it: as many as are drawn."""
    half = DRAWN_MAX // 2
    found = dict.fromkeys(way if len(way) <= DRAWN_MAX else way[:half] + way[-half:])
    for node in networkx.multi_source_dijkstra_path_length(graph, set(way), weight=None):
        if len(found) >= DRAWN_MAX:
            break
        found[node] = None
    if len(graph) <= DRAWN_MAX:
        found |= dict.fromkeys(graph)
    return list(found)
