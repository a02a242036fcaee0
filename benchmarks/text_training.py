"""Speed and quality of training a text model.

Characters per second of ``fit`` (data, logging, progress, samples, checkpoints, validation) and of the shortest loop
that trains the same network (``benchmarks.fit_overhead``), in turns, in one process. With ``--minutes``, the lowest
validation loss in that time, with the same split and the same validation, of two recipes:

- ours: the config, without early stopping;
- char-rnn: its defaults (Karpathy 2015, train.lua): one-hot, two layers of 128, weights uniform in +-0.08, forget bias
  1, batches of 50 rows of 50 characters, RMSProp with 0.002 and a decay of 0.95, gradients clamped at 5, the learning
  rate multiplied by 0.97 after each epoch from the tenth on.

    python -m benchmarks.text_training [--book grimm] [--steps 2000] [--rounds 3]
    python -m benchmarks.text_training --minutes 20
"""

import csv
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.fit_overhead import bare_loop
from benchmarks.rounds import seconds_of
from training.run import Run

CHAR_RNN = "--model.embedding_size=null --data.seq_len=50 --data.batch_size=50 --trainer.gradient_clip_algorithm=value"
TURN = 50
"""Steps of each in a turn; they take less than a second."""
WITHOUT_EARLY_STOPPING = '--trainer.callbacks=[{"class_path": "callbacks.TextSamples"}]'


def run_of(book: str, *args: str) -> Run:
    return prepare_run("configs/text_grimm.yaml", f"--data.book={book}", *args)


def carried_loss(network: nn.Module, x: Tensor, y: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The loss, and the state at the end of the batch for the next one."""
    logits, (h, c) = network(x, state)
    return functional.cross_entropy(logits.flatten(0, 1), y.flatten()), (h.detach(), c.detach())


class InTurns(Callback):
    """After every ``turn`` steps of ``fit``, runs the bare loop for as many, at the same speed of the machine."""

    def __init__(self, bare_loop: Iterator[None], turn: int) -> None:
        next(bare_loop)  # makes the batches
        self.bare_loop = bare_loop
        self.turn = turn
        self.num_done = 0
        self.seconds_of_bare_loop = 0.0

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step % self.turn == 0 or trainer.global_step == trainer.max_steps:
            steps = islice(self.bare_loop, trainer.global_step - self.num_done)
            self.num_done = trainer.global_step
            self.seconds_of_bare_loop += seconds_of(lambda: list(steps))


def seconds_of_both(book: str, steps: int) -> tuple[float, float]:
    """Seconds of the bare loop, and of ``fit`` from its first step to the end of training."""
    run = run_of(book, f"--trainer.max_steps={steps}", WITHOUT_EARLY_STOPPING)
    in_turns = InTurns(bare_loop(run_of(book), steps, carried_loss), TURN)
    run.trainer.callbacks.insert(0, in_turns)
    seconds = fit(run)["seconds"]
    return in_turns.seconds_of_bare_loop, seconds - in_turns.seconds_of_bare_loop


def compare_throughput(book: str, steps: int, rounds: int, folder: Path | None = None) -> None:
    """Print characters per second of both in each round, their ratio, and the medians."""
    data = run_of(book).data
    num_characters = steps * data.batch_size * data.seq_len
    print(f"{steps} steps a round, {TURN} of each in turns; characters per second")
    rates = []

    def rows() -> Iterator[tuple[float | str, ...]]:
        for k in range(rounds):
            bare, fitted = (num_characters / seconds for seconds in seconds_of_both(book, steps))
            rates.append((bare, fitted, fitted / bare))
            yield k + 1, *rates[-1]
        yield "median", *map(statistics.median, zip(*rates, strict=True))

    print_table({"round": "d", "bare loop": ",.0f", "fit": ",.0f", "fit/bare": ".3f"}, rows(), folder, "text_training")


def as_char_rnn(run: Run) -> Run:
    """The run with char-rnn's initial weights, optimizer and learning rates."""
    model = run.model
    steps_per_epoch = run.data.num_windows // run.data.batch_size
    model.make_optimizer = lambda parameters: torch.optim.RMSprop(parameters, lr=2e-3, alpha=0.95)
    model.make_lr_scheduler = lambda optimizer: LambdaLR(
        optimizer, lambda step: float(0.97 ** max(0, step // steps_per_epoch - 9))
    )
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            parameter.uniform_(-0.08, 0.08)
            if "bias_ih" in name:
                parameter.chunk(4)[1].fill_(1.0)
    return run


def time_limit(seconds: float) -> list[str]:
    """The arguments that end a run after so many seconds, with no limit to its steps."""
    days, left = divmod(round(seconds), 24 * 60 * 60)
    return [f"--trainer.max_time={days:02}:{time.strftime('%H:%M:%S', time.gmtime(left))}", "--trainer.max_steps=-1"]


def compare_recipes(book: str, arguments: Sequence[str], folder: Path | None = None) -> None:
    """Print the losses of each recipe; the arguments of ``fit`` limit its time."""

    def row(name: str) -> tuple[float | str, ...]:
        run = run_of(book, WITHOUT_EARLY_STOPPING, *arguments, *(CHAR_RNN.split() if name == "char-rnn" else []))
        summary = fit(as_char_rnn(run) if name == "char-rnn" else run)
        assert run.folder is not None
        with (run.folder.path / "metrics.csv").open(newline="") as file:
            steps = {int(row["step"]): float(row["val/loss"]) for row in csv.DictReader(file) if row["val/loss"]}
        best = min(steps, key=steps.__getitem__)
        losses = steps[best], steps[max(steps)], summary["metrics"]["test/loss"]
        rate = summary["steps_per_second"]
        return name, run.data.batch_size * run.data.seq_len * rate, best / rate, *losses

    columns = {"recipe": "", "characters/s": ",.0f", "best after, s": ".0f"}
    losses = dict.fromkeys(("best", "at the end", "test of the best"), ".4f")
    print_table(columns | losses, map(row, ("ours", "char-rnn")), folder, "text_recipes")


def main() -> None:
    parser = option_parser(__doc__, rounds=3)
    parser.add_argument("--book", default="grimm", help="a known book or a path")
    parser.add_argument("--steps", type=at_least(1), default=2000, help="optimizer steps of a round")
    parser.add_argument("--minutes", type=float, help="train each recipe for this long; None compares throughput")
    parser.add_argument("--root", help="folder of the runs of --minutes; None keeps no runs")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {args.book}")
    if args.minutes is None:
        compare_throughput(args.book, args.steps, args.rounds, args.output_dir)
        return
    print(f"{args.minutes:g} minutes each; losses in nats per character")
    root = [f"--trainer.default_root_dir={args.root}"] if args.root else []
    compare_recipes(args.book, [*time_limit(60 * args.minutes), *root], args.output_dir)


if __name__ == "__main__":
    main()
