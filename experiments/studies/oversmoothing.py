"""Accuracy, distance between nodes and gradients against the depth of a GCN (question 3.1b of the assignment)."""

from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, STYLES, new_figure, save_figure
from experiments.runs import read_metric, select
from experiments.tables import Rows, column, filter_rows, values_of

CONNECTIONS = {"none": "none", "residual": "residual", "initial_residual": "initial residual"}
MARKERS = ("o", "s", "^")
SIDE = 0.06
"""By what share of its depth a connection's points are moved to the side, so that no points hide others."""

PANELS = (
    ("test_accuracy_end", "test accuracy at the end"),
    ("train_accuracy", "training accuracy at the end"),
    ("distance", "mean cosine distance at the end"),
    ("gradient_first_early", "gradient of the first W, steps 1-10"),
)
"""The value that each panel shows, and its label."""


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run, with ``docs.examples.graph_models.TrainingDiagnosis`` among its callbacks.

    ``train_accuracy``, ``test_accuracy_end`` and ``distance`` belong to the weights at the end of training,
    ``test_accuracy`` and ``test_distance`` to the weights of lowest validation loss. Gradients are means over the first
    and the last steps that were logged together, ten of each.
    """
    rows: Rows = []
    for run in results:
        at_the_end = {
            "train_accuracy": run["final/train_accuracy"],
            "test_accuracy_end": run["final/test_accuracy"],
            "distance": run["final/distance"],
        }
        gradients: dict[str, float] = {}
        for layer in ("first", "last"):
            logged = [value for _, value in read_metric(run["folder"], f"train/gradient_{layer}")]
            gradients |= {f"gradient_{layer}_early": logged[0], f"gradient_{layer}_end": logged[-1]}
        of_run = select(run, "connection", "num_layers", "seed", "test_accuracy", "test_distance")
        rows.append(of_run | {name: float(value) for name, value in at_the_end.items()} | gradients)
    return rows


def draw(rows: Rows, path: Path) -> None:
    """A panel for each of ``PANELS``: a point for each seed, and lines through the means."""
    figure, grid = new_figure(2, 2, PAGE_WIDTH, 5.2, sharex=True)
    depths = values_of(rows, "num_layers")
    for axes, (name, label) in zip(grid.flat, PANELS, strict=True):
        axes.set(xscale="log", ylabel=label)
        for k, (connection, title) in enumerate(CONNECTIONS.items()):
            own = filter_rows(rows, connection=connection)
            side, colour = 1 + SIDE * (k - 1), COLOURS[k]
            points = {"color": colour, "marker": MARKERS[k], "markersize": 3.5, "linestyle": "", "alpha": 0.8}
            axes.plot([side * row["num_layers"] for row in own], column(own, name), **points)
            means = {
                depth: fmean(column(filter_rows(own, num_layers=depth), name)) for depth in values_of(own, "num_layers")
            }
            line = {"color": colour, "linestyle": STYLES[k], "linewidth": 1, "label": title}
            axes.plot([side * depth for depth in means], list(means.values()), **line)
        if name.startswith("gradient"):
            smallest = min((row[name] for row in rows if row[name] > 0), default=1.0)
            axes.set_yscale("symlog", linthresh=smallest)  # unlike "log", it shows a zero
        else:
            axes.set_ylim(-0.03, 1.03)
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.xaxis.minorticks_off()
    for axes in grid[-1]:
        axes.set_xlabel("layers, L")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False)
    save_figure(figure, path)
