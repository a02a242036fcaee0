"""Checks of the networks' arguments; each raises a ValueError with the value and the limit."""

import math


def check_sizes(**sizes: int | None) -> None:
    """Each size must be at least 1; None is no size."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} is {size}; it must be at least 1")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """The value must be one of those that this network has."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; for this network it is one of {', '.join(choices)}")


def check_scale(name: str, value: float) -> None:
    """A scale must be finite and at least 0."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; it must be finite and at least 0")


def check_dropout(**probabilities: float) -> None:
    """Each probability must be at least 0 and below 1."""
    for name, probability in probabilities.items():
        if not 0 <= probability < 1:
            raise ValueError(f"{name} is {probability}; it must be at least 0 and below 1")
