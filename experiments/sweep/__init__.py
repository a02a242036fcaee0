"""Trains many runs: a base config, a grid of values for its keys, and several seeds."""

import contextlib
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from experiments.plot_command import Study, figure
from experiments.sweep.display import Display
from experiments.sweep.grid import check_values, runs_of
from experiments.sweep.local import run_locally
from experiments.sweep.results import ResultsFolder
from experiments.sweep.slurm import check_cluster, run_on_slurm
from experiments.tables import print_table
from training.errors import UserError

EXAMPLE = "python cli.py sweep --config configs/sweep/optimizers.yaml"


def sweep(
    base: str,
    grid: dict[str, list],  # type: ignore[type-arg]  # for list[Any], jsonargparse would build objects
    seeds: list[int],
    output_dir: str,
    study: Study | None = None,
    executor: Literal["local", "slurm"] = "local",
    workers: int | None = None,
    slurm: dict[str, Any] | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
) -> int:
    """Train once for each combination of the grid's values and each seed.

    Runs start in the order of the grid; the seed changes fastest. When a run ends, results.csv in the output folder
    gets a row for it. After a stop, the same command does the unfinished runs, and resumes those with a checkpoint. A
    failed run is a row with its error; the other runs continue, and the exit status is 1.

    Args:
        base: a config of fit that all runs share.
        grid: keys of that config, as on the command line, each with a list of values.
        seeds: values of seed_everything.
        output_dir: folder for results.csv and the folders of the runs.
        study: draw the figure of this study at the end; see python cli.py figure --help.
        executor: local, processes of this machine with one thread each; slurm, a job array on a cluster.
        workers: number of runs at a time; by default as many as there are cores (local), or all (slurm).
        slurm: parameters of the jobs, as submitit names them, such as {timeout_min: 600, slurm_partition: gpu}.
        dry_run: list the runs, and do none.
        retry_failed: do failed runs again.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1")
    if slurm and executor != "slurm":
        raise UserError("slurm is set, but executor is local; add --executor slurm, or leave slurm out")
    if not Path(base).is_file():
        raise UserError(f"base is {base}, but that file does not exist; give a config of fit")
    runs = runs_of(grid, seeds)
    if executor == "slurm":
        check_cluster()
    config = check_values(Path(base), grid)
    results = ResultsFolder(Path(output_dir), runs)
    results.check(grid, seeds, config)
    if dry_run:
        list_runs(results, retry_failed)
        return 0
    results.open(grid, seeds, config)
    stops = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    handlers_before = {signum: signal.signal(signum, exit_at_signal) for signum in stops}
    try:
        for run in results.failed() if retry_failed else ():
            results.forget(run)
        if results.unfinished():
            do_runs = partial(run_on_slurm, parameters=slurm or {}) if executor == "slurm" else run_locally
            progress = contextlib.closing(do_runs(Path(base), results, workers))
            with Display(results, config["trainer.max_steps"]) as display, progress as steps:
                for running in steps:
                    results.write_csv()
                    display.show(running)
    except (KeyboardInterrupt, SystemExit):
        print(f"{len(results.unfinished())} runs are not finished; the same command resumes them", file=sys.stderr)
        raise
    finally:
        for signum, handler in handlers_before.items():
            signal.signal(signum, handler)
        results.write_csv()
        results.lock.release()
    status = report_results(results)
    if study is not None and any(results.status(run) == "finished" for run in runs):
        figure(study, [output_dir], output_dir)
    return status


def list_runs(results: ResultsFolder, retry_failed: bool) -> None:
    """Print all runs, and which of them are still to do."""
    rows = []
    for run in results.runs:
        status = results.status(run)
        rows.append({**run.key(), "status": "to do again" if retry_failed and status == "failed" else status})
    print_table(rows)
    num_left = sum(row["status"].startswith("to do") for row in rows)
    print(f"{len(rows)} runs, {num_left} of them to do")


def report_results(results: ResultsFolder) -> int:
    """Print the failed runs and the numbers of finished, failed and stopped runs; returns the exit status."""
    failed, missing = results.failed(), results.unfinished()
    for run in failed:
        print(f"{run.name}: failed: {(results.result(run) or {})['error']}")
    num_finished = len(results.runs) - len(failed) - len(missing)
    print(f"{num_finished} of {len(results.runs)} runs finished, see {results.path / 'results.csv'}")
    if failed:
        print(f"{len(failed)} failed; --retry_failed does them again")
    if missing:
        print(f"{len(missing)} were stopped; the same command resumes them")
    return 1 if failed or missing else 0


def exit_at_signal(signum: int, frame: FrameType | None) -> None:
    """Raise an exception, as Ctrl-C does, so that the workers save their runs."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost terminal may send it twice; the workers need time to save
    raise SystemExit(128 + signum)
