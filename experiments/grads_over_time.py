"""Shows how far back in time the gradient of the loss reaches, RNN against LSTM (question 1.7 of the assignment).

Legend: B palindromes, T length, H hidden units.
"""

import math
from itertools import groupby
from pathlib import Path
from statistics import geometric_mean, mean
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.attractor_measures import gradient_norms
from experiments.plotting import label_lines, means_by, new_figure, plot_means, save_figure
from experiments.runs import experiment_of
from experiments.tables import Rows, column, filter_rows, print_table, save
from experiments.trained_model import Network, load
from models.networks import LSTM, VanillaRNN
from models.networks.initialization import Initialization
from training.errors import UserError
from training.seeds import check_seeds

EXAMPLE = "python cli.py gradients --config configs/gradients/T100.yaml"

NUM_CLASSES = 10

NETWORKS: dict[str, type[Network]] = {"rnn": VanillaRNN, "lstm": LSTM}
TITLES = {"rnn": "vanilla RNN", "lstm": "LSTM"}

UNTRAINED: dict[str, list[str]] = {
    "rnn": ["uniform", "orthogonal", "identity"],
    "lstm": ["uniform", "orthogonal", "chrono"],
}

DIGITS_MAX = 1 << 24
"""The most digits, B T: all their hidden states are in memory at once, in float64."""


def gradients(
    output_dir: str,
    length: int = 100,
    untrained: dict[Literal["rnn", "lstm"], list[Initialization]] | None = None,
    ckpt_paths: list[str] | None = None,
    hidden_size: int = 128,
    num_palindromes: int = 100,
    seeds: list[int] | None = None,
) -> None:
    """Show the gradient of the loss with respect to the hidden state of every time step.

    The loss is the cross-entropy of the last digit, separately for each palindrome. Its gradient has the norm
    |dL/dh_t| for t = 1 ... T-1; the figure shows the mean over palindromes. Computed in float64. Prints a summary, and
    writes grads_over_time.csv and grads_over_time.png.

    Args:
        output_dir: folder for the files.
        length: digits of the palindromes, T, at least 2; the network reads all but the last.
        untrained: initializations of untrained networks; by default three for each kind of network.
        ckpt_paths: trained networks: checkpoints, run folders or experiment folders.
        hidden_size: hidden units of the untrained networks, H.
        num_palindromes: palindromes for each seed, B; the figure shows the mean of their gradients.
        seeds: random seeds of weights and palindromes; 1 to 5 by default.
    """
    seeds = [1, 2, 3, 4, 5] if seeds is None else seeds
    untrained = UNTRAINED if untrained is None else untrained  # type: ignore[assignment]
    check(length, hidden_size, num_palindromes, seeds)
    rows: Rows = []
    for kind, initializations in (untrained or {}).items():
        if kind not in NETWORKS:
            raise UserError(f"untrained has {kind}; a network is one of {', '.join(NETWORKS)}")
        for initialization in initializations:
            if initializations.count(initialization) > 1:
                raise UserError(f"untrained has {initialization} for {kind} more than once; give each once")
            for seed in seeds:
                torch.manual_seed(seed)
                options: dict[str, Any] = {"longest_memory": length} if kind == "lstm" else {}
                network = NETWORKS[kind](NUM_CLASSES, hidden_size, NUM_CLASSES, initialization, **options)
                rows += rows_of(network, f"untrained, {initialization}", seed, length, num_palindromes)
    networks = [load(path, "last_digit") for path in ckpt_paths or []]
    paths = [trained.path for trained in networks]
    names = [experiment_of(trained.folder) for trained in networks]
    for trained, name in zip(networks, names, strict=True):
        if paths.count(trained.path) > 1:
            raise UserError(f"ckpt_paths has {trained.path} more than once; give each checkpoint once")
        name = name if names.count(name) == 1 else str(trained.folder)
        for seed in seeds:
            torch.manual_seed(seed)
            rows += rows_of(trained.network, f"trained, {name}", seed, length, num_palindromes)
    if not rows:
        raise UserError("untrained and ckpt_paths are both empty; give at least one network")
    print_table(summarize(rows))
    save(rows, draw, Path(output_dir), "grads_over_time")


def check(length: int, hidden_size: int, num_palindromes: int, seeds: list[int]) -> None:
    """Refuse sizes that are out of range."""
    for name, value, limit in (
        ("length", length, 2),
        ("hidden_size", hidden_size, 1),
        ("num_palindromes", num_palindromes, 1),
    ):
        if value < limit:
            raise UserError(f"{name} is {value}; it must be at least {limit}")
    if length * num_palindromes > DIGITS_MAX:
        raise UserError(
            f"length is {length} and num_palindromes is {num_palindromes}: {length * num_palindromes} digits; "
            f"the limit is {DIGITS_MAX}, so lower one of them"
        )
    check_seeds(seeds)


def rows_of(network: Network, weights: str, seed: int, length: int, num_palindromes: int) -> Rows:
    """A row for each time step. The palindromes are drawn from torch's global random numbers."""
    digits = draw_palindromes(num_palindromes, length, network.input_size)[:, :-1]
    norms = gradient_norms(network.double(), digits).mean(dim=0)
    kind = "lstm" if isinstance(network, LSTM) else "rnn"
    return [
        {"network": kind, "weights": weights, "seed": seed, "t": t, "gradient_norm": norm}
        for t, norm in enumerate(norms.tolist(), start=1)
    ]


def draw_palindromes(num: int, length: int, num_classes: int) -> Tensor:
    """Whole palindromes, (B, T) int64."""
    half = torch.randint(num_classes, (num, (length + 1) // 2))
    return torch.cat([half, half[:, : length // 2].flip(1)], dim=1)


def summarize(rows: Rows) -> Rows:
    """For each kind of network: the gradient at the first and at the last step, and its growth for each step back."""
    table: Rows = []
    for network, weights in dict.fromkeys((row["network"], row["weights"]) for row in rows):
        lines = filter_rows(rows, network=network, weights=weights)
        norms = [column(list(line), "gradient_norm") for _, line in groupby(lines, lambda row: row["seed"])]
        num_steps = len(norms[0])
        first, last = (mean(line[t] for line in norms) for t in (0, -1))
        factors = [(line[0] / line[-1]) ** (1 / max(1, num_steps - 1)) for line in norms if line[-1] > 0]
        table.append(
            {
                "network": network,
                "weights": weights,
                "|dL/dh_1|": first,
                f"|dL/dh_{num_steps}|": last,
                "first / last": first / last if last > 0 else float("nan"),
                "factor a step back": geometric_mean(factors) if factors and min(factors) > 0 else float("nan"),
            }
        )
    return table


def draw(rows: Rows, path: Path) -> None:
    """A panel for each kind of network: the geometric mean over seeds, and its 95 % interval."""
    kinds = [kind for kind in NETWORKS if filter_rows(rows, network=kind)]
    figure, panels = new_figure(1, len(kinds), 2.0 + 4.2 * len(kinds), 4.2, sharey=True, squeeze=False)
    names = list(dict.fromkeys(row["weights"] for row in rows))
    for axes, kind in zip(panels[0], kinds, strict=True):
        for k, name in enumerate(names):
            logs = [
                {"t": row["t"], "log": math.log10(row["gradient_norm"])}
                for row in filter_rows(rows, network=kind, weights=name)
                if row["gradient_norm"] > 0
            ]
            points = reversed(means_by(logs, "t", "log").items())  # a line ends at the first step
            plot_means(axes, name, {t: (10**mid, 10**low, 10**high) for t, (mid, low, high) in points}, k)
        axes.set(yscale="log", xlabel="time step t")
        axes.invert_xaxis()  # in the direction of the gradient: from the loss back to the first digit
        axes.set_title(TITLES[kind], loc="left", fontsize=10)
        label_lines(axes)
    panels[0, 0].set_ylabel(r"$|\partial L / \partial h_t|$")
    figure.suptitle("How far back the gradient of the loss reaches", x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
