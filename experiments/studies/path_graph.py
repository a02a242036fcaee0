"""Palindromes as path graphs: GCNs of several depths and an RNN (question 3.4a of the assignment)."""

from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.plotting import COLOURS, heat_map, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, filter_rows, values_of
from models.tables import percent


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run; ``num_layers`` is 0 for a recurrent network, which has no limit of reach."""
    return [
        {"network": run.get("model.network") or "gcn", "num_layers": int(run.get("model.num_layers") or 0)}
        | select(run, "length", "seed", "test_accuracy")
        for run in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """A heat map of mean accuracy: a row for each network, a column for each length.

    For each GCN a line separates the lengths at which the first digit is within reach of its layers from longer ones.
    """
    networks = sorted({(row["network"], row["num_layers"]) for row in rows}, reverse=True)
    lengths = values_of(rows, "length")
    figure, axes = new_figure(1, 1, 1.6 + 0.75 * len(lengths), 1.0 + 0.45 * len(networks))
    lines = {label_of(*key): filter_rows(rows, network=key[0], num_layers=key[1]) for key in networks}
    heat_map(axes, lines, lengths, lambda accuracies: percent(fmean(accuracies), 1))
    for y, (network, num_layers) in enumerate(networks):
        if network == "gcn":
            end = sum(num_layers >= length - 2 for length in lengths) - 0.5
            axes.plot([end] * 2, [y - 0.5, y + 0.5], color=COLOURS[1], linewidth=3, clip_on=False)
    axes.set_xlim(-0.5, len(lengths) - 0.5)
    axes.tick_params(length=0)
    axes.set_title("Mean test accuracy. Right of the line: fewer than T - 2 layers", loc="left", fontsize=9)
    save_figure(figure, path)


def label_of(network: str, num_layers: int) -> str:
    """The label of a row of the figure."""
    if network != "gcn":
        return network.upper()
    return f"GCN, {num_layers} layer{'s' if num_layers > 1 else ''}"
