"""Bounds of the states of a stack RNN over all strings at once, with which it learns to be proved (docs/strings.md).

The proof is about the automaton that writes a string in reverse: it pushes each symbol, keeps the stack at the marker,
and at each blank it writes the top and pops. The loss of this module is an upper bound of the cross-entropy of these
actions and of what is written, over all strings. It follows by interval arithmetic (Moore 1966; Gowal et al. 2018). It
holds for strings of all lengths if the boxes no longer grow after ``NUM_STEPS`` steps, as in networks that were trained
with it. A proof does not depend on it.

Legend: K different symbols, H hidden units, M features of a cell.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.stack_bptt import KEEP, POP, PUSH
from models.networks.stack_rnn import StackRNN

SLACK = 1e-3
"""By how much training widens each box, with ``share`` 1, so that a proof has room for rounding."""

NUM_STEPS = 6
"""Steps for which boxes are computed; those of a network that can be proved settle within a few."""


class Interval(NamedTuple):
    """Lower and upper bounds, of the same shape."""

    lower: Tensor
    upper: Tensor


def reversal_bound(network: StackRNN, share: float = 1.0) -> Tensor:
    """The largest cross-entropy of actions and written symbols, the sum of four means over the K symbols.

    Args:
        network: which reads K symbols, a marker and a blank, and writes K symbols.
        share: of the widths of the boxes, from 0 to 1. With 1 they contain the states of all strings of up to
            ``NUM_STEPS`` symbols.
    """
    K = network.output_size
    W_r = torch.cat([network.W_hh, network.W_hs], 1)
    inputs = network.W_hx.T + network.b_h  # (K + 2, H)
    zero = W_r.new_zeros(W_r.shape[1])
    state = Interval(zero, zero)  # contains h and the top of all strings so far
    for _ in range(NUM_STEPS):
        read = activated(W_r, inputs[:K], narrowed(state, share))
        pushed = Interval(*map(torch.sigmoid, affine(network.W_vh, network.b_v, read)))
        after = Interval(*(torch.cat(parts, dim=1) for parts in zip(read, pushed, strict=True)))
        state = Interval(after.lower.amin(0).minimum(zero), after.upper.amax(0).maximum(zero))
    marked = activated(W_r, inputs[K], narrowed(after, share))
    writing = Interval(marked.lower.amin(0), marked.upper.amax(0))
    for _ in range(NUM_STEPS):
        before = (torch.cat([h.expand(K, -1), top], dim=1) for h, top in zip(writing, pushed, strict=True))
        written = activated(W_r, inputs[K + 1], narrowed(Interval(*before), share))
        writing = Interval(written.lower.amin(0).minimum(writing.lower), written.upper.amax(0).maximum(writing.upper))
    actions = ((read, PUSH), (marked, KEEP), (written, POP))
    losses = [worst_case(affine(network.W_ah, network.b_a, h), torch.full((K,), action)) for h, action in actions]
    losses.append(worst_case(affine(network.W_ph, network.b_p, written), torch.arange(K)))
    return torch.stack(losses).sum()


def affine(W: Tensor, b: Tensor | float, box: Interval) -> Interval:
    """Bounds of ``W x + b`` for all x of a box; (..., N) -> (..., G)."""
    middle = (box.lower + box.upper) / 2 @ W.T + b
    radius = (box.upper - box.lower) / 2 @ W.abs().T
    return Interval(middle - radius, middle + radius)


def activated(W_r: Tensor, inputs: Tensor, box: Interval) -> Interval:
    """Bounds of the hidden states after a step, equation (S1)."""
    return Interval(*(torch.tanh(inputs + bound) for bound in affine(W_r, 0.0, box)))


def narrowed(box: Interval, share: float) -> Interval:
    """A box that is widened by ``SLACK``, and has only ``share`` of this width."""
    middle, radius = (box.lower + box.upper) / 2, share * ((box.upper - box.lower) / 2 + SLACK)
    return Interval(middle - radius, middle + radius)


def worst_case(logits: Interval, target: Tensor) -> Tensor:
    """The mean cross-entropy with the smallest logit of the target and the largest of the others; (K, C) and (K,)."""
    target = target.to(logits.lower.device)
    is_target = functional.one_hot(target, logits.lower.shape[-1]).bool()
    return functional.cross_entropy(torch.where(is_target, logits.lower, logits.upper), target)
