"""Runs that are killed at random moments, again and again, against the same runs left in peace.

Palindromes, with a curriculum, and a book, with dropout and a state that is carried along, are trained in turns, each
run with a seed of its own. A process is stopped a random time after it has begun to train, now and then while it
starts, and started again by the same command, until as many signals were sent as were asked for; then each run is let
go to its end. What must hold, or this ends with an error:

- the last checkpoint has the bits of that of the undisturbed run, and so have TensorBoard's curves and metrics.csv;
- after SIGKILL no more is lost than the steps since the last checkpoint that was due;
- after SIGTERM and SIGUSR1 nothing is lost: the step that was reported last is the one that is saved.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.checkpoint_file import read_checkpoint
from training.run_folder import NAMES, CheckpointName, RunFolder, run_folders

EVERY_N_STEPS = 40
CALLBACKS = f"{{class_path: callbacks.RunCheckpoints, init_args: {{every_n_steps: {EVERY_N_STEPS}}}}}"
CONFIGS = {
    "palindromes": f"""\
model: {{class_path: models.PalindromeClassifier, init_args: {{hidden_size: 32, lr_scheduler: {{
        class_path: torch.optim.lr_scheduler.ExponentialLR, init_args: {{gamma: 0.999}}}}}}}}
data: {{class_path: datamodules.PalindromeDataModule, init_args: {{length: 40, batch_size: 32, steps_per_epoch: 300}}}}
trainer: {{max_steps: 1000, gradient_clip_val: 10.0, log_every_n_steps: 5, val_check_interval: 100, callbacks: [
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

OF_THE_CLOCK = "train/steps_per_second"

SIGNALS_A_RUN = 8
"""About how often a run is disturbed before it ends."""


@dataclass
class Tally:
    """What came of all signals of one kind.

    Args:
        sent: signals.
        before_training: those that came while the process started, or anew in the test after training.
        runs: runs that were compared with undisturbed ones.
        steps_lost: the most steps that any signal has cost.
    """

    sent: int = 0
    before_training: int = 0
    runs: int = 0
    steps_lost: int = 0
    seconds: float = field(default_factory=time.monotonic)


class Experiment:
    """One config and one seed: an undisturbed run, and one that is disturbed.

    Args:
        name: of the config.
        seed: of the run.
        folder: where both are kept.
    """

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self.name = name
        self.folder = folder
        config = folder / f"{name}.yaml"
        config.write_text(CONFIGS[name])
        self.words = [sys.executable, "cli.py", "fit", f"--config={config}", f"--seed_everything={seed}"]
        start = time.monotonic()
        self._start("whole").wait()
        self.seconds = time.monotonic() - start
        self.whole = self._run("whole")
        if self.whole is None:
            raise RuntimeError(f"the undisturbed run of {name} failed; see {folder / 'whole.log'}")

    def _start(self, kind: str) -> subprocess.Popen[str]:
        words = [*self.words, f"--trainer.default_root_dir={self.folder / kind}", "--ckpt_path=auto"]
        with (self.folder / f"{kind}.log").open("a") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, text=True)

    def _run(self, kind: str) -> RunFolder | None:
        runs = run_folders(self.folder / kind / self.name)
        return runs[-1] if runs else None

    def disturb(self, signals: list[signal.Signals], num: int, rng: random.Random, tally: Tally) -> None:
        """Send up to ``num`` signals, drawn from ``signals``, and let the run end.

        Raises:
            RuntimeError: the run has lost more than it may, or ended otherwise than the undisturbed one.
        """
        ended = False
        while not ended and num > 0:
            signum = rng.choice(signals)
            num_lines = len(self._lines())
            process = self._start("parts")
            if rng.random() > 0.2:
                self._wait_for_training(process)
                time.sleep(rng.uniform(0, 2 * self.seconds / SIGNALS_A_RUN))
            else:
                time.sleep(rng.uniform(0, self.seconds / 4))
            if process.poll() is None:
                process.send_signal(signum)
                num -= 1
                tally.sent += 1
                status = process.wait()
                said = self._lines()[num_lines:]
                # It had done all that it had to when the signal came; while Python ends, nobody listens any more.
                ended = status == 0 or (status == -signum and any(line.startswith("The run is in ") for line in said))
                if not ended:
                    tally.steps_lost = max(tally.steps_lost, self._steps_lost(signum, status, said, tally))
            else:
                ended = True
                self._expect(process.returncode == 0, f"exit status {process.returncode} without a signal")
        if not ended:
            status = self._start("parts").wait()
            self._expect(status == 0, f"exit status {status} without a signal")
        self._compare()
        tally.runs += 1

    def _wait_for_training(self, process: subprocess.Popen[str]) -> None:
        before = self._logged()
        while process.poll() is None and self._logged() == before:
            time.sleep(0.01)

    def _logged(self) -> int:
        """Training steps of which ``metrics.csv`` tells."""
        run = self._run("parts")
        if run is None or not (run.path / "metrics.csv").exists():
            return 0
        header, *rows = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()] or [[]]
        whole = [row for row in rows if len(row) == len(header)]  # the last one may be being written
        if not whole or "train/loss" not in header:
            return 0
        step, loss = header.index("step"), header.index("train/loss")
        return max((int(row[step]) + 1 for row in whole if row[loss]), default=0)

    def _saved(self) -> int:
        run = self._run("parts")
        if run is None or not run.has_checkpoint():
            return 0
        return int(read_checkpoint(run.find_checkpoint("last"))["global_step"])

    def _lines(self) -> list[str]:
        log = self.folder / "parts.log"
        return log.read_text().splitlines() if log.exists() else []

    def _steps_lost(self, signum: signal.Signals, status: int, lines: list[str], tally: Tally) -> int:
        saved, logged = self._saved(), self._logged()
        if signum == signal.SIGKILL:
            tally.before_training += logged <= saved
            self._expect(logged - saved <= EVERY_N_STEPS, f"step {logged} was logged, step {saved} saved")
            return max(0, logged - saved)
        if status == -signum and not lines:  # nobody listens while Python starts
            tally.before_training += 1
            return 0
        said = lines[-1] if lines else ""
        self._expect(status == 128 + signum, f"exit status {status} after {signum.name}: {said}")
        step = re.match(f"stopped by {signum.name} (after step (\\d+)|at once);", said)
        self._expect(step is not None, f"after {signum.name} it said: {said}")
        assert step is not None
        tally.before_training += step[2] is None
        done = saved if step[2] is None else int(step[2])
        self._expect(saved == done and logged <= saved, f"{said}; step {logged} was logged, step {saved} saved")
        return done - saved

    def _compare(self) -> None:
        ours, theirs = self._run("parts"), self.whole
        assert ours is not None and theirs is not None
        for name in NAMES[:2]:
            differing = difference(state_of(ours, name), state_of(theirs, name))
            self._expect(differing is None, f"{name}.ckpt differs in {differing}")
        differing = difference(curves_of(ours), curves_of(theirs))
        self._expect(differing is None, f"TensorBoard's curves differ in {differing}")
        self._expect(rows_of(ours) == rows_of(theirs), "metrics.csv differs")

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise RuntimeError(f"{self.name}: {otherwise}; the runs are kept in {self.folder}")


def state_of(run: RunFolder, name: CheckpointName) -> dict[str, Any]:
    """All that a checkpoint holds but for the seconds that training took."""
    state = read_checkpoint(run.checkpoint(name))
    del state["callbacks"]["RunSummary"]
    return state


def curves_of(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, but for the speed."""
    events = EventAccumulator(str(run.path), size_guidance={"scalars": 0}).Reload()
    names = [name for name in events.Tags()["scalars"] if name != OF_THE_CLOCK]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def rows_of(run: RunFolder) -> list[dict[str, str]]:
    """The rows of ``metrics.csv``, the columns in any order, but for the speed."""
    header, *rows = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()]
    return [
        {name: value for name, value in zip(header, row, strict=True) if value and name != OF_THE_CLOCK} for row in rows
    ]


def difference(ours: Any, theirs: Any, name: str = "") -> str | None:
    """The name of the first thing that is not the same bit for bit."""
    if isinstance(ours, torch.Tensor):
        same = isinstance(theirs, torch.Tensor) and torch.equal(ours, theirs)
        return None if same else name
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        parts = [difference(ours[key], theirs[key], f"{name}.{key}".lstrip(".")) for key in ours]
        return next((part for part in parts if part is not None), None)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        parts = [difference(a, b, f"{name}[{k}]") for k, (a, b) in enumerate(zip(ours, theirs, strict=True))]
        return next((part for part in parts if part is not None), None)
    return None if ours == theirs else name or "its parts"


def disturb_runs(signals: list[signal.Signals], num: int, seed: int, seconds: float, folder: Path) -> Tally:
    """Disturb one run after the other until ``num`` signals were sent or the seconds are over.

    Raises:
        RuntimeError: something was lost.
    """
    rng = random.Random(seed)
    tally = Tally()
    end = time.monotonic() + seconds
    for k, name in enumerate(itertools.cycle(CONFIGS)):
        if tally.sent >= num or time.monotonic() > end:
            break
        place = folder / "+".join(s.name for s in signals) / str(k)
        place.mkdir(parents=True)
        Experiment(name, seed + k, place).disturb(signals, num - tally.sent, rng, tally)
    tally.seconds = time.monotonic() - tally.seconds
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill runs at random moments, and compare them with undisturbed ones.")
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs to send (default: %(default)s)")
    parser.add_argument("--signals", type=int, default=100, help="SIGTERMs and SIGUSR1s (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and of the runs (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=60, help="begin no run after that (default: %(default)s)")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos"))
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it warns of every resume
    print(f"{'signal':16} {'sent':>5} {'outside training':>17} {'runs':>5} {'most steps lost':>16} {'seconds':>8}")
    for signals, num in (([signal.SIGKILL], args.kills), ([signal.SIGTERM, signal.SIGUSR1], args.signals)):
        if num > 0:
            tally = disturb_runs(signals, num, args.seed, args.minutes * 60, folder)
            name = "+".join(s.name for s in signals)
            print(
                f"{name:16} {tally.sent:5} {tally.before_training:17} {tally.runs:5} {tally.steps_lost:16} "
                f"{tally.seconds:8.0f}",
                flush=True,
            )
    print("Every run ended with the bits of the undisturbed one.")


if __name__ == "__main__":
    main()
