"""What figures share: style, means over seeds with their intervals, and labels at the ends of lines."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window: a figure is a file

from matplotlib import pyplot

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008); lines also differ in their style."""

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)), (0, (1, 3)))

NAME_MAX = 36
"""The most characters of a line's name; of a longer name only the end is shown."""

LineEnd = tuple[str, float, float, str]
"""A line's name, x and y of its last point, and its colour."""


def new_figure(num_rows: int, num_columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """An empty figure and its axes, sizes in inches."""
    pyplot.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    return pyplot.subplots(num_rows, num_columns, figsize=(width, height), layout="constrained", **options)


def save_figure(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and the ends of its 95 % interval (Student's t). A single value is returned three times."""
    from scipy import stats  # slow to import, so only where it is used

    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, mean, mean
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))  # statistics.stdev fails on NaN
    margin = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return mean, mean - margin, mean + margin


def plot_means(
    axes: Any,
    name: str,
    points: Mapping[Any, tuple[float, float, float]],
    colour: str,
    limits: tuple[float, float] = (-math.inf, math.inf),
    **style: Any,
) -> LineEnd:
    """Draw a line through means, and a band between the ends of their intervals.

    Args:
        axes: where to draw.
        name: of the line, for ``label_lines``.
        points: mean, lower end and upper end (``mean_and_interval``) for each x, at least one.
        colour: of the line and the band.
        limits: the band is cut off here, because the values cannot be beyond.
        style: of the line, as for matplotlib's ``plot``.
    """
    means, lows, highs = zip(*points.values(), strict=True)
    lower, upper = ([min(max(end, limits[0]), limits[1]) for end in ends] for ends in (lows, highs))
    x = list(points)
    axes.plot(x, means, color=colour, markersize=3, **style)
    axes.fill_between(x, lower, upper, color=colour, alpha=0.15, linewidth=0)
    return name, x[-1], means[-1], colour


def label_lines(axes: Any, ends: Sequence[LineEnd], gap: float = 11.0) -> None:
    """Write the name of each line next to its last point, so that no two names overlap.

    Args:
        axes: where the lines are. Draw nothing afterwards that changes its limits.
        ends: of the lines.
        gap: between two names, in points.
    """
    axes.figure.canvas.draw()  # positions are known only after drawing
    points_per_pixel = 72 / axes.figure.dpi
    placed: list[tuple[float, LineEnd]] = []
    # From top to bottom. Of equal heights the longest line is first: it continues behind the names of shorter lines.
    for end in sorted(ends, key=lambda end: (-end[2], -end[1])):
        y = axes.transData.transform((end[1], end[2]))[1] * points_per_pixel
        placed.append((min(y, placed[-1][0] - gap) if placed else y, end))
    for y, (name, x_end, y_end, colour) in placed:
        y_of_line = axes.transData.transform((x_end, y_end))[1] * points_per_pixel
        axes.annotate(
            name if len(name) <= NAME_MAX else f"...{name[3 - NAME_MAX :]}",
            (x_end, y_end),
            xytext=(6, y - y_of_line),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def mark_values(axes: Any, y: float, values: Sequence[float], colour: str, text_side: int, form: str) -> None:
    """Draw values as strokes, and their mean with its 95 % interval as a dot with bars, on a horizontal line.

    Args:
        axes: where to draw.
        y: the height of the line.
        values: at least one.
        colour: of strokes, dot and bars.
        text_side: where the numbers are written: 1 for right, -1 for left.
        form: of these numbers, as for ``format``.
    """
    mean, low, high = mean_and_interval(values)
    axes.plot(values, [y + 0.3] * len(values), "|", color=colour, markersize=6)
    axes.errorbar(mean, y, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, markersize=4, capsize=3)
    text = format(mean, form)
    if len(values) > 1:
        text += f" ({low:{form}} to {high:{form}})"
    axes.annotate(
        text,
        (low if text_side < 0 else high, y),
        xytext=(8 * text_side, 0),
        textcoords="offset points",
        ha="left" if text_side > 0 else "right",
        va="center",
    )
