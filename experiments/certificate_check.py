"""Checks a certificate in ball arithmetic (Arb; Johansson 2017), without any code of the search that found it.

Every number is exact or a ball that contains it. An inequality holds only if it holds for all numbers of the balls.

Legend: S boxes, K different digits, H hidden units, N numbers of a state: H of a vanilla RNN, 2H of an LSTM (h, then
c).
"""

from decimal import ROUND_FLOOR, Context, Decimal
from functools import reduce
from typing import NamedTuple

import flint
import numpy as np
from flint import arb, arb_mat
from numpy.typing import NDArray

from experiments.certificate import Certificate

PRECISION = 113
"""Bits of the balls' midpoints: enough that their own rounding does not decide."""

FLOAT32_ROUNDING = arb(2) ** -24
"""Largest relative error of a float32 operation, rounded to nearest."""

FLOAT32_UNDERFLOW = arb(2) ** -126
"""Largest absolute error of an operation whose result is too small for a normal float32, and may become 0."""

SUM_MAX = arb(2) ** 127
"""Sums whose absolute terms add up to less than this cannot overflow in float32, in any order."""

ACTIVATION_ERROR = arb(2) ** -20
"""Largest absolute error that a float32 implementation of tanh or sigmoid may have; a test measures torch's."""


class SumOverflowError(Exception):
    """A sum may be too large for float32; then it can be infinite or NaN, and no bound holds."""


class Refusal(NamedTuple):
    """Why a certificate proves nothing: the inequality that does not hold, and the box."""

    reason: str
    box: int


class Checked(NamedTuple):
    """What was checked: numbers of boxes and of inequalities, and a lower bound of the margin between logits."""

    num_boxes: int
    num_inequalities: int
    margin: float


Array = NDArray[np.floating]
Weights = dict[str, NDArray[np.float32]]
Bounds = tuple[arb, arb]
"""A lower and an upper bound; those of c may be infinite."""


def check_inequalities(certificate: Certificate, weights: Weights) -> Checked | Refusal:
    """Check every inequality of a certificate.

    Args:
        certificate: of a network with these weights; the checksum is not compared here.
        weights: of a vanilla RNN ``W_hx`` (H, K), ``W_hh`` (H, H) and ``b_h`` (H,), of an LSTM ``W_x`` (4H, K), ``W_h``
            (4H, H) and ``b`` (4H,) in the order g, i, f, o; of both ``W_ph`` (K, H) and ``b_p`` (K,).
    Returns:
        the first inequality that does not hold, or what was checked.
    """
    with flint.ctx.workprec(PRECISION):
        try:
            return check_boxes(certificate, weights)
        except SumOverflowError as overflow:
            return Refusal(str(overflow), -1)


def check_boxes(certificate: Certificate, weights: Weights) -> Checked | Refusal:
    lower, upper = certificate.lower, certificate.upper
    wrong = wrong_shape(certificate, weights)
    if wrong is not None:
        return wrong
    S, N = lower.shape
    network = LSTM(weights) if "W_x" in weights else VanillaRNN(weights)
    num = 0
    for digit in range(network.K):
        state = network.first(digit)
        num += N
        if not inside(state, lower[certificate.first_box[digit]], upper[certificate.first_box[digit]]):
            return Refusal(f"the state after the digit {digit} is not in its first box", certificate.first_box[digit])
    for box in range(S):
        image = network.image(lower[box], upper[box])
        for digit in range(network.K):
            successor = certificate.successor[box, digit]
            num += N
            if not inside(network.next(image, digit), lower[successor], upper[successor]):
                return Refusal(f"the digit {digit} does not map the box into its successor {successor}", box)
    margins = []
    for box in needed(certificate):
        margin = network.margin(lower[box], upper[box], int(certificate.first_digit[box]))
        num += network.K - 1
        if not margin > 0:
            return Refusal(f"the logit of {certificate.first_digit[box]} may not be the largest", box)
        margins.append(float(margin.lower()))
    return Checked(S, num, min(margins))


def wrong_shape(certificate: Certificate, weights: Weights) -> Refusal | None:
    """What is wrong with sizes, finiteness or numbers of boxes; None if nothing is."""
    is_lstm = "W_x" in weights
    K, H = weights["W_ph"].shape
    S, N = len(certificate.lower), 2 * H if is_lstm else H
    gates = ("W_x", "W_h", "b") if is_lstm else ("W_hx", "W_hh", "b_h")
    G = 4 * H if is_lstm else H
    shapes = dict(zip((*gates, "b_p"), ((G, K), (G, H), (G,), (K,)), strict=True))
    expected = {"lower": (S, N), "upper": (S, N), "first_digit": (S,), "first_box": (K,), "successor": (S, K)}
    if S < 1 or any(getattr(certificate, name).shape != shape for name, shape in expected.items()):
        return Refusal("its boxes do not fit the network", -1)
    if any(weights[name].shape != shape for name, shape in shapes.items()):
        return Refusal("the weights do not fit each other", -1)
    bounds = np.stack([certificate.lower, certificate.upper])
    if not np.isfinite(bounds[:, :, :H]).all() or np.isnan(bounds).any():
        return Refusal("a bound is not finite", -1)
    for name, end in (("first_digit", K), ("first_box", S), ("successor", S)):
        values = getattr(certificate, name)
        if values.min() < 0 or values.max() >= end:
            return Refusal(f"{name} has a number that is not from 0 to {end - 1}", -1)
    if (certificate.first_digit[certificate.first_box] != np.arange(K)).any():
        return Refusal("a first box has another first digit", -1)
    for box in range(S):
        if (certificate.lower[box] > certificate.upper[box]).any():
            return Refusal("a lower bound is above its upper bound", box)
        if (certificate.first_digit[certificate.successor[box]] != certificate.first_digit[box]).any():
            return Refusal("a successor has another first digit", box)
    if not 2 <= certificate.first_length <= S + 1:
        return Refusal(f"first_length is {certificate.first_length}; it must be from 2 to the number of boxes + 1", -1)
    return None


def needed(certificate: Certificate) -> list[int]:
    """The boxes in which a state can be after ``first_length - 1`` digits or more."""
    reached = set(certificate.first_box.tolist())
    for _ in range(certificate.first_length - 2):
        reached = {following for box in reached for following in certificate.successor[box].tolist()}
    new = reached
    while new:
        new = {following for box in new for following in certificate.successor[box].tolist()} - reached
        reached |= new
    return sorted(reached)


class Image(NamedTuple):
    """Of all states of a box: ``W_h h``, the sum of the absolute values of its products, and the bounds of c."""

    products: list[arb]
    magnitudes: list[arb]
    cells: list[Bounds]


class Network:
    """What both networks share: products of a box, and the readout (equation 2, which is also equation 10).

    A float32 sum of n products has an error of at most ``n u / (1 - n u)`` times the sum of their absolute values, in
    any order and with or without fused multiplications (Higham 2002, section 3.1; u is ``FLOAT32_ROUNDING``). Results
    that are too small add ``FLOAT32_UNDERFLOW`` for each operation.
    """

    def __init__(self, W_x: Array, W_h: Array, b: Array, W_ph: Array, b_p: Array) -> None:
        self.W_x, self.W_h, self.W_ph = balls(W_x), balls(W_h), balls(W_ph)
        self.b, self.b_p = balls(b[:, None]), balls(b_p[:, None])
        self.abs_W_h = absolute(self.W_h)
        self.K, self.H = W_ph.shape

    def first(self, digit: int) -> list[Bounds]:
        """The state after a first digit: the previous state is zero."""
        G = self.W_h.nrows()
        return self.next(Image([arb(0)] * G, [arb(0)] * G, [(arb(0), arb(0))] * self.H), digit)

    def image(self, lower: Array, upper: Array) -> Image:
        """What the next states of a box have in common, whatever digit is read."""
        box, largest = self.hidden_states(lower, upper)
        cells = [
            (arb(float(low)), arb(float(high))) for low, high in zip(lower[self.H :], upper[self.H :], strict=True)
        ]
        return Image(entries(self.W_h * box), entries(self.abs_W_h * largest), cells)

    def next(self, image: Image, digit: int) -> list[Bounds]:
        """Bounds of all next states if a digit is read."""
        raise NotImplementedError

    def gate(self, image: Image, digit: int, i: int) -> Bounds:
        """Bounds of entry i of ``W_x x + W_h h + b``."""
        inputs, bias = self.W_x[i, digit], self.b[i, 0]
        error = rounding(self.H + 2, image.magnitudes[i] + abs(inputs) + abs(bias))
        exact = image.products[i] + inputs + bias
        return (exact - error).lower(), (exact + error).upper()

    def margin(self, lower: Array, upper: Array, digit: int) -> arb:
        """A lower bound of the logit of a digit minus the largest other logit, for all states of a box."""
        box, largest = self.hidden_states(lower, upper)
        magnitudes = entries(absolute(self.W_ph) * largest)
        errors = [rounding(self.H + 1, magnitudes[k] + abs(self.b_p[k, 0])) for k in range(self.K)]
        margins = []
        for k in range(self.K):
            if k != digit:
                rows = arb_mat(1, self.H, [self.W_ph[digit, i] - self.W_ph[k, i] for i in range(self.H)])
                difference = (rows * box)[0, 0] + self.b_p[digit, 0] - self.b_p[k, 0]
                margins.append((difference - errors[digit] - errors[k]).lower())
        return reduce(arb.min, margins, arb("inf"))

    def hidden_states(self, lower: Array, upper: Array) -> tuple[arb_mat, arb_mat]:
        """h of a box as a column of balls, and its largest absolute values."""
        bounds = zip(lower[: self.H], upper[: self.H], strict=True)
        box = arb_mat(self.H, 1, [arb(float(low)).union(arb(float(high))) for low, high in bounds])
        return box, arb_mat(self.H, 1, [abs(h).upper() for h in entries(box)])


class VanillaRNN(Network):
    """Equation 1."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(*(weights[name] for name in ("W_hx", "W_hh", "b_h", "W_ph", "b_p")))

    def next(self, image: Image, digit: int) -> list[Bounds]:
        return [tanh(self.gate(image, digit, i)) for i in range(self.H)]


class LSTM(Network):
    """Equations 4 to 9; the gates are stacked in the order g, i, f, o."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(*(weights[name] for name in ("W_x", "W_h", "b", "W_ph", "b_p")))

    def next(self, image: Image, digit: int) -> list[Bounds]:
        H, hidden, cells = self.H, [], []
        for unit in range(H):
            g = tanh(self.gate(image, digit, unit))
            i, f, o = (sigmoid(self.gate(image, digit, gate * H + unit)) for gate in (1, 2, 3))
            written, kept = gated(g, i), gated(image.cells[unit], f)
            c = rounded((written[0] + kept[0], written[1] + kept[1]))
            cells.append(c)
            hidden.append(gated(tanh(c), o))
        return hidden + cells


def tanh(bounds: Bounds) -> Bounds:
    """Bounds of tanh, which is increasing and between -1 and 1, as a float32 function may compute it."""
    lowest, highest = (value.tanh() if value.is_finite() else value.sgn() for value in bounds)
    return (lowest - ACTIVATION_ERROR).max(arb(-1)), (highest + ACTIVATION_ERROR).min(arb(1))


def sigmoid(bounds: Bounds) -> Bounds:
    """Bounds of the sigmoid, which is increasing and between 0 and 1, as a float32 function may compute it."""
    lowest, highest = (1 / (1 + (-value).exp()) for value in bounds)
    return (lowest - ACTIVATION_ERROR).max(arb(0)), (highest + ACTIVATION_ERROR).min(arb(1))


def gated(value: Bounds, gate: Bounds) -> Bounds:
    """Bounds of the float32 product with a gate, which is between 0 and 1. An infinite bound stays infinite."""
    lower, upper = value
    lowest = (lower * gate[0]).min(lower * gate[1]) if lower.is_finite() else lower
    highest = (upper * gate[0]).max(upper * gate[1]) if upper.is_finite() else upper
    return rounded((lowest, highest))


def rounded(bounds: Bounds) -> Bounds:
    """Bounds of a float32 result, from those of the exact result of one operation."""
    lower, upper = bounds
    if lower.is_finite():
        lower = (lower - FLOAT32_ROUNDING * abs(lower) - FLOAT32_UNDERFLOW).lower()
    if upper.is_finite():
        upper = (upper + FLOAT32_ROUNDING * abs(upper) + FLOAT32_UNDERFLOW).upper()
    return lower, upper


def balls(array: Array) -> arb_mat:
    """A matrix of exact balls."""
    return arb_mat([[arb(float(value)) for value in row] for row in array])


def absolute(matrix: arb_mat) -> arb_mat:
    """The absolute values of a matrix."""
    return arb_mat(matrix.nrows(), matrix.ncols(), [abs(value) for value in entries(matrix)])


def entries(matrix: arb_mat) -> list[arb]:
    """The entries of a matrix, row by row."""
    values: list[arb] = matrix.entries()
    return values


def rounding(num: int, magnitude: arb) -> arb:
    """The largest error of a float32 sum of ``num`` terms whose absolute values have the sum ``magnitude``.

    Raises:
        SumOverflowError: the sum may be too large for float32.
    """
    if not magnitude < SUM_MAX:
        raise SumOverflowError("a sum may be too large for float32")
    return num * FLOAT32_ROUNDING / (1 - num * FLOAT32_ROUNDING) * magnitude + 2 * num * FLOAT32_UNDERFLOW


def rounded_down(margin: float) -> Decimal:
    """Three digits of a margin, never more than it is."""
    return Context(prec=3, rounding=ROUND_FLOOR).create_decimal_from_float(margin)


def inside(state: list[Bounds], lower: Array, upper: Array) -> bool:
    """Whether all states lie in a box."""
    return all(
        bool(arb(float(low)) <= lowest and highest <= arb(float(high)))
        for (lowest, highest), low, high in zip(state, lower, upper, strict=True)
    )
