"""The progress of a sweep on a terminal."""

from pathlib import Path

import pytest

from experiments.sweep.display import Display
from experiments.sweep.grid import runs_of
from experiments.sweep.results import ResultsFolder, write_result


def test_a_terminal_shows_a_bar_for_each_running_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the output for a terminal
    results = ResultsFolder(tmp_path, runs_of({"trainer.max_steps": [100, -1]}, [1]))
    first, second = results.runs
    run_dir = results.folder(first) / "small" / "version_0"
    run_dir.mkdir(parents=True)
    (run_dir / "metrics.csv").write_text("step,train/loss\n24,1.0\n49,0.5\n")
    with Display(results, 7) as display:
        display.show([first])
        (bar,) = display.tasks
        assert (bar.description, bar.completed, bar.total) == (first.name, 50, 100)
        write_result(results.folder(first), ended={"metrics": {"test/accuracy": 0.5}, "seconds": 3.0})
        display.show([second])
        (bar,) = display.tasks
        assert (bar.description, bar.completed, bar.total) == (second.name, 0, None)
    assert f"{first.name}: test/accuracy 50.00 %, 3 s (1 of 2 runs ended)" in capsys.readouterr().out
