"""Accuracy against learning rate and length of palindromes (a hint of question 1.6 of the assignment)."""

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
    rates = values_of(rows, "learning_rate")
    size = (PAGE_WIDTH, 0.9 + 0.45 * len(rates))
    figure, panels = new_figure(1, len(kinds), *size, squeeze=False, sharey=True)
    for axes, (network, weights) in zip(panels[0], kinds, strict=True):
        own = filter_rows(rows, network=network, weights=weights)
        lines = {f"{rate:g}": filter_rows(own, learning_rate=rate) for rate in rates}
        heat_map(axes, lines, values_of(own, "length"), text_of, fontsize=7)
        axes.set_title(TITLES[network, weights], loc="left")
    panels[0, 0].set_ylabel("learning rate")
    figure.suptitle("Test accuracy: mean over seeds, lowest and highest", x=0.01, ha="left", fontsize=8)
    save_figure(figure, path)


def text_of(accuracies: list[float]) -> str:
    """The mean, the lowest and the highest accuracy."""
    mean, low, high = (percent(value, 0) for value in (fmean(accuracies), min(accuracies), max(accuracies)))
    return f"{mean}\n{low.removesuffix(' %')}-{high}"
