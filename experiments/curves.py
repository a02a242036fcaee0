"""Draws loss and accuracy of runs during training (question 2.1a of the assignment)."""

from pathlib import Path

from experiments.plotting import COLOURS, PAGE_WIDTH, new_figure, save_figure
from experiments.runs import experiment_of, read_metric, runs_with
from experiments.tables import Rows, column, filter_rows, save
from training.errors import UserError

EXAMPLE = "python cli.py curves --runs '[runs/text_grimm]' --output_dir docs/results"

METRICS = {"loss": "loss (nats per prediction)", "accuracy": "accuracy"}
SPLITS = {"train": ("training", "--"), "val": ("validation", "-")}
"""The splits that are drawn, their names, and their line styles."""


def curves(runs: list[str], output_dir: str) -> None:
    """Draw loss and accuracy on the training and the validation split against optimizer steps.

    Writes curves.csv, the values that are drawn, and curves.png.

    Args:
        runs: run folders, or experiment folders; of an experiment the newest run is drawn.
        output_dir: folder for the files.
    """
    if not runs:
        raise UserError("runs is empty; give at least one run's folder")
    folders = [runs_with("metrics.csv", name)[0] for name in runs]
    if len(set(folders)) < len(folders):
        raise UserError(f"runs has a run twice: {', '.join(runs)}; give each run once")
    rows = [row for folder in folders for row in rows_of(folder)]
    if not rows:
        raise UserError(f"no loss and accuracy have been logged in {', '.join(runs)}; give runs that trained longer")
    save(rows, draw, Path(output_dir), "curves")


def rows_of(folder: Path) -> Rows:
    """A row for each split and each step at which a run has logged loss and accuracy."""
    rows: Rows = []
    for split in SPLITS:
        loss, accuracy = (dict(read_metric(folder, f"{split}/{metric}")) for metric in METRICS)
        rows += [
            {"run": experiment_of(folder), "split": split, "step": step, "loss": loss[step], "accuracy": accuracy[step]}
            for step in loss
            if step in accuracy
        ]
    return rows


def draw(rows: Rows, path: Path) -> None:
    """A panel for each metric; a colour and a line style for each split of each run; the lowest validation loss."""
    figure, panels = new_figure(1, len(METRICS), PAGE_WIDTH, 2.8)
    runs = list(dict.fromkeys(row["run"] for row in rows))
    lines = [(run, split) for run in runs for split in SPLITS]
    for axes, (metric, label) in zip(panels, METRICS.items(), strict=True):
        for k, (run, split) in enumerate(lines):
            line = filter_rows(rows, run=run, split=split)
            name, style = SPLITS[split]
            name = name if len(runs) == 1 else f"{run}, {name}"
            steps, values = column(line, "step"), column(line, metric)
            axes.plot(steps, values, style, color=COLOURS[k % len(COLOURS)], linewidth=1, label=name)
            if split == "val" and line:
                best = min(line, key=lambda row: row["loss"])
                axes.plot(best["step"], best[metric], "o", color=COLOURS[k % len(COLOURS)], markersize=4)
                text = f"step {best['step']:,}: {best[metric]:.3f}"
                above = 22 if metric == "loss" else -24  # away from both lines
                axes.annotate(text, (best["step"], best[metric]), xytext=(0, above), textcoords="offset points")
        axes.set(xlabel="optimizer steps", ylabel=label)
    panels[0].legend(frameon=False)
    save_figure(figure, path)
