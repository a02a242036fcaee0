"""What came of sweeps, as the figure of a study and the table it is drawn from."""

from importlib import import_module
from pathlib import Path
from typing import Literal

from experiments.studies.results import read_results
from experiments.tables import write_table
from training.errors import UserError

EXAMPLE = "python cli.py figure --study optimizers --results '[runs/sweep/optimizers]' --output_dir docs/results"

Study = Literal[
    "accuracy_vs_length",
    "optimizers",
    "learning_rate_vs_length",
    "oversmoothing",
    "path_graph",
    "node_order",
    "spread",
]


def figure(study: Study, results: list[str], output_dir: str) -> None:
    """Draw the figure of a study from the results of one or several sweeps.

    Writes <study>.csv, what is shown of each run, and <study>.png.

    Args:
        study: accuracy_vs_length (questions 1.3 and 1.6), optimizers (1.4), learning_rate_vs_length,
            oversmoothing (3.1b), path_graph and node_order (3.4a) or spread (3.4b).
        results: output folders of sweeps.
        output_dir: where to write.
    """
    if not results:
        raise UserError("results is empty; give at least one sweep's output folder")
    if len({Path(name).resolve() for name in results}) < len(results):
        raise UserError(f"results has a folder twice: {', '.join(results)}; give each once")
    module = import_module(f"experiments.studies.{study}")
    another = UserError(f"results: there is nothing in {', '.join(results)} for {study}; is it of another study?")
    try:
        rows = module.rows_of([row for name in results for row in read_results(Path(name))])
    except (LookupError, ValueError) as error:  # a column that other studies have not
        raise another from error
    if not rows:
        raise another
    folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(rows, folder / f"{study}.csv")
        module.draw(rows, folder / f"{study}.png")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another with --output_dir") from error
    print(f"The figure is {folder / study}.png; {study}.csv lies beside it.")
