"""Bounds of the states of a recurrent network over all sequences of digits at once (interval bound propagation).

A sequence is a first digit and any digits after it. The states after t digits of all sequences with the same first
digit lie in a box: each hidden unit, and in an LSTM each cell, between a lower and an upper bound. The next box follows
by interval arithmetic (Moore 1966; for the training of networks Gowal et al. 2018 and Mirman et al. 2018).

Bounds of a tensor x, of shape (...), are a tensor of shape (2, ...): ``bounds[0]`` is an upper bound of -x, and
``bounds[1]`` one of x. So the lower bound of x is ``-bounds[0]``. As tanh is odd and increasing, one operation computes
both bounds. They serve training alone: rounding is not covered, and no proof depends on them.

Legend: K different digits, H hidden units, G = H, or 4H in an LSTM.
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


class Box(NamedTuple):
    """For each first digit the bounds of the hidden state, (2, K, H), and of an LSTM's cells, (2, K, H)."""

    h: Tensor
    c: Tensor | None = None


class Transition(NamedTuple):
    """What all steps use: bounds of what each digit adds, (2, K, G), the matrix W_h, (G, H), and its magnitudes."""

    inputs: Tensor
    W_h: Tensor
    W_h_magnitudes: Tensor


def transition_of(network: LSTM | VanillaRNN, share: float = 1.0) -> Transition:
    """The transition in which the differences between the digits are multiplied by ``share``."""
    W_x, W_h, b = network.recurrent_weights()
    inputs = (W_x + b[:, None]).T
    mean = inputs.mean(dim=0)
    return Transition(point(mean + share * (inputs - mean)), W_h, W_h.abs())


def point(x: Tensor) -> Tensor:
    """The bounds of x alone."""
    return torch.stack([-x, x])


def boxes(network: LSTM | VanillaRNN, num_steps: int, share: float = 1.0, slack: float = 0.0) -> Iterator[Box]:
    """The boxes after 1, 2, ... ``num_steps`` digits.

    Args:
        network: which reads digits: ``input_size`` is K.
        num_steps: number of boxes, at least 1.
        share: of the differences between digits after the first one. With 1 the boxes contain the states of all
            sequences, with 0 those of the sequence whose later digits are all the mean of the K digits.
        slack: by how much each box is widened before the next one follows from it.
    """
    first = transition_of(network).inputs
    if isinstance(network, LSTM):
        box = lstm_step(first, torch.zeros_like(first[..., : network.hidden_size]))
    else:
        box = Box(torch.tanh(first))
    yield box
    transition = transition_of(network, share)
    for _ in range(num_steps - 1):
        box = next_box(transition, box, slack)
        yield box


def next_box(transition: Transition, box: Box, slack: float = 0.0) -> Box:
    """The box of all states that follow from those of a box; see ``boxes``."""
    middle, radius = middle_and_radius(box.h)
    pre = point(middle @ transition.W_h.T) + (radius + slack) @ transition.W_h_magnitudes.T  # (2, K, G)
    if box.c is None:
        return Box(torch.tanh(pre + transition.inputs.amax(dim=1, keepdim=True)))
    # Each digit by itself: one digit's largest g does not meet another one's largest i.
    h, c = lstm_step(pre[:, :, None] + transition.inputs[:, None], (box.c + slack)[:, :, None])  # (2, K, K, H)
    assert c is not None
    return Box(h.amax(dim=2), c.amax(dim=2))


def middle_and_radius(bounds: Tensor) -> tuple[Tensor, Tensor]:
    return (bounds[1] - bounds[0]) / 2, (bounds[1] + bounds[0]) / 2


def lstm_step(pre: Tensor, c: Tensor) -> Box:
    """Equations 4-9 for bounds, whose middle dimensions are broadcast.

    Args:
        pre: of the gates before tanh and sigmoid, (2, ..., 4H).
        c: of the cells, (2, ..., H).
    """
    H = c.shape[-1]
    g = torch.tanh(pre[..., :H])
    lowest, highest = -pre[0, ..., H:], pre[1, ..., H:]
    i, f, o = torch.sigmoid(torch.stack([lowest, highest])).chunk(3, dim=-1)
    c_next = gated(g, i) + gated(c, f)
    return Box(gated(torch.tanh(c_next), o), c_next)


def gated(bounds: Tensor, lowest_and_highest: Tensor) -> Tensor:
    """Bounds of the product with a gate, of which the lowest and the highest value are given, both at least 0."""
    lowest, highest = lowest_and_highest
    return bounds * torch.where(bounds > 0, highest, lowest)


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
    counts = (box.c < 0) & (box.c <= last.c)  # a lower bound above 0 that rises, or an upper bound below 0 that falls
    return Box(box.h, torch.where(counts, box.c, box.c + distance))


def worst_logits(network: LSTM | VanillaRNN, h: Tensor) -> Tensor:
    """Upper bounds of ``p_k - p_d``, where d is the first digit and p are the logits in its box.

    Args:
        network: which reads digits.
        h: bounds of the hidden states, (2, ..., K, H).
    Returns:
        The bounds, (..., K, K), with k in column k of row d.
    """
    rows = network.W_ph - network.W_ph[:, None]  # row d, k: W_ph,k - W_ph,d, (K, K, H)
    middle, radius = middle_and_radius(h)
    bounds = torch.einsum("dkh,...dh->...dk", rows, middle) + torch.einsum("dkh,...dh->...dk", rows.abs(), radius)
    return bounds + network.b_p - network.b_p[:, None]


def worst_case_loss(network: LSTM | VanillaRNN, num_steps: int, share: float, distance: float = 0.0) -> Tensor:
    """The mean over first digits and boxes of the cross-entropy of the worst logits, in nats.

    There is a box for each length up to ``num_steps``. With ``share`` 1 and without a ``distance`` it is an upper bound
    of the mean, over first digits and lengths, of the largest loss. For an LSTM and a distance above 0, the box after
    the last step is widened by it, and those of some further steps are added.
    """
    slack = share * SLACK
    found = list(boxes(network, num_steps, share, slack))
    if distance > 0 and num_steps > 1 and found[-1].c is not None:
        transition = transition_of(network, share)
        last = widened(found[-1], found[-2], distance)
        for _ in range(WIDENED_STEPS):
            found.append(next_box(transition, last, slack))
            last = widened(found[-1], last, distance)
    logits = worst_logits(network, torch.stack([box.h for box in found], dim=1))
    target = torch.arange(network.output_size, device=logits.device).expand(len(found), -1)
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten())
