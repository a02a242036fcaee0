"""Accuracy and the distance between nodes against the depth of a GCN (question 3.1b of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.figures import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure
from experiments.studies.results import same
from experiments.tables import Rows

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
    """Left the accuracy, right the distance between what comes out for two nodes; means with 95 % intervals."""
    figure, panels = new_figure(1, 2, 11, 4.2)
    depths = sorted({row["num_layers"] for row in rows})
    for axes, name, label in zip(
        panels, ("test_accuracy", "test_distance"), ("test accuracy", "mean cosine distance of two nodes"), strict=True
    ):
        axes.set(xscale="log", xlabel="layers, L", ylabel=label)
        ends = []
        for k, (connection, title) in enumerate(CONNECTIONS.items()):
            own = same(rows, connection=connection)
            points = [
                (depth, *mean_and_interval([row[name] for row in same(own, num_layers=depth)]))
                for depth in depths
                if same(own, num_layers=depth)
            ]
            if points:
                x, mean, low, high = zip(*points, strict=True)
                axes.plot(x, mean, color=COLOURS[k], linestyle=STYLES[k], marker="o", markersize=3)
                limit = 1.0 if name == "test_accuracy" else 2.0  # neither can be outside of 0 and that
                lower, upper = ([min(max(end, 0), limit) for end in side] for side in (low, high))
                axes.fill_between(x, lower, upper, color=COLOURS[k], alpha=0.15, linewidth=0)
                ends.append((title, x[-1], mean[-1], COLOURS[k]))
        axes.set_xticks(depths, [str(depth) for depth in depths])
        axes.xaxis.minorticks_off()
        axes.set_ylim(0, max(1.0, axes.get_ylim()[1]) if name == "test_accuracy" else None)
        label_lines(axes, ends)
    figure.suptitle("A GCN with more and more layers, by the connection between them", x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
