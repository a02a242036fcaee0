"""How long are the palindromes that the assignment's networks complete when it is done by its letter?

The recipe that most solve it with: each digit as one number, 128 units, batches of 128, RMSProp with a learning rate of
0.001, 10,000 steps, gradient norm clipped at 10, and weights as torch draws them; ``torch.nn.RNN`` and
``torch.nn.LSTM`` stand for the equations. Palindromes and splits are those of our own networks, which this is to be
compared with.

    python -m benchmarks.course [--lengths 5 10 15 17 20 25 30 40] [--seeds 1 2 3] [--output FILE]
"""

import argparse
import itertools
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from datamodules import PalindromeDataModule
from experiments.tables import print_table, write_table

NETWORKS = {"rnn": nn.RNN, "lstm": nn.LSTM}
NUM_CLASSES = 10
HIDDEN_SIZE = 128
BATCH_SIZE = 128
LEARNING_RATE = 1e-3
GRADIENT_NORM_MAX = 10.0
MAX_STEPS = 10_000
NUM_TEST = 1000


class Course(nn.Module):
    """A network that reads one number a step, and an output layer for its last state: (B, T-1) int64 -> (B, K)."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.recurrent = NETWORKS[network](1, HIDDEN_SIZE, batch_first=True)
        self.output = nn.Linear(HIDDEN_SIZE, NUM_CLASSES)

    def forward(self, digits: Tensor) -> Tensor:
        states, _ = self.recurrent(digits.float().unsqueeze(2))
        return self.output(states[:, -1])


def measure(network: str, length: int, seed: int, max_steps: int = MAX_STEPS) -> dict[str, Any]:
    """Train with the recipe; a row as of the study of accuracy against length."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    data = PalindromeDataModule(length, BATCH_SIZE, num_test=NUM_TEST, seed=seed)
    model = Course(network)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=LEARNING_RATE)
    batches = data.train_dataloader()
    for k in range(max_steps):
        digits, target = batches.batch(k)
        optimizer.zero_grad()
        functional.cross_entropy(model(digits), target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM_MAX)
        optimizer.step()
    (test,) = data.test_dataloader()
    with torch.no_grad():
        right = torch.cat([model(digits).argmax(dim=1) == target for digits, target in test])
    accuracy = right.double().mean().item()
    return {"network": network, "training": "course", "length": length, "seed": seed, "test_accuracy": accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.course")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--lengths", nargs="+", type=int, default=[5, 10, 15, 17, 20, 25, 30, 40])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--max_steps", type=int, default=MAX_STEPS)
    parser.add_argument("--output", type=Path, help="a CSV file for the table")
    options = parser.parse_args()
    todo = list(itertools.product(options.networks, options.lengths, options.seeds))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as processes:
        rows = list(processes.map(measure, *zip(*todo, strict=True), [options.max_steps] * len(todo)))
    print_table(rows)
    if options.output is not None:
        write_table(rows, options.output)


if __name__ == "__main__":
    main()
