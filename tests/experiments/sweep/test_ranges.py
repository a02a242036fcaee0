"""Ranges of a search."""

from typing import Any

import pytest

from experiments.sweep.ranges import Range, range_of
from training.errors import UserError


@pytest.mark.parametrize(
    ("given", "expected", "is_whole"),
    [
        ({"low": 1e-4, "high": 0.1, "log": True}, Range(1e-4, 0.1, True), False),
        ({"low": 8, "high": 64, "step": 8}, Range(8, 64, False, 8), True),
        ({"low": 1, "high": 100, "log": True}, Range(1, 100, True), True),
        ({"low": 0.0, "high": 0.5, "step": 0.1}, Range(0.0, 0.5, False, 0.1), False),
        ({"low": 0, "high": 1.0}, Range(0, 1.0), False),
        ({"low": -1, "high": 1, "step": 0.5}, Range(-1, 1, False, 0.5), False),
    ],
)
def test_a_range(given: dict[str, Any], expected: Range, is_whole: bool) -> None:
    assert range_of("data.length", given) == expected
    assert range_of("data.length", given).is_whole == is_whole


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"low": 1, "high": 1}, "empty range for data.length: low is 1 and high is 1; low must be below high"),
        ({"low": 2.5, "high": 1}, "empty range for data.length: low is 2.5 and high is 1"),
        ({"low": 0, "high": 1.0, "log": True}, "low = 0 for data.length; with log it must be above 0"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "log and step for data.length; leave one of them out"),
        ({"low": 1, "high": 9, "step": 3}, "step = 3 for data.length; it must divide the distance from 1 to 9"),
        ({"low": 1, "high": 9, "step": 0}, "step = 0"),
        ({"low": 1, "high": 9, "step": -1}, "step = -1"),
        ({"low": 1, "high": 9, "step": 16}, "step = 16"),
        ({"low": 1, "high": 9, "step": None}, "step = None for data.length; it must be a finite number"),
        ({"low": "a", "high": 9}, "low = a for data.length; it must be a finite number"),
        ({"low": True, "high": 9}, "low = True"),
        ({"low": 1, "high": float("inf")}, "high = inf"),
        ({"low": float("nan"), "high": 1}, "low = nan"),
        ({"low": 1}, "give a list of values, or a range, such as {low: 1e-4, high: 1e-1, log: true}"),
        ({"low": 1, "high": 2, "max": 3}, "give a list of values, or a range"),
        ({"low": 1, "high": 2, "log": "yes"}, "give a list of values, or a range"),
    ],
)
def test_wrong_ranges(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        range_of("data.length", given)
    assert message in str(error.value)
