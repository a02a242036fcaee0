"""Accuracy against learning rate and length of palindromes (a hint of question 1.6 of the assignment)."""

import math
from pathlib import Path
from statistics import fmean
from typing import Any

from experiments.plotting import PAGE_WIDTH, heat_map, new_figure, save_figure
from experiments.runs import select
from experiments.tables import Rows, filter_rows, values_of
from models.tables import percent

TITLES = {
    ("rnn", "orthogonal"): "vanilla RNN, orthogonal weights",
    ("lstm", "orthogonal"): "LSTM, orthogonal weights",
    ("rnn", "uniform"): "vanilla RNN, default weights",
    ("lstm", "uniform"): "LSTM, default weights",
}

NUM_COLUMNS = 2


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run."""
    names = ("learning_rate", "length", "seed", "test_accuracy")
    return [
        select(result, "network") | {"weights": result["model.initialization"]} | select(result, *names)
        for result in results
        if "model.optimizer.lr" in result
    ]


def draw(rows: Rows, path: Path) -> None:
    """A heat map for each network and kind of weights: mean accuracy over seeds, the lowest and the highest."""
    kinds = [kind for kind in TITLES if filter_rows(rows, network=kind[0], weights=kind[1])]
    num_rows = math.ceil(len(kinds) / NUM_COLUMNS)
    num_rates = len(values_of(rows, "learning_rate"))
    size = (PAGE_WIDTH, 0.4 + (0.7 + 0.4 * num_rates) * num_rows)
    figure, grid = new_figure(num_rows, min(NUM_COLUMNS, len(kinds)), *size, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (network, weights) in zip(grid.flat, kinds, strict=False):
        axes.set_axis_on()
        own = filter_rows(rows, network=network, weights=weights)
        lines = {f"{rate:g}": filter_rows(own, learning_rate=rate) for rate in values_of(own, "learning_rate")}
        heat_map(axes, lines, values_of(own, "length"), text_of, fontsize=7)
        axes.set_title(TITLES[network, weights], loc="left")
    for axes in grid[:, 0]:
        axes.set_ylabel("learning rate")
    figure.suptitle("Test accuracy: mean over seeds, lowest and highest", x=0.01, ha="left", fontsize=8)
    save_figure(figure, path)


def text_of(accuracies: list[float]) -> str:
    """The mean, the lowest and the highest accuracy."""
    mean, low, high = (percent(value, 0) for value in (fmean(accuracies), min(accuracies), max(accuracies)))
    return f"{mean}\n{low.removesuffix(' %')}-{high}"
