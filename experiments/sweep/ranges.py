"""Ranges of numbers, which a search may have in place of a grid's lists."""

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from training.errors import UserError

EXAMPLE = "{low: 1e-4, high: 1e-1, log: true}"
KEYS = ("low", "high", "log", "step")


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    They are whole numbers if ``low``, ``high`` and ``step`` are.

    Args:
        low: the smallest value.
        high: the largest value.
        log: whether equal ratios are equally likely, instead of equal differences.
        step: the distance between two neighbouring values; by default 1 for whole numbers, and none for others.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def is_whole(self) -> bool:
        return all(isinstance(number, int | None) for number in (self.low, self.high, self.step))


def range_of(key: str, given: dict[str, Any]) -> Range:
    """The range that a grid gives for a key.

    Raises:
        UserError: it is no range, or it is empty.
    """
    keys_are_known = {"low", "high"} <= given.keys() <= set(KEYS)
    if not keys_are_known or not isinstance(given.get("log", False), bool):
        raise UserError(f"grid has {given} for {key}; give a list of values, or a range, such as {EXAMPLE}")
    for name, number in given.items():
        is_number = isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
        if name != "log" and not is_number:
            raise UserError(f"grid has {name} = {number} for {key}; it must be a finite number")
    low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step")
    if low >= high:
        raise UserError(f"grid has an empty range for {key}: low is {low} and high is {high}; low must be below high")
    if log and low <= 0:
        raise UserError(f"grid has low = {low} for {key}; with log it must be above 0")
    if step is not None and log:
        raise UserError(f"grid has log and step for {key}; leave one of them out")
    if step is not None and (step <= 0 or (exact(high) - exact(low)) % exact(step) != 0):
        raise UserError(f"grid has step = {step} for {key}; it must divide the distance from {low} to {high}")
    return Range(low, high, log, step)


def exact(number: float) -> Decimal:
    """The decimal number as it was typed: 0.1 is one tenth."""
    return Decimal(str(number))
