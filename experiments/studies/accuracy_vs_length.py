"""Accuracy against the length of palindromes, RNN and LSTM (questions 1.3 and 1.6 of the assignment)."""

import math
from pathlib import Path
from typing import Any

from experiments.plotting import STYLES, label_lines, means_by, new_figure, plot_means, save_figure
from experiments.runs import read_metric, select
from experiments.tables import Rows, column, filter_rows

LEARNED = 0.99
"""A length is learned when validation accuracy reaches this share."""

NETWORKS = {"rnn": "RNN", "lstm": "LSTM"}
TRAININGS = {
    "uniform": "default weights",
    "orthogonal": "orthogonal weights",
    "curriculum": "curriculum",
    "identity": "identity",
    "chrono": "chrono",
}
TICKS = (5, 10, 20, 50, 100, 1000, 10_000, 100_000)
TESTED = "test/accuracy_T"


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run and each length of its test. Runs with a curriculum are tested on several lengths."""
    rows: Rows = []
    for result in results:
        at_lengths = {key.removeprefix(TESTED): value for key, value in result.items() if str(key).startswith(TESTED)}
        measured = {int(length): float(value) for length, value in at_lengths.items() if value}
        has_curriculum = "LengthCurriculum" in result.get("trainer.callbacks", "")
        steps = "" if has_curriculum else steps_to(LEARNED, result["folder"])
        measured = measured or {int(result["data.length"]): float(result["test/accuracy"])}
        training = "curriculum" if has_curriculum else result["model.initialization"]
        for length, accuracy in sorted(measured.items()):
            run = select(result, "network") | {"training": training, "length": length} | select(result, "seed")
            rows.append(run | {"test_accuracy": accuracy, "steps_to_99": steps})
    return rows


def steps_to(accuracy: float, folder: Path) -> int | str:
    """Optimizer steps until validation accuracy first reaches ``accuracy``; empty if it never does."""
    return next((step for step, value in read_metric(folder, "val/accuracy") if value >= accuracy), "")


def draw(rows: Rows, path: Path) -> None:
    """Accuracy and, where it is known, the steps to 99 %: means over seeds with 95 % intervals."""
    panels = [("test_accuracy", "test accuracy", "Accuracy (dotted: chance)", (0.0, 1.0))]
    if any(row["steps_to_99"] != "" for row in rows):
        title = "Steps to 99 % (where every seed reaches it)"
        panels.append(("steps_to_99", "optimizer steps", title, (1.0, math.inf)))
    size = (12, 4.6) if len(panels) == 2 else (7, 4.6)
    figure, grid = new_figure(1, len(panels), *size, squeeze=False, width_ratios=(3, 2)[: len(panels)])
    for axes, (name, label, title, limits) in zip(grid[0], panels, strict=True):
        axes.set(xscale="log", xlabel="length of the palindromes, T", ylabel=label)
        axes.set_title(title, loc="left", fontsize=10)
        if name == "test_accuracy":
            axes.axhline(0.1, color="#888888", linewidth=0.6, linestyle=":")
            axes.set_ylim(0, 1.03)
        else:
            axes.set_yscale("log")
        draw_lines(axes, rows, name, limits)
    save_figure(figure, path)


def draw_lines(axes: Any, rows: Rows, name: str, limits: tuple[float, float]) -> None:
    """A line for each network and each kind of training. A length has a point if every seed has a value."""
    lengths: set[int] = set()
    for training, network in dict.fromkeys((row["training"], row["network"]) for row in rows):
        chosen = filter_rows(rows, training=training, network=network)
        unknown = column(filter_rows(chosen, **{name: ""}), "length")  # a mean over the other seeds would be too good
        points = means_by([row for row in chosen if row["length"] not in unknown], "length", name)
        style, marker = (STYLES[0], "o") if network == "lstm" else (STYLES[1], "s")
        k = list(TRAININGS).index(training)
        label = f"{NETWORKS[network]}, {TRAININGS[training]}"
        plot_means(axes, label, points, k, limits, linestyle=style, marker=marker)
        lengths |= points.keys()
    ticks = [tick for tick in TICKS if lengths and min(lengths) <= tick <= max(lengths)]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.minorticks_off()
    label_lines(axes)
