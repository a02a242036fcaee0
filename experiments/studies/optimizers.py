"""The loss against the optimizer step for several optimizers (question 1.4 of the assignment)."""

import math
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.figures import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure
from experiments.studies.results import read_metric, same
from experiments.tables import Rows


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each logged value of each run's training loss."""
    return [
        {
            "optimizer": (result.get("model.optimizer") or result["model.optimizer.class_path"]).rpartition("optim.")[
                2
            ],
            "learning_rate": float(result["model.optimizer.lr"]),
            "seed": int(result["seed_everything"]),
            "step": step,
            "train_loss": loss,
        }
        for result in results
        if "model.optimizer.lr" in result
        for step, loss in read_metric(result["folder"], "train/loss")
    ]


def final_losses(rows: Rows) -> list[float]:
    """The last value of each seed, infinite where it is not a number: it has diverged."""
    last = max(row["step"] for row in rows)
    return [row["train_loss"] if math.isfinite(row["train_loss"]) else math.inf for row in same(rows, step=last)]


def best_rate(rows: Rows) -> float:
    """The learning rate of the lowest final loss, the mean over seeds; one at which a seed is missing is not it."""
    losses = {rate: final_losses(same(rows, learning_rate=rate)) for rate in sorted({r["learning_rate"] for r in rows})}
    num_seeds = max(map(len, losses.values()))
    return min(losses, key=lambda rate: mean(losses[rate]) if len(losses[rate]) == num_seeds else math.inf)


def draw(rows: Rows, path: Path) -> None:
    """Left the loss against the step, each optimizer at its best rate; right the final loss against the rate."""
    figure, (left, right) = new_figure(1, 2, 11, 4.4)
    ends: dict[Any, list[tuple[str, float, float, str]]] = {left: [], right: []}
    for k, optimizer in enumerate(dict.fromkeys(row["optimizer"] for row in rows)):
        colour, style = COLOURS[k % len(COLOURS)], STYLES[k % len(STYLES)]
        own = same(rows, optimizer=optimizer)
        rate = best_rate(own)
        at_best = same(own, learning_rate=rate)
        curve = [
            (step, *mean_and_interval([row["train_loss"] for row in same(at_best, step=step)]))
            for step in sorted({row["step"] for row in at_best})
        ]
        finals = []
        for other in sorted({row["learning_rate"] for row in own}):
            losses = final_losses(same(own, learning_rate=other))
            if all(map(math.isfinite, losses)):
                finals.append((other, *mean_and_interval(losses)))
        for axes, points in ((left, curve), (right, finals)):
            if points:
                x, mean, low, high = zip(*points, strict=True)
                floor = min(mean) / 3  # the logarithm shows no interval that reaches zero
                axes.plot(x, mean, color=colour, linestyle=style, marker="o" if axes is right else None, markersize=3)
                axes.fill_between(x, [max(v, floor) for v in low], high, color=colour, alpha=0.15, linewidth=0)
                name = f"{optimizer}, {rate:g}" if axes is left else optimizer
                ends[axes].append((name, x[-1], mean[-1], colour))
    left.set(yscale="log", xlabel="optimizer step", ylabel="training loss (nats)")
    left.set_title("Each at its best learning rate", loc="left", fontsize=10)
    right.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss at the end (nats)")
    right.set_title("Which rates work", loc="left", fontsize=10)
    for axes, labels in ends.items():
        label_lines(axes, labels)
    save_figure(figure, path)
