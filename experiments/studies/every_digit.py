"""Every digit of a palindrome in reverse, at the length of training and at others (section 1.1 of the assignment)."""

import re
from pathlib import Path
from typing import Any

from experiments.plotting import PAGE_WIDTH, new_figure, plot_seeds, save_figure
from experiments.runs import select
from experiments.tables import Rows, column, filter_rows, values_of

NETWORKS = {"rnn": "vanilla RNN", "lstm": "LSTM"}
TESTED = re.compile(r"test/(exact_match|accuracy)_T(\d+)")


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run and each length of its test."""
    rows: Rows = []
    for result in results:
        measured: dict[int, dict[str, float]] = {}
        for key, value in result.items():
            if (match := TESTED.fullmatch(str(key))) and value not in ("", None):
                measured.setdefault(int(match[2]), {})[match[1]] = float(value)
        run = select(result, "network") | {"trained_on": int(result["data.length"])} | select(result, "seed")
        for length, values in sorted(measured.items()):
            rows.append(run | {"length": length} | values | {"seconds": float(result["seconds"])})
    return rows


def draw(rows: Rows, path: Path) -> None:
    """A panel for each network: completed palindromes and correct digits against the length."""
    networks = [name for name in NETWORKS if filter_rows(rows, network=name)]
    figure, grid = new_figure(1, len(networks), PAGE_WIDTH, 2.6, squeeze=False, sharey=True)
    for axes, network in zip(grid[0], networks, strict=True):
        own = filter_rows(rows, network=network)
        plot_seeds(axes, "correct digits", own, "length", "accuracy", 0, marker="o", markersize=4)
        plot_seeds(axes, "palindromes without a mistake", own, "length", "exact_match", 1, marker="s", markersize=3)
        axes.axhline(0.1, color="#888888", linewidth=0.6, linestyle=":")
        trained_on = values_of(own, "trained_on")
        title = f"{NETWORKS[network]}, trained on {', '.join(map(str, trained_on))} digits"
        axes.set_title(title, loc="left")
        axes.set(xlabel="length of the palindromes, T", ylim=(0, 1.02))
        axes.set_xticks(sorted({min(column(own, "length")), *trained_on, max(column(own, "length"))}))
    grid[0, 0].set_ylabel("share (dotted: a guessed digit)")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False)
    save_figure(figure, path)
