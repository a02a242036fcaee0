"""Bounds of the states of a recurrent network over all sequences of digits at once (interval bound propagation).

A sequence is a first digit and any digits after it. The states after t digits of all sequences with the same first
digit lie in a box: each hidden unit, and in an LSTM each cell, between a lower and an upper bound. The next box follows
by interval arithmetic (Moore 1966; for the training of networks Gowal et al. 2018 and Mirman et al. 2018). These bounds
serve training alone: rounding is not covered, and no proof depends on them.

Legend: K different digits, H hidden units.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.lstm import LSTM
from models.networks.vanilla_rnn import VanillaRNN

SLACK = 0.02
"""By how much training widens each box, with ``share`` 1. So the network learns to leave room for rounding."""

WIDENED_STEPS = 12
"""Steps from the widened box of an LSTM in training."""

FAR = 20.0
"""By how much training widens the bounds of cells outwards, in the end: tanh of a cell is then 1 or -1."""


class Interval(NamedTuple):
    """Lower and upper bounds, of the same shape."""

    lower: Tensor
    upper: Tensor


class Box(NamedTuple):
    """For each first digit the bounds of the hidden state, (K, H), and of an LSTM's cells, (K, H)."""

    h: Interval
    c: Interval | None = None


def boxes(network: LSTM | VanillaRNN, num_steps: int, share: float = 1.0, slack: float = 0.0) -> Iterator[Box]:
    """The boxes after 1, 2, ... ``num_steps`` digits.

    Args:
        network: which reads digits: ``input_size`` is K.
        num_steps: number of boxes, at least 1.
        share: of the differences between digits after the first one. With 1 the boxes contain the states of all
            sequences, with 0 those of the sequence whose later digits are all the mean of the K digits.
        slack: by how much each box is widened before the next one follows from it.
    """
    W_x, _, b = network.recurrent_weights()
    inputs = (W_x + b[:, None]).T  # (K, H), or (K, 4H) of an LSTM
    if isinstance(network, LSTM):
        nothing = torch.zeros_like(inputs[:, : network.hidden_size])
        box = lstm_step(Interval(inputs, inputs), Interval(nothing, nothing))
    else:
        box = Box(Interval(torch.tanh(inputs), torch.tanh(inputs)))
    yield box
    for _ in range(num_steps - 1):
        box = next_box(network, box, share, slack)
        yield box


def next_box(network: LSTM | VanillaRNN, box: Box, share: float, slack: float) -> Box:
    """The box of all states that follow from those of a box; see ``boxes``."""
    W_x, W_h, b = network.recurrent_weights()
    inputs = (W_x + b[:, None]).T
    mean = inputs.mean(dim=0)
    inputs = mean + share * (inputs - mean)
    middle = (box.h.lower + box.h.upper) / 2 @ W_h.T
    radius = ((box.h.upper - box.h.lower) / 2 + slack) @ W_h.abs().T
    if box.c is None:
        lowest, highest = torch.aminmax(inputs, dim=0)
        return Box(Interval(torch.tanh(middle - radius + lowest), torch.tanh(middle + radius + highest)))
    # Each digit by itself: one digit's largest g does not meet another one's largest i.
    gates = Interval((middle - radius)[:, None] + inputs, (middle + radius)[:, None] + inputs)  # (K, K, 4H)
    cells = Interval((box.c.lower - slack)[:, None], (box.c.upper + slack)[:, None])
    h, c = lstm_step(gates, cells)
    assert c is not None
    return Box(*(Interval(bounds.lower.amin(dim=1), bounds.upper.amax(dim=1)) for bounds in (h, c)))


def lstm_step(gates: Interval, c: Interval) -> Box:
    """Equations 4-9 for bounds of the gates before tanh and sigmoid, (..., 4H), and of the cells, (..., H)."""
    g_lower, i_lower, f_lower, o_lower = gates.lower.chunk(4, dim=-1)
    g_upper, i_upper, f_upper, o_upper = gates.upper.chunk(4, dim=-1)
    g = Interval(torch.tanh(g_lower), torch.tanh(g_upper))
    i, f, o = (
        Interval(torch.sigmoid(lower), torch.sigmoid(upper))
        for lower, upper in ((i_lower, i_upper), (f_lower, f_upper), (o_lower, o_upper))
    )
    written, kept = gated(g, i), gated(c, f)
    c = Interval(written.lower + kept.lower, written.upper + kept.upper)
    return Box(gated(Interval(torch.tanh(c.lower), torch.tanh(c.upper)), o), c)


def gated(value: Interval, gate: Interval) -> Interval:
    """Bounds of the product with a gate, which is at least 0."""
    return Interval(
        torch.minimum(value.lower * gate.lower, value.lower * gate.upper),
        torch.maximum(value.upper * gate.lower, value.upper * gate.upper),
    )


def widened(box: Box, last: Box, distance: float) -> Box:
    """A box with the bounds of cells moved outwards, unless they move away from zero by themselves.

    Cells of a trained LSTM are counters: they move away from zero at every step, so no finite box contains all later
    states. A bound next to zero that has not moved towards it in the last step stays. The others move by a distance. If
    it is large, the box contains the cells of many further steps, and tanh of these bounds is -1 or 1.

    Args:
        box: of an LSTM; of a vanilla RNN it is returned as it is.
        last: the box before.
        distance: by which bounds move.
    """
    if box.c is None or last.c is None:
        return box
    lower, upper = box.c
    counts_up = (lower > 0) & (lower >= last.c.lower)
    counts_down = (upper < 0) & (upper <= last.c.upper)
    cells = torch.where(counts_up, lower, lower - distance), torch.where(counts_down, upper, upper + distance)
    return Box(box.h, Interval(*cells))


def worst_logits(network: LSTM | VanillaRNN, box: Box) -> Tensor:
    """Upper bounds of ``p_k - p_d``, where d is the first digit and p are the logits in its box, (K, K): row d."""
    rows = network.W_ph - network.W_ph[:, None]  # row d, k: W_ph,k - W_ph,d, (K, K, H)
    middle, radius = (box.h.lower + box.h.upper) / 2, (box.h.upper - box.h.lower) / 2
    bounds = torch.einsum("dkh,dh->dk", rows, middle) + torch.einsum("dkh,dh->dk", rows.abs(), radius)
    return bounds + network.b_p - network.b_p[:, None]


def worst_case_loss(network: LSTM | VanillaRNN, num_steps: int, share: float, distance: float = 0.0) -> Tensor:
    """The mean over first digits and boxes of the cross-entropy of the worst logits, in nats.

    There is a box for each length up to ``num_steps``. With ``share`` 1 and without a ``distance`` it is an upper bound
    of the mean, over first digits and lengths, of the largest loss. For an LSTM and a distance above 0, the box after
    the last step is widened by it, and those of some further steps are added.
    """
    found = list(boxes(network, num_steps, share, share * SLACK))
    if distance > 0 and num_steps > 1 and found[-1].c is not None:
        last = widened(found[-1], found[-2], distance)
        for _ in range(WIDENED_STEPS):
            box = next_box(network, last, share, share * SLACK)
            found.append(box)
            last = widened(box, last, distance)
    logits = torch.stack([worst_logits(network, box) for box in found])
    target = torch.arange(network.output_size, device=logits.device).expand(len(found), -1)
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten())
