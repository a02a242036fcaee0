"""Palindromes as path graphs: GCNs of several depths and an RNN (question 3.4a of the assignment)."""

from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, heat_map, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, filter_rows, values_of
from models.tables import percent


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run; ``num_layers`` is 0 for a recurrent network, which has no limit of reach.

    The network ``gcn_directed`` has edges in one direction only.
    """
    return [
        {"network": network_of(run), "num_layers": int(run.get("model.num_layers") or 0)}
        | select(run, "length", "seed", "test_accuracy")
        for run in results
    ]


def network_of(run: dict[str, Any]) -> str:
    gcn = "gcn_directed" if run.get("model.directed", "").lower() == "true" else "gcn"
    return run.get("model.network") or gcn


def draw(rows: Rows, path: Path) -> None:
    """A heat map of mean accuracy: a row for each network, a column for each length.

    A cell has the mean in per cent, and below it each seed's value where they differ. For each GCN a line separates the
    lengths at which the first digit is within reach of its layers from longer ones.
    """
    networks = sorted({(row["network"], row["num_layers"]) for row in rows}, reverse=True)
    lengths = values_of(rows, "length")
    figure, axes = new_figure(1, 1, PAGE_WIDTH, 0.7 + 0.37 * len(networks))
    lines = {label_of(*key): filter_rows(rows, network=key[0], num_layers=key[1]) for key in networks}
    heat_map(axes, lines, lengths, mean_and_seeds, linespacing=1.1)
    for y, (network, num_layers) in enumerate(networks):
        if network.startswith("gcn"):
            end = sum(num_layers >= length - 2 for length in lengths) - 0.5
            axes.plot([end] * 2, [y - 0.5, y + 0.5], color=COLOURS[1], linewidth=3, clip_on=False)
    axes.set_xlim(-0.5, len(lengths) - 0.5)
    axes.tick_params(length=0)
    axes.set_title("Right of the line: fewer than T - 2 layers", loc="left")
    save_figure(figure, path)


def mean_and_seeds(accuracies: list[float]) -> str:
    """The mean in per cent, and in a second line the value of each seed; only the mean where all are alike."""
    seeds = [f"{100 * accuracy:.0f}" for accuracy in accuracies]
    mean = percent(fmean(accuracies), 1).removesuffix(" %")
    return mean if len(set(seeds)) == 1 else f"{mean}\n{' '.join(seeds)}"


def label_of(network: str, num_layers: int) -> str:
    """The label of a row of the figure."""
    if not network.startswith("gcn"):
        return network.upper()
    directed = "directed, " if network == "gcn_directed" else ""
    return f"GCN, {directed}{num_layers} layer{'s' if num_layers > 1 else ''}"
