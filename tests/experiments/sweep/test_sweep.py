"""Sweeps from the command line: their results, what they keep, what they refuse, and how they resume."""

import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import venv
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import submitit
import torch
import yaml

import cli
from experiments.provenance import read_records
from experiments.sweep import local, slurm
from experiments.sweep.definition import Definition
from experiments.sweep.results import ResultsFolder, num_steps_done
from tests.forked import PythonProcess

ROOT = Path(__file__).parent.parent.parent.parent
BASE = {
    "model": {"class_path": "models.PalindromeClassifier", "init_args": {"hidden_size": 8}},
    "data": {
        "class_path": "datamodules.PalindromeDataModule",
        "init_args": {"length": 6, "batch_size": 16},
    },
    "trainer": {"max_steps": 7, "limit_train_batches": 10, "log_every_n_steps": 3, "val_check_interval": 4},
}
GRID = {"model.network": ["rnn", "lstm"], "model.initialization": ["orthogonal", "identity"]}
NOT_METRICS = ("seconds", "run_dir", "git_commit")


def write_sweep(folder: Path, grid: dict[str, list[Any]], **options: Any) -> list[str]:
    """The command of a sweep of small runs with the output folder ``folder/out``."""
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    sweep = {
        "base": str(folder / "base.yaml"),
        "grid": grid,
        "seeds": [1],
        "output_dir": str(folder / "out"),
        **options,
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    return ["sweep", "--config", str(folder / "sweep.yaml")]


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of four runs, one of which has failed: an LSTM has no initialization ``identity``."""
    folder = tmp_path_factory.mktemp("sweep")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)  # of this process; the runs have one each
    assert cli.main(write_sweep(folder, GRID, workers=1)) == 1
    torch.set_num_threads(num_threads)
    return folder


@pytest.fixture
def again(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(finished / "out", tmp_path / "out")
    write_sweep(tmp_path, GRID, workers=1)
    return tmp_path


def test_a_study_names_the_sweep_that_it_was_made_from(finished: Path, tmp_path: Path) -> None:
    words = ["figure", "--study=accuracy_vs_length", f"--results=[{finished / 'out'}]", f"--output_dir={tmp_path}"]
    assert cli.main(words) == 0
    (sweep,) = read_records(tmp_path)["accuracy_vs_length.csv"]["made_from"]
    assert sweep == read_records(finished / "out")["results.csv"] and sweep["threads"] == 1


def test_each_run_is_a_row_in_the_grids_order(finished: Path) -> None:
    rows = rows_of(finished / "out")
    keys = ["model.network", "model.initialization", "seed_everything", "status", "error"]
    assert list(rows[0])[:5] == keys
    shown = [[row[key] for key in keys] for row in rows]
    why = "initialization is 'identity'; for this network it is one of orthogonal, chrono, uniform"
    assert shown == [
        ["rnn", "orthogonal", "1", "finished", ""],
        ["rnn", "identity", "1", "finished", ""],
        ["lstm", "orthogonal", "1", "finished", ""],
        ["lstm", "identity", "1", "failed", why],
    ]
    assert rows[3]["test/accuracy"] == rows[3]["steps"] == ""
    assert rows[0]["data.length"] == "6" and rows[0]["trainer.max_steps"] == "7"
    assert len(rows[0]["git_commit"].removesuffix("-dirty")) in (0, 40)


def test_a_row_has_the_metrics_of_fit(finished: Path, tmp_path: Path) -> None:
    args = ["--model.network=rnn", "--seed_everything=1", f"--trainer.default_root_dir={tmp_path}"]
    assert cli.main(["fit", "--config", str(finished / "base.yaml"), *args]) == 0
    summary = json.loads((tmp_path / "base" / "version_0" / "summary.json").read_text())
    row = rows_of(finished / "out")[0]
    assert {name: float(row[name]) for name in summary["metrics"]} == summary["metrics"]
    assert set(summary["metrics"]) >= {"train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy"}
    assert int(row["steps"]) == summary["steps"] == 7
    assert 0 < float(row["seconds"]) < 60
    assert (finished / "out" / row["run_dir"] / "checkpoints" / "best.ckpt").is_file()


def test_a_second_call_does_nothing_again(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in again.rglob("*") if path.is_file() and path.name != ".lock"}
    assert cli.main(["sweep", "--config", str(again / "sweep.yaml")]) == 1
    assert "3 of 4 runs finished" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


def test_a_second_call_does_what_is_missing(again: Path) -> None:
    rows = rows_of(again / "out")
    gone = again / "out" / "runs" / "network=rnn+initialization=identity+seed=1"
    shutil.rmtree(gone)
    kept = again / "out" / "runs" / "network=lstm+initialization=orthogonal+seed=1" / "log.txt"
    before = kept.read_text()
    assert cli.main(["sweep", "--config", str(again / "sweep.yaml"), "--seeds=[1]"]) == 1
    assert kept.read_text() == before
    assert gone.is_dir()
    for old, new in zip(rows, rows_of(again / "out"), strict=True):
        assert {k: v for k, v in new.items() if k not in NOT_METRICS} == {
            k: v for k, v in old.items() if k not in NOT_METRICS
        }


def test_more_seeds_are_accepted_and_failed_runs_are_done_again_on_request(
    again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = ["sweep", "--config", str(again / "sweep.yaml"), "--dry_run"]
    assert cli.main([*sweep, "--seeds=[1,2]"]) == 0
    assert "8 runs, 4 of them to do" in capsys.readouterr().out
    assert cli.main([*sweep, "--retry_failed=true"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "4 runs, 1 of them to do" and lines[-2].split() == [
        "lstm",
        "identity",
        "1",
        "to",
        "do",
        "again",
    ]
    log = again / "out" / "runs" / "network=lstm+initialization=identity+seed=1" / "log.txt"
    assert log.read_text().count("error: initialization") == 1
    assert cli.main([*sweep[:-1], "--retry_failed=true"]) == 1
    assert log.read_text().count("error: initialization") == 2


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*write_sweep(tmp_path, GRID, seeds=[1, 2]), "--dry_run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == ["rnn", "orthogonal", "1", "to", "do"]
    assert lines[-1] == ["8", "runs,", "8", "of", "them", "to", "do"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {"data.lenght": [5]}}, "grid has data.lenght = 5, which {folder}/base.yaml does not accept: "),
        ({"grid": {"modell.network": ["rnn"]}}, "grid has modell.network; give a key of the config"),
        ({"grid": {"model.nettwork": ["rnn"]}}, "grid has model.nettwork = rnn, which"),
        ({"grid": {"data.length": [5, "ten"]}}, "grid has data.length = ten, which"),
        ({"grid": {"trainer.callbacks.threshold": [0.5]}}, "grid has trainer.callbacks.threshold = 0.5, which"),
        ({"grid": {}}, "grid is empty; give at least one key with a list of values"),
        ({"grid": {"data.length": 5}}, "grid"),
        ({"base": "nowhere.yaml"}, "base is nowhere.yaml, but that file does not exist"),
        ({"workers": 0}, "workers is 0; it must be at least 1"),
        ({"executor": "pbs"}, "executor: expected one of 'local', 'slurm', got pbs"),
        ({"slurm": {"timeout_min": 5}}, "slurm is set, but executor is local"),
        ({"study": "nothing"}, "study"),
        ({"output_dir": "{folder}/base.yaml"}, "{folder}/base.yaml is not a folder; choose another --output_dir"),
        ({"base": "{folder}/sweep.yaml"}, "base {folder}/sweep.yaml is not a config of fit: "),
        ({"output_dir": "{folder}"}, "{folder} is not empty, but has no sweep; choose another --output_dir"),
    ],
)
def test_wrong_input_ends_in_one_line_before_anything_is_written(
    change: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {key: v.format(folder=tmp_path) if isinstance(v, str) else v for key, v in change.items()}
    assert cli.main(write_sweep(tmp_path, **{"grid": {"data.length": [5]}, **change})) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(folder=tmp_path) in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.yaml", "sweep.yaml"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": {**GRID, "model.network": ["rnn"]}}, "another grid: model.network is rnn, lstm there and rnn here"),
        ({"grid": {**GRID, "data.length": [5]}}, "another grid: data.length is not set there and 5 here"),
        ({"seeds": [2]}, "out has results of seed 1, which seeds lacks; add it, or choose another --output_dir"),
        ({"base": ("batch_size: 16", "batch_size: 32")}, "another base: data.batch_size is 16 there and 32 here"),
        (
            {"base": ("log_every_n_steps: 3", "gradient_clip_val: 0.1")},
            "another base: trainer.log_every_n_steps is 3 there and not set here",
        ),
        (
            {"base": ("log_every_n_steps: 3", "log_every_n_steps: 3\n  max_epochs: 1")},
            "another base: trainer.max_epochs is not set there and 1 here",
        ),
    ],
)
def test_results_of_another_sweep_are_not_changed(
    change: dict[str, Any], message: str, again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (again / "out" / "results.csv").read_bytes()
    base = change.pop("base", None)
    command = write_sweep(again, **{"grid": GRID, **change})
    if base:
        (again / "base.yaml").write_text((again / "base.yaml").read_text().replace(*base))
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert (again / "out" / "results.csv").read_bytes() == before


def test_a_sweep_on_slurm_without_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main(write_sweep(tmp_path, GRID, executor="slurm")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "executor is slurm, but srun is not installed here; log in to the cluster, or use --executor local" in line
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert cli.main(write_sweep(tmp_path, GRID, executor="slurm")) == 2
    assert "submitit is not installed; run pip install -e '.[slurm]' in the project's folder" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"grid": []}', '{"grid": {"a": null}, "seeds": [1], "config": {}}'])
@pytest.mark.parametrize("rest", ["", ', "seeds": 1, "config": {}}', ', "seeds": [1], "config": 3}'])
def test_a_damaged_folder(content: str, rest: str, again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (again / "out" / "sweep.json").write_text(content.removesuffix("}") + rest)
    assert cli.main(["sweep", "--config", str(again / "sweep.yaml"), "--dry_run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "sweep.json is damaged or cannot be read; choose another --output_dir" in line


@pytest.mark.parametrize("content", ["", "{", "3", '{"status": 3}', '{"status": "finished"}'])
def test_a_damaged_result_is_none(content: str, again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = again / "out" / "runs" / "network=rnn+initialization=identity+seed=1" / "result.json"
    path.write_text(content)
    assert cli.main(["sweep", "--config", str(again / "sweep.yaml"), "--dry_run"]) == 0
    assert "4 runs, 1 of them to do" in capsys.readouterr().out


def test_files_left_by_a_kill_are_accepted(tmp_path: Path) -> None:
    command = write_sweep(tmp_path, GRID)
    (tmp_path / "out").mkdir()
    for name in (".lock", "sweep.tmp"):
        (tmp_path / "out" / name).touch()
    assert cli.main([*command, "--dry_run"]) == 0


def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = write_sweep(tmp_path, {"trainer.max_steps": ["5", 6]}, workers=1)
    runs = tmp_path / "out" / "runs"
    assert cli.main(command) == 0
    shutil.rmtree(runs / "max_steps=5+seed=1")
    (runs / "max_steps=5+seed=1").touch()
    capsys.readouterr()
    assert cli.main(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: cannot write to {runs / 'max_steps=5+seed=1'}: ")


def test_workers_that_die_before_their_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first pool is broken; the second does all the runs."""
    pools: list[Any] = []
    real = local.run_in_a_pool

    def breaking(base: Path, results: Any, waiting: Any, num_workers: int) -> Any:
        pools.append(len(results.unfinished()))
        with contextlib.closing(real(base, results, waiting, num_workers)) as progress:
            for running in progress:
                yield running
                if len(pools) == 1 and len(results.unfinished()) == 1:
                    raise BrokenProcessPool("All workers expired")

    monkeypatch.setattr(local, "run_in_a_pool", breaking)
    assert cli.main(write_sweep(tmp_path, {"model.network": ["rnn", "lstm"]}, workers=1)) == 0
    assert pools == [2, 1]
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["finished", "finished"]


def test_a_folder_in_use(again: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = ResultsFolder(again / "out", [])
    results.open(Definition(**json.loads((again / "out" / "sweep.json").read_text())))
    try:
        assert cli.main(["sweep", "--config", str(again / "sweep.yaml"), "--seeds=[1]"]) == 2
    finally:
        results.lock.release()
    assert "out is in use by another process; wait until it ends" in capsys.readouterr().err


def test_a_worker_that_dies_fails_only_its_run(tmp_path: Path) -> None:
    killer = {"class_path": "tests.training.helpers.SignalAt", "init_args": {"step": 3, "name": "SIGKILL"}}
    calm = {"class_path": "tests.training.helpers.SignalAt", "init_args": {"step": 1000}}
    assert cli.main(write_sweep(tmp_path, {"trainer.callbacks": [[killer], [calm]]}, workers=1)) == 1
    first, second = rows_of(tmp_path / "out")
    assert (first["status"], first["error"]) == (
        "failed",
        "its process ended with SIGKILL, perhaps because memory ran out",
    )
    assert second["status"] == "finished"


def test_a_bug_is_a_row_and_leaves_its_traceback(tmp_path: Path) -> None:
    crash = {"class_path": "tests.training.helpers.CrashAt", "init_args": {"step": 3}}
    assert (
        cli.main(write_sweep(tmp_path, {"trainer.callbacks": [[crash], [{**crash, "init_args": {"step": 99}}]]})) == 1
    )
    first, second = rows_of(tmp_path / "out")
    assert (first["status"], first["error"]) == ("failed", "RuntimeError: a bug; see log.txt")
    assert second["status"] == "finished"
    (log,) = (path / "log.txt" for path in (tmp_path / "out" / "runs").iterdir() if "3" in path.name)
    assert "Traceback" in log.read_text()


def start(folder: Path) -> PythonProcess:
    return PythonProcess(["cli.py", "sweep", "--config", str(folder / "sweep.yaml")], folder / "output.txt")


def wait_for_step(process: PythonProcess, out: Path, step: int) -> None:
    """Wait until an unfinished run has logged ``step`` steps."""
    while process.poll() is None:
        for folder in out.glob("runs/*"):
            if not (folder / "result.json").exists() and num_steps_done(folder) >= step:
                return
        time.sleep(0.02)


def metrics_of(out: Path) -> list[dict[str, str]]:
    return [{k: v for k, v in row.items() if k not in NOT_METRICS} for row in rows_of(out)]


def write_longer_sweep(folder: Path) -> Path:
    grid = {"model.network": ["rnn", "lstm"], "trainer.max_steps": [230], "data.length": [10]}
    write_sweep(folder, grid, seeds=[1, 2], workers=2)
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """The metrics of the longer sweep."""
    folder = write_longer_sweep(tmp_path_factory.mktemp("undisturbed"))
    assert start(folder).wait() == 0
    return metrics_of(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_is_killed_three_times_has_the_same_results(
    signum: int, undisturbed: list[dict[str, str]], tmp_path: Path
) -> None:
    folder = write_longer_sweep(tmp_path)
    for step in (30, 120, 200):
        process = start(folder)
        wait_for_step(process, folder / "out", step)
        process.send_signal(signum)
        # A signal during the start, before there is a handler, ends the process by itself.
        assert process.wait() in ((-signum,) if signum == signal.SIGKILL else (-signum, 128 + signum))
    assert start(folder).wait() == 0
    assert metrics_of(folder / "out") == undisturbed
    assert len(undisturbed) == 4


@pytest.fixture
def pretended_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """submitit starts jobs as processes of this machine; returns the folder in which scancel logs its arguments."""
    monkeypatch.setattr(submitit, "AutoExecutor", local_executor)
    monkeypatch.setattr(slurm, "REFRESH_SECONDS", 0.2)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for name in ("srun", "sbatch", "scancel"):
        (bin_dir / name).write_text(f'#!/bin/sh\necho "$@" >> {bin_dir}/{name}.log\n')
        (bin_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_dir), prepend=os.pathsep)
    return bin_dir


def local_executor(
    folder: Path, cluster: str, slurm_python: str, auto: type[submitit.AutoExecutor] = submitit.AutoExecutor
) -> submitit.AutoExecutor:
    return auto(folder, cluster="local", local_python=slurm_python)


ON_PRETENDED_CLUSTER = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
import submitit, cli
from experiments.sweep import slurm
from tests.experiments.sweep.test_sweep import local_executor
submitit.AutoExecutor, slurm.REFRESH_SECONDS = local_executor, 0.2
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("executor", ["local", "slurm"])
def test_workers_and_jobs_find_the_projects_packages(executor: str, pretended_cluster: Path, tmp_path: Path) -> None:
    """From another folder, in an environment with the libraries but without the packages of this project."""
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment)}))
    # Python does not read the .pth files in this folder, so an editable installation has no effect.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin" / "python"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*words: str) -> int:
        return subprocess.run([python, *words], cwd=elsewhere, env=variables, check=False).returncode

    assert run("-c", "import torch") == 0 != run("-c", "import training")
    words = write_sweep(tmp_path, {"model.network": ["rnn"]}, executor=executor)
    assert run(*([str(ROOT / "cli.py")] if executor == "local" else ["-c", ON_PRETENDED_CLUSTER]), *words) == 0
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["finished"]


def test_results_on_a_cluster_are_the_same(pretended_cluster: Path, again: Path, tmp_path: Path) -> None:
    rows = rows_of(again / "out")
    (again / "out").rename(again / "elsewhere")
    (again / "out" / "slurm").mkdir(parents=True)
    (again / "out" / "slurm" / "jobs.txt").write_text("17_0 17_1")  # left behind by a process that was killed
    (again / "out" / "sweep.json").write_bytes((again / "elsewhere" / "sweep.json").read_bytes())
    assert cli.main(["sweep", "--config", str(again / "sweep.yaml"), "--seeds=[1]", "--executor=slurm"]) == 1
    assert (pretended_cluster / "scancel.log").read_text().splitlines()[0] == "17_0 17_1"
    for ours, theirs in zip(rows_of(again / "out"), rows, strict=True):
        for row in (ours, theirs):
            for name in NOT_METRICS:
                del row[name]
        assert ours == theirs
    assert not (again / "out" / "slurm" / "jobs.txt").exists()


def test_a_job_that_dies_leaves_its_runs_failed(
    pretended_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitit.LocalJob, "state", "OUT_OF_MEMORY")  # what Slurm calls it
    killer = {"class_path": "tests.training.helpers.SignalAt", "init_args": {"step": 3, "name": "SIGKILL"}}
    grid = {"trainer.callbacks": [[killer], [{**killer, "init_args": {"step": 1000}}]]}
    assert cli.main(write_sweep(tmp_path, grid, executor="slurm", workers=2)) == 1
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows] == ["failed", "finished"]
    assert re.match(r"Slurm job \d+ ended as OUT_OF_MEMORY; see slurm/\d+", rows[0]["error"])


def test_a_job_whose_time_is_up_is_queued_again(pretended_cluster: Path, tmp_path: Path) -> None:
    """Shortly before the end of its time it gets SIGUSR2; with a limit of ten minutes or less, at any time."""
    callback = {"class_path": "tests.training.helpers.SignalUnlessResumed", "init_args": {"step": 6, "name": "SIGUSR2"}}
    grid = {"trainer.callbacks": [[callback]]}
    assert cli.main(write_sweep(tmp_path, grid, executor="slurm", slurm={"timeout_min": 10})) == 0
    (row,) = rows_of(tmp_path / "out")
    assert (row["status"], row["steps"]) == ("finished", "7")


def test_parameters_that_submitit_does_not_know(
    pretended_cluster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(write_sweep(tmp_path, GRID, executor="slurm", slurm={"slurm_nothing": 1})) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: slurm: Unknown argument 'nothing'")


def test_a_job_uses_the_threads_it_was_given(
    pretended_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = slurm.JobRuns.__init__

    def noting(self: Any, runs: Any, num_threads: int) -> None:
        made.append(num_threads)
        real(self, runs, num_threads)

    monkeypatch.setattr(slurm.JobRuns, "__init__", noting)
    grid = {"model.network": ["rnn"]}
    assert cli.main(write_sweep(tmp_path, grid, executor="slurm", slurm={"cpus_per_task": 2})) == 0
    assert made == [2]
    began: list[int] = []
    monkeypatch.setattr(slurm, "start_worker", began.append)
    slurm.JobRuns([], 3)()
    assert began == [3]
