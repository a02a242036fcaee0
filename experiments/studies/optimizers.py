"""The loss against the optimizer step for several optimizers (question 1.4 of the assignment)."""

import math
from pathlib import Path
from statistics import mean
from typing import Any

from experiments.plotting import COLOURS, PAGE_WIDTH, new_figure, plot_seeds, save_figure
from experiments.runs import read_metric, select
from experiments.tables import Rows, column, filter_rows, values_of

NAMES = {"SGD(momentum=0.9)": "SGD, momentum 0.9", "RMSprop": "RMSProp"}


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
    figure, (left, right) = new_figure(1, 2, PAGE_WIDTH, 3.0, sharey=True)
    for k, optimizer in enumerate(dict.fromkeys(row["optimizer"] for row in rows)):
        own = filter_rows(rows, optimizer=optimizer)
        at_best = filter_rows(own, learning_rate=best_rate(own))
        for seed in values_of(at_best, "seed"):
            curve = filter_rows(at_best, seed=seed)
            left.plot(column(curve, "step"), column(curve, "train_loss"), color=COLOURS[k], linewidth=0.7)
        last = filter_rows(own, step=max(row["step"] for row in own))
        finite = [row for row in last if math.isfinite(row["train_loss"])]
        plot_seeds(right, f"{NAMES.get(optimizer, optimizer)}", finite, "learning_rate", "train_loss", k)
    left.set(yscale="log", xlabel="optimizer step", ylabel="training loss (nats)")
    left.set_title("At the best learning rate", loc="left")
    right.set(xscale="log", xlabel="learning rate")
    right.set_title("At the end", loc="left")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=4, frameon=False)
    save_figure(figure, path)
