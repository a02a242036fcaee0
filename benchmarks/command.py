"""What the commands ``python -m benchmarks.<name>`` share: options, runs of ``fit``, and tables."""

import argparse
import contextlib
import functools
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.provenance import record
from experiments.tables import make_folder, write_table
from training.errors import UserError
from training.launch import prepare
from training.messages import set_up_messages
from training.run import Run


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description, and adds the default to the help of each option."""


def option_parser(description: str | None, rounds: int | None = None) -> argparse.ArgumentParser:
    """A parser with ``--output-dir``, and ``--rounds`` if it has a default. Libraries show no warnings from now on."""
    warnings.simplefilter("ignore")
    set_up_messages()
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    parser.add_argument("--output-dir", type=folder, help="folder for the tables as CSV files; None prints them only")
    if rounds is not None:
        parser.add_argument("--rounds", type=at_least(1), default=rounds, help="rounds; their medians are printed")
    return parser


def folder(word: str) -> Path:
    """The type of an option that takes a folder for results. It is created now, before anything is measured."""
    try:
        make_folder(Path(word))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Path(word)


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from ``least`` on."""

    def whole_number(word: str) -> int:
        if int(word) < least:
            raise argparse.ArgumentTypeError(f"{word} is too small; it must be at least {least}")
        return int(word)

    return whole_number


@functools.cache
def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder that is removed when Python exits."""
    return tempfile.TemporaryDirectory()


def prepare_run(config: str, *args: str) -> Run:
    """The run of ``fit`` with a config and further arguments. Without another folder it is under ``scratch``."""
    return prepare(["fit", f"--config={config}", f"--trainer.default_root_dir={scratch().name}", *args])


def fit(run: Run) -> dict[str, Any]:
    """Train and test without output; returns the contents of ``summary.json``."""
    with contextlib.redirect_stdout(io.StringIO()):
        run.fit()
    assert run.folder is not None
    return dict(json.loads((run.folder.path / "summary.json").read_text()))


def print_table(
    columns: Mapping[str, str],
    rows: Iterable[Iterable[float | str | None]],
    output_dir: Path | None = None,
    name: str = "",
) -> None:
    """Print the headings, and each row as soon as it is measured, aligned to the right.

    Args:
        columns: the format of the numbers under each heading, such as ``.2f``.
        rows: strings are printed as they are, ``None`` as a dash.
        output_dir: where ``name``.csv is written at the end, with a record of the command and the machine.
        name: of the CSV file.
    """
    widths = [max(9, len(heading)) for heading in columns]
    print(*map(str.rjust, columns, widths))
    table = []
    for row in rows:
        table.append(dict(zip((heading.strip() for heading in columns), row, strict=True)))
        cells = (
            "-" if cell is None else cell if isinstance(cell, str) else format(cell, form)
            for cell, form in zip(table[-1].values(), columns.values(), strict=True)
        )
        print(*map(str.rjust, cells, widths), flush=True)
    if output_dir is not None:
        write_table(table, output_dir / f"{name}.csv")
        record(output_dir, [f"{name}.csv"])
