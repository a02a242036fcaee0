"""Shows which first digits a network takes for which, on random palindromes.

Legend: N palindromes, T length, K different digits.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.palindrome_space import mirrored
from experiments.patterns import NAMES
from experiments.plotting import PAGE_WIDTH, new_figure, save_figure
from experiments.tables import Rows, column, filter_rows, make_folder, print_table, save
from experiments.trained_model import DIGITS_MAX, TrainedNetwork, load
from models.networks import LSTM
from training.errors import UserError
from training.seeds import check_seed

EXAMPLE = "python cli.py confusions --ckpt_paths '[runs/rnn_T1000]' --output_dir runs/confusions"

NUM_COLUMNS = 4


def confusions(ckpt_paths: list[str], output_dir: str, num_palindromes: int = 1000, seed: int = 0) -> None:
    """Show which first digits networks take for which, at the length that they were trained on.

    Prints how many digits each network never predicts, and writes confusions.csv, with the share of each prediction for
    each first digit, and confusions.png.

    Args:
        ckpt_paths: checkpoints, run folders or experiment folders of PalindromeClassifiers trained on the last digit.
        output_dir: folder for the files.
        num_palindromes: random palindromes for each first digit.
        seed: random seed of the palindromes.
    """
    if not ckpt_paths:
        raise UserError("ckpt_paths is empty; give at least one checkpoint")
    if num_palindromes < 1:
        raise UserError(f"num_palindromes is {num_palindromes}; it must be at least 1")
    check_seed(seed)
    networks = [load(path, "last_digit") for path in ckpt_paths]
    for trained in networks:
        num_digits = trained.num_classes * num_palindromes * trained.length
        if num_digits > DIGITS_MAX:
            raise UserError(
                f"num_palindromes is {num_palindromes}: for {trained.num_classes} first digits and length "
                f"{trained.length} these are {num_digits} digits; the limit is {DIGITS_MAX}, so lower it"
            )
    make_folder(Path(output_dir))  # before the measurement
    torch.manual_seed(seed)
    rows = [row for trained in networks for row in rows_of(trained, num_palindromes)]
    print_table([summary(rows, name) for name in dict.fromkeys(column(rows, "name"))])
    save(rows, draw, Path(output_dir), "confusions")


def rows_of(trained: TrainedNetwork, num_palindromes: int) -> Rows:
    """A row for each first digit and each prediction."""
    network = "lstm" if isinstance(trained.network, LSTM) else "rnn"
    of_network = {
        "name": f"{NAMES[network]}, T = {trained.length}, seed {trained.seed}",
        "network": network,
        "length": trained.length,
        "seed": trained.seed,
    }
    return [
        of_network | {"digit": digit, "predicted": predicted, "share": share}
        for digit, shares in enumerate(shares_of(trained, num_palindromes).tolist())
        for predicted, share in enumerate(shares)
    ]


def shares_of(trained: TrainedNetwork, num_palindromes: int) -> Tensor:
    """The share of each prediction (columns) for each first digit (rows): (K, K).

    What is read before the last digit of a palindrome is a first half and its reverse without that digit.
    """
    K, T = trained.num_classes, trained.length
    half = torch.randint(K, (K * num_palindromes, (T + 1) // 2))
    half[:, 0] = torch.arange(K).repeat_interleave(num_palindromes)
    palindromes = mirrored(half, T)
    with torch.no_grad():
        predicted = trained.network(palindromes[:, :-1], num_last_steps=1)[0][:, 0].argmax(dim=1)
    counts = torch.zeros(K, K).index_put_((half[:, 0], predicted), torch.ones(len(half)), accumulate=True)
    return counts / num_palindromes


def summary(rows: Rows, name: str) -> dict[str, Any]:
    """The accuracy of a network, and how many digits it has lost: they are predicted for less than 1 % of their own."""
    right = [row["share"] for row in filter_rows(rows, name=name) if row["digit"] == row["predicted"]]
    return {"network": name, "accuracy": sum(right) / len(right), "digits lost": sum(share < 0.01 for share in right)}


def draw(rows: Rows, path: Path) -> None:
    """A panel for each network: first digits from top to bottom, predictions from left to right, shares as grey."""
    names = list(dict.fromkeys(column(rows, "name")))
    num_columns = min(NUM_COLUMNS, len(names))
    num_rows = math.ceil(len(names) / num_columns)
    width = PAGE_WIDTH / num_columns
    figure, grid = new_figure(num_rows, num_columns, PAGE_WIDTH, (width + 0.3) * num_rows, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        own = filter_rows(rows, name=name)
        K = 1 + max(column(own, "digit"))
        shares = np.reshape(column(own, "share"), (K, K))
        axes.set_axis_on()
        axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
        axes.set_xticks(range(K))
        axes.set_yticks(range(K))
        axes.tick_params(length=0)
        axes.set_title(name.replace(", T", "\nT"), loc="left")
    for axes in grid[:, 0]:
        axes.set_ylabel("first digit")
    for axes in grid[-1]:
        axes.set_xlabel("predicted digit")
    save_figure(figure, path)
