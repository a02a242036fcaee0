"""How a network that names the first digit of a palindrome keeps it: what its states do, from a checkpoint."""

from pathlib import Path

import torch

from experiments.memory_figure import draw
from experiments.memory_measures import (
    KICK_AT,
    distances_after_kick,
    draw_digits,
    fixed_points,
    gradients,
    kick,
    settle,
    start_elsewhere,
)
from experiments.tables import print_table, write_table
from experiments.trained_network import load
from training.errors import UserError
from training.seeds import check_seed

EXAMPLE = "python cli.py memory --ckpt_path runs/rnn_T1000"

DIGITS_MAX = 1 << 27
"""Digits that are read: 1 GiB."""

TITLES = {
    "states": "Hidden states after t digits: distance from the mean of those with the same first digit (root mean "
    "square), distance of the two nearest of these means, and first digits named",
    "fixed_points": "States that the average digit brings to rest, one for each first digit: how far they still move "
    "in a step, how far the nearest other one is, and by what a small deviation is multiplied in a step",
    "kicks": f"States kicked after {KICK_AT} digits, by so many half distances to the nearest other digit's mean: "
    "first digits named at the end",
    "starts": "Started elsewhere than from zero: first digits named, and digits named that the start stood for",
    "gradients": "|dL/dh_t| at the first and at the last step, their ratio, and how far the gradients of two "
    "independent batches agree (cosine)",
}


def memory(
    ckpt_path: str,
    num_steps: int = 10_000,
    num_palindromes: int = 50,
    seed: int = 0,
    output_dir: str | None = None,
) -> None:
    """Show how a network keeps the first digit: its states as attractors, one for each digit.

    Prints what was measured, and writes it to CSV files and a figure.

    Args:
        ckpt_path: checkpoint, run folder or experiment's folder of a PalindromeClassifier trained on the last digit.
        num_steps: digits that are read, at least 200.
        num_palindromes: palindromes for each first digit, at least 2.
        seed: decides which palindromes, kicks and initial states are drawn.
        output_dir: where to write; memory/ in the run's folder by default.
    """
    if num_steps < 2 * KICK_AT:
        raise UserError(f"num_steps is {num_steps}; it must be at least {2 * KICK_AT}")
    if num_palindromes < 2:
        raise UserError(f"num_palindromes is {num_palindromes}; it must be at least 2")
    check_seed(seed)
    torch.manual_seed(seed)
    trained = load(ckpt_path)
    num_digits = num_steps * num_palindromes * trained.num_classes
    if num_digits > DIGITS_MAX:
        raise UserError(
            f"num_steps is {num_steps} and num_palindromes {num_palindromes}: for {trained.num_classes} first digits "
            f"that makes {num_digits} digits; they must be at most {DIGITS_MAX}, so lower one of them"
        )
    if trained.task != "last_digit":
        raise UserError(f"{trained.path} was trained on task {trained.task}; this study is of last_digit")
    folder = trained.folder / "memory" if output_dir is None else Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}; choose another place with --output_dir") from error

    digits = draw_digits(trained.num_classes, num_palindromes, num_steps)
    with torch.no_grad():
        states, settling = settle(trained, digits)
        tables = {
            "states": settling,
            "fixed_points": fixed_points(trained, states[num_steps], digits[:, 0]),
            "kicks": kick(trained.network, states[KICK_AT], digits),
            "starts": start_elsewhere(trained, states[num_steps], digits[:, : min(num_steps, 1000)]),
        }
        path_after_kick = distances_after_kick(trained.network, states[KICK_AT], digits)
    tables["gradients"] = gradients(trained, num_palindromes)
    for name, rows in tables.items():
        print(f"\n{TITLES[name]}")
        print_table(rows)
    try:
        for name, rows in tables.items():
            write_table(rows, folder / f"{name}.csv")
        draw(trained, states, digits[:, 0], tables, path_after_kick, folder / "memory.png")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another with --output_dir") from error
    print(f"\nThe figure is {folder / 'memory.png'}; the tables lie beside it.")
