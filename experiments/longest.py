"""Shows the longest palindromes that networks of several sizes have mastered under a curriculum."""

import json
from pathlib import Path
from typing import Any

import yaml

from experiments.plotting import PAGE_WIDTH, new_figure, save_figure
from experiments.runs import runs_with
from experiments.tables import Rows, filter_rows, print_table, save, values_of
from training.errors import UserError

EXAMPLE = "python cli.py longest --runs '[runs/every_digit_longest]' --output_dir docs/results"

NETWORKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rnn": ("vanilla RNN", "#d55e00", {"marker": "s", "markersize": 9, "markerfacecolor": "none", "linewidth": 3}),
    "lstm": ("LSTM", "#0072b2", {"marker": "o", "markersize": 4}),
}


def longest(runs: list[str], output_dir: str) -> None:
    """Show the longest palindromes that were mastered, against hidden size.

    A length is mastered when its palindromes have passed the curriculum's threshold. Writes longest.csv and
    longest.png.

    Args:
        runs: folders of finished runs with a LengthCurriculum, or of experiments; of an experiment all runs are shown.
        output_dir: folder for the files.
    """
    folders = [run for name in runs for run in runs_with("config.yaml", name)]
    if not folders:
        raise UserError("runs is empty; give at least one run's folder")
    rows = sorted((row_of(folder) for folder in folders), key=lambda row: (row["network"], row["hidden_size"]))
    print_table(rows)
    save(rows, draw, Path(output_dir), "longest")


def row_of(folder: Path) -> dict[str, Any]:
    """The settings of a run, the longest length that it mastered, and the steps and seconds of its training."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        callbacks = config["trainer"]["callbacks"]
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        (curriculum,) = (c["init_args"] for c in callbacks if c["class_path"].endswith(".LengthCurriculum"))
        return {
            "network": model["network"],
            "hidden_size": model["hidden_size"],
            "task": data["task"],
            "threshold": curriculum["threshold"],
            "mastered_length": int(summary["metrics"]["train/mastered_length"]),
            "steps": summary["steps"],
            "seconds": round(summary["seconds"]),
            "seed": config["seed_everything"],
        }
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"runs: {folder} is not a finished run with a LengthCurriculum; leave it out") from error


def draw(rows: Rows, path: Path) -> None:
    figure, axes = new_figure(1, 1, PAGE_WIDTH / 2, 2.4)
    for network, (name, colour, style) in NETWORKS.items():
        points = [(row["hidden_size"], row["mastered_length"]) for row in filter_rows(rows, network=network)]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, clip_on=False, **style)
            axes.annotate(name, points[-1], xytext=(8, 0), textcoords="offset points", color=colour, va="center")
            for point in points:
                above = (0, 6 if network == "rnn" else -13)  # so that equal points have both numbers
                axes.annotate(str(point[1]), point, xytext=above, textcoords="offset points", ha="center", color=colour)
    sizes = values_of(rows, "hidden_size")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="hidden size", ylabel="longest T mastered", ylim=(0, None))
    axes.margins(x=0.15)
    save_figure(figure, path)
