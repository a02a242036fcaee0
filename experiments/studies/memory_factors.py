"""What makes a network remember: one factor changed at a time, in all combinations (questions 1.3 and 1.6)."""

import math
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from experiments.plotting import COLOURS, PAGE_WIDTH, mean_and_interval, new_figure, save_figure
from experiments.runs import select
from experiments.studies.accuracy_vs_length import SOLVED
from experiments.tables import Rows, column, filter_rows
from models.tables import percent

LEVELS: dict[str, tuple[Any, ...]] = {
    "optimizer": ("RMSProp", "Adam with decay"),
    "initialization": ("uniform", "orthogonal", "identity"),
    "input_scale": (0.051, 0.01),
    "forget_bias": (0.0, 3.0),
    "curriculum": ("no", "yes"),
}
"""The values of each factor; effects are those of a change from the first."""

FACTORS = tuple(LEVELS)
OPTIMIZERS = {"RMSprop": "RMSProp", "Adam": "Adam with decay"}
MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "no": ("one length", {"color": COLOURS[1], "marker": "x", "markersize": 4, "linestyle": ""}),
    "yes": ("curriculum", {"color": COLOURS[0], "marker": ".", "markersize": 4, "linestyle": ""}),
}


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each run. ``forget_bias`` is empty for a vanilla RNN, which has no forget gate."""
    return [
        select(run, "network")
        | {
            "optimizer": OPTIMIZERS[run["model.optimizer.class_path"].rpartition(".")[2]],
            "initialization": run["model.initialization"],
            "input_scale": input_scale(run),
            "forget_bias": "" if run["model.forget_bias"] in ("", "None") else float(run["model.forget_bias"]),
            "curriculum": "yes" if "LengthCurriculum" in run["trainer.callbacks"] else "no",
        }
        | select(run, "length", "seed", "test_accuracy")
        | {"steps": int(run["steps"])}
        for run in results
    ]


def input_scale(run: dict[str, Any]) -> float:
    """The standard deviation of the initial input weights; torch draws them from U(-1/sqrt(H), 1/sqrt(H))."""
    if run["model.initialization"] != "uniform":
        return float(run["model.input_scale"])
    return round(1 / math.sqrt(3 * int(run["model.hidden_size"])), 3)


def effects(rows: Rows, network: str, curriculum: str) -> Rows:
    """What changing one factor alone does, averaged over all combinations of the others.

    A run is compared with the run that differs from it in this factor only, with the same seed. The differences of a
    seed are averaged, and the interval is over seeds.

    Returns:
        a row for each change: the factor, its values before and after, the number of pairs, the mean difference of the
        test accuracy with the ends of its 95 % interval, and how many of the runs solved their length before and after.
    """
    rows = [row for row in filter_rows(rows, network=network) if row["curriculum"] == curriculum]
    table: Rows = []
    for factor in FACTORS[:-1]:
        first, *others = LEVELS[factor]
        table += [row for other in others if (row := effect(rows, factor, first, other))]
    return table


def effect(rows: Rows, factor: str, before: Any, after: Any) -> dict[str, Any]:
    """The row of ``effects`` for one change; empty if no two runs differ in this factor only."""

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("network", *FACTORS, "length", "seed") if name != factor)

    changed = {key(row): row for row in filter_rows(rows, **{factor: after})}
    pairs = [(row, changed[key(row)]) for row in filter_rows(rows, **{factor: before}) if key(row) in changed]
    if not pairs:
        return {}
    differences: dict[int, list[float]] = {}
    for old, new in pairs:
        differences.setdefault(old["seed"], []).append(new["test_accuracy"] - old["test_accuracy"])
    mean, low, high = mean_and_interval([sum(values) / len(values) for values in differences.values()])
    solved = [sum(row["test_accuracy"] >= SOLVED for row in side) for side in zip(*pairs, strict=True)]
    return {
        "factor": factor,
        "before": before,
        "after": after,
        "pairs": len(pairs),
        "difference": mean,
        "low": low,
        "high": high,
        "solved_before": solved[0],
        "solved_after": solved[1],
    }


def curriculum_effect(rows: Rows, network: str) -> dict[str, Any]:
    """The row of ``effects`` for the curriculum, over all combinations of the other factors."""
    return effect(filter_rows(rows, network=network), "curriculum", "no", "yes")


def conditions_of(rows: Rows) -> list[tuple[Any, ...]]:
    """The combinations of all factors but the curriculum: those of the same initial weights are neighbours."""
    conditions = dict.fromkeys(tuple(row[factor] for factor in FACTORS[:-1]) for row in rows)
    return sorted(conditions, key=lambda it: (LEVELS["initialization"].index(it[1]), -it[2], it[3], it[0] == "Adam"))


def weights_of(rows: Rows) -> Rows:
    """The network, the factors of its initial weights and a label, for each kind of initial weights."""
    names = FACTORS[1:-1]
    kinds = dict.fromkeys((row["network"], *(row[name] for name in names)) for row in rows)
    ordered = sorted(kinds, key=lambda kind: (kind[0] != "rnn", LEVELS["initialization"].index(kind[1])))
    return [
        {
            "network": network,
            "weights": dict(zip(names, (initialization, scale, bias), strict=True)),
            "label": f"{'RNN' if network == 'rnn' else 'LSTM'}, {initialization}, {scale:g}"
            + ("" if bias == "" else f", {bias:g}"),
        }
        for network, initialization, scale, bias in ordered
    ]


def label_of(optimizer: str, initialization: str, input_scale: float, forget_bias: float | str) -> str:
    """A condition as the label of a line of the figure."""
    bias = "" if forget_bias == "" else f", bias {forget_bias:g}"
    return f"{initialization}, {input_scale:g}{bias}, {optimizer.split()[0]}"


def draw(rows: Rows, path: Path) -> None:
    """For each network the accuracy and the steps of every run: a line for each condition, a mark for each seed."""
    networks = [name for name in ("rnn", "lstm") if filter_rows(rows, network=name)]
    counts = [len(conditions_of(filter_rows(rows, network=name))) for name in networks]
    height = 1.2 + 0.6 * len(networks) + 0.17 * sum(counts)
    figure, grid = new_figure(len(networks), 2, PAGE_WIDTH, height, squeeze=False, height_ratios=counts, sharex="col")
    for (left, right), network in zip(grid, networks, strict=True):
        own = filter_rows(rows, network=network)
        conditions = conditions_of(own)
        for curriculum, (_, style) in MARKS.items():
            for y, condition in enumerate(reversed(conditions)):
                runs = filter_rows(own, curriculum=curriculum, **dict(zip(FACTORS, condition, strict=False)))
                heights = [y + (0.15 if curriculum == "no" else -0.15)] * len(runs)
                if runs:
                    left.plot(column(runs, "test_accuracy"), heights, clip_on=False, **style)
                if steps := column([row for row in runs if row["test_accuracy"] >= SOLVED], "steps"):
                    right.plot(steps, heights[: len(steps)], clip_on=False, **style)
        left.set_yticks(range(len(conditions)), [label_of(*condition) for condition in reversed(conditions)])
        right.set_yticks(range(len(conditions)), [])
        left.set(xlim=(0, 1), ylim=(-0.5, len(conditions) - 0.5))
        right.set(xscale="log", xlim=(50, 20_000), ylim=(-0.5, len(conditions) - 0.5))
        left.axvline(0.1, color="#888888", linewidth=0.6, linestyle=":")
        for axes in (left, right):
            axes.grid(axis="y", color="#eeeeee")
            axes.set_axisbelow(True)
        left.set_title({"rnn": "vanilla RNN", "lstm": "LSTM"}[network], loc="left", fontsize=9)
    grid[-1, 0].set_xlabel("test accuracy (dotted: chance)")
    grid[-1, 1].set_xlabel("steps until solved")
    handles = [Line2D([], [], label=label, **style) for label, style in MARKS.values()]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    save_figure(figure, path)


def solved(rows: Rows) -> str:
    """How many of the runs solved their length, and the range of their accuracies."""
    accuracies = column(rows, "test_accuracy")
    count = sum(accuracy >= SOLVED for accuracy in accuracies)
    return f"{count} of {len(rows)} ({percent(min(accuracies))} to {percent(max(accuracies))})"
