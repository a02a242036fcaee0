"""The loss against the optimizer step for several optimizers (question 1.4 of the assignment)."""

import math
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.plotting import (
    COLOURS,
    STYLES,
    LineEnd,
    label_lines,
    mean_and_interval,
    new_figure,
    plot_means,
    save_figure,
)
from experiments.runs import read_metric
from experiments.tables import Rows, column, filter_rows, values_of


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each logged value of the training loss of each run."""
    rows: Rows = []
    for result in results:
        if "model.optimizer.lr" in result:
            optimizer = result.get("model.optimizer") or result["model.optimizer.class_path"]
            run = {
                "optimizer": optimizer.rpartition("optim.")[2],
                "learning_rate": float(result["model.optimizer.lr"]),
                "seed": int(result["seed_everything"]),
            }
            logged = read_metric(result["folder"], "train/loss")
            rows += [run | {"step": step, "train_loss": loss} for step, loss in logged]
    return rows


def final_losses(rows: Rows) -> list[float]:
    """The last training loss of each seed; infinite where it has diverged to NaN."""
    last = max(row["step"] for row in rows)
    return [row["train_loss"] if math.isfinite(row["train_loss"]) else math.inf for row in filter_rows(rows, step=last)]


def best_rate(rows: Rows) -> float:
    """The learning rate with the lowest final loss, the mean over seeds; rates with a missing seed are left out."""
    losses = {rate: final_losses(filter_rows(rows, learning_rate=rate)) for rate in values_of(rows, "learning_rate")}
    num_seeds = max(map(len, losses.values()))
    return min(losses, key=lambda rate: mean(losses[rate]) if len(losses[rate]) == num_seeds else math.inf)


def draw(rows: Rows, path: Path) -> None:
    """Left the loss against the step, each optimizer at its best rate; right the final loss against the rate."""
    figure, (left, right) = new_figure(1, 2, 11, 4.4)
    ends: dict[Any, list[LineEnd]] = {left: [], right: []}
    for k, optimizer in enumerate(dict.fromkeys(row["optimizer"] for row in rows)):
        colour, style = COLOURS[k % len(COLOURS)], STYLES[k % len(STYLES)]
        own = filter_rows(rows, optimizer=optimizer)
        rate = best_rate(own)
        at_best = filter_rows(own, learning_rate=rate)
        curve, finals = {}, {}
        for step in values_of(at_best, "step"):
            curve[step] = mean_and_interval(column(filter_rows(at_best, step=step), "train_loss"))
        for other in values_of(own, "learning_rate"):
            losses = final_losses(filter_rows(own, learning_rate=other))
            if all(map(math.isfinite, losses)):
                finals[other] = mean_and_interval(losses)
        for axes, name, points in ((left, f"{optimizer}, {rate:g}", curve), (right, optimizer, finals)):
            if points:
                floor = min(middle for middle, _, _ in points.values()) / 3  # a logarithmic axis cannot show zero
                marker = "o" if axes is right else None
                limits = (floor, math.inf)
                ends[axes].append(plot_means(axes, name, points, colour, limits, linestyle=style, marker=marker))
    left.set(yscale="log", xlabel="optimizer step", ylabel="training loss (nats)")
    left.set_title("Each at its best learning rate", loc="left", fontsize=10)
    right.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss at the end (nats)")
    right.set_title("Which rates work", loc="left", fontsize=10)
    for axes, labels in ends.items():
        label_lines(axes, labels)
    save_figure(figure, path)
