"""Accuracy against the length of palindromes, RNN and LSTM (questions 1.3 and 1.6 of the assignment)."""

import math
from pathlib import Path
from typing import Any

from experiments.figures import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure
from experiments.studies.results import read_metric, same
from experiments.tables import Rows

LEARNED = 0.99
"""Validation accuracy from which on a length counts as learned."""

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
    """A row for each run and length that it was tested on; a curriculum's run is tested on many."""
    rows: Rows = []
    for result in results:
        at_lengths = {key.removeprefix(TESTED): value for key, value in result.items() if str(key).startswith(TESTED)}
        measured = {int(length): float(value) for length, value in at_lengths.items() if value}
        has_curriculum = "LengthCurriculum" in result.get("trainer.callbacks", "")
        known = {} if has_curriculum else {"steps_to_99": steps_to(LEARNED, result["folder"])}
        for length, accuracy in sorted(
            (measured or {int(result["data.length"]): float(result["test/accuracy"])}).items()
        ):
            rows.append(
                {
                    "network": result["model.network"],
                    "training": "curriculum" if has_curriculum else result["model.initialization"],
                    "length": length,
                    "seed": int(result["seed_everything"]),
                    "test_accuracy": accuracy,
                    "steps_to_99": known.get("steps_to_99", ""),
                }
            )
    return rows


def steps_to(accuracy: float, folder: Path) -> int | str:
    """Optimizer steps after which validation first was as good; empty if it never was."""
    return next((step for step, value in read_metric(folder, "val/accuracy") if value >= accuracy), "")


def draw(rows: Rows, path: Path) -> None:
    """The accuracy and, where known, the steps to 99 %; means over seeds with 95 % intervals."""
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
        steps.set_title("Steps to 99 % (where every seed gets there)", loc="left", fontsize=10)
        draw_lines(steps, rows, "steps_to_99", (1.0, math.inf))
    save_figure(figure, path)


def draw_lines(axes: Any, rows: Rows, name: str, limits: tuple[float, float]) -> None:
    """A line for each way of training each network; where a seed has no value there is no point."""
    trainings = list(TRAININGS)
    ends, lengths = [], set()
    for training, network in dict.fromkeys((row["training"], row["network"]) for row in rows):
        chosen = same(rows, training=training, network=network)
        points = []
        for length in sorted({row["length"] for row in chosen}):
            values = [row[name] for row in same(chosen, length=length)]
            if "" not in values:  # a mean of those that got there would flatter
                mean, *interval = mean_and_interval(values)
                points.append((length, mean, *(min(max(end, limits[0]), limits[1]) for end in interval)))
        if points:
            x, mean_line, low, high = zip(*points, strict=True)
            colour = COLOURS[trainings.index(training)]
            style, marker = (STYLES[0], "o") if network == "lstm" else (STYLES[1], "s")
            axes.plot(x, mean_line, color=colour, linestyle=style, marker=marker, markersize=3)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            ends.append((f"{NETWORKS[network]}, {TRAININGS[training]}", x[-1], mean_line[-1], colour))
            lengths |= set(x)
    ticks = [tick for tick in TICKS if lengths and min(lengths) <= tick <= max(lengths)]
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.minorticks_off()
    label_lines(axes, ends)
