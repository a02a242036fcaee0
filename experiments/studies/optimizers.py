"""The loss against the optimizer step for several optimizers (question 1.4 of the assignment)."""

import math
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.plotting import label_lines, means_by, new_figure, plot_means, save_figure
from experiments.runs import read_metric, select
from experiments.tables import Rows, filter_rows, values_of


def rows_of(results: list[dict[str, Any]]) -> Rows:
    """A row for each logged value of the training loss of each run."""
    rows: Rows = []
    for result in results:
        if "model.optimizer.lr" in result:
            optimizer = result.get("model.optimizer") or result["model.optimizer.class_path"]
            run = {"optimizer": optimizer.rpartition("optim.")[2]} | select(result, "learning_rate", "seed")
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
    for k, optimizer in enumerate(dict.fromkeys(row["optimizer"] for row in rows)):
        own = filter_rows(rows, optimizer=optimizer)
        rate = best_rate(own)
        last = filter_rows(own, step=max(row["step"] for row in own))
        diverged = [row["learning_rate"] for row in last if not math.isfinite(row["train_loss"])]
        finals = [row for row in last if row["learning_rate"] not in diverged]
        for axes, name, x, shown, marker in (
            (left, f"{optimizer}, {rate:g}", "step", filter_rows(own, learning_rate=rate), None),
            (right, optimizer, "learning_rate", finals, "o"),
        ):
            points = means_by(shown, x, "train_loss")
            floor = min((middle for middle, _, _ in points.values()), default=1) / 3  # a logarithmic axis has no zero
            plot_means(axes, name, points, k, (floor, math.inf), marker=marker)
    left.set(yscale="log", xlabel="optimizer step", ylabel="training loss (nats)")
    left.set_title("Each at its best learning rate", loc="left", fontsize=10)
    right.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="training loss at the end (nats)")
    right.set_title("Which rates work", loc="left", fontsize=10)
    label_lines(left)
    label_lines(right)
    save_figure(figure, path)
