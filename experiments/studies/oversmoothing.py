"""Accuracy and the distance between nodes against the depth of a GCN (question 3.1b of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, plot_means, save_figure
from experiments.tables import Rows, column, filter_rows, values_of

CONNECTIONS = {"none": "none", "residual": "residual", "initial_residual": "initial residual"}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run."""
    return [
        {
            "connection": result["model.connection"],
            "num_layers": int(result["model.num_layers"]),
            "seed": int(result["seed_everything"]),
            "test_accuracy": float(result["test/accuracy"]),
            "test_distance": float(result["test/distance"]),
        }
        for result in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """Left accuracy, right the distance between the outputs of two nodes: means over seeds with 95 % intervals."""
    figure, panels = new_figure(1, 2, 11, 4.2)
    depths = values_of(rows, "num_layers")
    for axes, name, label in zip(
        panels, ("test_accuracy", "test_distance"), ("test accuracy", "mean cosine distance of two nodes"), strict=True
    ):
        axes.set(xscale="log", xlabel="layers, L", ylabel=label)
        ends = []
        for k, (connection, title) in enumerate(CONNECTIONS.items()):
            points = {}
            for depth in depths:
                if cell := filter_rows(rows, connection=connection, num_layers=depth):
                    points[depth] = mean_and_interval(column(cell, name))
            if points:
                limits = (0.0, 1.0 if name == "test_accuracy" else 2.0)
                style = {"linestyle": STYLES[k], "marker": "o"}
                ends.append(plot_means(axes, title, points, COLOURS[k], limits, **style))
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.xaxis.minorticks_off()
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]) if name == "test_accuracy" else None)
        label_lines(axes, ends)
    figure.suptitle(
        "A GCN with an increasing number of layers, for each connection between them", x=0.01, ha="left", fontsize=11
    )
    save_figure(figure, path)
