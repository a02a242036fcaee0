"""The time of a training step of ``fit``, relative to the training alone. In turns, in one process:

- nn.LSTM: forward and backward of ``torch.nn.LSTM`` alone, with the same batch and hidden size;
- bare: the network, data and optimizer of the config in the shortest loop that trains it: batches made beforehand,
  forward, backward, clip, optimizer step, ``zero_grad``;
- fit: ``python cli.py fit`` of the config with data, logging, progress, checkpoints and validation;
- slow: the same run with Lightning's own training step instead of the fast one.

    python -m benchmarks.fit_overhead [--steps 1000] [--rounds 5] [--lengths 5 20]
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.rounds import seconds_of, take_turns
from training.run import Run
from training.step_loop import StepLoop

COLUMNS = ("nn.LSTM", "bare", "fit", "slow", "fit/bare", "slow/bare", "added/nn.LSTM", "slow added")


def run_of(length: int, steps: int) -> Run:
    return prepare_run(f"configs/lstm_T{length}.yaml", f"--trainer.max_steps={steps}")


def last_digit_loss(network: nn.Module, digits: Tensor, target: Tensor, state: None) -> tuple[Tensor, None]:
    return functional.cross_entropy(network(digits, num_last_steps=1)[0][:, -1], target), None


def seconds_of_fit(length: int, steps: int, has_fast_step: bool = True) -> float:
    """Seconds from the first step of ``fit`` to the end of training, with its last checkpoint and validation."""
    run = run_of(length, steps)
    if not has_fast_step:
        loop = run.trainer.fit_loop.epoch_loop
        run.trainer.fit_loop.epoch_loop = StepLoop(run.trainer, min_steps=loop.min_steps, max_steps=loop.max_steps)
    return float(fit(run)["seconds"])


def bare_loop(run: Run, steps: int, loss_of: Callable[..., tuple[Tensor, Any]]) -> Iterator[None]:
    """Train the network of a run in the shortest loop: the first ``next`` makes the batches, each later one a step.

    ``loss_of`` takes network, inputs, target and a state, and returns the loss and the next state.
    """
    loader = run.data.train_dataloader()
    batches = [loader.batch(k) for k in range(steps)]
    network, optimizer = run.model.network, run.model.configure_optimizers()
    if isinstance(optimizer, dict):  # with a scheduler
        optimizer = optimizer["optimizer"]
    parameters, state = list(network.parameters()), None
    yield
    for inputs, target in batches:
        loss, state = loss_of(network, inputs, target, state)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, run.trainer.gradient_clip_val)
        optimizer.step()
        optimizer.zero_grad()
        yield


def seconds_of_bare_loop(length: int, steps: int) -> float:
    loop = bare_loop(run_of(length, steps), steps, last_digit_loss)
    next(loop)
    return seconds_of(lambda: list(loop))


def seconds_of_vendor(length: int, steps: int) -> float:
    run = run_of(length, steps)
    digits, _ = run.data.train_dataloader().batch(0)
    inputs = functional.one_hot(digits, run.model.network.input_size).float()
    lstm = nn.LSTM(run.model.network.input_size, run.model.network.hidden_size, batch_first=True)
    return seconds_of(lambda: [lstm(inputs)[0][:, -1].sum().backward() for _ in range(steps)])


def measure(length: int, steps: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds: milliseconds a step of each contender, and the ratios, which are taken in each round."""
    slow_fit = partial(seconds_of_fit, has_fast_step=False)
    sides: list[Callable[..., float]] = [seconds_of_vendor, seconds_of_bare_loop, seconds_of_fit, slow_fit]
    contenders = {name: partial(side, length, steps) for name, side in zip(COLUMNS[:4], sides, strict=True)}
    vendor, bare, fit, slow = (1000 / steps * np.array(values) for values in take_turns(contenders, rounds).values())
    columns = (vendor, bare, fit, slow, fit / bare, slow / bare, (fit - bare) / vendor, (slow - bare) / vendor)
    return {name: float(np.median(values)) for name, values in zip(COLUMNS, columns, strict=True)}


def main() -> None:
    parser = option_parser(__doc__, rounds=5)
    parser.add_argument("--steps", type=at_least(1), default=1000, help="optimizer steps of a round")
    parser.add_argument("--lengths", type=int, nargs="+", default=[5, 20], help="lengths T of the palindromes")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {args.steps} steps, medians of {args.rounds} rounds, ms a step")
    rows = ((length, *measure(length, args.steps, args.rounds).values()) for length in args.lengths)
    print_table({"T": "d", **dict.fromkeys(COLUMNS, ".3f")}, rows, args.output_dir, "fit_overhead")


if __name__ == "__main__":
    main()
