"""Shows how a network keeps the first digit of a palindrome: its states as attractors, from a checkpoint."""

from pathlib import Path

import torch

from experiments.attractor_figure import draw
from experiments.attractor_measures import (
    KICK_AT,
    distances_after_kick,
    draw_digits,
    fixed_points,
    gradients,
    kick,
    move,
    settle,
    start_elsewhere,
)
from experiments.tables import make_folder, print_table, save
from experiments.trained_model import DIGITS_MAX, load
from training.errors import UserError
from training.seeds import check_seed

EXAMPLE = "python cli.py attractors --ckpt_path runs/rnn_T1000"

TITLES = {
    "states": "Hidden states after t digits. spread: distance from the mean state of the same first digit (root mean "
    "square); separation: distance of the two nearest of these means; correct: share of correctly predicted digits",
    "fixed_points": "Fixed points of the average digit, one for each first digit. movement: in one step; nearest: "
    "distance of the nearest other fixed point; factor: growth of a small deviation in one step",
    "kicks": f"States moved in a random direction after {KICK_AT} digits. kick: in half distances to the nearest mean "
    "state of another digit; correct: share of first digits predicted correctly at the end",
    "moves": f"States moved after {KICK_AT} digits towards those of another first digit. moved: part of the way "
    "between the mean states; own, other: share of predictions at the end that are the digit read, and the other",
    "starts": "Initial states other than zero. correct: share of first digits predicted correctly; kept from before: "
    "share of predictions that are the first digit of the palindrome before",
    "gradients": "Gradients. first, last: median |dL/dh_t| at the first and at the last step; ratio: first / last; "
    "agreement: cosine between the gradients of two independent batches",
}


def attractors(
    ckpt_path: str, num_steps: int = 10_000, num_palindromes: int = 50, seed: int = 0, output_dir: str | None = None
) -> None:
    """Show how a network keeps the first digit: its states as attractors, one for each digit.

    Prints the measurements, and writes them to CSV files and a figure, attractors.png.

    Args:
        ckpt_path: checkpoint, run folder or experiment folder of a PalindromeClassifier trained on the last digit.
        num_steps: digits that the network reads, at least 200.
        num_palindromes: palindromes for each first digit, at least 2.
        seed: random seed of palindromes, kicks and initial states.
        output_dir: folder for the files; attractors/ in the run's folder by default.
    """
    if num_steps < 2 * KICK_AT:
        raise UserError(f"num_steps is {num_steps}; it must be at least {2 * KICK_AT}")
    if num_palindromes < 2:
        raise UserError(f"num_palindromes is {num_palindromes}; it must be at least 2")
    check_seed(seed)
    torch.manual_seed(seed)
    trained = load(ckpt_path, "last_digit")
    num_digits = num_steps * num_palindromes * trained.num_classes
    if num_digits > DIGITS_MAX:
        raise UserError(
            f"num_steps is {num_steps} and num_palindromes is {num_palindromes}: for {trained.num_classes} first "
            f"digits these are {num_digits} digits; the limit is {DIGITS_MAX}, so lower one of them"
        )
    folder = trained.folder / "attractors" if output_dir is None else Path(output_dir)
    make_folder(folder)  # before the long measurement

    digits = draw_digits(trained.num_classes, num_palindromes, num_steps)
    first = digits[:, 0]
    with torch.no_grad():
        states, settling = settle(trained, digits)
        tables = {
            "states": settling,
            "fixed_points": fixed_points(trained, states[num_steps], first),
            "kicks": kick(trained.network, states[KICK_AT], digits),
            "moves": move(trained.network, states[KICK_AT], digits, trained.num_classes),
            "starts": start_elsewhere(trained, states[num_steps], digits[:, : min(num_steps, 1000)]),
        }
        distances = distances_after_kick(trained.network, states[KICK_AT], digits)
    tables["gradients"] = gradients(trained, num_palindromes)
    for name, rows in tables.items():
        print(TITLES[name])
        print_table(rows)
        print()
    save(tables, lambda _, path: draw(trained, states, first, settling, distances, path), folder, "attractors")
