"""Tests networks on palindromes that random draws hardly ever contain: digits that repeat, and adversaries.

Legend: N palindromes, T length, K different digits.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.palindrome_patterns import PATTERN_LENGTH_MIN, Halves, all_patterns
from datamodules.palindrome_space import EVAL_DIGITS_MAX, half_length, mirrored
from experiments.adversaries import along_gradients, greedy_halves, margins_of
from experiments.plotting import PAGE_WIDTH, new_figure, plot_seeds, save_figure
from experiments.tables import Rows, filter_rows, make_folder, print_table, save
from experiments.trained_model import TrainedNetwork, load
from models.networks import LSTM
from training.errors import UserError

EXAMPLE = "python cli.py patterns --ckpt_paths '[runs/lstm_T1000]' --output_dir runs/patterns"

LENGTHS = [5, 6, 10, 20, 50, 100, 1000, 10_001]

LENGTH_MAX = 100_000
"""The longest palindromes. The search along gradients keeps the states of all digits: some GiB at this length."""

CLASSES_MAX = 40
"""The most different digits; the greedy search tries K^3 sequences at a time."""

STARTS = 10
"""As many random palindromes, and as many with the smallest margins of all kinds, are changed along gradients."""

NAMES = {"rnn": "vanilla RNN", "lstm": "LSTM"}


class Tested(NamedTuple):
    """Of the palindromes of a kind: their number, the mistakes, the smallest margins, and the halves with these."""

    num: int
    wrong: int
    margins: Tensor
    halves: Tensor


def patterns(ckpt_paths: list[str], output_dir: str, lengths: list[int] | None = None) -> None:
    """Test networks on palindromes whose digits repeat, and on those that a search finds for each network.

    The kinds are those of ``test --data.test_patterns true``, and two searches for a small margin: digit by digit
    (greedy), and along the gradient with respect to the digits. The margin of a palindrome is the logit of the correct
    last digit minus the largest other logit; with a mistake it is at most 0. Prints a table, and writes patterns.csv,
    and the smallest margins as patterns.png.

    Args:
        ckpt_paths: checkpoints, run folders or experiment folders of PalindromeClassifiers trained on the last digit.
        output_dir: folder for the files.
        lengths: of the palindromes, at least 4; eight lengths from 5 to 10,001 by default.
    """
    if not ckpt_paths:
        raise UserError("ckpt_paths is empty; give at least one checkpoint")
    lengths = LENGTHS if lengths is None else lengths
    for length in lengths:
        if not PATTERN_LENGTH_MIN <= length <= LENGTH_MAX:
            raise UserError(f"lengths has {length}; each must be from {PATTERN_LENGTH_MIN} to {LENGTH_MAX}")
    if len(set(lengths)) < len(lengths) or not lengths:
        raise UserError(f"lengths is {lengths}; give at least one, each once")
    networks = [load(path, "last_digit") for path in ckpt_paths]
    for trained in networks:
        if trained.num_classes > CLASSES_MAX:
            raise UserError(
                f"{trained.path} has {trained.num_classes} digits; the limit is {CLASSES_MAX}, so use test with "
                "--data.test_patterns true"
            )
    make_folder(Path(output_dir))  # before the long measurement
    rows = [row for trained in networks for length in lengths for row in rows_of(trained, length)]
    print_table(rows)
    save(rows, draw, Path(output_dir), "patterns")


def rows_of(trained: TrainedNetwork, length: int) -> Rows:
    """A row for each kind of palindromes of a length."""
    found = {
        name: tested(trained, length, batches_of(halves, length))
        for name, halves in all_patterns(length, trained.num_classes).items()
    }
    found["greedy"] = tested(trained, length, greedy_halves(trained.network, length).split(batch_size(length)))
    smallest = torch.cat([one.margins for one in found.values()]).argsort()[:STARTS]
    halves = torch.cat([one.halves for one in found.values()])[smallest]
    generator = torch.Generator().manual_seed(trained.seed)
    random = torch.randint(trained.num_classes, (STARTS, halves.shape[1]), generator=generator)
    starts = torch.cat([halves, random])
    found["gradient"] = tested(trained, length, [along_gradients(trained.network, starts, length)])
    return [
        {
            "network": "lstm" if isinstance(trained.network, LSTM) else "rnn",
            "seed": trained.seed,
            "length": length,
            "kind": name,
            "palindromes": one.num,
            "wrong": one.wrong,
            "smallest_margin": one.margins[0].item(),
            "worst": shortened(one.halves[0]),
        }
        for name, one in found.items()
    ]


def tested(trained: TrainedNetwork, length: int, batches: Iterable[Tensor]) -> Tested:
    """What the network does with palindromes that are given by batches of their first halves."""
    num = wrong = 0
    margins, halves = torch.empty(0), torch.empty(0, half_length(length), dtype=torch.int64)
    for batch in batches:
        own = margins_of(trained.network, mirrored(batch, length))
        num, wrong = num + len(own), wrong + int((own <= 0).sum())
        margins, halves = torch.cat([margins, own]), torch.cat([halves, batch])
        order = margins.argsort()[:STARTS]
        margins, halves = margins[order], halves[order]
    return Tested(num, wrong, margins, halves)


def batches_of(halves: Halves, length: int) -> Iterator[Tensor]:
    """All halves of a kind, so many at a time that their palindromes fit into memory."""
    return map(halves.numbered, torch.arange(halves.num).split(batch_size(length)))


def batch_size(length: int) -> int:
    """How many palindromes of a length fit into memory."""
    return max(1, min(1000, EVAL_DIGITS_MAX // length))


def shortened(half: Tensor) -> str:
    """The first digits of a palindrome."""
    digits = half.tolist()
    return " ".join(map(str, digits[:12])) + (" ..." if len(digits) > 12 else "")


def draw(rows: Rows, path: Path) -> None:
    """The smallest margin against the length: a mark for each network, a line through the medians of each kind."""
    figure, axes = new_figure(1, 1, PAGE_WIDTH * 0.7, 2.6)
    axes.axhline(0, color="#888888", linewidth=0.6, linestyle=":")
    for k, (network, name) in enumerate(NAMES.items()):
        own = filter_rows(rows, network=network)
        runs = dict.fromkeys((row["seed"], row["length"]) for row in own)
        lowest = [
            min(filter_rows(own, seed=seed, length=length), key=lambda row: row["smallest_margin"])
            for seed, length in runs
        ]
        plot_seeds(axes, name, lowest, "length", "smallest_margin", k, marker="x+"[k])
    axes.set(xscale="log", xlabel="length of the palindromes, T", ylabel="smallest margin (below 0: a mistake)")
    axes.legend(frameon=False)
    save_figure(figure, path)
