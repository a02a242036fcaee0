"""Checks that a stack RNN writes every string in reverse, in ball arithmetic, without any code of the search.

Legend: K different symbols, H hidden units, M features of a cell of the stack.
"""

from functools import reduce
from typing import NamedTuple

import flint
import numpy as np
from flint import arb, arb_mat

from experiments.certificate_check import (
    PRECISION,
    Array,
    Bounds,
    Refusal,
    SumOverflowError,
    Weights,
    absolute,
    balls,
    entries,
    inside,
    rounding,
    sigmoid,
    tanh,
)
from experiments.reversal_certificate import ReversalCertificate

PUSH, KEEP, POP = range(3)


class CheckedReversal(NamedTuple):
    """The number of inequalities, and lower bounds of the margins of written symbols and of actions."""

    num_inequalities: int
    margin: float
    action_margin: float


class Affine:
    """``W x + b``, as float32 may compute it: an error for the sum of all products and biases, in any order."""

    def __init__(self, W: Array, *biases: Array) -> None:
        self.W, self.abs_W = balls(W), absolute(balls(W))
        self.biases = [[arb(float(value)) for value in bias] for bias in biases]
        self.num_terms = W.shape[1] + len(biases)

    def parts(self, box: list[Bounds]) -> tuple[arb_mat, list[arb], list[arb]]:
        """x as a column of balls, the exact results, and the largest errors of rounding."""
        column = arb_mat(len(box), 1, [low.union(high) for low, high in box])
        largest = arb_mat(len(box), 1, [abs(value).upper() for value in entries(column)])
        exact, magnitudes = entries(self.W * column), entries(self.abs_W * largest)
        for bias in self.biases:
            exact = [value + b for value, b in zip(exact, bias, strict=True)]
            magnitudes = [value + abs(b) for value, b in zip(magnitudes, bias, strict=True)]
        return column, exact, [rounding(self.num_terms, magnitude) for magnitude in magnitudes]

    def of(self, box: list[Bounds]) -> list[Bounds]:
        """Bounds of the results for all x of a box."""
        _, exact, errors = self.parts(box)
        return [((value - e).lower(), (value + e).upper()) for value, e in zip(exact, errors, strict=True)]

    def margin(self, box: list[Bounds], target: int) -> arb:
        """A lower bound of the result of a row minus the largest of the others."""
        column, _, errors = self.parts(box)
        margins = []
        for other in range(self.W.nrows()):
            if other != target:
                row = arb_mat(1, len(box), [self.W[target, i] - self.W[other, i] for i in range(len(box))])
                difference = reduce(
                    lambda sum_, bias: sum_ + bias[target] - bias[other], self.biases, (row * column)[0, 0]
                )
                margins.append((difference - errors[target] - errors[other]).lower())
        return reduce(arb.min, margins, arb("inf"))


def check_reversal(certificate: ReversalCertificate, weights: Weights) -> CheckedReversal | Refusal:
    """Check every inequality of a certificate.

    Args:
        certificate: of a network with these weights; the checksum is not compared here.
        weights: those of ``StackRNN``, which reads K symbols, a marker and a blank, and writes K symbols.
    Returns:
        the first inequality that does not hold, or what was checked.
    """
    if (wrong := wrong_shape(certificate, weights)) is not None:
        return wrong
    with flint.ctx.workprec(PRECISION):
        try:
            return check_boxes(certificate, weights)
        except SumOverflowError as overflow:
            return Refusal(str(overflow), -1)


def check_boxes(certificate: ReversalCertificate, weights: Weights) -> CheckedReversal | Refusal:
    (H, N), K = weights["W_hx"].shape, weights["W_ph"].shape[0]
    lower, upper, writing = certificate.lower, certificate.upper, (certificate.writing_lower, certificate.writing_upper)
    controller = [
        Affine(np.concatenate([weights["W_hh"], weights["W_hs"]], 1), weights["W_hx"][:, symbol], weights["b_h"])
        for symbol in range(N)
    ]
    actions, values = Affine(weights["W_ah"], weights["b_a"]), Affine(weights["W_vh"], weights["b_v"])
    output = Affine(weights["W_ph"], weights["b_p"])
    if (lower > 0).any() or (upper < 0).any():
        return Refusal("the state before the first symbol, zero and an empty stack, is not in the box of reading", -1)
    margins, action_margins = [], []
    for symbol in range(K):
        h = [tanh(bounds) for bounds in controller[symbol].of(to_bounds(lower, upper))]
        pushed = certificate.pushed_lower[symbol], certificate.pushed_upper[symbol]
        if not inside(h, lower[:H], upper[:H]):
            return Refusal(f"the symbol {symbol} leads out of the box of reading", symbol)
        if not inside([sigmoid(bounds) for bounds in values.of(h)], *pushed):
            return Refusal(f"what is pushed for the symbol {symbol} is not in its box", symbol)
        if not ((lower[H:] <= pushed[0]) & (pushed[1] <= upper[H:])).all():
            return Refusal(f"the box of what is pushed for the symbol {symbol} is not in the box of reading", symbol)
        action_margins.append(actions.margin(h, PUSH))
        if not action_margins[-1] > 0:
            return Refusal(f"the symbol {symbol} may not be pushed", symbol)
        h = [tanh(bounds) for bounds in controller[K].of(h + to_bounds(*pushed))]
        if not inside(h, *writing):
            return Refusal(f"the marker after the symbol {symbol} leads out of the box of writing", symbol)
        action_margins.append(actions.margin(h, KEEP))
        if not action_margins[-1] > 0:
            return Refusal(f"the marker after the symbol {symbol} may change the stack", symbol)
        h = [tanh(bounds) for bounds in controller[K + 1].of(to_bounds(*writing) + to_bounds(*pushed))]
        if not inside(h, *writing):
            return Refusal(f"a blank with the symbol {symbol} at the top leads out of the box of writing", symbol)
        action_margins.append(actions.margin(h, POP))
        if not action_margins[-1] > 0:
            return Refusal(f"a blank may not pop the symbol {symbol}", symbol)
        margins.append(output.margin(h, symbol))
        if not margins[-1] > 0:
            return Refusal(f"another symbol than {symbol} may be written", symbol)
    M = len(lower) - H
    num = len(lower) + K * (3 * H + 2 * M + 3 * 2 + K - 1)  # of each action's score with the two others
    return CheckedReversal(num, *(float(reduce(arb.min, all_).lower()) for all_ in (margins, action_margins)))


def wrong_shape(certificate: ReversalCertificate, weights: Weights) -> Refusal | None:
    """What is wrong with sizes and finiteness; None if nothing is."""
    (K, H), M = weights["W_ph"].shape, weights["W_vh"].shape[0]
    expected = {"W_hx": (H, K + 2), "W_hh": (H, H), "W_hs": (H, M), "b_h": (H,), "W_ah": (3, H), "b_a": (3,)}
    expected |= {"W_vh": (M, H), "b_v": (M,), "b_p": (K,)}
    if any(weights[name].shape != shape for name, shape in expected.items()):
        return Refusal("the weights do not fit each other", -1)
    shapes = {"lower": (H + M,), "writing_lower": (H,), "pushed_lower": (K, M)}
    for name, shape in shapes.items():
        lower, upper = getattr(certificate, name), getattr(certificate, name.replace("lower", "upper"))
        if lower.shape != shape or upper.shape != shape:
            return Refusal("its boxes do not fit the network", -1)
        if not (np.isfinite(lower) & np.isfinite(upper) & (lower <= upper)).all():
            return Refusal("a bound is not finite, or a lower bound is above its upper bound", -1)
    return None


def to_bounds(lower: Array, upper: Array) -> list[Bounds]:
    """Exact balls for the bounds of a box."""
    return [(arb(float(low)), arb(float(high))) for low, high in zip(lower, upper, strict=True)]
