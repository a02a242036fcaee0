"""How executors get the runs that they do."""

from collections.abc import Callable, Iterator

from experiments.sweep.grid import Run

ToDo = Callable[[], Iterator[Run | None]]
"""Starts to give runs one by one, in the order in which to do them; ``None`` if none can be done now."""


def take(waiting: Iterator[Run | None], most: int | None = None) -> list[Run]:
    """The runs that can be done now, at most ``most`` of them."""
    runs: list[Run] = []
    while (most is None or len(runs) < most) and (run := next(waiting, None)) is not None:
        runs.append(run)
    return runs
