"""Tests networks on palindromes of digits that repeat, which random draws never contain.

Legend: N palindromes, T length, K different digits.
"""

from pathlib import Path

import torch
from torch import Tensor

from experiments.plotting import PAGE_WIDTH, new_figure, plot_seeds, save_figure
from experiments.tables import Rows, filter_rows, make_folder, print_table, save
from experiments.trained_model import Network, TrainedNetwork, load
from models.networks import LSTM
from training.errors import UserError

EXAMPLE = "python cli.py patterns --ckpt_paths '[runs/lstm_T1000]' --output_dir runs/patterns"

LENGTHS = [5, 6, 10, 20, 50, 100, 200, 500, 1000, 2001, 5001, 10_001]

DIGITS_MAX = 1 << 27
"""The most digits of all palindromes of a length: 1 GiB."""

NAMES = {"rnn": "vanilla RNN", "lstm": "LSTM"}


def patterns(ckpt_paths: list[str], output_dir: str, lengths: list[int] | None = None) -> None:
    """Test networks on palindromes whose digits repeat.

    After the first digit, two digits alternate up to the middle: 9 6 1 6 1 ... 1 6 1 6 9. For ten digits there are
    1,000 such palindromes of each length, also with two equal digits. The margin of a palindrome is the logit of the
    correct last digit minus the largest other logit; a mistake has a negative margin. Prints a table, and writes
    patterns.csv, and the smallest margins as patterns.png.

    Args:
        ckpt_paths: checkpoints, run folders or experiment folders of PalindromeClassifiers trained on the last digit.
        output_dir: folder for the files.
        lengths: of the palindromes, at least 4; twelve lengths from 5 to 10,001 by default.
    """
    if not ckpt_paths:
        raise UserError("ckpt_paths is empty; give at least one checkpoint")
    lengths = LENGTHS if lengths is None else lengths
    for length in lengths:
        if length < 4:
            raise UserError(f"lengths has {length}; it must be at least 4")
    if len(set(lengths)) < len(lengths) or not lengths:
        raise UserError(f"lengths is {lengths}; give at least one, each once")
    networks = [load(path, "last_digit") for path in ckpt_paths]
    longest = DIGITS_MAX // max(trained.num_classes for trained in networks) ** 3
    if max(lengths) > longest:
        raise UserError(f"lengths has {max(lengths)}; the limit is {longest}, so that all palindromes fit into memory")
    make_folder(Path(output_dir))  # before the long measurement
    rows = [row_of(trained, length) for trained in networks for length in lengths]
    print_table(rows)
    save(rows, draw, Path(output_dir), "patterns")


def row_of(trained: TrainedNetwork, length: int) -> dict[str, object]:
    """The mistakes of a network on all patterns of a length."""
    digits = draw_patterns(length, trained.num_classes)
    margins = margins_of(trained.network, digits)
    worst = int(margins.argmin())
    return {
        "network": "lstm" if isinstance(trained.network, LSTM) else "rnn",
        "seed": trained.seed,
        "length": length,
        "palindromes": len(digits),
        "wrong": int((margins <= 0).sum()),
        "smallest_margin": margins[worst].item(),
        "worst": " ".join(map(str, digits[worst, :3].tolist())),
    }


def draw_patterns(length: int, num_classes: int) -> Tensor:
    """All palindromes of this kind, (N, T) int64 with N = K^3, in the order of their first three digits."""
    d, a, b = torch.cartesian_prod(*[torch.arange(num_classes)] * 3).unbind(1)
    half = torch.stack([d, *(a if t % 2 else b for t in range(1, (length + 1) // 2))], dim=1)
    return torch.cat([half, half[:, : length // 2].flip(1)], dim=1)


def margins_of(network: Network, digits: Tensor) -> Tensor:
    """The logit of the last digit minus the largest other one, after all digits but the last: (N, T) -> (N,)."""
    with torch.no_grad():
        logits = network(digits[:, :-1], num_last_steps=1)[0][:, 0]
    right = logits.gather(1, digits[:, -1:])[:, 0]
    others = logits.scatter(1, digits[:, -1:], -torch.inf).amax(dim=1)
    return right - others


def draw(rows: Rows, path: Path) -> None:
    """The smallest margin against the length: a mark for each network, a line through the medians of each kind."""
    figure, axes = new_figure(1, 1, PAGE_WIDTH * 0.7, 2.6)
    axes.axhline(0, color="#888888", linewidth=0.6, linestyle=":")
    for k, (network, name) in enumerate(NAMES.items()):
        plot_seeds(axes, name, filter_rows(rows, network=network), "length", "smallest_margin", k, marker="x+"[k])
    axes.set(xscale="log", xlabel="length of the palindromes, T", ylabel="smallest margin (below 0: a mistake)")
    axes.legend(frameon=False)
    save_figure(figure, path)
