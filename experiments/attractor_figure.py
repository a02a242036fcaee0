"""The figure of ``attractors``: paths of states, how they settle, the effect of a kick, and how far gradients reach.

Legend: K digits, B sequences, S numbers of a state, T length.
"""

import itertools
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

from experiments.attractor_measures import LENGTHS, centres_of, draw_digits, gradient_norms, hidden_state, nearest
from experiments.plotting import PAGE_WIDTH, new_figure, save_figure
from experiments.tables import Rows
from experiments.trained_model import TrainedNetwork
from models.networks import LSTM

NUM_PALINDROMES = 10
"""Palindromes for each digit; the figure shows the median of their gradients."""

LINES = {"untrained": ("#888888", "--"), "trained": ("#0072b2", "-")}

NUM_COMPONENTS = 6
"""The figure shows two of so many principal components."""


def draw(
    trained: TrainedNetwork, states: dict[int, Tensor], first: Tensor, settling: Rows, distances: Tensor, path: Path
) -> None:
    """Draw the four panels and write them to ``path``.

    Args:
        trained: the network.
        states: (B, S) after t digits, for each t, as ``settle`` returns them.
        first: the first digit of each sequence, (B,) int64.
        settling: the rows that ``settle`` returns.
        distances: between kicked and other states, as ``distances_after_kick`` returns them.
        path: of the figure.
    """
    figure, axes = new_figure(2, 2, PAGE_WIDTH, 6.0)
    hidden_states = {t: hidden_state(s, trained.network) for t, s in states.items()}
    draw_states(axes[0, 0], hidden_states, first, trained.num_classes)
    draw_settling(axes[0, 1], settling)
    draw_kick(axes[1, 0], distances)
    draw_gradients(axes[1, 1], trained)
    name = "an LSTM" if isinstance(trained.network, LSTM) else "a vanilla RNN"
    figure.suptitle(f"How {name} keeps the first digit it has read", fontsize=9)
    save_figure(figure, path)


def draw_states(axes: Any, states: dict[int, Tensor], first: Tensor, num_classes: int) -> None:
    """The last states, and the paths of the mean states, in the plane that separates the means best.

    Two of the first principal components span this plane.
    """
    last = states[max(states)]
    centre = last.mean(0)
    _, _, directions = torch.linalg.svd(last - centre, full_matrices=False)
    ends = centres_of(last, first, num_classes) - centre
    if len(directions) == 1:  # a network with one unit has one dimension
        directions = torch.cat([directions, torch.zeros_like(directions)])
    pairs = list(itertools.combinations(range(min(NUM_COMPONENTS, len(directions))), 2))
    i, j = max(pairs, key=lambda pair: nearest(ends @ directions[list(pair)].T).min().item())
    plane_of = directions[[i, j]].T
    planes = {t: (s - centre) @ plane_of for t, s in states.items()}
    origin = -centre @ plane_of
    colours = matplotlib.colormaps["tab10"](torch.arange(num_classes).numpy() % 10)
    for digit in range(num_classes):
        means = torch.stack([origin, *(plane[first == digit].mean(0) for plane in planes.values())])
        axes.plot(*means.T, color=colours[digit], linewidth=0.8, alpha=0.6)
        points = planes[max(planes)][first == digit]
        axes.scatter(*points.T, color=colours[digit], s=9, linewidths=0)
        outward = 13 * torch.nn.functional.normalize(means[-1] - origin, dim=0)
        style = {"color": colours[digit], "ha": "center", "va": "center", "fontweight": "bold", "fontsize": 11}
        axes.annotate(str(digit), means[-1], xytext=outward, textcoords="offset points", **style)
    axes.plot(*origin, marker="o", markersize=5, color="black")
    axes.annotate("zero", origin, xytext=(6, 6), textcoords="offset points")
    axes.set_title("Hidden states, and paths of their means", loc="left")
    axes.set_xlabel(f"principal component {i + 1}")
    axes.set_ylabel(f"principal component {j + 1}")
    axes.margins(0.1)


def draw_settling(axes: Any, rows: Rows) -> None:
    times = [row["t"] for row in rows]
    for name, label, colour in (
        ("separation", "nearest digits", "#0072b2"),
        ("spread", "same digit", "#d55e00"),
    ):
        values = [row[name] for row in rows]
        shown = [(t, value) for t, value in zip(times, values, strict=True) if value > 1e-5]
        if not shown:
            continue
        axes.plot(*zip(*shown, strict=True), color=colour, marker="o", markersize=3, label=label)
    axes.set(xscale="log", yscale="log", xlabel="digits read, t", ylabel="distance")
    if axes.get_lines():
        axes.legend(frameon=False, loc="center right")
    axes.set_title("Distances between hidden states", loc="left")


def draw_kick(axes: Any, distances: Tensor) -> None:
    axes.plot(range(len(distances)), distances / distances[0], color="#0072b2")
    axes.set(yscale="log", xlabel="digits read after the kick", ylabel="distance, relative to the kick")
    axes.set_title("Effect of a kick", loc="left")


def draw_gradients(axes: Any, trained: TrainedNetwork) -> None:
    length = LENGTHS[-1]
    digits = draw_digits(trained.num_classes, NUM_PALINDROMES, length - 1)
    for name, network in (("untrained", trained.untrained), ("trained", trained.network)):
        norms = gradient_norms(network, digits).median(dim=0).values
        relative = (norms / norms[-1]).flip(0)
        colour, style = LINES[name]
        back = torch.arange(1, length)
        reached = relative > 1e-12
        axes.plot(back[reached], relative[reached], color=colour, linestyle=style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="steps back from the loss", ylabel="|dL/dh|, relative to the last")
    axes.set_title(f"Reach of the gradient, T = {length:,}", loc="left")
    axes.legend(frameon=False, loc="lower left")
