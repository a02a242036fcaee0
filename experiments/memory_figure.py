"""The figure of ``memory``: where states go, how fast they settle, what a kick does, how far back gradients reach.

Legend: K digits, B sequences, S numbers of a state, T length.
"""

import itertools
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

from experiments.figures import new_figure, save_figure
from experiments.memory_measures import LENGTHS, centres_of, draw_digits, gradient_norms, hidden_state, nearest
from experiments.tables import Rows
from experiments.trained_network import TrainedNetwork
from models.networks import LSTM

NUM_PALINDROMES = 10
"""Palindromes of each digit whose gradients are averaged."""
LINES = {"untrained": ("#888888", "--"), "trained": ("#0072b2", "-")}
NUM_COMPONENTS = 6
"""Principal components of which two are shown."""


def draw(
    trained: TrainedNetwork,
    states: dict[int, Tensor],
    first: Tensor,
    tables: dict[str, Rows],
    path_after_kick: Tensor,
    path: Path,
) -> None:
    """Draw the four panels and write them to ``path``."""
    figure, axes = new_figure(2, 2, 10, 8.4)
    hidden_states = {t: hidden_state(s, trained.network) for t, s in states.items()}
    draw_states(axes[0, 0], hidden_states, first, trained.num_classes)
    draw_settling(axes[0, 1], tables["states"])
    draw_kick(axes[1, 0], path_after_kick)
    draw_gradients(axes[1, 1], trained)
    name = "an LSTM" if isinstance(trained.network, LSTM) else "a vanilla RNN"
    figure.suptitle(f"How {name} keeps the first digit it has read", fontsize=12)
    save_figure(figure, path)


def draw_states(axes: Any, states: dict[int, Tensor], first: Tensor, num_classes: int) -> None:
    """The last states and the way of their means, in the two principal components that keep these furthest apart."""
    last = states[max(states)]
    centre = last.mean(0)
    _, _, directions = torch.linalg.svd(last - centre, full_matrices=False)
    ends = centres_of(last, first, num_classes) - centre
    if len(directions) == 1:  # a single unit: one dimension
        directions = torch.cat([directions, torch.zeros_like(directions)])
    pairs = list(itertools.combinations(range(min(NUM_COMPONENTS, len(directions))), 2))
    i, j = max(pairs, key=lambda pair: nearest(ends @ directions[list(pair)].T).min().item())
    plane_of = directions[[i, j]].T
    planes = {t: (s - centre) @ plane_of for t, s in states.items()}
    origin = -centre @ plane_of
    colours = matplotlib.colormaps["tab10"](torch.arange(num_classes).numpy() % 10)
    for digit in range(num_classes):
        way = torch.stack([origin, *(plane[first == digit].mean(0) for plane in planes.values())])
        axes.plot(*way.T, color=colours[digit], linewidth=0.8, alpha=0.6)
        points = planes[max(planes)][first == digit]
        axes.scatter(*points.T, color=colours[digit], s=9, linewidths=0)
        outward = 13 * torch.nn.functional.normalize(way[-1] - origin, dim=0)
        style = {"color": colours[digit], "ha": "center", "va": "center", "fontweight": "bold", "fontsize": 11}
        axes.annotate(str(digit), way[-1], xytext=outward, textcoords="offset points", **style)
    axes.plot(*origin, marker="o", markersize=5, color="black")
    axes.annotate("zero", origin, xytext=(6, 6), textcoords="offset points")
    axes.set_title(f"Hidden states after {max(states):,} digits, and their way there", loc="left", fontsize=10)
    axes.set_xlabel(f"principal component {i + 1}")
    axes.set_ylabel(f"principal component {j + 1}")
    axes.margins(0.1)


def draw_settling(axes: Any, rows: Rows) -> None:
    times = [row["t"] for row in rows]
    for name, label, colour in (
        ("separation", "between the two nearest digits", "#0072b2"),
        ("spread", "among states of one digit", "#d55e00"),
    ):
        values = [row[name] for row in rows]
        shown = [(t, value) for t, value in zip(times, values, strict=True) if value > 1e-5]
        if not shown:
            continue
        axes.plot(*zip(*shown, strict=True), color=colour, marker="o", markersize=3)
        axes.annotate(label, shown[-1], xytext=(0, 10), textcoords="offset points", ha="right", color=colour)
    axes.set(xscale="log", yscale="log", xlabel="digits read, t", ylabel="distance")
    axes.set_title("How far apart hidden states lie", loc="left", fontsize=10)


def draw_kick(axes: Any, path_after_kick: Tensor) -> None:
    axes.plot(range(len(path_after_kick)), path_after_kick / path_after_kick[0], color="#0072b2")
    axes.set(yscale="log", xlabel="digits read since the kick", ylabel="distance, relative to the kick")
    axes.set_title("What becomes of a kick", loc="left", fontsize=10)


def draw_gradients(axes: Any, trained: TrainedNetwork) -> None:
    length = LENGTHS[-1]
    digits = draw_digits(trained.num_classes, NUM_PALINDROMES, length - 1)
    for name, network in (("untrained", trained.untrained), ("trained", trained.network)):
        norms = gradient_norms(network, digits).mean(dim=0)
        relative = (norms / norms[-1]).flip(0)
        colour, style = LINES[name]
        back = torch.arange(1, length)
        reached = relative > 1e-12
        axes.plot(back[reached], relative[reached], color=colour, linestyle=style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="steps back from the loss", ylabel="|dL/dh|, relative to the last step")
    axes.set_title(f"How far back the loss reaches at T = {length:,}", loc="left", fontsize=10)
    axes.legend(frameon=False, loc="lower left")
