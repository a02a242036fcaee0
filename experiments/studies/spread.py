"""GCN, LSTM and both together on signals that spread over graphs (question 3.4b of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, mark_values, mean_and_interval, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, column, filter_rows

NETWORKS = {"gcn_lstm": "GCN and LSTM", "gcn": "GCN alone", "lstm": "LSTM alone"}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run: its results on the test split, and the best possible results there."""
    losses, accuracies = ("test_loss", "test_best_possible_loss"), ("test_accuracy", "test_best_possible_accuracy")
    return [select(run, "network", "seed", *losses, *accuracies, "test_recall") for run in results]


def draw(rows: Rows, path: Path) -> None:
    """Loss and accuracy of each network: all seeds, the mean with its 95 % interval, and the best possible value."""
    figure, panels = new_figure(2, 1, PAGE_WIDTH, 3.6)
    networks = [name for name in NETWORKS if filter_rows(rows, network=name)]
    for axes, metric, label, side in zip(
        panels, ("loss", "accuracy"), ("test loss (nats)", "test accuracy"), (1, -1), strict=True
    ):
        best = mean_and_interval([row[f"test_best_possible_{metric}"] for row in rows])[0]
        axes.axvline(best, color="#888888", linewidth=0.8, linestyle=":")
        for y, network in enumerate(networks):
            values = column(filter_rows(rows, network=network), f"test_{metric}")
            mark_values(axes, y, values, COLOURS[list(NETWORKS).index(network)], side, ".4f")
        axes.set_xlabel(f"{label} (dotted: the best possible, {best:.4f})")
        axes.set_yticks(range(len(networks)), [NETWORKS[name] for name in networks])
        axes.set_ylim(len(networks) - 0.4, -0.5)
        low_x, high_x = axes.get_xlim()
        room = 0.5 * (high_x - low_x)
        axes.set_xlim(*((0, high_x + room) if side > 0 else (low_x - room, high_x)))
    save_figure(figure, path)
