"""What figures share: style, means over seeds with their intervals, and labels at the ends of lines."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window: a figure is a file

from matplotlib import pyplot

from experiments.tables import Rows, column, filter_rows, values_of

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008); lines also differ in their style."""

STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 3)), (0, (1, 3)))

PAGE_WIDTH = 5.5
"""Of the text on a page of the printed report, in inches."""

NAME_MAX = 36
"""The most characters of a line's name; of a longer name only the end is shown."""

NAME_GAP = 9.5
"""The least distance between the names of two lines, in points."""

Interval = tuple[float, float, float]
"""A mean, and the lower and the upper end of its 95 % interval."""


def new_figure(num_rows: int, num_columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """An empty figure and its axes, sizes in inches; at most ``PAGE_WIDTH`` wide, it is printed in this size."""
    pyplot.rcParams.update({"font.size": 8, "axes.titlesize": 8, "axes.spines.top": False, "axes.spines.right": False})
    pyplot.rcParams.update({"svg.hashsalt": "palimpsest"})  # so that equal figures are equal files
    return pyplot.subplots(num_rows, num_columns, figsize=(width, height), layout="constrained", **options)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure as PNG, for the web, and as SVG next to it, for print."""
    figure.savefig(path, dpi=200)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    pyplot.close(figure)


def mean_and_interval(values: Sequence[float]) -> Interval:
    """The mean and the ends of its 95 % interval (Student's t). A single value is returned three times."""
    from scipy import stats  # slow to import, so only where it is used

    n = len(values)
    mean = sum(values) / n
    if n < 2:
        return mean, mean, mean
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))  # statistics.stdev fails on NaN
    margin = float(stats.t.ppf(0.975, n - 1)) * deviation / math.sqrt(n)
    return mean, mean - margin, mean + margin


def means_by(rows: Rows, x: str, y: str) -> dict[Any, Interval]:
    """The mean under the key ``y`` and its interval, for each value under the key ``x`` in ascending order."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault(row[x], []).append(row[y])
    return {value: mean_and_interval(groups[value]) for value in sorted(groups)}


def plot_means(
    axes: Any,
    name: str,
    points: Mapping[Any, Interval],
    k: int,
    limits: tuple[float, float] = (-math.inf, math.inf),
    **style: Any,
) -> None:
    """Draw a line through means, and a band between the ends of their intervals.

    Args:
        axes: where to draw.
        name: of the line, for ``label_lines``.
        points: for each x; without points nothing is drawn.
        k: the line has the k-th of the colours and styles, which repeat.
        limits: the band is cut off here, because the values cannot be beyond.
        style: of the line, as for matplotlib's ``plot``.
    """
    if points:
        colour = COLOURS[k % len(COLOURS)]
        means, lows, highs = zip(*points.values(), strict=True)
        lower, upper = ([min(max(end, limits[0]), limits[1]) for end in ends] for ends in (lows, highs))
        style = {"linestyle": STYLES[k % len(STYLES)], "markersize": 3} | style
        axes.plot(list(points), means, color=colour, label=name, **style)
        axes.fill_between(list(points), lower, upper, color=colour, alpha=0.15, linewidth=0)


def plot_seeds(axes: Any, name: str, rows: Rows, x: str, y: str, k: int, **style: Any) -> None:
    """Draw a mark for each row, and a line through the medians.

    Args:
        axes: where to draw.
        name: of the line, for ``label_lines`` and the legend.
        rows: without rows nothing is drawn.
        x: key of the horizontal values.
        y: key of the vertical values.
        k: the line has the k-th of the colours and styles, which repeat.
        style: of the line, as for matplotlib's ``plot``; ``marker`` is that of the marks.
    """
    if rows:
        colour = COLOURS[k % len(COLOURS)]
        marks = {"marker": style.pop("marker", "."), "markersize": style.pop("markersize", 4)}
        values = values_of(rows, x)
        medians = [median(column(filter_rows(rows, **{x: value}), y)) for value in values]
        style = {"linestyle": STYLES[k % len(STYLES)], "color": colour, "clip_on": False} | style
        axes.plot(values, medians, label=name, **style)
        axes.plot(column(rows, x), column(rows, y), **style | marks | {"linestyle": "", "markerfacecolor": "none"})


def label_lines(axes: Any) -> None:
    """Write the label of each line next to its last point, so that no two overlap.

    Draw nothing afterwards that changes the limits of the axes.
    """
    axes.figure.canvas.draw()  # positions are known only after drawing
    points_per_pixel = 72 / axes.figure.dpi
    ends = [(line, *line.get_xydata()[-1]) for line in axes.get_lines() if not line.get_label().startswith("_")]
    y_above = math.inf
    # From top to bottom. Of equal heights the longest line is first: it continues behind the names of shorter lines.
    for line, x_end, y_end in sorted(ends, key=lambda end: (-end[2], -end[1])):
        name = line.get_label()
        y_of_line = axes.transData.transform((x_end, y_end))[1] * points_per_pixel
        y_above = min(y_of_line, y_above - NAME_GAP)
        axes.annotate(
            name if len(name) <= NAME_MAX else f"...{name[3 - NAME_MAX :]}",
            (x_end, y_end),
            xytext=(6, y_above - y_of_line),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
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
    axes.annotate(
        f"{mean:{form}}" + (f" ({low:{form}} to {high:{form}})" if len(values) > 1 else ""),
        (low if text_side < 0 else high, y),
        xytext=(8 * text_side, 0),
        textcoords="offset points",
        ha="left" if text_side > 0 else "right",
        va="center",
    )


def heat_map(
    axes: Any, lines: dict[str, Rows], lengths: Sequence[int], text_of: Callable[..., str], **style: Any
) -> None:
    """Show mean test accuracies as colours: a row for each line, a column for each length of palindromes.

    Args:
        axes: where to draw.
        lines: the results of each line, from bottom to top.
        lengths: of the palindromes; where a line has no results, its cell stays empty.
        text_of: the text in a cell, from its accuracies.
        style: of the texts.
    """
    means = [[math.nan] * len(lengths) for _ in lines]
    for y, rows in enumerate(lines.values()):
        for x, length in enumerate(lengths):
            if values := column(filter_rows(rows, length=length), "test_accuracy"):
                means[y][x] = sum(values) / len(values)
                colour = "white" if means[y][x] < 0.5 else "black"
                axes.text(x, y, text_of(values), ha="center", va="center", color=colour, **style)
    axes.imshow(means, origin="lower", cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(lengths)), lengths)
    axes.set_yticks(range(len(lines)), lines)
    axes.set_xlabel("length of the palindromes, T")
