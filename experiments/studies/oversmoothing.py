"""Accuracy and the distance between nodes against the depth of a GCN (question 3.1b of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import label_lines, means_by, new_figure, plot_means, save_figure
from experiments.runs import select
from experiments.tables import Rows, filter_rows, values_of

CONNECTIONS = {"none": "none", "residual": "residual", "initial_residual": "initial residual"}
PANELS = (("test_accuracy", "test accuracy", 1.0), ("test_distance", "mean cosine distance of two nodes", 2.0))
"""The value that each panel shows, its label, and the largest possible value."""


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run."""
    return [select(run, "connection", "num_layers", "seed", "test_accuracy", "test_distance") for run in results]


def draw(rows: Rows, path: Path) -> None:
    """Left accuracy, right the distance between the outputs of two nodes: means over seeds with 95 % intervals."""
    figure, panels = new_figure(1, 2, 11, 4.2)
    depths = values_of(rows, "num_layers")
    for axes, (name, label, highest) in zip(panels, PANELS, strict=True):
        axes.set(xscale="log", xlabel="layers, L", ylabel=label)
        for k, (connection, title) in enumerate(CONNECTIONS.items()):
            points = means_by(filter_rows(rows, connection=connection), "num_layers", name)
            plot_means(axes, title, points, k, (0.0, highest), marker="o")
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.xaxis.minorticks_off()
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]) if name == "test_accuracy" else None)
        label_lines(axes)
    figure.suptitle(
        "A GCN with an increasing number of layers, for each connection between them", x=0.01, ha="left", fontsize=11
    )
    save_figure(figure, path)
