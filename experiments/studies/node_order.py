"""GCN on a graph against LSTM on its nodes in an order (the reverse case of question 3.4a of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, mark_values, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, column, filter_rows

NETWORKS = {
    "gcn_2": "GCN, 2 layers",
    "gcn_1": "GCN, 1 layer",
    "lstm_dfs": "LSTM, depth first",
    "lstm_bfs": "LSTM, breadth first",
    "lstm_random": "LSTM, random order",
}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run. Runs with an order are those of an LSTM, all others of a GCN.

    Raises:
        LookupError: the runs belong to another study, of path graphs or of connections.
    """
    if any(result.get("data.length") or result.get("model.connection", "none") != "none" for result in results):
        raise LookupError("the runs belong to another study")
    return [
        {"network": f"lstm_{order}" if (order := run.get("model.order")) else f"gcn_{run['model.num_layers']}"}
        | select(run, "seed", "test_accuracy")
        for run in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """The accuracy of each network: all seeds, and the mean with its 95 % interval."""
    known = [name for name in NETWORKS if filter_rows(rows, network=name)]
    networks = [*known, *sorted({row["network"] for row in rows} - set(known))]
    figure, axes = new_figure(1, 1, PAGE_WIDTH, 0.6 + 0.4 * len(networks))
    for y, network in enumerate(networks):
        values = column(filter_rows(rows, network=network), "test_accuracy")
        side = 1 if sum(values) < len(values) / 2 else -1  # where there is room
        mark_values(axes, y, values, COLOURS[0 if network.startswith("gcn") else 1], side, ".3f")
    axes.set(xlabel="test accuracy", xlim=(0, 1), ylim=(len(networks) - 0.4, -0.5))
    axes.set_yticks(range(len(networks)), [NETWORKS.get(name, name) for name in networks])
    save_figure(figure, path)
