"""Palindromes as path graphs: a GCN of so many layers beside the RNN (question 3.4a of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.figures import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure
from experiments.studies.results import same
from experiments.tables import Rows


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run; ``num_layers`` is 0 for a recurrent network, whose reach has no limit."""
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
    """The accuracy against the length, a line for each depth; hollow where the first digit is out of reach."""
    figure, axes = new_figure(1, 1, 7.5, 4.4)
    axes.axhline(0.1, color="#888888", linewidth=0.6, linestyle=":")
    axes.set(xlabel="length of the palindromes, T", ylabel="test accuracy", ylim=(0, 1.03))
    ends = []
    for k, (network, num_layers) in enumerate(sorted({(row["network"], row["num_layers"]) for row in rows})):
        own = same(rows, network=network, num_layers=num_layers)
        points = [
            (length, *mean_and_interval([row["test_accuracy"] for row in same(own, length=length)]))
            for length in sorted({row["length"] for row in own})
        ]
        x, mean, low, high = zip(*points, strict=True)
        colour = COLOURS[k % len(COLOURS)]
        axes.plot(x, mean, color=colour, linestyle=STYLES[k % len(STYLES)])
        axes.fill_between(x, [max(v, 0) for v in low], [min(v, 1) for v in high], color=colour, alpha=0.15, linewidth=0)
        for length, height in zip(x, mean, strict=True):
            is_heard = network != "gcn" or num_layers >= length - 2
            axes.plot(length, height, "o", color=colour, markersize=5, markerfacecolor=colour if is_heard else "white")
        name = f"GCN, {num_layers} layers" if network == "gcn" else network.upper()
        ends.append((name, x[-1], mean[-1], colour))
    axes.set_title("Hollow: fewer than T - 2 layers. Dotted: chance", loc="left", fontsize=10)
    label_lines(axes, ends)
    save_figure(figure, path)
