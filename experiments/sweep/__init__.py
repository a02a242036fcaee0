"""Trains many runs: a base config, a grid of values for its keys, and several seeds."""

import contextlib
import signal
import sys
from collections.abc import Collection, Generator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from experiments.plot_command import Study, figure
from experiments.provenance import record
from experiments.sweep.definition import Definition
from experiments.sweep.display import Display
from experiments.sweep.grid import Grid, Run, check, check_values, runs_of, values_to_try
from experiments.sweep.local import num_cores, run_locally
from experiments.sweep.queue import ToDo
from experiments.sweep.results import ResultsFolder
from experiments.sweep.settings import Search, check_metric
from experiments.sweep.slurm import check_cluster, run_on_slurm
from experiments.tables import print_table
from training.errors import UserError

if TYPE_CHECKING:
    from experiments.sweep.trials import Trials

EXAMPLE = "python cli.py sweep --config configs/sweep/optimizers.yaml"


def sweep(
    base: str,
    grid: dict[str, list | dict],  # type: ignore[type-arg]  # for list[Any], jsonargparse would build objects
    seeds: list[int],
    output_dir: str,
    search: Search | None = None,
    study: Study | None = None,
    executor: Literal["local", "slurm"] = "local",
    workers: int | None = None,
    slurm: dict[str, Any] | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
) -> int:
    """Train once for each combination of the grid's values and each seed, or search for the best values.

    Runs start in the order of the grid; the seed changes fastest. When a run ends, results.csv in the output folder
    gets a row for it. After a stop, the same command does the unfinished runs, and resumes those with a checkpoint. A
    failed run is a row with its error; the other runs continue, and the exit status is 1.

    Args:
        base: a config of fit that all runs share.
        grid: keys of that config, as on the command line, each with a list of values, or, in a search, with a range,
            such as {low: 1e-4, high: 1e-1, log: true}.
        seeds: values of seed_everything; the value of a trial is the mean over its seeds.
        output_dir: folder for results.csv and the folders of the runs.
        search: try a number of combinations that Optuna chooses, such as {trials: 40, metric: val/loss, mode: min}, and
            write the config of the best to best.yaml; see --search.help.
        study: draw the figure of this study at the end; see python cli.py figure --help.
        executor: local, processes of this machine with one thread each; slurm, a job array on a cluster.
        workers: number of runs at a time; by default as many as there are cores (local), or all (slurm; in a
            search, search.startup_trials).
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
    results, trials = planned(search, grid, seeds, Path(output_dir))
    if executor == "slurm":
        check_cluster()
    config = check_values(Path(base), grid)
    definition = Definition(grid, seeds, config, {} if search is None else asdict(search))
    has_begun = definition.check_folder(results.path)
    if search is not None and not has_begun:
        check_metric(Path(base), {key: values_to_try(given)[0] for key, given in grid.items()}, search.metric)
    if trials is not None:
        trials.read()
    if dry_run:
        list_runs(results, retry_failed)
        return 0
    results.open(definition)
    stops = [s for s in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN]
    handlers_before = {signum: signal.signal(signum, exit_at_signal) for signum in stops}
    try:
        if retry_failed:
            for run in results.failed():
                results.forget(run)
            if trials is not None:
                trials.read()
        if results.num_left():
            executed = execute(Path(base), results, trials, executor, workers, slurm or {})
            display = Display(results, config["trainer.max_steps"], None if search is None else search.metric)
            with display, contextlib.closing(executed) as progress:
                for running in progress:
                    results.write_csv()
                    display.show(running)
            of_cluster = {"processor": "nodes of a cluster", "threads": (slurm or {}).get("cpus_per_task", 1)}
            record(results.path, ["results.csv"], **(of_cluster if executor == "slurm" else {"threads": 1}))
    except (KeyboardInterrupt, SystemExit):
        print(f"{results.num_left()} runs are not finished; the same command resumes them", file=sys.stderr)
        raise
    finally:
        for signum, handler in handlers_before.items():
            signal.signal(signum, handler)
        results.write_csv()
        results.lock.release()
    status = report_results(results)
    if study is not None and any(results.status(run) == "finished" for run in results.runs):
        figure(study, [output_dir], output_dir)
    if trials is not None:
        trials.report_best(Path(base))
    return status


def planned(
    search: Search | None, grid: Grid, seeds: list[int], output_dir: Path
) -> "tuple[ResultsFolder, Trials | None]":
    """The folder with the runs of the grid, or with the trials of the search; a UserError if they are wrong."""
    if search is None:
        return ResultsFolder(output_dir, runs_of(grid, seeds)), None
    search.check()
    check(grid, seeds)
    from experiments.sweep.trials import Trials  # imports Optuna, which grids do not need

    results = ResultsFolder(output_dir, [])
    return results, Trials(search, grid, seeds, results)


def execute(
    base: Path,
    results: ResultsFolder,
    trials: "Trials | None",
    executor: str,
    workers: int | None,
    slurm: dict[str, Any],
) -> Generator[Collection[Run], None, None]:
    """Do the runs that are left. Yields and errors as those of the executors."""
    to_do: ToDo = trials.to_do if trials is not None else lambda: iter(results.unfinished())
    if executor == "local":
        return run_locally(base, results, to_do, min(workers or num_cores(), results.num_left()))
    num_jobs = workers or (results.num_left() if trials is None else trials.search.startup_trials)
    return run_on_slurm(base, results, to_do, min(num_jobs, results.num_left()), slurm, one_by_one=trials is not None)


def list_runs(results: ResultsFolder, retry_failed: bool) -> None:
    """Print all runs, of a search those that have begun, and which of them are still to do."""
    rows = []
    for run in results.runs:
        status = results.status(run)
        rows.append({**run.key(), "status": "to do again" if retry_failed and status == "failed" else status})
    if rows:
        print_table(rows)
    num_left = results.num_left() + sum(row["status"] == "to do again" for row in rows)
    print(f"{results.num_planned} runs, {num_left} of them to do")


def report_results(results: ResultsFolder) -> int:
    """Print the failed runs and the numbers of finished, failed and stopped runs; returns the exit status."""
    failed, num_missing = results.failed(), results.num_left()
    for run in failed:
        print(f"{run.name}: failed: {(results.result(run) or {})['error']}")
    statuses = [results.status(run) for run in results.runs]
    pruned = f", {num} pruned" if (num := statuses.count("pruned")) else ""
    num_finished = statuses.count("finished")
    print(f"{num_finished} of {results.num_planned} runs finished{pruned}, see {results.path / 'results.csv'}")
    if failed:
        print(f"{len(failed)} failed; --retry_failed does them again")
    if num_missing:
        print(f"{num_missing} were stopped; the same command resumes them")
    return 1 if failed or num_missing else 0


def exit_at_signal(signum: int, frame: FrameType | None) -> None:
    """Raise an exception, as Ctrl-C does, so that the workers save their runs."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a lost terminal may send it twice; the workers need time to save
    raise SystemExit(128 + signum)
