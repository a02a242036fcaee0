"""The benchmark runs and its figures are those of the runs it names."""

import pytest

from benchmarks import fit_overhead


def test_ratios_are_taken_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {
        "vendor": iter([9.0, 1.0, 2.0, 4.0]),
        "bare_loop": iter([9.0, 3.0, 3.0, 3.0]),
        "fit": iter([9.0, 4.0, 6.0, 5.0]),
    }
    for name, values in times.items():
        monkeypatch.setattr(fit_overhead, f"seconds_of_{name}", lambda length, steps, values=values: next(values))
    figures = fit_overhead.measure(5, 1000, 3)  # the first round does not count
    assert figures == pytest.approx({"vendor": 2.0, "bare": 3.0, "fit": 5.0, "ratio": 5 / 3, "added": 1.0})


def test_each_side_does_what_it_says() -> None:
    for seconds in (fit_overhead.seconds_of_vendor, fit_overhead.seconds_of_bare_loop, fit_overhead.seconds_of_fit):
        assert 0 < seconds(5, 3) < 60
