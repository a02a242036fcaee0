"""Commands on a real terminal: it may be lost, and Ctrl-\\ shows where the threads are."""

import csv
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.forked import PythonProcess
from training.checkpoint_file import read_checkpoint

pytestmark = pytest.mark.slow


class Terminal:
    """A terminal, and a program on it."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.master, slave = os.openpty()
        self.shown = ""
        self.process = PythonProcess(["-m", "tests.on_terminal", os.ttyname(slave), *words], folder / "startup.txt")
        self.wait_for(lambda: bool(self.shown))
        os.close(slave)

    def wait_for(self, has_come: Callable[[], bool]) -> None:
        """Read what the program shows until something has come."""
        deadline = time.monotonic() + 60
        while not has_come():
            has_ended = self.process.poll() is not None
            try:
                is_more = bool(select.select([self.master], [], [], 0.05)[0])
                self.shown += os.read(self.master, 4096).decode(errors="replace") if is_more else ""
            except OSError:  # the program has ended, and nothing holds the terminal open
                is_more = False
            assert time.monotonic() < deadline and (is_more or not has_ended), self.shown

    def type(self, key: bytes) -> None:
        os.write(self.master, key)

    def lose(self) -> int:
        """Close the terminal; returns the exit status of the program. Its shell, too, sends SIGHUP to all processes."""
        os.close(self.master)
        os.killpg(self.process.pid, signal.SIGHUP)
        return self.process.wait(60)


def fit_words(config: Path, tmp_path: Path, *args: str) -> list[str]:
    return ["cli.py", "fit", f"--config={config}", f"--trainer.default_root_dir={tmp_path / 'runs'}", *args]


def pace(seconds: float) -> str:
    return f'--trainer.callbacks={{"class_path": "tests.training.helpers.Pace", "init_args": {{"seconds": {seconds}}}}}'


def logged(folder: Path) -> bool:
    return any(path.stat().st_size > 100 for path in folder.rglob("metrics.csv"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "small" / "version_0"


def test_a_run_on_a_lost_terminal_is_saved(config: Path, run: Path, tmp_path: Path) -> None:
    terminal = Terminal(fit_words(config, tmp_path, "--trainer.max_steps=10000", pace(0.02)), tmp_path)
    terminal.wait_for(lambda: logged(run))
    assert terminal.lose() == 128 + signal.SIGHUP
    step = read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"]
    with (run / "metrics.csv").open(newline="") as file:
        last_logged = max(int(row["step"]) for row in csv.DictReader(file))
    assert 0 <= step - last_logged <= 4  # values are logged every 3 steps


def test_under_nohup_a_run_does_without_its_terminal(config: Path, run: Path, tmp_path: Path) -> None:
    words = fit_words(config, tmp_path, "--trainer.max_steps=60", pace(0.02))  # validation prints every 4 steps
    terminal = Terminal(["--nohup", *words], tmp_path)
    terminal.wait_for(lambda: logged(run))
    assert terminal.lose() == 0
    assert (run / "summary.json").exists()


def test_a_sweep_on_a_lost_terminal_saves_its_runs(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = {"base": str(config), "grid": {"trainer.max_steps": [20000]}, "seeds": [1, 2], "output_dir": str(out)}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    terminal = Terminal(["cli.py", "sweep", f"--config={tmp_path / 'sweep.yaml'}", "--workers=2"], tmp_path)
    runs = [out / "runs" / f"seed={seed}" for seed in (1, 2)]
    terminal.wait_for(lambda: all(map(logged, runs)))
    assert terminal.lose() == 128 + signal.SIGHUP
    for run in runs:
        (checkpoint,) = run.glob("small/version_0/checkpoints/last.ckpt")
        stopped = (run / "log.txt").read_text().splitlines()[-1]
        assert stopped.endswith(f"after step {read_checkpoint(checkpoint)['global_step']}")
        assert not (run / "result.json").exists()  # it is no failed run


def test_ctrl_backslash_shows_the_threads_and_the_run_goes_on(config: Path, run: Path, tmp_path: Path) -> None:
    terminal = Terminal(fit_words(config, tmp_path, "--trainer.max_steps=60", pace(0.02)), tmp_path)
    terminal.wait_for(lambda: logged(run))
    terminal.type(b"\x1c")
    terminal.wait_for(lambda: "most recent call first" in terminal.shown and "run_path" in terminal.shown)
    terminal.wait_for(lambda: "The run is in" in terminal.shown)
    assert terminal.process.wait(60) == 0
