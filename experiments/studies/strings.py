"""Accuracy against the length of strings, within the lengths of training and beyond (Delétang et al. 2023)."""

import re
from pathlib import Path
from typing import Any

from experiments.plotting import PAGE_WIDTH, new_figure, plot_seeds, save_figure
from experiments.runs import select
from experiments.tables import Rows, column, filter_rows, values_of

NETWORKS = {
    "stack_rnn, hardened": "stack RNN, hardened actions",
    "stack_rnn": "stack RNN",
    "lstm": "LSTM",
    "gru": "GRU (torch.nn)",
    "rnn": "vanilla RNN",
}
MARKERS = ("o", "s", "^", "v", "x")
TESTED = re.compile(r"test/(accuracy|exact_match)(_hardened)?_n(\d+)")


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run, kind of actions and length."""
    rows: Rows = []
    for result in results:
        measured: dict[tuple[str, int], dict[str, float]] = {}
        for key, value in result.items():
            if (match := TESTED.fullmatch(str(key))) and value not in ("", None):
                measured.setdefault((match[2] or "", int(match[3])), {})[match[1]] = float(value)
        is_gru = "GRU" in result.get("model.class_path", "")
        network = "gru" if is_gru else str(result["model.network"])
        run = {"task": result["data.task"], "trained_to": int(result["data.length"])}
        for (hardened, length), values in sorted(measured.items()):
            name = network + (", hardened" if hardened else "")
            of_test = {"length": length, "accuracy": values["accuracy"], "exact_match": values["exact_match"]}
            rows.append(run | {"network": name} | select(result, "seed") | of_test)
    return rows


def draw(rows: Rows, path: Path) -> None:
    """A panel for each task, reverse first: the share of correct symbols of each network, training's lengths shaded."""
    tasks = sorted(values_of(rows, "task"), key=lambda task: (task != "reverse", task))
    figure, grid = new_figure(1, len(tasks), PAGE_WIDTH, 2.9, squeeze=False, sharey=True)
    for axes, task in zip(grid[0], tasks, strict=True):
        own = filter_rows(rows, task=task)
        for k, (network, label) in enumerate(NETWORKS.items()):
            marks = {"marker": MARKERS[k], "markersize": 3}
            plot_seeds(axes, label, filter_rows(own, network=network), "length", "accuracy", k, **marks)
        axes.axvspan(min(column(own, "length")), max(column(own, "trained_to")), color="#eeeeee", zorder=0)
        axes.set(xscale="log", xlabel="symbols of the string, n", ylim=(0, 1.02))
        axes.set_title(str(task).replace("_", " "), loc="left")
        ticks = [tick for tick in (10, 40, 100, 500, 1000, 10_000) if tick <= max(column(own, "length"))]
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.minorticks_off()
    grid[0, 0].set_ylabel("share of correct symbols")
    handles = {
        label: handle for axes in grid[0] for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=3, frameon=False)
    save_figure(figure, path)
