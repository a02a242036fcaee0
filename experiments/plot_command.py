"""Draws the figure of a study from the results of sweeps."""

from importlib import import_module
from pathlib import Path
from typing import Literal

from experiments.provenance import read_records
from experiments.runs import read_results
from experiments.tables import save
from training.errors import UserError

EXAMPLE = "python cli.py figure --study optimizers --results '[runs/sweep/optimizers]' --output_dir docs/results"

Study = Literal[
    "accuracy_vs_length",
    "memory_factors",
    "baselines",
    "optimizers",
    "learning_rate_vs_length",
    "text_choices",
    "oversmoothing",
    "graph_controls",
    "path_graph",
    "node_order",
    "spread",
    "every_digit",
    "strings",
]


def figure(study: Study, results: list[str], output_dir: str) -> None:
    """Draw the figure of a study from the results of one or several sweeps.

    Writes <study>.csv, the values of each run, and <study>.png and <study>.svg.

    Args:
        study: accuracy_vs_length and memory_factors (questions 1.3 and 1.6), baselines (other networks), optimizers
            (1.4), learning_rate_vs_length (1.6), text_choices (2.1a), oversmoothing (3.1b), graph_controls, path_graph
            and node_order (3.4a), spread (3.4b), every_digit (1.1) or strings (tasks that need a stack).
        results: output folders of sweeps.
        output_dir: folder for the files.
    """
    if not results:
        raise UserError("results is empty; give at least one sweep's output folder")
    if len({Path(name).resolve() for name in results}) < len(results):
        raise UserError(f"results has a folder twice: {', '.join(results)}; give each folder once")
    module = import_module(f"experiments.studies.{study}")
    wrong_study = UserError(f"results: {', '.join(results)} has no runs of study {study}; give sweeps of that study")
    try:
        rows = module.rows_of([row for name in results for row in read_results(Path(name))])
    except (LookupError, ValueError) as error:  # results of other studies lack some columns
        raise wrong_study from error
    if not rows:
        raise wrong_study
    records = (read_records(Path(name)).get("results.csv") for name in results)
    sweeps = [record for record in records if record is not None]
    save(rows, module.draw, Path(output_dir), study, sweeps)
