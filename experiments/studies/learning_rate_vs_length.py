"""Accuracy against learning rate and length of palindromes (a hint of question 1.6 of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import new_figure, save_figure
from experiments.tables import Rows, column, filter_rows, values_of
from models.tables import percent

TITLES = {"rnn": "vanilla RNN", "lstm": "LSTM"}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run."""
    return [
        {
            "network": result["model.network"],
            "learning_rate": float(result["model.optimizer.lr"]),
            "length": int(result["data.length"]),
            "seed": int(result["seed_everything"]),
            "test_accuracy": float(result["test/accuracy"]),
        }
        for result in results
        if "model.optimizer.lr" in result
    ]


def draw(rows: Rows, path: Path) -> None:
    """A heat map for each kind of network: mean accuracy over seeds, and below it the lowest and the highest."""
    networks = list(dict.fromkeys(row["network"] for row in rows))
    lengths = values_of(rows, "length")
    rates = values_of(rows, "learning_rate")
    width = 1.5 + len(networks) * (0.6 + 0.75 * len(lengths))
    figure, panels = new_figure(1, len(networks), width, 1.2 + 0.6 * len(rates), squeeze=False, sharey=True)
    for axes, network in zip(panels[0], networks, strict=True):
        cells = [
            [column(filter_rows(rows, network=network, learning_rate=rate, length=length), "test_accuracy")
             for length in lengths]
            for rate in rates
        ]  # fmt: skip
        means = [[sum(cell) / len(cell) if cell else float("nan") for cell in line] for line in cells]
        axes.imshow(means, origin="lower", cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for y, line in enumerate(cells):
            for x, cell in enumerate(line):
                if cell:
                    mean, low, high = (percent(value, 0) for value in (means[y][x], min(cell), max(cell)))
                    text = f"{mean}\n{low.removesuffix(' %')}-{high}"
                    dark = means[y][x] < 0.5
                    axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if dark else "black")
        axes.set_xticks(range(len(lengths)), [str(length) for length in lengths])
        axes.set_yticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axes.set(xlabel="length of the palindromes, T")
        axes.set_title(TITLES[network], loc="left", fontsize=10)
    panels[0, 0].set_ylabel("learning rate")
    figure.suptitle("Test accuracy: mean over seeds, lowest and highest", x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
