"""Kills runs at random moments, again and again, and compares them with runs that nothing disturbed.

Two configs take turns: palindromes with a curriculum, and a book with dropout and a carried state. Each run has its own
seed. A process gets a signal at a random time after its first step, or in one case of five while it starts. The same
command then starts it again, until all signals are sent. At last each run trains to its end. The program fails unless:

- the last checkpoint, TensorBoard's curves and metrics.csv are equal, bit for bit, to those of the undisturbed run;
- SIGKILL costs at most the steps since the last checkpoint that was due;
- SIGTERM, SIGHUP and SIGUSR1 cost nothing: the step that the last message names is the step of the checkpoint.

    python -m tests.stress.chaos [--kills 100] [--signals 100] [--seed 1] [--minutes 60]
"""

import argparse
import itertools
import logging
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.stress.comparison import curves_of, difference, rows_of, state_of
from training.resume import find_checkpoint
from training.run_folder import NAMES, RunFolder, run_folders

ROOT = Path(__file__).parent.parent.parent

EVERY_N_STEPS = 40
CALLBACKS = f"{{class_path: callbacks.RunCheckpoints, init_args: {{every_n_steps: {EVERY_N_STEPS}}}}}"
CONFIGS = {
    "palindromes": f"""\
model: {{class_path: models.PalindromeClassifier, init_args: {{hidden_size: 32, lr_scheduler: {{
        class_path: torch.optim.lr_scheduler.ExponentialLR, init_args: {{gamma: 0.999}}}}}}}}
data: {{class_path: datamodules.PalindromeDataModule, init_args: {{length: 40, batch_size: 32}}}}
trainer: {{max_steps: 1000, limit_train_batches: 300, gradient_clip_val: 10.0, log_every_n_steps: 5,
          val_check_interval: 100, callbacks: [
          {CALLBACKS}, {{class_path: callbacks.LengthCurriculum, init_args: {{threshold: 0.1}}}},
          {{class_path: callbacks.GradientFlow, init_args: {{every_n_steps: 100}}}}]}}
""",
    "book": f"""\
model: {{class_path: models.TextModel, init_args: {{hidden_size: 64, embedding_size: 16, dropout: 0.2,
        dropout_samples: 2, weight_dropout: 0.1, reset_probability: 0.1}}}}
data: {{class_path: datamodules.BookDataModule, init_args: {{book: python_reference, batch_size: 16, val_fraction: 0.01,
       test_fraction: 0.01}}}}
trainer: {{max_steps: 1000, gradient_clip_val: 5.0, log_every_n_steps: 5, val_check_interval: 100, callbacks: [
          {CALLBACKS}, {{class_path: callbacks.TextSamples, init_args: {{every_n_steps: 200}}}}]}}
""",
}

SIGNALS_PER_RUN = 8
"""Roughly how many signals a run gets before it ends."""


class Process(Protocol):
    """The part of ``subprocess.Popen`` that this program needs."""

    @property
    def returncode(self) -> int | None: ...

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def send_signal(self, signum: int, /) -> None: ...


Start = Callable[[list[str], Path], Process]
"""Starts ``python`` with these words, in the project's folder; its output is appended to the file."""


def start_python(words: list[str], output: Path) -> Process:
    with output.open("a") as log:
        return subprocess.Popen([sys.executable, *words], cwd=ROOT, stdout=log, stderr=log)


@dataclass
class Tally:
    """The results of all signals of one kind.

    Args:
        sent: signals.
        outside_training: those that came during the start of the process, or during the test after training.
        runs: runs that were compared with undisturbed ones.
        steps_lost: the largest number of steps that one signal has cost.
        seconds: duration.
    """

    sent: int = 0
    outside_training: int = 0
    runs: int = 0
    steps_lost: int = 0
    seconds: float = 0.0


class Experiment:
    """One config and one seed: an undisturbed run, and one that gets signals.

    Args:
        name: key of the config in ``CONFIGS``.
        seed: ``seed_everything`` of both runs.
        folder: an empty folder for both runs.
        start: how to start a process.
    Raises:
        RuntimeError: the undisturbed run fails.
    """

    def __init__(self, name: str, seed: int, folder: Path, start: Start = start_python) -> None:
        self.name = name
        self.folder = folder
        self.start = start
        config = folder / f"{name}.yaml"
        config.write_text(CONFIGS[name])
        self.command = ["cli.py", "fit", f"--config={config}", f"--seed_everything={seed}"]
        begin = time.monotonic()
        status = self._start("undisturbed").wait()
        self.seconds = time.monotonic() - begin
        undisturbed = self._run("undisturbed")
        if status != 0 or undisturbed is None:
            raise RuntimeError(f"the undisturbed run of {name} failed; see {folder / 'undisturbed.log'}")
        self.undisturbed = undisturbed

    def _start(self, kind: str) -> Process:
        words = [*self.command, f"--trainer.default_root_dir={self.folder / kind}", "--ckpt_path=auto"]
        return self.start(words, self.folder / f"{kind}.log")

    def _run(self, kind: str) -> RunFolder | None:
        runs = run_folders(self.folder / kind / self.name)
        return runs[-1] if runs else None

    def disturb(self, signals: list[signal.Signals], num: int, rng: random.Random, tally: Tally) -> None:
        """Send up to ``num`` signals, drawn from ``signals``, and let the run end.

        Raises:
            RuntimeError: a signal cost too many steps, or the run differs from the undisturbed one.
        """
        ended = False
        while not ended and num > 0:
            signum = rng.choice(signals)
            num_lines = len(self._lines())
            process = self._start("disturbed")
            if rng.random() > 0.2:
                self._wait_for_training(process)
                time.sleep(rng.uniform(0, 2 * self.seconds / SIGNALS_PER_RUN))
            else:
                time.sleep(rng.uniform(0, self.seconds / 4))
            if process.poll() is None:
                process.send_signal(signum)
                num -= 1
                tally.sent += 1
                status = process.wait()
                new_lines = self._lines()[num_lines:]
                # A finished run may still die of the signal while Python exits, when no handler is left.
                finished = any(line.startswith("The run is in ") for line in new_lines)
                ended = status == 0 or (status == -signum and finished)
                if not ended:
                    tally.steps_lost = max(tally.steps_lost, self._steps_lost(signum, status, new_lines, tally))
            else:
                ended = True
                self._expect(process.returncode == 0, f"exit status {process.returncode} without a signal")
        if not ended:
            status = self._start("disturbed").wait()
            self._expect(status == 0, f"exit status {status} without a signal")
        self._compare()
        tally.runs += 1

    def _wait_for_training(self, process: Process) -> None:
        before = self._logged()
        while process.poll() is None and self._logged() == before:
            time.sleep(0.01)

    def _logged(self) -> int:
        """The number of training steps in ``metrics.csv``."""
        run = self._run("disturbed")
        if run is None or not (run.path / "metrics.csv").exists():
            return 0
        header, *rows = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()] or [[]]
        complete = [row for row in rows if len(row) == len(header)]  # a process may just be writing the last one
        if not complete or "train/loss" not in header:
            return 0
        step, loss = header.index("step"), header.index("train/loss")
        return max((int(row[step]) + 1 for row in complete if row[loss]), default=0)

    def _saved(self) -> int:
        run = self._run("disturbed")
        if run is None or not run.has_checkpoint():
            return 0
        found = find_checkpoint(str(run.path), run.path.parent, "last")
        assert found is not None
        return int(found.checkpoint["global_step"])

    def _lines(self) -> list[str]:
        log = self.folder / "disturbed.log"
        return log.read_text().splitlines() if log.exists() else []

    def _steps_lost(self, signum: signal.Signals, status: int, lines: list[str], tally: Tally) -> int:
        saved, logged = self._saved(), self._logged()
        if signum == signal.SIGKILL:
            tally.outside_training += logged <= saved
            self._expect(logged - saved <= EVERY_N_STEPS, f"step {logged} was logged, step {saved} saved")
            return max(0, logged - saved)
        if status == -signum and not lines:  # Python was starting and had no handler yet
            tally.outside_training += 1
            return 0
        message = lines[-1] if lines else ""
        self._expect(status == 128 + signum, f"exit status {status} after {signum.name}: {message}")
        match = re.match(f"stopped by {signum.name} (after step (\\d+)|at once);", message)
        self._expect(match is not None, f"the message after {signum.name} was: {message}")
        assert match is not None
        tally.outside_training += match[2] is None
        step = saved if match[2] is None else int(match[2])
        self._expect(saved == step and logged <= saved, f"{message}; step {logged} was logged, step {saved} saved")
        return step - saved

    def _compare(self) -> None:
        ours, theirs = self._run("disturbed"), self.undisturbed
        assert ours is not None
        for name in NAMES[:2]:
            differing = difference(state_of(ours, name), state_of(theirs, name))
            self._expect(differing is None, f"{name}.ckpt differs in {differing}")
        differing = difference(curves_of(ours), curves_of(theirs))
        self._expect(differing is None, f"TensorBoard's curves differ in {differing}")
        self._expect(rows_of(ours) == rows_of(theirs), "metrics.csv differs")

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            raise RuntimeError(f"{self.name}: {problem}; the runs are in {self.folder}")


def disturb_runs(
    signals: list[signal.Signals], num: int, seed: int, seconds: float, folder: Path, start: Start = start_python
) -> Tally:
    """Disturb one run after the other until ``num`` signals are sent or the seconds are over.

    Raises:
        RuntimeError: a run lost too many steps or differs from the undisturbed one.
    """
    rng = random.Random(seed)
    tally = Tally()
    begin = time.monotonic()
    for k, name in enumerate(itertools.cycle(CONFIGS)):
        if tally.sent >= num or time.monotonic() > begin + seconds:
            break
        place = folder / "+".join(s.name for s in signals) / str(k)
        place.mkdir(parents=True)
        Experiment(name, seed + k, place, start).disturb(signals, num - tally.sent, rng, tally)
    tally.seconds = time.monotonic() - begin
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Kill runs at random moments, and compare them with undisturbed ones.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100, help="number of SIGKILLs")
    parser.add_argument("--signals", type=int, default=100, help="number of SIGTERMs, SIGHUPs and SIGUSR1s")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments and of the runs")
    parser.add_argument("--minutes", type=float, default=60, help="start no run after that, for each kind of signal")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns at every resume
    print(f"{'signal':16} {'sent':>5} {'outside training':>17} {'runs':>5} {'most steps lost':>16} {'seconds':>8}")
    for signals, num in (
        ([signal.SIGKILL], args.kills),
        ([signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1], args.signals),
    ):
        if num > 0:
            tally = disturb_runs(signals, num, args.seed, args.minutes * 60, folder)
            name = "+".join(s.name for s in signals)
            print(
                f"{name:16} {tally.sent:5} {tally.outside_training:17} {tally.runs:5} {tally.steps_lost:16} "
                f"{tally.seconds:8.0f}",
                flush=True,
            )
    print("Every run equals its undisturbed run, bit for bit.")


if __name__ == "__main__":
    main()
