"""Loss and accuracy of runs while they trained, as a figure (question 2.1a of the assignment)."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.figures import COLOURS, new_figure, save_figure
from experiments.tables import write_table
from training.errors import UserError
from training.run_folder import run_folders

EXAMPLE = "python cli.py curves --runs '[runs/text_grimm]' --output_dir docs/results"

METRICS = {"loss": "loss (nats per prediction)", "accuracy": "accuracy"}
SPLITS = {"train": ":", "val": "-"}
"""The splits that are drawn, and their lines."""


def curves(runs: list[str], output_dir: str, show_from: int = 0) -> None:
    """Draw loss and accuracy of training and validation against optimizer steps.

    Writes curves.csv, what is drawn, and curves.png.

    Args:
        runs: run folders, or experiments' folders, of which the newest run is taken.
        output_dir: where to write.
        show_from: the first step that is drawn, to see more of the end; at least 0.
    """
    if not runs:
        raise UserError("runs is empty; give at least one run's folder")
    if show_from < 0:
        raise UserError(f"show_from is {show_from}; it must be at least 0")
    folders = [metrics_folder(name) for name in runs]
    if len(set(folders)) < len(folders):
        raise UserError(f"runs has a run twice: {', '.join(runs)}; give each once")
    rows = [row for folder in folders for row in points(folder) if row["step"] >= show_from]
    if not rows:
        raise UserError(f"there is no step from {show_from} on in {', '.join(runs)}; lower show_from")
    folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(rows, folder / "curves.csv")
        draw(rows, folder / "curves.png")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another with --output_dir") from error
    print(f"The figure is {folder / 'curves.png'}; curves.csv lies beside it.")


def metrics_folder(name: str) -> Path:
    """The run meant by ``name``, one that has written metrics."""
    folder = Path(name)
    if not (folder / "metrics.csv").is_file():
        inside = [run.path for run in run_folders(folder) if (run.path / "metrics.csv").is_file()]
        if not inside:
            raise UserError(
                f"runs has {name}, in which there is no metrics.csv; give a run's or an experiment's folder"
            )
        folder = inside[-1]
    return folder.resolve()


def points(folder: Path) -> list[dict[str, Any]]:
    """What is drawn of a run: for each logged step and split the loss and the accuracy."""
    name = folder.parent.name if folder.name.startswith("version_") else folder.name
    with (folder / "metrics.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    rows = []
    for split in SPLITS:
        names = [f"{split}/{metric}" for metric in METRICS]
        for row in logged:
            if all(row.get(name) for name in names):
                values = dict(zip(METRICS, (float(row[name]) for name in names), strict=True))
                rows.append({"run": name, "split": split, "step": int(row["step"]) + 1} | values)
    return rows


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel for each metric, a colour for each run, a kind of line for each split."""
    figure, panels = new_figure(1, len(METRICS), 7.5, 3.2)
    runs = list(dict.fromkeys(row["run"] for row in rows))
    for axes, (metric, label) in zip(panels, METRICS.items(), strict=True):
        for i, run in enumerate(runs):
            for split, style in SPLITS.items():
                of_line = [row for row in rows if (row["run"], row["split"]) == (run, split)]
                name = split if len(runs) == 1 else f"{run}, {split}"
                steps, values = [row["step"] for row in of_line], [row[metric] for row in of_line]
                axes.plot(steps, values, style, color=COLOURS[i % len(COLOURS)], linewidth=1.2, label=name)
        axes.set(xlabel="optimizer steps", ylabel=label)
    panels[0].legend(frameon=False)
    save_figure(figure, path)
