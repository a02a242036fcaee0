"""Measurements: contenders that take turns, seconds of a call, and the peak memory of a new process."""

import multiprocessing
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


def take_turns(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """The values that each contender returns, one for each round. In a round every contender has one turn.

    The speed of a machine changes with time, so contenders are compared within a round. A first round warms up; its
    values are not kept.
    """
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for k in range(rounds + 1):
        for name, measure in contenders.items():
            value = measure()
            if k > 0:
                values[name].append(value)
    return values


def seconds_of(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def mean_seconds(step: Callable[[], object], turn: float) -> float:
    """Mean seconds of a step, over as many steps as fill ``turn`` seconds."""
    step()  # the caches were filled by the contender before
    num, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < turn or num == 0:
        step()
        num += 1
    return seconds / num


def in_new_process(function: Callable[..., Any], *args: Any) -> Any:
    """The result of ``function(*args)``, called in a new Python process, in which no warnings are shown."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, warnings.simplefilter, ("ignore",)) as pool:
        return pool.submit(function, *args).result()


def with_peak_bytes(function: Callable[[], Any]) -> tuple[Any, int]:
    """The result of a call, and how many bytes the peak memory was above the memory before. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the memory in use
    before = peak_bytes()
    result = function()
    return result, peak_bytes() - before


def peak_bytes() -> int:
    """Peak memory of this process; ``resource`` would include the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])
