"""Accuracy against the length of palindromes, RNN and LSTM (questions 1.3 and 1.6 of the assignment)."""

from pathlib import Path
from typing import Any

from experiments.plotting import PAGE_WIDTH, new_figure, plot_seeds, save_figure
from experiments.runs import read_metric, select
from experiments.tables import Rows, column, filter_rows

SOLVED = 0.99
"""A run solves a length if at least this share of the held-out palindromes is right."""

NETWORKS = {"rnn": "RNN", "lstm": "LSTM"}
TRAININGS = {
    "uniform": "default weights",
    "orthogonal": "orthogonal weights",
    "curriculum": "curriculum, orthogonal weights, Adam",
    "numbers": "default weights, digits as numbers",
    "identity": "identity",
    "chrono": "chrono",
}
MARKERS = ("x", "s", "o", "+", "^", "v")
TICKS = (5, 10, 20, 100, 1000, 10_000, 100_000)
TESTED = "test/accuracy_T"


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run and each length of its test. Runs with a curriculum are tested on several lengths."""
    rows: Rows = []
    for result in results:
        at_lengths = {key.removeprefix(TESTED): value for key, value in result.items() if str(key).startswith(TESTED)}
        measured = {int(length): float(value) for length, value in at_lengths.items() if value}
        has_curriculum = "LengthCurriculum" in result.get("trainer.callbacks", "")
        steps = "" if has_curriculum else steps_to(SOLVED, result["folder"])
        measured = measured or {int(result["data.length"]): float(result["test/accuracy"])}
        training = "curriculum" if has_curriculum else initialization_of(result)
        for length, accuracy in sorted(measured.items()):
            run = select(result, "network") | {"training": training, "length": length} | select(result, "seed")
            rows.append(run | {"test_accuracy": accuracy, "steps_to_99": steps})
    return rows


def initialization_of(result: dict[str, Any]) -> str:
    """How the network began; ``numbers`` for the assignment's template, which has default weights."""
    is_template = result.get("model.class_path", "").endswith(".NumberClassifier")
    return "numbers" if is_template else str(result["model.initialization"])


def steps_to(accuracy: float, folder: Path) -> int | str:
    """Optimizer steps until validation accuracy first reaches ``accuracy``; empty if it never does."""
    return next((step for step, value in read_metric(folder, "val/accuracy") if value >= accuracy), "")


def draw(rows: Rows, path: Path) -> None:
    """Accuracy and, if any run has reached 99 %, the steps until then: a column for each network, marks for seeds."""
    networks = [name for name in NETWORKS if filter_rows(rows, network=name)]
    figures = ["test_accuracy", *(["steps_to_99"] if any(row["steps_to_99"] != "" for row in rows) else [])]
    size = (PAGE_WIDTH, 0.6 + 2.0 * len(figures))
    figure, grid = new_figure(len(figures), len(networks), *size, squeeze=False, sharex="col", sharey="row")
    for panels, name in zip(grid, figures, strict=True):
        for axes, network in zip(panels, networks, strict=True):
            own = [row for row in filter_rows(rows, network=network) if row[name] != ""]
            for k, (training, label) in enumerate(TRAININGS.items()):
                marks = {"marker": MARKERS[k], "markersize": 3 + 1.5 * k}
                if name == "steps_to_99":  # a line would cross lengths at which no run reaches 99 %
                    marks["linestyle"] = ""
                plot_seeds(axes, label, filter_rows(own, training=training), "length", name, k, **marks)
            axes.set_xscale("log")
            lengths = column(filter_rows(rows, network=network), "length")
            ticks = [tick for tick in TICKS if min(lengths) <= tick <= max(lengths)]
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.xaxis.minorticks_off()
    for axes, network in zip(grid[0], networks, strict=True):
        axes.axhline(0.1, color="#888888", linewidth=0.6, linestyle=":")
        axes.set_ylim(0, 1)
        axes.set_title({"rnn": "vanilla RNN", "lstm": "LSTM"}[network], loc="left", fontsize=9)
    grid[0, 0].set_ylabel("test accuracy (dotted: chance)")
    if len(figures) > 1:
        grid[1, 0].set(yscale="log", ylabel="steps to 99 %")
    for axes in grid[-1]:
        axes.set_xlabel("length of the palindromes, T")
    handles = {
        label: handle for axes in grid[0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2, frameon=False)
    save_figure(figure, path)
