"""Accuracy against the length of palindromes, RNN and LSTM (questions 1.3 and 1.6 of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.figures import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure
from experiments.studies.results import read_metric, same
from experiments.tables import Rows

LEARNED = 0.99
"""Validation accuracy from which on a length counts as learned."""

NETWORKS = {"rnn": "RNN", "lstm": "LSTM"}
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
    """Left the accuracy, right the steps to 99 %; means over seeds with 95 % intervals."""
    figure, (left, right) = new_figure(1, 2, 11, 4.6, width_ratios=(3, 2))
    lines = list(dict.fromkeys((row["training"], row["network"]) for row in rows))
    trainings = list(dict.fromkeys(training for training, _ in lines))
    ends: dict[Any, list[tuple[str, float, float, str]]] = {left: [], right: []}
    for training, network in lines:
        colour = COLOURS[trainings.index(training)]
        style, marker = (STYLES[0], "o") if network == "lstm" else (STYLES[1], "s")
        chosen = same(rows, training=training, network=network)
        for axes, name in ((left, "test_accuracy"), (right, "steps_to_99")):
            points = []
            for length in sorted({row["length"] for row in chosen}):
                of_seeds = [row[name] for row in same(chosen, length=length)]
                known = [float(value) for value in of_seeds if value != ""]
                # Where some seeds never get there, a mean of the others would flatter.
                if len(known) == len(of_seeds):
                    points.append((length, *mean_and_interval(known)))
            if points:
                x, mean, low, high = zip(*points, strict=True)
                if name == "test_accuracy":
                    low, high = tuple(max(0.0, v) for v in low), tuple(min(1.0, v) for v in high)
                axes.plot(x, mean, color=colour, linestyle=style, marker=marker, markersize=3)
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
                ends[axes].append((f"{NETWORKS[network]}, {training}", x[-1], mean[-1], colour))
    left.axhline(0.1, color="#888888", linewidth=0.6, linestyle=":")
    left.set(xscale="log", xlabel="length of the palindromes, T", ylabel="test accuracy", ylim=(0, 1.03))
    left.set_title("Accuracy (dotted: chance)", loc="left", fontsize=10)
    right.set(xlabel="length of the palindromes, T", ylabel="optimizer steps", ylim=(0, None))
    right.set_title("Steps to 99 % (where every seed gets there)", loc="left", fontsize=10)
    for axes, labels in ends.items():
        ticks = sorted({row["length"] for row in rows if axes is left or row["steps_to_99"] != ""})
        if axes is left and ticks:
            shown = [tick for tick in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000) if tick <= ticks[-1]]
            axes.set_xticks(shown, [f"{tick:,}" for tick in shown])
            axes.minorticks_off()
        label_lines(axes, labels)
    save_figure(figure, path)
