"""What a graph's edges tell beyond an order of its nodes (the reverse case of question 3.4a of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.figures import COLOURS, mark_values, new_figure, save_figure
from experiments.studies.results import same
from experiments.tables import Rows

NETWORKS = {
    "gcn_2": "GCN, 2 layers",
    "gcn_1": "GCN, 1 layer",
    "lstm_dfs": "LSTM, depth first",
    "lstm_bfs": "LSTM, breadth first",
    "lstm_random": "LSTM, random order",
}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run: an LSTM's where it has an order, otherwise a GCN's.

    Raises:
        LookupError: the runs are of another study, on paths or on connections.
    """
    if any(result.get("data.length") or result.get("model.connection", "none") != "none" for result in results):
        raise LookupError("runs of another study")
    return [
        {
            "network": f"lstm_{order}" if (order := result.get("model.order")) else f"gcn_{result['model.num_layers']}",
            "seed": int(result["seed_everything"]),
            "test_accuracy": float(result["test/accuracy"]),
        }
        for result in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """The accuracy of each network: every seed, and the mean with its 95 % interval."""
    known = [name for name in NETWORKS if same(rows, network=name)]
    networks = [*known, *sorted({row["network"] for row in rows} - set(known))]
    figure, axes = new_figure(1, 1, 7.5, 0.6 + 0.45 * len(networks))
    for y, network in enumerate(networks):
        values = [row["test_accuracy"] for row in same(rows, network=network)]
        side = 1 if sum(values) < len(values) / 2 else -1  # where there is room
        mark_values(axes, y, values, COLOURS[0 if network.startswith("gcn") else 1], side, ".3f")
    axes.set(xlabel="test accuracy", xlim=(0, 1), ylim=(len(networks) - 0.4, -0.5))
    axes.set_yticks(range(len(networks)), [NETWORKS.get(name, name) for name in networks])
    save_figure(figure, path)
