"""How figures look, and what several of them need: means over seeds with intervals, labels at the ends of lines."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window: a figure is a file

from matplotlib import pyplot

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by the colour-blind (Okabe and Ito 2008); lines differ in more than their colour."""

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)), (0, (1, 3)))

NAME_MAX = 36
"""Characters of a line's name; of a longer one the end is shown."""


def new_figure(num_rows: int, num_columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """An empty figure and its axes, sizes in inches."""
    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    return pyplot.subplots(num_rows, num_columns, figsize=(width, height), layout="constrained", **options)


def save_figure(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and the ends of its 95 % interval (Student's t); for a single value that value three times."""
    from scipy import stats  # heavy, and not needed where nothing is drawn

    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, mean, mean
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    margin = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return mean, mean - margin, mean + margin


def label_lines(axes: Any, ends: list[tuple[str, float, float, str]], gap: float = 11.0) -> None:
    """Write the name of each line beside its last point, no two names over one another.

    Args:
        axes: where the lines are; nothing more may be drawn there that would change its limits.
        ends: name, x and y of the last point, colour.
        gap: between two names, in points.
    """
    axes.figure.canvas.draw()  # where things are is not known before
    points_per_pixel = 72 / axes.figure.dpi
    placed: list[tuple[float, tuple[str, float, float, str]]] = []
    # From the top down, of equals the longest line first: it runs on behind the names of the shorter ones.
    for end in sorted(ends, key=lambda end: (-end[2], -end[1])):
        y = axes.transData.transform((end[1], end[2]))[1] * points_per_pixel
        placed.append((min(y, placed[-1][0] - gap) if placed else y, end))
    for y, (name, x_end, y_end, colour) in placed:
        at = axes.transData.transform((x_end, y_end))[1] * points_per_pixel
        axes.annotate(
            name if len(name) <= NAME_MAX else f"...{name[3 - NAME_MAX :]}",
            (x_end, y_end),
            xytext=(6, y - at),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def mark_values(axes: Any, y: float, values: Sequence[float], colour: str, text_side: int, form: str) -> None:
    """The mean of values and its 95 % interval on a line at height y, in words, too; the values as strokes beside it.

    Args:
        axes: where to draw.
        y: the height of the line.
        values: what was measured, at least one.
        colour: of all of it.
        text_side: 1 for words to the right, -1 for the left.
        form: of a number in the words, as for ``format``.
    """
    mean, low, high = mean_and_interval(values)
    axes.plot(values, [y + 0.3] * len(values), "|", color=colour, markersize=6)
    axes.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, markersize=4, capsize=3)
    words = format(mean, form)
    if len(values) > 1:  # the interval may be narrower than its dot
        words += f" ({low:{form}} to {high:{form}})"
    reach = low if text_side < 0 else high
    axes.annotate(
        words,
        (reach, y),
        xytext=(8 * text_side, 0),
        textcoords="offset points",
        ha="left" if text_side > 0 else "right",
        va="center",
    )
