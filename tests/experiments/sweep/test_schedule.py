"""The longest runs come first, as soon as it is known which they are."""

from pathlib import Path

import pytest

from experiments.sweep.grid import runs_of
from experiments.sweep.results import ResultsFolder, write_result
from experiments.sweep.schedule import Schedule

SECONDS = {5: 10.0, 10: 20.0, 50: 100.0}


@pytest.fixture
def results(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path, runs_of({"data.length": [5, 10, 50]}, [1, 2, 3]))


def end(results: ResultsFolder, name: str, seconds: float, status: str = "finished") -> None:
    write_result(results.path / "runs" / name, status, "", {"metrics": {}, "seconds": seconds})
    results.refresh(results.runs)


def test_one_of_each_then_the_longest(results: ResultsFolder) -> None:
    schedule = Schedule(results, results.unfinished())
    order = []
    while schedule.pending:
        run = schedule.take()
        order.append((run.values["data.length"], run.seed))
        end(results, run.name, SECONDS[run.values["data.length"]])
    assert order == [(5, 1), (10, 1), (50, 1), (50, 2), (50, 3), (10, 2), (10, 3), (5, 2), (5, 3)]


def test_what_ended_earlier_counts(results: ResultsFolder) -> None:
    end(results, "length=5+seed=1", 1.0)
    end(results, "length=10+seed=1", 7.0)
    schedule = Schedule(results, results.unfinished())
    assert [schedule.take().name for _ in range(3)] == ["length=50+seed=1", "length=10+seed=2", "length=10+seed=3"]


def test_time_left(results: ResultsFolder) -> None:
    schedule = Schedule(results, results.unfinished())
    assert schedule.seconds_left({}, 2) is None
    end(results, "length=5+seed=1", 10.0)
    end(results, "length=10+seed=1", 20.0)
    end(results, "length=10+seed=2", 40.0, "failed")  # says nothing
    schedule = Schedule(results, results.unfinished())
    running = {schedule.take(): 0.25}  # of length 50: unknown, so as long as all others, 15 s
    left = 3 * 15 - 0.25 * 15 + 2 * 10 + 20
    assert schedule.seconds_left(running, 2) == pytest.approx(left / 2)
    assert schedule.seconds_left(running, 100) == pytest.approx(20)
