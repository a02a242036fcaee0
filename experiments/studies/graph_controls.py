"""The GCN beside models without the graph or without a hidden layer (questions 3.1 and 3.4a of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, mark_values, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, column, filter_rows, values_of

NETWORKS = {"gcn": "GCN, 2 layers", "sgc": "SGC, 2 steps", "mlp": "MLP, no edges"}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run; one without ``model.network`` is a GCN's.

    Raises:
        LookupError: the runs belong to another study: of other depths, of connections, or of LSTMs.
    """
    for run in results:
        if run["model.num_layers"] != "2" or run.get("model.connection", "none") != "none":
            raise LookupError("the runs belong to another study")
    return [
        {"network": run.get("model.network") or "gcn"} | select(run, "graph", "seed", "test_accuracy")
        for run in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """A panel for each graph: the accuracy of each seed as a stroke, and the mean with its 95 % interval."""
    networks = [name for name in NETWORKS if filter_rows(rows, network=name)]
    graphs = values_of(rows, "graph")
    height = 0.7 + 0.35 * len(networks)
    figure, grid = new_figure(len(graphs), 1, PAGE_WIDTH, height * len(graphs), sharex=True, squeeze=False)
    for axes, graph in zip(grid[:, 0], graphs, strict=True):
        for y, network in enumerate(networks):
            if values := column(filter_rows(rows, graph=graph, network=network), "test_accuracy"):
                mark_values(axes, y, values, COLOURS[list(NETWORKS).index(network)], -1, ".3f")
        axes.set(xlim=(0, 1), ylim=(len(networks) - 0.4, -0.5))
        axes.set_title(graph.capitalize(), loc="left")
        axes.set_yticks(range(len(networks)), [NETWORKS[name] for name in networks])
    grid[-1, 0].set_xlabel("test accuracy")
    save_figure(figure, path)
