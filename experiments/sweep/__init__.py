"""Many training runs: a base config, a grid over its keys, several seeds."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from experiments.figure import Study, figure
from experiments.sweep.display import Display
from experiments.sweep.grid import runs_of
from experiments.sweep.local import num_cores, run_locally
from experiments.sweep.results import ResultsFolder
from experiments.sweep.slurm import check_cluster, run_on_slurm
from experiments.tables import print_table
from training.errors import UserError

EXAMPLE = "python cli.py sweep --config configs/sweep/optimizers.yaml"


def sweep(
    base: str,
    grid: dict[str, list],  # type: ignore[type-arg]  # of Any, jsonargparse would build objects
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

    Each finished run is a row of results.csv in the output folder, written as soon as it ends. Stopped at any moment
    and called again, a sweep does what is missing, and goes on in the middle of a run. A run that fails is a row, too,
    with its error, and does not stop the others; the exit status is then 1.

    Args:
        base: a config of fit, which every run starts from.
        grid: keys of that config, as they are typed on the command line, each with a list of values.
        seeds: values of seed_everything.
        output_dir: where results.csv and the runs' folders are written.
        study: draw its figure at the end, into the output folder; see python cli.py figure --help.
        executor: local, processes of this machine with one thread each; slurm, a job array on a cluster.
        workers: how many runs are done at a time; as many as there are cores (local), or all (slurm), by default.
        slurm: parameters of the jobs, as submitit names them, such as {timeout_min: 600, slurm_partition: gpu}.
        dry_run: list the runs that there are to do, and do none.
        retry_failed: do runs again that have failed.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}; it must be at least 1")
    if slurm and executor != "slurm":
        raise UserError("slurm is set, but executor is local; add --executor slurm, or leave it out")
    if not Path(base).is_file():
        raise UserError(f"base is {base}, and there is no such file; give a config of fit")
    runs = runs_of(grid, seeds)
    if executor == "slurm":
        check_cluster()
    from experiments.sweep.values import check_values  # brings Lightning: not for --help

    config = check_values(Path(base), grid)
    results = ResultsFolder(Path(output_dir), runs)
    results.check(grid, seeds, config)
    if dry_run:
        list_runs(results, retry_failed)
        return 0
    results.open(grid, seeds, config)
    try:
        for run in results.failed() if retry_failed else ():
            results.forget(run)
        pending = results.unfinished()
        max_steps = {run.name: int(run.values.get("trainer.max_steps", config["trainer.max_steps"])) for run in runs}
        with Display(results, max_steps) as display, obeying_sigterm():
            if pending and executor == "slurm":
                run_on_slurm(Path(base), results, pending, workers, slurm or {}, display)
            elif pending:
                run_locally(Path(base), results, pending, workers or num_cores(), display)
    except (KeyboardInterrupt, SystemExit):
        print(f"{len(results.unfinished())} runs are left; the same command goes on with them", file=sys.stderr)
        raise
    finally:
        results.write_csv()
        results.close()
    status = conclude(results)
    if study is not None and len(results.failed()) + len(results.unfinished()) < len(runs):
        figure(study, [output_dir], output_dir)
    return status


def list_runs(results: ResultsFolder, retry_failed: bool) -> None:
    """Print which runs there are, and which of them there are to do."""
    rows = []
    for run in results.runs:
        status = (results.result(run) or {}).get("status", "to do")
        rows.append({**run.key(), "status": "to do again" if retry_failed and status == "failed" else status})
    print_table(rows)
    num_left = sum(row["status"].startswith("to do") for row in rows)
    print(f"{len(rows)} runs, {num_left} of them to do")


def conclude(results: ResultsFolder) -> int:
    """Print what came of it; returns the exit status."""
    failed, missing = results.failed(), results.unfinished()
    for run in failed:
        print(f"{run.name}: failed: {(results.result(run) or {})['error']}")
    num_finished = len(results.runs) - len(failed) - len(missing)
    print(f"{num_finished} of {len(results.runs)} runs finished, see {results.path / 'results.csv'}")
    if failed:
        print(f"{len(failed)} failed; --retry_failed does them again")
    if missing:
        print(f"{len(missing)} were stopped; the same command goes on with them")
    return 1 if failed or missing else 0


@contextlib.contextmanager
def obeying_sigterm() -> Iterator[None]:
    """Make SIGTERM like Ctrl-C: the workers save what is under way."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
