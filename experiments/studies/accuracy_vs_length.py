"""Accuracy against the length of palindromes, RNN and LSTM (questions 1.3 and 1.6 of the assignment)."""

import math
from pathlib import Path
from typing import Any

from experiments.plotting import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, plot_means, save_figure
from experiments.runs import read_metric
from experiments.tables import Rows, column, filter_rows, values_of

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
        for length, accuracy in sorted(measured.items()):
            rows.append(
                {
                    "network": result["model.network"],
                    "training": "curriculum" if has_curriculum else result["model.initialization"],
                    "length": length,
                    "seed": int(result["seed_everything"]),
                    "test_accuracy": accuracy,
                    "steps_to_99": steps,
                }
            )
    return rows


def steps_to(accuracy: float, folder: Path) -> int | str:
    """Optimizer steps until validation accuracy first reaches ``accuracy``; empty if it never does."""
    return next((step for step, value in read_metric(folder, "val/accuracy") if value >= accuracy), "")


def draw(rows: Rows, path: Path) -> None:
    """Accuracy and, where it is known, the steps to 99 %: means over seeds with 95 % intervals."""
    learned = [row for row in rows if row["steps_to_99"] != ""]
    figure, panels = new_figure(
        1, 2 if learned else 1, 12 if learned else 7, 4.6, squeeze=False, width_ratios=(3, 2) if learned else None
    )
    accuracy = panels[0, 0]
    accuracy.axhline(0.1, color="#888888", linewidth=0.6, linestyle=":")
    accuracy.set(xscale="log", xlabel="length of the palindromes, T", ylabel="test accuracy", ylim=(0, 1.03))
    accuracy.set_title("Accuracy (dotted: chance)", loc="left", fontsize=10)
    draw_lines(accuracy, rows, "test_accuracy", (0.0, 1.0))
    if learned:
        steps = panels[0, 1]
        steps.set(xscale="log", yscale="log", xlabel="length of the palindromes, T", ylabel="optimizer steps")
        steps.set_title("Steps to 99 % (where every seed reaches it)", loc="left", fontsize=10)
        draw_lines(steps, rows, "steps_to_99", (1.0, math.inf))
    save_figure(figure, path)


def draw_lines(axes: Any, rows: Rows, name: str, limits: tuple[float, float]) -> None:
    """A line for each network and each kind of training. A length has a point if every seed has a value."""
    trainings = list(TRAININGS)
    ends = []
    lengths: set[int] = set()
    for training, network in dict.fromkeys((row["training"], row["network"]) for row in rows):
        chosen = filter_rows(rows, training=training, network=network)
        points = {}
        for length in values_of(chosen, "length"):
            values = column(filter_rows(chosen, length=length), name)
            if "" not in values:  # a mean over the other seeds would be too good
                points[length] = mean_and_interval(values)
        if points:
            style, marker = (STYLES[0], "o") if network == "lstm" else (STYLES[1], "s")
            label = f"{NETWORKS[network]}, {TRAININGS[training]}"
            colour = COLOURS[trainings.index(training)]
            ends.append(plot_means(axes, label, points, colour, limits, linestyle=style, marker=marker))
            lengths |= points.keys()
    ticks = [tick for tick in TICKS if lengths and min(lengths) <= tick <= max(lengths)]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.minorticks_off()
    label_lines(axes, ends)
