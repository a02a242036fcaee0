"""Bounds of the hidden states of a vanilla RNN over all sequences of digits at once (interval bound propagation).

A sequence is a first digit and any digits after it. The hidden states after t digits of all sequences with the same
first digit lie in a box: each unit between a lower and an upper bound. The next box follows by interval arithmetic
(Moore 1966; for the training of networks Gowal et al. 2018 and Mirman et al. 2018).

Legend: K different digits, H hidden units.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.vanilla_rnn import VanillaRNN

SLACK = 0.02
"""By how much training widens each box, with ``share`` 1, so that a proof has room for rounding."""


class Box(NamedTuple):
    """For each first digit the lower and the upper bound of each hidden unit, both (K, H)."""

    lower: Tensor
    upper: Tensor


def boxes(network: VanillaRNN, num_steps: int, share: float = 1.0, slack: float = 0.0) -> Iterator[Box]:
    """The boxes after 1, 2, ... ``num_steps`` digits.

    Args:
        network: which reads digits: ``input_size`` is K.
        num_steps: of them.
        share: of the differences between digits after the first one. With 1 the boxes contain the states of all
            sequences, with 0 those of the sequence whose later digits are all the mean of the K digits.
        slack: by how much each box is widened before the next one follows from it.
    """
    inputs = (network.W_hx + network.b_h[:, None]).T  # W_hx x_t + b_h for each digit, (K, H)
    mean = inputs.mean(dim=0)
    lowest, highest = (mean + share * (bound - mean) for bound in torch.aminmax(inputs, dim=0))
    magnitudes = network.W_hh.abs()
    box = Box(*[torch.tanh(inputs)] * 2)
    yield box
    for _ in range(num_steps - 1):
        middle = (box.lower + box.upper) / 2 @ network.W_hh.T
        radius = ((box.upper - box.lower) / 2 + slack) @ magnitudes.T
        box = Box(torch.tanh(middle - radius + lowest), torch.tanh(middle + radius + highest))
        yield box


def worst_logits(network: VanillaRNN, box: Box) -> Tensor:
    """Upper bounds of ``p_k - p_d``, where d is the first digit and p are the logits in its box, (K, K): row d."""
    rows = network.W_ph - network.W_ph[:, None]  # row d, k: W_ph,k - W_ph,d, (K, K, H)
    middle, radius = (box.lower + box.upper) / 2, (box.upper - box.lower) / 2
    bounds = torch.einsum("dkh,dh->dk", rows, middle) + torch.einsum("dkh,dh->dk", rows.abs(), radius)
    return bounds + network.b_p - network.b_p[:, None]


def worst_case_loss(network: VanillaRNN, num_steps: int, share: float) -> Tensor:
    """The mean over first digits and lengths up to ``num_steps`` of the cross-entropy of the worst logits, in nats.

    With ``share`` 1 it is an upper bound of the mean, over first digits and lengths, of the largest loss.
    """
    logits = torch.stack([worst_logits(network, box) for box in boxes(network, num_steps, share, share * SLACK)])
    target = torch.arange(network.output_size, device=logits.device).expand(num_steps, -1)
    return functional.cross_entropy(logits.flatten(0, 1), target.flatten())
