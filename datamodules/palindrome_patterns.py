"""First halves of palindromes whose digits repeat, which random draws hardly ever contain.

Legend: N = ceil(T/2) digits of the first half of a palindrome of length T, K different digits.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from datamodules.palindrome_space import half_length

PERIODS = (1, 2, 3)
"""Numbers of digits that repeat."""

PLACES_MAX = 8
"""The most places at which a digit changes; long halves have more, of which these are log-spaced."""

KIND_MAX = 100_000
"""The most palindromes of a kind; there are 10,000 of period 3 with ten digits."""

PATTERN_LENGTH_MIN = 4
"""The shortest palindrome with a digit that can repeat: its first half has a first digit and one after it."""


class Halves(NamedTuple):
    """All halves of a kind: their number, and a function from numbers below it, (B,) int64, to halves, (B, N)."""

    num: int
    numbered: Callable[[Tensor], Tensor]


def all_patterns(length: int, num_classes: int) -> dict[str, Halves]:
    """The halves of each kind, for palindromes of this length, which must be at least ``PATTERN_LENGTH_MIN``.

    After any first digit come

    - ``period 1``, ``period 2``, ``period 3``: as many digits again and again, all combinations of them;
    - ``runs``: one digit up to some place, and another one from there on;
    - ``odd digit``: one digit everywhere but at some place, where there is another one.

    The places are those of ``change_places``. Kinds with more than ``KIND_MAX`` halves are left out. A half may
    belong to several kinds: those of period 1 are also of period 2 and 3.
    """
    N = half_length(length)
    kinds = {
        f"period {p}": Halves(num_classes ** (p + 1), partial(periodic, N, num_classes, p)) for p in PERIODS if p < N
    }
    # Of two digits after the first one, either is the odd one.
    odd_places = change_places(1, N if N > 3 else 2)
    for name, places, of in (("runs", change_places(2, N), runs), ("odd digit", odd_places, odd_digits)):
        if N > 2:
            kinds[name] = Halves(
                len(places) * num_classes**2 * (num_classes - 1), partial(of, N, num_classes, torch.tensor(places))
            )
    return {name: halves for name, halves in kinds.items() if halves.num <= KIND_MAX}


def change_places(first: int, end: int) -> list[int]:
    """The whole numbers from ``first`` up to ``end``, or ``PLACES_MAX`` of them, log-spaced."""
    if end - first <= PLACES_MAX:
        return list(range(first, end))
    steps = torch.arange(PLACES_MAX, dtype=torch.float64) / (PLACES_MAX - 1)
    return sorted(set((first * ((end - 1) / first) ** steps).round().long().tolist()))


def periodic(N: int, num_classes: int, period: int, numbers: Tensor) -> Tensor:
    """A first digit, then ``period`` digits that repeat: the digits of the number in base K."""
    digits = numbers[:, None] // num_classes ** torch.arange(period, -1, -1) % num_classes
    inside = digits[:, 1:].repeat(1, -(-(N - 1) // period))[:, : N - 1]
    return torch.cat([digits[:, :1], inside], dim=1)


def two_digits(num_classes: int, places: Tensor, numbers: Tensor) -> tuple[Tensor, ...]:
    """First digit, digit, other digit and place of each number, all (B, 1)."""
    numbers, other = numbers[:, None].div(num_classes - 1, rounding_mode="floor"), numbers[:, None] % (num_classes - 1)
    numbers, digit = numbers // num_classes, numbers % num_classes
    return numbers % num_classes, digit, (digit + 1 + other) % num_classes, places[numbers // num_classes]


def runs(N: int, num_classes: int, places: Tensor, numbers: Tensor) -> Tensor:
    """A first digit, then a digit up to a place, and another one from there on."""
    first, digit, other, place = two_digits(num_classes, places, numbers)
    return torch.cat([first, torch.where(torch.arange(1, N) < place, digit, other)], dim=1)


def odd_digits(N: int, num_classes: int, places: Tensor, numbers: Tensor) -> Tensor:
    """A first digit, then a digit everywhere but at a place, where there is another one."""
    first, digit, other, place = two_digits(num_classes, places, numbers)
    return torch.cat([first, torch.where(torch.arange(1, N) == place, other, digit)], dim=1)


def with_repetitions(halves: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Random halves (B, N), in a share of which digits repeat after the first one.

    Each half of this share has a period p from ``PERIODS`` and a rate q, which is log-uniform between 1/N and 1. A
    digit is a copy of the one p places before. With probability q it stays random.
    """
    B, N = halves.shape
    chosen = torch.rand(B, generator=generator) < share
    period = torch.randint(min(PERIODS), max(PERIODS) + 1, (B,), generator=generator)
    rate = N ** -torch.rand(B, 1, generator=generator)
    is_random = torch.rand(B, N - 1, generator=generator) < rate
    halves = halves.clone()
    for p in PERIODS:
        rows = (chosen & (period == p)).nonzero()[:, 0]
        padding = (0, -(N - 1) % p)
        digits, new = (
            functional.pad(values[rows], padding).unflatten(1, (-1, p)) for values in (halves[:, 1:], is_random)
        )
        places = torch.arange(digits.shape[1])[:, None]
        latest = torch.where(new, places, 0).cummax(dim=1).values
        halves[rows, 1:] = digits.gather(1, latest).flatten(1)[:, : N - 1]
    return halves
