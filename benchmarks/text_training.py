"""How fast a text model trains, and how well, beside the recipe of char-rnn.

Throughput, in turns, in one process, in characters per second:

- bare: the network, data and optimizer of the config in the shortest loop that trains it: batches ready, forward from
  the state before, backward, clip, optimizer step, ``zero_grad``;
- fit: ``python cli.py fit`` of the config, everything on: data, logging, progress, samples, checkpoints, validation.

    python -m benchmarks.text_training [--book grimm] [--steps 2000] [--rounds 3]

With ``--minutes``, how low the validation loss falls in that time, with the same split and the same validation:

- ours: the config, without early stopping;
- char-rnn: its defaults (Karpathy 2015, train.lua): one-hot, two layers of 128, weights uniform in +-0.08, forget bias
  1, batches of 50 rows of 50 characters, RMSProp with 0.002 and a decay of 0.95, gradients clamped at 5, the learning
  rate multiplied by 0.97 after each epoch from the tenth on.

    python -m benchmarks.text_training --minutes 20
"""

import argparse
import contextlib
import csv
import io
import json
import math
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from training.launch import prepare
from training.messages import set_up_messages
from training.run import Run

CONFIG = "configs/text_grimm.yaml"
CHAR_RNN = (
    "--model.embedding_size=null",
    "--data.seq_len=50",
    "--data.batch_size=50",
    "--trainer.gradient_clip_algorithm=value",
)
DECAY_AFTER_EPOCHS = 10
TURN = 50
"""Steps of the one before the other has its turn: less than a second."""
WITHOUT_EARLY_STOPPING = '--trainer.callbacks=[{"class_path": "callbacks.TextSamples"}]'


def command(book: str, root: str, *args: str) -> Run:
    return prepare(["fit", "--config", CONFIG, f"--data.book={book}", f"--trainer.default_root_dir={root}", *args])


def train(run: Run) -> Path:
    """Train and test; returns the run's folder."""
    with contextlib.redirect_stdout(io.StringIO()):
        run.fit()
    assert run.folder is not None
    return run.folder.path


class BareLoop:
    """The network, data and optimizer of a command in the shortest loop that trains them; the batches lie ready."""

    def __init__(self, run: Run, steps: int) -> None:
        loader = run.data.train_dataloader()
        self.batches = [loader.batch(k) for k in range(steps)]
        self.num_done = 0
        self.network = run.model.network
        self.parameters = list(self.network.parameters())
        self.optimizer = run.model.configure_optimizers()["optimizer"]
        self.gradient_clip_val = run.trainer.gradient_clip_val
        self.state: Any = None

    def run(self, steps: int) -> None:
        for x, y in self.batches[self.num_done : self.num_done + steps]:
            logits, (h, c) = self.network(x, self.state)
            self.state = h.detach(), c.detach()
            loss = functional.cross_entropy(logits.flatten(0, 1), y.flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(self.parameters, self.gradient_clip_val)
            self.optimizer.step()
            self.optimizer.zero_grad()
        self.num_done += steps


class InTurns(Callback):
    """Holds ``fit`` up after every ``turn`` steps, for as many of the bare loop: whatever speed the machine has, both
    have it."""

    def __init__(self, bare_loop: BareLoop, turn: int) -> None:
        self.bare_loop = bare_loop
        self.turn = turn
        self.seconds_of_bare_loop = 0.0

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step % self.turn == 0 or trainer.global_step == trainer.max_steps:
            start = time.perf_counter()
            self.bare_loop.run(trainer.global_step - self.bare_loop.num_done)
            self.seconds_of_bare_loop += time.perf_counter() - start


def seconds_of_both(book: str, steps: int) -> tuple[float, float]:
    """Seconds of the bare loop and of ``fit``, from its first step to the end of training, all between included."""
    with tempfile.TemporaryDirectory() as root:
        run = command(book, root, f"--trainer.max_steps={steps}", WITHOUT_EARLY_STOPPING)
        in_turns = InTurns(BareLoop(command(book, root), steps), TURN)
        run.trainer.callbacks.insert(0, in_turns)
        seconds = float(json.loads((train(run) / "summary.json").read_text())["seconds"])
    return in_turns.seconds_of_bare_loop, seconds - in_turns.seconds_of_bare_loop


def compare_throughput(book: str, steps: int, rounds: int) -> None:
    """Print characters per second of both in each round, and their ratio."""
    data = command(book, "nowhere").data
    num_characters = steps * data.batch_size * data.seq_len
    print(f"{steps} steps a round, {TURN} of each in turns; characters per second")
    print(f"{'bare loop':>12} {'fit':>12} {'fit/bare':>9}")
    ratios = []
    for _ in range(rounds):
        bare, fit = (num_characters / seconds for seconds in seconds_of_both(book, steps))
        ratios.append(fit / bare)
        print(f"{bare:12,.0f} {fit:12,.0f} {ratios[-1]:9.3f}", flush=True)
    print(f"{'median':>25} {statistics.median(ratios):9.3f}")


def as_char_rnn(run: Run) -> Run:
    """The model of the command as char-rnn would start and train it."""
    model = run.model
    steps_per_epoch = run.data.num_windows // run.data.batch_size

    def decay(step: int) -> float:
        return float(0.97 ** max(0, step // steps_per_epoch - DECAY_AFTER_EPOCHS + 1))

    def rmsprop(parameters: Any) -> Optimizer:
        return torch.optim.RMSprop(parameters, lr=2e-3, alpha=0.95)

    model.make_optimizer = rmsprop
    model.make_lr_scheduler = lambda optimizer: LambdaLR(optimizer, decay)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.uniform_(-0.08, 0.08)
        for name, parameter in model.network.lstm.named_parameters():
            if name.startswith("bias_ih"):
                parameter.chunk(4)[1].fill_(1.0)
    return run


def time_limit(seconds: float) -> list[str]:
    """The arguments that end a run by the time alone."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return [f"--trainer.max_time={days:02}:{hours:02}:{minutes:02}:{left:02}", "--trainer.max_steps=-1"]


def compare_recipes(book: str, limits: Sequence[str], root: str) -> None:
    """Print how low the validation loss of each recipe falls within the limits, arguments of ``fit``."""
    print(f"{'recipe':10} {'characters/s':>13} {'best':>16} {'after':>8} {'at the end':>16} {'test, of the best':>18}")
    for name in ("ours", "char-rnn"):
        run = command(book, root, WITHOUT_EARLY_STOPPING, *limits, *(CHAR_RNN if name == "char-rnn" else ()))
        folder = train(as_char_rnn(run) if name == "char-rnn" else run)
        summary = json.loads((folder / "summary.json").read_text())
        with (folder / "metrics.csv").open(newline="") as file:
            losses = [(float(row["val/loss"]), int(row["step"])) for row in csv.DictReader(file) if row["val/loss"]]
        best, step = min(losses)
        rate = run.data.batch_size * run.data.seq_len * summary["steps_per_second"]
        figures = (in_bits(loss) for loss in (best, losses[-1][0], summary["metrics"]["test/loss"]))
        best_shown, last_shown, test_shown = figures
        print(
            f"{name:10} {rate:13,.0f} {best_shown:>16} {step / summary['steps_per_second']:6.0f} s {last_shown:>16} "
            f"{test_shown:>18}",
            flush=True,
        )


def in_bits(loss: float) -> str:
    return f"{loss:.4f} ({loss / math.log(2):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a text model trains, and how well, beside char-rnn.")
    parser.add_argument("--book", default="grimm", help="a known book or a path (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=2000, help="optimizer steps per round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which medians are taken (default: 3)")
    parser.add_argument("--minutes", type=float, help="train each recipe for so long instead")
    parser.add_argument("--root", help="where the runs of --minutes are kept (default: nowhere)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    set_up_messages()
    print(f"{torch.get_num_threads()} threads, {arguments.book}")
    if arguments.minutes is None:
        compare_throughput(arguments.book, arguments.steps, arguments.rounds)
        return
    with tempfile.TemporaryDirectory() as nowhere:
        print(f"{arguments.minutes:g} minutes each; validation loss in nats per character, bits in brackets")
        compare_recipes(arguments.book, time_limit(60 * arguments.minutes), arguments.root or nowhere)


if __name__ == "__main__":
    main()
