"""Palindromes as path graphs: GCNs of several depths and an RNN (question 3.4a of the assignment)."""

from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib import colormaps
from matplotlib.patches import Rectangle

from experiments.plotting import COLOURS, new_figure, save_figure
from experiments.tables import Rows, filter_rows, values_of
from models.tables import percent


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run; ``num_layers`` is 0 for a recurrent network, which has no limit of reach."""
    return [
        {
            "network": result.get("model.network") or "gcn",
            "num_layers": int(result.get("model.num_layers") or 0),
            "length": int(result["data.length"]),
            "seed": int(result["seed_everything"]),
            "test_accuracy": float(result["test/accuracy"]),
        }
        for result in results
    ]


def draw(rows: Rows, path: Path) -> None:
    """A heat map of mean accuracy: a row for each network, a column for each length.

    For each GCN a line separates the lengths at which the first digit is within reach of its layers from longer ones.
    """
    networks = sorted({(row["network"], row["num_layers"]) for row in rows}, reverse=True)
    lengths = values_of(rows, "length")
    figure, axes = new_figure(1, 1, 1.6 + 0.75 * len(lengths), 1.0 + 0.45 * len(networks))
    for y, (network, num_layers) in enumerate(networks):
        for x, length in enumerate(lengths):
            cell = filter_rows(rows, network=network, num_layers=num_layers, length=length)
            if cell:
                accuracy = mean(row["test_accuracy"] for row in cell)
                axes.add_patch(Rectangle((x, y), 1, 1, color=colormaps["cividis"](accuracy), linewidth=0))
                text_colour = "black" if accuracy > 0.5 else "white"
                axes.text(x + 0.5, y + 0.5, percent(accuracy, 1), ha="center", va="center", color=text_colour)
        if network == "gcn":
            num_within_reach = sum(num_layers >= length - 2 for length in lengths)
            axes.plot([num_within_reach] * 2, [y, y + 1], color=COLOURS[1], linewidth=3, clip_on=False)
    axes.set(xlabel="length of the palindromes, T", xlim=(0, len(lengths)), ylim=(0, len(networks)))
    axes.set_xticks([x + 0.5 for x in range(len(lengths))], lengths)
    axes.set_yticks([y + 0.5 for y in range(len(networks))], [label_of(*network) for network in networks])
    axes.tick_params(length=0)
    axes.set_title("Mean test accuracy. Right of the line: fewer than T - 2 layers", loc="left", fontsize=9)
    save_figure(figure, path)


def label_of(network: str, num_layers: int) -> str:
    """The label of a row of the figure."""
    if network != "gcn":
        return network.upper()
    return f"GCN, {num_layers} layer{'s' if num_layers > 1 else ''}"
