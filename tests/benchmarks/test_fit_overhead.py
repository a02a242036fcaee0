"""The benchmark's ratios, and what each of its sides runs."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks import fit_overhead


def test_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {
        "vendor": iter([9.0, 1.0, 2.0, 4.0]),
        "bare_loop": iter([9.0, 3.0, 3.0, 3.0]),
        "fit": iter([9.0, 4.0, 6.0, 5.0]),
    }
    slow = iter([9.0, 6.0, 9.0, 12.0])
    for name, fast in times.items():
        monkeypatch.setattr(
            fit_overhead,
            f"seconds_of_{name}",
            lambda length, steps, has_fast_step=True, fast=fast: next(fast if has_fast_step else slow),
        )
    figures = fit_overhead.measure(5, 1000, 3)  # the first round does not count
    milliseconds = {"nn.LSTM": 2.0, "bare": 3.0, "fit": 5.0, "slow": 9.0}
    ratios = {"fit/bare": 5 / 3, "slow/bare": 3.0, "added/nn.LSTM": 1.0, "slow added": 3.0}
    assert figures == pytest.approx(milliseconds | ratios)


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (fit_overhead.seconds_of_vendor, Counter(vendor=3)),
        (fit_overhead.seconds_of_bare_loop, Counter(step=3)),
        (fit_overhead.seconds_of_fit, Counter(step=3)),
        (partial(fit_overhead.seconds_of_fit, has_fast_step=False), Counter(step=3)),
    ],
    ids=["vendor", "bare loop", "fit", "slow fit"],
)
def test_each_side_takes_its_steps(
    side: Callable[[int, int], float], expected: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(torch.nn.LSTM, "forward", counted("vendor", torch.nn.LSTM.forward))
    monkeypatch.setattr(torch.optim.RMSprop, "step", counted("step", torch.optim.RMSprop.step))
    assert side(5, 3) > 0
    assert calls == expected
