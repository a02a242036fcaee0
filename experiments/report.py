"""Writes the report and other pages: the text of templates, with numbers and figures from the files of results."""

import csv
import io
import json
import math
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import mean, median
from typing import Any, get_args

import networkx
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from experiments import (
    automaton,
    certify,
    confusions,
    curves,
    grads_over_time,
    hops,
    longest,
    patterns,
    text_beams,
    text_cohesion,
    text_context,
    text_writing,
)
from experiments.plot_command import Study
from experiments.plotting import mean_and_interval
from experiments.provenance import ABOUT, Record, in_words, read_records
from experiments.studies import accuracy_vs_length, memory_factors, optimizers
from experiments.tables import Rows, column, filter_rows, values_of
from models.networks import LSTM
from models.tables import percent
from training.errors import UserError

CONFIGS = Path(__file__).parent.parent / "configs"

EXAMPLE = "python cli.py report --docs_dir docs"

FIGURES: dict[str, tuple[str, Callable[[Rows, Path], None]]] = {
    **{
        study: (f"{study}/{study}.csv", import_module(f"experiments.studies.{study}").draw) for study in get_args(Study)
    },
    "grads_over_time": ("gradients/grads_over_time.csv", grads_over_time.draw),
    "longest": ("longest/longest.csv", longest.draw),
    "patterns": ("patterns/patterns.csv", patterns.draw),
    "proof": ("proof/certificate.csv", certify.draw),
    "confusions": ("confusions/confusions.csv", confusions.draw),
    "stack": ("strings/stack.csv", automaton.draw),
    "text_grimm": ("text_grimm/curves.csv", curves.draw),
    "text_context": ("text_grimm/context.csv", text_context.draw),
    "text_writing": ("text_grimm/writing.csv", text_writing.draw),
    "text_cohesion": ("text_grimm/cohesion.csv", text_cohesion.draw),
    "text_beams": ("text_grimm/beams.csv", text_beams.draw),
}
"""For each figure: the file under ``results`` that it shows, and the function that draws it."""

AT_CHANCE = 0.15
"""A run is at chance up to this accuracy."""


def report(docs_dir: str = "docs") -> None:
    """Write the pages with results and draw their figures from docs/results. Nothing is trained.

    Renders each docs/<page>.md.jinja to docs/<page>.md, and README.md.jinja above to README.md. Writes
    docs/figures/*.png and *.svg.

    Args:
        docs_dir: folder with results and the templates of the pages, such as report.md.jinja.
    """
    folder = Path(docs_dir)
    templates = sorted(folder.glob("*.md.jinja"))
    if not templates:
        raise UserError(f"{folder} has no page.md.jinja; give a folder with templates and results with --docs_dir")
    templates += folder.parent.glob("README.md.jinja")
    pages = {template.with_suffix(""): render(template, folder) for template in templates}
    try:
        (folder / "figures").mkdir(exist_ok=True)
        for name, (table, draw) in FIGURES.items():
            draw(read_table(folder / "results" / table), folder / "figures" / f"{name}.png")
        draw_hops(folder / "results" / "hops", folder / "figures" / "hops.png")
        draw_remembered(folder / "results", folder / "figures" / "remembered.png")
        for page, text in pages.items():
            page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; make it writable, or give a copy with --docs_dir"
        ) from error
    print(f"Wrote {', '.join(map(str, pages))}, and {2 + len(FIGURES)} figures to {folder / 'figures'}")


def draw_hops(folder: Path, path: Path) -> None:
    """The graph of A-tilde, with the path of the message."""
    A_tilde, rows = read_table(folder / "A_tilde.csv"), read_table(folder / "hops.csv")
    graph = networkx.Graph()
    graph.add_nodes_from(column(A_tilde, "A-tilde"))
    graph.add_edges_from(
        (row["A-tilde"], node) for row in A_tilde for node in graph if row[node] and node != row["A-tilde"]
    )
    place = {row["place_on_the_way"]: row["node"] for row in rows if row["place_on_the_way"] != ""}
    message = [place[k] for k in range(len(place))]
    hops.draw(graph, {row["node"]: row["updates"] for row in rows}, message, message[0], message[-1], path)


def draw_remembered(folder: Path, path: Path) -> None:
    """Accuracy against length with the settings of the assignment, and with a curriculum."""
    rows = read_table(folder / "accuracy_vs_length" / "accuracy_vs_length.csv")
    shown = [*filter_rows(rows, training="uniform"), *filter_rows(rows, training="curriculum")]
    accuracy_vs_length.draw([row | {"steps_to_99": ""} for row in shown], path)


def render(template: Path, folder: Path) -> str:
    """The text of a page, with the numbers of ``results`` in a folder.

    Raises:
        UserError: the template or a table is missing or damaged, or they do not match.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "table": lambda name: read_table(folder / "results" / name),
        "source": lambda name: source(folder, name),
        "made": lambda figure: made(folder, figure),
        "about": lambda name: about(folder / "results" / name),
        "setting": setting,
        "sample": lambda name, heading: read_sample(folder / "results" / name, heading),
        "filter_rows": filter_rows,
        "column": column,
        "values_of": values_of,
        "interval": mean_and_interval,
        "lowest_loss": lambda rows: min(rows, key=lambda row: row["loss"]),
        "at_the_end": optimizers.final_losses,
        "best_rate": optimizers.best_rate,
        "steps_to_loss": steps_to_loss,
        "from_to": lambda values: f"{min(values)}" if len(set(values)) == 1 else f"{min(values)} to {max(values)}",
        "rates_below": rates_below,
        "effects": memory_factors.effects,
        "curriculum_effect": memory_factors.curriculum_effect,
        "solved": memory_factors.solved,
        "conditions": memory_factors.weights_of,
        "learned_to": learned_to,
        "lost_from": lost_from,
        "summarized": grads_over_time.summarize,
        "lstm_parameters": lambda d, n: sum(p.numel() for p in LSTM(d, n, 1).parameters()) - (n + 1),
        "from_json": json.loads,
        "writing_means": text_writing.summarize,
        "beam_means": text_beams.summarize,
        "mean": mean,
        "mid": median,
        "inf": math.inf,
        "SOLVED": accuracy_vs_length.SOLVED,
    }
    environment.filters |= {
        "mean": mean,
        "number": number,
        "percent": lambda share, places=0: percent(share, places),
        "digits": digits,
    }
    try:
        return environment.get_template(template.name).render()
    except (TemplateError, LookupError, ValueError, ArithmeticError, TypeError) as error:
        raise UserError(f"{template} does not match the results: {error}; correct one of them") from error


def source(folder: Path, name: str) -> str:
    """A link to a file of results, the commands that made it, and the day and machine of the measurements."""
    entry = about(folder / "results" / name)
    measured = entry.get("made_from", [entry])
    commands = dict.fromkeys(record["command"] for record in (*measured, entry))
    note = f" {entry['note']}" if "note" in entry else ""
    made_by = ", ".join(f"`{command}`" for command in commands)
    return f"[{name.split('/')[-1]}](results/{name}): {made_by}; {in_words(measured[0])}.{note}"


def made(folder: Path, figure: str) -> str:
    """The end of a caption: a link to the data of a figure, and the command that made them."""
    name = FIGURES[figure][0]
    return f"Data: [{name.split('/')[-1]}](results/{name}), `{about(folder / 'results' / name)['command']}`."


def about(path: Path) -> Record:
    """The record of a file of results.

    Raises:
        UserError: there is none.
    """
    if (entry := read_records(path.parent).get(path.name)) is None:
        raise UserError(f"{path.parent / ABOUT} has no record of {path.name}; make the file again with its command")
    return entry


def setting(config: str, key: str) -> Any:
    """The value of a key, such as ``model.init_args.fused``, in configs/<config>.yaml."""
    value = yaml.safe_load(read_text(CONFIGS / f"{config}.yaml"))
    for part in key.split("."):
        value = value[part]
    return value


def read_text(path: Path) -> str:
    """The text of a file of results; a UserError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; make it with the command in the report") from error


def read_table(path: Path) -> Rows:
    """The rows of a CSV file; values that look like numbers become numbers."""
    rows = csv.DictReader(io.StringIO(read_text(path)))
    return [{key: number_or_text(value) for key, value in row.items()} for row in rows]


def number_or_text(value: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def read_sample(path: Path, heading: str) -> str:
    """The text in a file of samples between ``heading``, a line, and the next heading or command."""
    lines = read_text(path).splitlines()
    start = next((k for k, line in enumerate(lines) if line == heading), None)
    if start is None:
        raise UserError(f"{path} has no line {heading!r}; correct the template or the file")
    ends = (k for k in range(start + 1, len(lines)) if lines[k].startswith(("--- ", "$ ")))
    return "\n".join(lines[start + 1 : next(ends, len(lines))]).strip("\n")


def steps_to_loss(rows: Rows, loss: float) -> list[int]:
    """For each seed the first step at which the training loss was below ``loss``."""
    return [
        min(row["step"] for row in filter_rows(rows, seed=seed) if row["train_loss"] < loss)
        for seed in values_of(rows, "seed")
    ]


def rates_below(rows: Rows, loss: float) -> list[float]:
    """The learning rates at which every seed ends below ``loss``."""
    rates = values_of(rows, "learning_rate")
    return [rate for rate in rates if max(optimizers.final_losses(filter_rows(rows, learning_rate=rate))) < loss]


def learned_to(rows: Rows, network: str, training: str) -> int:
    """The longest length up to which every seed learned all lengths."""
    rows = filter_rows(rows, network=network, training=training)
    learned = [
        min(column(filter_rows(rows, length=T), "test_accuracy")) >= accuracy_vs_length.SOLVED
        for T in values_of(rows, "length")
    ]
    return int(values_of(rows, "length")[[*learned, False].index(False) - 1])


def lost_from(rows: Rows, network: str, training: str) -> int:
    """The shortest length from which on no seed was better than chance."""
    rows = filter_rows(rows, network=network, training=training)
    above = [row["length"] for row in rows if row["test_accuracy"] > AT_CHANCE]
    return int(min(T for T in values_of(rows, "length") if max(above) < T))


def number(value: float, places: int = 0) -> str:
    """A number with so many decimal places, and a comma between thousands."""
    return f"{value:,.{places}f}"


def digits(value: float, number: int = 2) -> str:
    """A number with ``number`` significant digits, at least all before the point; small numbers with an exponent."""
    if value and abs(value) < 1e-2:
        mantissa, exponent = f"{value:.{number - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    places = number - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{max(places, 0)}f}"
