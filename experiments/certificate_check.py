"""Checks a certificate in ball arithmetic (Arb; Johansson 2017), without any code of the search that found it.

Every number is exact or a ball that contains it. An inequality holds only if it holds for all numbers of the balls.

Legend: S boxes, K different digits, H hidden units.
"""

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

TANH_ERROR = arb(2) ** -20
"""Largest absolute error that a float32 implementation of tanh may have; a test measures torch's."""


class Refusal(NamedTuple):
    """Why a certificate proves nothing: the inequality that does not hold, and the box."""

    reason: str
    box: int


class Checked(NamedTuple):
    """What was checked: numbers of boxes and of inequalities, and a lower bound of the margin between logits."""

    num_boxes: int
    num_inequalities: int
    margin: float


Weights = dict[str, NDArray[np.float32]]


def check(certificate: Certificate, weights: Weights) -> Checked | Refusal:
    """Check every inequality of a certificate.

    Args:
        certificate: of a network with these weights; the checksum is not compared here.
        weights: ``W_hx`` (H, K), ``W_hh`` (H, H), ``b_h`` (H,), ``W_ph`` (K, H) and ``b_p`` (K,).
    Returns:
        the first inequality that does not hold, or what was checked.
    """
    with flint.ctx.workprec(PRECISION):
        return check_boxes(certificate, weights)


def check_boxes(certificate: Certificate, weights: Weights) -> Checked | Refusal:
    lower, upper = certificate.lower, certificate.upper
    S, H = lower.shape
    K = weights["W_hx"].shape[1]
    wrong = wrong_shape(certificate, S, H, K, weights)
    if wrong is not None:
        return wrong
    network = Network(weights)
    num = 0
    for digit in range(K):
        state = network.first(digit)
        num += H
        if not inside(state, lower[certificate.first_box[digit]], upper[certificate.first_box[digit]]):
            return Refusal(f"the state after the digit {digit} is not in its first box", certificate.first_box[digit])
    for box in range(S):
        image = network.recurrent_part(lower[box], upper[box])
        for digit in range(K):
            successor = certificate.successor[box, digit]
            num += H
            if not inside(network.next(image, digit), lower[successor], upper[successor]):
                return Refusal(f"the digit {digit} does not map the box into its successor {successor}", box)
    margins = []
    for box in needed(certificate):
        margin = network.margin(lower[box], upper[box], int(certificate.first_digit[box]))
        num += K - 1
        if not margin > 0:
            return Refusal(f"the logit of {certificate.first_digit[box]} may not be the largest", box)
        margins.append(float(margin.lower()))
    return Checked(S, num, min(margins))


def wrong_shape(certificate: Certificate, S: int, H: int, K: int, weights: Weights) -> Refusal | None:
    """What is wrong with sizes, finiteness or numbers of boxes; None if nothing is."""
    expected = {"upper": (S, H), "first_digit": (S,), "first_box": (K,), "successor": (S, K)}
    shapes = {"W_hx": (H, K), "W_hh": (H, H), "b_h": (H,), "W_ph": (K, H), "b_p": (K,)}
    if any(getattr(certificate, name).shape != shape for name, shape in expected.items()) or S < 1:
        return Refusal("the sizes of its arrays do not fit each other", -1)
    if any(weights[name].shape != shape for name, shape in shapes.items()):
        return Refusal("its boxes do not fit the network", -1)
    if not (np.isfinite(certificate.lower).all() and np.isfinite(certificate.upper).all()):
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
    if certificate.first_length < 2:
        return Refusal("first_length is below 2, but a palindrome of one digit has nothing to read", -1)
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


class Network:
    """Equations 1 and 2 on boxes, with a ball for each value: exact, or with all that float32 rounding may change.

    A float32 sum of n products has an error of at most ``n u / (1 - n u)`` times the sum of their absolute values, in
    any order and with or without fused multiplications (Higham 2002, section 3.1; u is ``FLOAT32_ROUNDING``). Results
    that are too small add ``FLOAT32_UNDERFLOW`` for each operation.
    """

    def __init__(self, weights: Weights) -> None:
        self.W_hx, self.W_hh, self.W_ph = (balls(weights[name]) for name in ("W_hx", "W_hh", "W_ph"))
        self.b_h, self.b_p = (balls(weights[name][:, None]) for name in ("b_h", "b_p"))
        self.abs_W_hh = absolute(self.W_hh)
        self.H, self.K = weights["W_hx"].shape

    def first(self, digit: int) -> list[tuple[arb, arb]]:
        """The state after a first digit: the previous state is zero."""
        return self.next(([arb(0)] * self.H, [arb(0)] * self.H), digit)

    def recurrent_part(self, lower: NDArray[np.float64], upper: NDArray[np.float64]) -> tuple[list[arb], list[arb]]:
        """``W_hh h`` of all states h of a box, and the sum of the absolute values of the products."""
        box = arb_mat(self.H, 1, [arb(low).union(arb(high)) for low, high in zip(lower, upper, strict=True)])
        largest = arb_mat(self.H, 1, [abs(h).upper() for h in entries(box)])
        return entries(self.W_hh * box), entries(self.abs_W_hh * largest)

    def next(self, image: tuple[list[arb], list[arb]], digit: int) -> list[tuple[arb, arb]]:
        """Lower and upper bounds of all next states if a digit is read; tanh is increasing."""
        bounds = []
        for i in range(self.H):
            inputs, bias = self.W_hx[i, digit], self.b_h[i, 0]
            error = rounding(self.H + 2, image[1][i] + abs(inputs) + abs(bias))
            exact = image[0][i] + inputs + bias
            lowest, highest = (exact - error).lower(), (exact + error).upper()
            bounds.append((lowest.tanh() - TANH_ERROR, highest.tanh() + TANH_ERROR))
        return bounds

    def margin(self, lower: NDArray[np.float64], upper: NDArray[np.float64], digit: int) -> arb:
        """A lower bound of the logit of a digit minus the largest other logit, for all states of a box."""
        box = arb_mat(self.H, 1, [arb(low).union(arb(high)) for low, high in zip(lower, upper, strict=True)])
        largest = arb_mat(self.H, 1, [abs(h).upper() for h in entries(box)])
        magnitudes = entries(absolute(self.W_ph) * largest)
        errors = [rounding(self.H + 1, magnitudes[k] + abs(self.b_p[k, 0])) for k in range(self.K)]
        margins = []
        for k in range(self.K):
            if k != digit:
                rows = arb_mat(1, self.H, [self.W_ph[digit, i] - self.W_ph[k, i] for i in range(self.H)])
                difference = (rows * box)[0, 0] + self.b_p[digit, 0] - self.b_p[k, 0]
                margins.append((difference - errors[digit] - errors[k]).lower())
        return min(margins, key=float) if margins else arb(1)


def balls(array: NDArray[np.float32]) -> arb_mat:
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
    """The largest error of a float32 sum of ``num`` terms whose absolute values have the sum ``magnitude``."""
    return num * FLOAT32_ROUNDING / (1 - num * FLOAT32_ROUNDING) * magnitude + 2 * num * FLOAT32_UNDERFLOW


def inside(bounds: list[tuple[arb, arb]], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> bool:
    """Whether all states lie in a box."""
    return all(
        arb(float(low)) <= lowest and highest <= arb(float(high))
        for (lowest, highest), low, high in zip(bounds, lower, upper, strict=True)
    )
