"""What does ``fit`` cost beyond the training itself?

Side by side, in turns, in one process:

- vendor: forward and backward of ``torch.nn.LSTM`` alone, same batch and hidden size;
- bare: the network, data and optimizer of the config in the shortest loop that trains it: batches ready, forward,
  backward, clip, optimizer step, ``zero_grad``;
- fit: ``python cli.py fit`` of the config, everything on: data, logging, progress, checkpoints, validation;
- slow: the same run with Lightning's own training step instead of the fast one.

    python -m benchmarks.fit_overhead [--steps 1000] [--rounds 5] [--lengths 5 20]
"""

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from training.launch import prepare
from training.messages import set_up_messages
from training.run import Run
from training.step_loop import StepLoop

CONFIG = "configs/lstm_T{length}.yaml"


def command(length: int, steps: int, root: str) -> Run:
    config = CONFIG.format(length=length)
    return prepare(["fit", "--config", config, "--trainer.max_steps", str(steps), "--trainer.default_root_dir", root])


def seconds_of_fit(length: int, steps: int, has_fast_step: bool = True) -> float:
    """Seconds from the first step of ``fit`` to the end of training, its last checkpoint and validation included."""
    with tempfile.TemporaryDirectory() as root, contextlib.redirect_stdout(io.StringIO()):
        run = command(length, steps, root)
        if not has_fast_step:
            loop = run.trainer.fit_loop.epoch_loop
            run.trainer.fit_loop.epoch_loop = StepLoop(run.trainer, min_steps=loop.min_steps, max_steps=loop.max_steps)
        run.fit()
        (summary,) = Path(root).glob("*/version_0/summary.json")
        return float(json.loads(summary.read_text())["seconds"])


def seconds_of_slow_fit(length: int, steps: int) -> float:
    return seconds_of_fit(length, steps, has_fast_step=False)


def seconds_of_bare_loop(length: int, steps: int) -> float:
    run = command(length, steps, "nowhere")
    network, optimizer = run.model.network, run.model.configure_optimizers()
    parameters = list(network.parameters())
    loader = run.data.train_dataloader()
    batches = [loader.batch(k) for k in range(steps)]
    start = time.perf_counter()
    for digits, target in batches:
        logits, _ = network(digits, num_last_steps=1)
        loss = functional.cross_entropy(logits[:, -1], target)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, run.trainer.gradient_clip_val)
        optimizer.step()
        optimizer.zero_grad()
    return time.perf_counter() - start


def seconds_of_vendor(length: int, steps: int) -> float:
    run = command(length, steps, "nowhere")
    digits, _ = run.data.train_dataloader().batch(0)
    inputs = functional.one_hot(digits, run.model.network.input_size).float()
    lstm = nn.LSTM(run.model.network.input_size, run.model.network.hidden_size, batch_first=True)
    start = time.perf_counter()
    for _ in range(steps):
        outputs, _ = lstm(inputs)
        outputs[:, -1].sum().backward()
    return time.perf_counter() - start


COLUMNS = ("nn.LSTM", "bare", "fit", "slow", "fit/bare", "slow/bare", "added/nn.LSTM", "slow added")


def measure(length: int, steps: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds: milliseconds a step of each, and the ratios."""
    figures: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for round_number in range(rounds + 1):
        vendor, bare, fit, slow = (
            1000 * seconds(length, steps) / steps
            for seconds in (seconds_of_vendor, seconds_of_bare_loop, seconds_of_fit, seconds_of_slow_fit)
        )
        ratios = (fit / bare, slow / bare, (fit - bare) / vendor, (slow - bare) / vendor)
        if round_number > 0:  # the first one warms up
            for name, value in zip(COLUMNS, (vendor, bare, fit, slow, *ratios), strict=True):
                figures[name].append(value)
    return {name: statistics.median(values) for name, values in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="What fit costs beyond the training itself.")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps per round (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds, of which medians are taken (default: %(default)s)"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[5, 20], help="T (default: 5 20)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    set_up_messages()
    print(
        f"{torch.get_num_threads()} threads, {arguments.steps} steps, medians of {arguments.rounds} rounds, ms a step"
    )
    print(f"{'T':>4}", *(f"{name:>13}" for name in COLUMNS))
    for length in arguments.lengths:
        figures = measure(length, arguments.steps, arguments.rounds)
        print(f"{length:4}", *(f"{figures[name]:13.3f}" for name in COLUMNS), flush=True)


if __name__ == "__main__":
    main()
