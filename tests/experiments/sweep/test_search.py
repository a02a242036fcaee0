"""Searches from the command line: what they choose, what they stop, and how they resume."""

import json
import math
import os
import shutil
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import cli
from experiments.runs import read_metric
from experiments.sweep.grid import Grid
from experiments.sweep.optuna_study import Journal, decide, draw_values, frozen_trial
from experiments.sweep.results import num_steps_done
from experiments.sweep.settings import Search
from tests.experiments.sweep.test_sweep import NOT_METRICS, ROOT, pretended_cluster, rows_of, start, write_sweep
from tests.forked import PythonProcess

__all__ = ["pretended_cluster"]

RATE = "model.optimizer.lr"
SEARCH = {"trials": 12, "metric": "val/loss", "mode": "min"}
GRID = {
    "model.network": ["rnn", "lstm"],
    "model.optimizer": [{"class_path": "torch.optim.RMSprop"}],
    RATE: {"low": 1e-5, "high": 0.3, "log": True},
    "model.hidden_size": {"low": 4, "high": 16, "step": 4},
    "trainer.max_steps": [20],
}


def write_search(folder: Path, grid: dict[str, Any] = GRID, **options: Any) -> list[str]:
    return write_sweep(folder, grid, **{"search": SEARCH, "workers": 1, **options})


def trials_of(out: Path) -> list[dict[str, str]]:
    """The rows without what differs between two searches."""
    return [{key: value for key, value in row.items() if key not in NOT_METRICS} for row in rows_of(out)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    assert cli.main(write_search(folder)) == 0
    return folder


def test_every_trial_is_a_row(finished: Path) -> None:
    rows = rows_of(finished / "out")
    assert [int(row["trial"]) for row in rows] == list(range(12))
    assert list(rows[0])[:8] == ["trial", *GRID, "seed_everything", "status"]
    for row in rows:
        assert row["model.network"] in ("rnn", "lstm") and row["model.optimizer"] == "RMSprop"
        assert 1e-5 <= float(row[RATE]) <= 0.3
        assert int(row["model.hidden_size"]) in (4, 8, 12, 16)
        assert row["status"] in ("finished", "pruned") and float(row["val/loss"]) > 0
        config = yaml.safe_load((finished / "out" / row["run_dir"] / "config.yaml").read_text())
        assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == float(row[RATE])
    assert len({row[RATE] for row in rows}) > 8


def test_pruned_are_those_below_the_median_of_finished_trials(finished: Path) -> None:
    """From ``metrics.csv``: at each validation, the best so far against the median of the trials finished before."""
    rows = rows_of(finished / "out")
    curves = [dict(read_metric(finished / "out" / row["run_dir"], "val/loss")) for row in rows]
    num_pruned = 0
    for k, row in enumerate(rows):
        before = [curve for curve, other in zip(curves[:k], rows, strict=False) if other["status"] == "finished"]
        ends_at = None
        for step, best in zip(curves[k], running_minimum(curves[k].values()), strict=True):
            if len(before) >= 5 and step < 20 and best > statistics.median(c[step] for c in before):
                ends_at = step
                break
        assert (row["status"], int(row["steps"])) == (("finished", 20) if ends_at is None else ("pruned", ends_at))
        num_pruned += ends_at is not None
        assert (row["test/loss"] == "") == (ends_at is not None)
        assert (finished / "out" / row["run_dir"] / "summary.json").is_file()
    assert 0 < num_pruned < 7


def running_minimum(values: Any) -> list[float]:
    values = list(values)
    return [min(values[: k + 1]) for k in range(len(values))]


def test_the_best_config_trains_the_best_trial_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sweep", "--config", str(finished / "sweep.yaml")]) == 0
    best = finished / "out" / "best.yaml"
    assert capsys.readouterr().out.splitlines()[-1] == f"Next: python cli.py fit --config {best}"
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", "--config", str(best)]) == 0
    summary = json.loads((tmp_path / "runs" / "best" / "version_0" / "summary.json").read_text())
    losses = [float(row["val/loss"]) for row in rows_of(finished / "out") if row["status"] == "finished"]
    assert summary["metrics"]["val/loss"] == min(losses)


def test_more_trials_continue_the_search(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(write_search(tmp_path, search=SEARCH | {"trials": 4})) == 0
    assert trials_of(tmp_path / "out") == trials_of(finished / "out")[:4]
    command = write_search(tmp_path, search=SEARCH | {"trials": 7})
    capsys.readouterr()
    assert cli.main([*command, "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "7 runs, 3 of them to do"
    assert cli.main(command) == 0
    assert trials_of(tmp_path / "out") == trials_of(finished / "out")[:7]


def test_jobs_of_a_cluster_do_the_same_trials(finished: Path, pretended_cluster: Path, tmp_path: Path) -> None:
    """The last trial that was pruned, and those after it."""
    rows = trials_of(finished / "out")
    first = max(k for k, row in enumerate(rows) if row["status"] == "pruned")
    shutil.copytree(finished / "out", tmp_path / "out")
    trials = tmp_path / "out" / "trials.json"
    trials.write_text(json.dumps(json.loads(trials.read_text())[:first]))
    for k in range(first, 12):
        shutil.rmtree(tmp_path / "out" / "runs" / f"trial_{k}+seed=1")
    assert cli.main(write_search(tmp_path, executor="slurm")) == 0
    assert trials_of(tmp_path / "out") == rows


def test_trials_whose_processes_are_killed_once_are_the_same(finished: Path, tmp_path: Path) -> None:
    """Each is resumed from a checkpoint, with the values that it had reported until then."""
    killer = {"class_path": "tests.training.helpers.SignalUnlessResumed", "init_args": {"step": 14, "name": "SIGKILL"}}
    grid = GRID | {"trainer.callbacks": [[killer]]}
    assert cli.main(write_search(tmp_path, grid, search=SEARCH | {"trials": 2})) == 0
    for ours, theirs in zip(rows_of(tmp_path / "out"), rows_of(finished / "out"), strict=False):
        assert {key: ours[key] for key in (RATE, "status", "steps", "val/loss", "test/loss")}.items() <= theirs.items()
        reported = [
            json.loads((out / row["run_dir"]).parent.parent.joinpath("result.json").read_text())["intermediate_values"]
            for out, row in ((tmp_path / "out", ours), (finished / "out", theirs))
        ]
        assert reported[0] == reported[1] and len(reported[0]) > 4


def test_concurrent_trials(finished: Path, tmp_path: Path) -> None:
    """What is random does not depend on the trials that have ended."""
    random = SEARCH | {"trials": 6, "pruner": "none", "sampler": "random"}
    assert cli.main(write_search(tmp_path, workers=3, search=random)) == 0
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["finished"] * 6
    assert [row[RATE] for row in rows[:5]] == [row[RATE] for row in rows_of(finished / "out")[:5]]


def test_a_trial_is_worth_the_mean_over_its_seeds(tmp_path: Path) -> None:
    search = {"trials": 8, "metric": "val/accuracy", "mode": "max"}
    assert cli.main(write_search(tmp_path, search=search, seeds=[3, 1])) == 0
    rows = rows_of(tmp_path / "out")
    by_trial = [[row for row in rows if row["trial"] == str(k)] for k in range(8)]
    means = {}
    for k, of_trial in enumerate(by_trial):
        seeds = [row["seed_everything"] for row in of_trial]
        if of_trial[0]["status"] == "finished":
            assert seeds == ["3", "1"] and of_trial[1]["status"] == "finished"
            means[k] = statistics.mean(float(row["val/accuracy"]) for row in of_trial)
        else:
            assert seeds == ["3"] and of_trial[0]["status"] == "pruned"
    assert 5 <= len(means) <= 8
    config = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    assert config["seed_everything"] == 3
    best = max(means, key=lambda k: (means[k], -k))
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == float(by_trial[best][0][RATE])


def test_a_failed_trial_is_a_row_and_can_be_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crash = {"class_path": "tests.training.helpers.CrashAt", "init_args": {"step": 3}}
    calm = {**crash, "init_args": {"step": 99}}
    grid = GRID | {"trainer.callbacks": [[calm], [crash]]}
    assert cli.main(write_search(tmp_path, grid, search=SEARCH | {"trials": 6})) == 1
    rows = rows_of(tmp_path / "out")
    failed = [row for row in rows if row["status"] == "failed"]
    assert 0 < len(failed) < 6 and {row["error"] for row in failed} == {"RuntimeError: a bug; see log.txt"}
    capsys.readouterr()
    command = write_search(tmp_path, grid, search=SEARCH | {"trials": 6}, retry_failed=True)
    assert cli.main([*command, "--dry_run"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"6 runs, {len(failed)} of them to do"
    assert cli.main(command) == 1
    assert f"{len(failed)} failed; --retry_failed does them again" in capsys.readouterr().out
    assert trials_of(tmp_path / "out") == [{k: v for k, v in row.items() if k not in NOT_METRICS} for row in rows]


def test_a_diverged_trial_is_the_worst(tmp_path: Path) -> None:
    """Its loss is NaN; the sampler learns from it, and the best trial is another."""
    grid = {"model.optimizer": [{"class_path": "torch.optim.SGD"}], RATE: [1e38, 0.1], "trainer.max_steps": [12]}
    search = SEARCH | {"trials": 6, "pruner": "none"}
    assert cli.main(write_search(tmp_path, grid, search=search)) == 0
    losses = {row[RATE]: float(row["val/loss"]) for row in rows_of(tmp_path / "out")}
    assert math.isnan(losses["1e+38"]) and losses["0.1"] < 3
    config = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.1


SPACE: Grid = {"x": {"low": -10.0, "high": 10.0}, "kind": ["a", {"b": None}]}


def test_the_sampler_learns_and_repeats_itself() -> None:
    def chosen(sampler: Any, seed: int) -> list[float]:
        search, trials = Search(30, "loss", "min", sampler), []
        for k in range(30):
            values = draw_values(search, SPACE, [seed], k, trials)
            assert values["kind"] in SPACE["kind"]
            trials.append(frozen_trial(SPACE, k, values, "finished", (values["x"] - 3) ** 2, {}))
        return [abs(trial.params["x"] - 3) for trial in trials]

    assert statistics.mean(chosen("tpe", 1)[20:]) < 0.4 * statistics.mean(chosen("random", 1)[20:])
    assert chosen("tpe", 1) == chosen("tpe", 1) != chosen("tpe", 2)


def test_running_trials_are_avoided() -> None:
    """Eight trials drawn at a time spread more if each is told of those that are running."""
    search = Search(40, "loss", "min")
    known = [
        frozen_trial(SPACE, k, values, "finished", abs(values["x"]), {})
        for k in range(12)
        for values in [draw_values(search, SPACE, [1], k, [])]
    ]
    alone = [draw_values(search, SPACE, [1], k, known)["x"] for k in range(12, 20)]
    together: list[Any] = []
    for k in range(12, 20):
        running = [frozen_trial(SPACE, 12 + j, values, "running") for j, values in enumerate(together)]
        together.append(draw_values(search, SPACE, [1], k, [*known, *running]))
    assert statistics.stdev(values["x"] for values in together) > statistics.stdev(alone)


def is_pruned(search: Search, journal: Path, values: dict[int, float]) -> bool:
    return decide(search, journal, values).is_pruned


@pytest.mark.parametrize("mode", ["min", "max"])
def test_halving_leaves_the_best_quarter(mode: Any, tmp_path: Path) -> None:
    """Of eight trials before it, a trial must be among the best two at step 5, and among those at step 20, too."""
    sign = 1 if mode == "min" else -1
    search = Search(30, "loss", mode, pruner="halving", startup_trials=1)
    journal = Journal(tmp_path / "journal", search, [])
    for k in range(7):
        values = {5: float(sign * k), 20: float(sign * -k)} if k < 2 else {5: float(sign * k)}
        notes: dict[str, Any] = {}
        for num_steps in range(1, len(values) + 1):
            notes = decide(search, tmp_path / "journal", dict(list(values.items())[:num_steps])).notes
        state: Any = "finished" if k < 2 else "pruned"
        journal.add(frozen_trial(SPACE, k, {"x": 0.5, "kind": "a"}, state, 0.0 if k < 2 else None, values, notes))
    assert not is_pruned(search, tmp_path / "journal", {5: sign * 0.5})
    assert is_pruned(search, tmp_path / "journal", {5: sign * 1.5})
    assert not is_pruned(search, tmp_path / "journal", {5: sign * 0.5, 10: sign * 99.0})
    assert is_pruned(search, tmp_path / "journal", {5: sign * 0.5, 20: sign * -0.5})
    assert not is_pruned(search, tmp_path / "journal", {5: sign * 0.5, 20: sign * -1.5})


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_the_pruner_compares_with_the_median(mode: Any, sign: int, tmp_path: Path) -> None:
    search = Search(30, "loss", mode, startup_trials=4)
    trials = [
        frozen_trial(SPACE, k, {"x": 0.5, "kind": "a"}, "finished", sign * k, {5: sign * k, 10: sign * k / 2})
        for k in (0, 1, 2, 3, 4)
    ]
    pruned = frozen_trial(SPACE, 5, {"x": 0.5, "kind": "a"}, "pruned", None, {5: sign * 100})
    all_of_them = tmp_path / "journal"
    journal = Journal(all_of_them, search, trials[:3])
    journal.add(pruned)
    assert not is_pruned(search, all_of_them, {5: sign * 50.0})
    journal.add(trials[3])
    assert is_pruned(search, all_of_them, {5: sign * 50.0})
    journal.add(trials[4])
    assert is_pruned(search, all_of_them, {5: sign * 2.1})
    assert not is_pruned(search, all_of_them, {5: sign * 1.9})
    assert not is_pruned(search, all_of_them, {5: sign * 0.9, 10: sign * 50.0})  # the best so far counts
    assert is_pruned(search, all_of_them, {5: sign * 1.9, 10: sign * 1.5})
    assert is_pruned(search, all_of_them, {5: math.nan})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {"data.lenght": {"low": 1, "high": 9}}}, "grid has data.lenght = 9, which"),
        ({"grid": {"data.length": {"low": 5, "high": 5}}}, "grid has an empty range for data.length"),
        ({"grid": {"model.hidden_size": {"low": 4.5, "high": 8.5}}}, "grid has model.hidden_size = 8.5, which"),
        (
            {"grid": {"data.length": {"low": 5, "high": 9}}, "search": None},
            "has a range for data.length, which needs a search",
        ),
        ({"grid": {"data.length": []}}, "grid has no values for data.length"),
        ({"search": SEARCH | {"trials": 0}}, "search.trials is 0; it must be at least 1"),
        ({"search": SEARCH | {"trials": "x"}}, "search.trials: "),
        ({"search": SEARCH | {"sampler": "grid"}}, "one of 'tpe', 'random', got grid"),
        ({"search": SEARCH | {"pruner": "mean"}}, "one of 'median', 'halving', 'none', got mean"),
        ({"search": SEARCH | {"mode": "best"}}, "one of 'min', 'max', got best"),
        ({"search": SEARCH | {"metirc": "a"}}, "Option 'metirc' is not accepted"),
        ({"search": {"trials": 3}}, "required: metric, mode"),
        ({"search": SEARCH | {"metric": "val/los"}}, "search.metric is val/los, but the model logs "),
        ({"search": SEARCH | {"metric": "test/loss"}}, "the test split must not choose the values"),
        ({"seeds": []}, "seeds is empty"),
    ],
)
def test_wrong_searches_end_in_one_line_before_anything_is_written(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(write_search(tmp_path, **{"grid": {"data.length": [5, 6]}, **change})) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.yaml", "sweep.yaml"]


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert cli.main(write_search(tmp_path)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "Optuna, which is not installed; run pip install -e '.[search]'" in line


def test_a_metric_that_a_finished_run_has_not_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"model.hidden_size": {"low": 4, "high": 16}, "trainer.limit_val_batches": [0]}
    command = write_search(tmp_path, grid)
    for _ in range(2):
        assert cli.main(command) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("error: search.metric is val/loss, but the run trial_0+seed=1 logs test/accuracy, ")
    (row,) = rows_of(tmp_path / "out")
    assert row["status"] == "finished"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"search": SEARCH | {"metric": "val/accuracy"}}, "another search: metric is val/loss there and val/accuracy"),
        ({"search": SEARCH | {"sampler": "random"}}, "another search: sampler is tpe there and random here"),
        ({"search": SEARCH | {"trials": 11}}, "another search: trials is 12 there and 11 here"),
        ({"grid": GRID | {"model.hidden_size": {"low": 4, "high": 32, "step": 4}}}, "another grid: model.hidden_size"),
        ({"seeds": [1, 2]}, "another search: seeds is 1 there and 1, 2 here; choose another --output_dir"),
        ({"seeds": [2]}, "another search: seeds is 1 there and 2 here"),
        ({"grid": {"model.network": ["rnn"]}, "search": None}, "another search: trials is 12 there and not set here"),
    ],
)
def test_another_search_is_refused(
    change: dict[str, Any], message: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "out" / "results.csv").read_bytes()
    command = write_search(tmp_path, **{"output_dir": str(finished / "out"), **change})
    (tmp_path / "base.yaml").replace(finished / "base.yaml")
    assert cli.main([*command, f"--base={finished / 'base.yaml'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert (finished / "out" / "results.csv").read_bytes() == before


def test_damaged_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_search(tmp_path, {"trainer.max_steps": [1, 2]}, search=SEARCH | {"trials": 1})
    assert cli.main(command) == 0
    for content in ("", "3", "[3]", '[{"a": 1}]'):
        (tmp_path / "out" / "trials.json").write_text(content)
        capsys.readouterr()
        assert cli.main(command) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "trials.json is damaged or cannot be read; choose another --output_dir" in line


KILLED_WHILE_IT_DRAWS = """\
import os, signal, sys
sys.path.insert(0, {root!r})
import cli
from experiments.sweep import trials

def killed(*args):
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    drawn = trials.draw_values
    trials.draw_values = lambda *args: killed() if args[3] == {number} else drawn(*args)
    sys.exit(cli.main(sys.argv[1:]))
"""


def pid_in(process: PythonProcess, out: Path, trial: int) -> int:
    """The process that does a trial, once it has logged 30 steps."""
    while process.poll() is None:
        for path in out.glob(f"runs/trial_{trial}+*"):
            if num_steps_done(path) >= 30 and not (path / "result.json").exists():
                (job,) = path.glob("*/version_0/job.json")
                return json.loads(job.read_text())["pid"]
        time.sleep(0.01)
    raise AssertionError(f"trial {trial} was never under way")


@pytest.mark.slow
def test_a_search_that_is_killed_three_times_has_the_same_trials(tmp_path: Path) -> None:
    """Killed are a worker in the middle of a run, the sweep while it draws, and the sweep in the middle of a run."""
    grid = GRID | {"trainer.max_steps": [150], "trainer.val_check_interval": [30]}
    folders = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in folders:
        folder.mkdir()
        write_search(folder, grid, search=SEARCH | {"trials": 9})
    undisturbed, killed = folders
    assert start(undisturbed).wait() == 0
    expected = trials_of(undisturbed / "out")
    last_whole = max(k for k, row in enumerate(expected) if row["status"] == "finished")

    program = tmp_path / "program.py"
    program.write_text(KILLED_WHILE_IT_DRAWS.format(root=str(ROOT), number=6))
    words = [str(program), "sweep", "--config", str(killed / "sweep.yaml")]
    search = PythonProcess(words, tmp_path / "output.txt")
    os.kill(pid_in(search, killed / "out", trial=2), signal.SIGKILL)
    assert search.wait() == -signal.SIGKILL
    assert len(json.loads((killed / "out" / "trials.json").read_text())) == 6 <= last_whole

    search = start(killed)
    pid_in(search, killed / "out", trial=last_whole)
    search.send_signal(signal.SIGKILL)
    assert search.wait() == -signal.SIGKILL
    assert start(killed).wait() == 0
    assert trials_of(killed / "out") == expected
