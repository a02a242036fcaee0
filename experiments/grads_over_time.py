"""How far back in time the gradient of the loss reaches, RNN against LSTM (question 1.7 of the assignment).

Legend: B palindromes, T length, H hidden units.
"""

from itertools import groupby
from pathlib import Path
from statistics import geometric_mean
from typing import Any, Literal

import torch
from torch import Tensor

from experiments.figures import COLOURS, STYLES, label_lines, mean_and_interval, new_figure, save_figure
from experiments.memory_measures import gradient_norms
from experiments.tables import Rows, print_table, write_table
from experiments.trained_network import Network, load
from models.networks import LSTM, VanillaRNN
from models.networks.initialization import Initialization
from training.errors import UserError
from training.run_folder import version_number
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
"""Digits that are read at a time: all hidden states are kept, in float64."""


def gradients(
    output_dir: str,
    length: int = 100,
    untrained: dict[Literal["rnn", "lstm"], list[Initialization]] | None = None,
    ckpt_paths: list[str] | None = None,
    hidden_size: int = 128,
    input_scale: float = 0.01,
    num_palindromes: int = 100,
    seeds: list[int] | None = None,
) -> None:
    """Show the gradient of the loss with respect to the hidden state of every time step.

    The loss is the cross-entropy of the last digit, that of each palindrome by itself; what is shown is the norm of its
    gradient, |dL/dh_t| for t = 1 ... T-1, the mean over palindromes. Computed in float64. Prints a summary, and writes
    grads_over_time.csv and grads_over_time.png.

    Args:
        output_dir: where to write.
        length: digits of the palindromes, T, at least 2; all but the last are read.
        untrained: initializations of untrained networks to look at; by default three of each kind.
        ckpt_paths: trained networks to look at: checkpoints, run folders or experiments' folders.
        hidden_size: of the untrained networks, H.
        input_scale: of the untrained networks: standard deviation of the input weights; uniform has its own.
        num_palindromes: palindromes whose gradients are averaged, B, for each seed.
        seeds: decide weights and palindromes; 1 to 5 by default.
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
                options: dict[str, Any] = {"initialization": initialization, "input_scale": input_scale}
                if kind == "lstm":
                    options["longest_memory"] = length
                network = NETWORKS[kind](NUM_CLASSES, hidden_size, NUM_CLASSES, **options)
                rows += rows_of(network, f"untrained, {initialization}", seed, length, num_palindromes)
    networks = [load(path) for path in ckpt_paths or []]
    names = [name_of(trained.folder) for trained in networks]
    for trained, name in zip(networks, names, strict=True):
        if [other.path for other in networks].count(trained.path) > 1:
            raise UserError(f"ckpt_paths has {trained.path} more than once; give each checkpoint once")
        name = name if names.count(name) == 1 else str(trained.folder)
        if trained.task != "last_digit":
            raise UserError(f"{trained.path} was trained on task {trained.task}; this study is of last_digit")
        for seed in seeds:
            torch.manual_seed(seed)
            rows += rows_of(trained.network, f"trained, {name}", seed, length, num_palindromes)
    if not rows:
        raise UserError("there is nothing to look at; give untrained or ckpt_paths")
    print_table(summarize(rows))
    folder = Path(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(rows, folder / "grads_over_time.csv")
        draw(rows, folder / "grads_over_time.png")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another with --output_dir") from error
    print(f"The figure is {folder / 'grads_over_time.png'}; grads_over_time.csv lies beside it.")


def name_of(folder: Path) -> str:
    """The experiment's name, where the folder is that of a run."""
    return folder.parent.name if version_number(folder) >= 0 else folder.name


def check(length: int, hidden_size: int, num_palindromes: int, seeds: list[int]) -> None:
    for name, value, limit in (
        ("length", length, 2),
        ("hidden_size", hidden_size, 1),
        ("num_palindromes", num_palindromes, 1),
    ):
        if value < limit:
            raise UserError(f"{name} is {value}; it must be at least {limit}")
    if length * num_palindromes > DIGITS_MAX:
        raise UserError(
            f"length is {length} and num_palindromes {num_palindromes}: that makes {length * num_palindromes} digits; "
            f"they must be at most {DIGITS_MAX}, so lower one of them"
        )
    check_seeds(seeds)


def rows_of(network: Network, weights: str, seed: int, length: int, num_palindromes: int) -> Rows:
    """A row for each time step, the palindromes drawn from torch's random numbers."""
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
    """For each kind of network: the gradient at the first and the last step, and its growth in a step back."""
    table: Rows = []
    for network, weights in dict.fromkeys((row["network"], row["weights"]) for row in rows):
        lines = [row for row in rows if (row["network"], row["weights"]) == (network, weights)]
        of_seeds = [[row["gradient_norm"] for row in line] for _, line in groupby(lines, lambda row: row["seed"])]
        num_steps = len(of_seeds[0])
        first, last = (sum(line[t] for line in of_seeds) / len(of_seeds) for t in (0, -1))
        factors = [(line[0] / line[-1]) ** (1 / max(1, num_steps - 1)) for line in of_seeds if line[-1] > 0]
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
    """A panel for each kind of network: the mean over seeds of the logarithm, and its 95 % interval."""
    kinds = [kind for kind in NETWORKS if any(row["network"] == kind for row in rows)]
    figure, panels = new_figure(1, len(kinds), 2.0 + 4.2 * len(kinds), 4.2, sharey=True, squeeze=False)
    names = list(dict.fromkeys(row["weights"] for row in rows))
    for axes, kind in zip(panels[0], kinds, strict=True):
        ends = []
        for k, name in enumerate(names):
            chosen = [row for row in rows if (row["network"], row["weights"]) == (kind, name)]
            line = {}
            for t, at_t in groupby(sorted(chosen, key=lambda row: row["t"]), lambda row: row["t"]):
                logs = [torch.tensor(row["gradient_norm"]).log10().item() for row in at_t if row["gradient_norm"] > 0]
                if logs:
                    line[t] = [10**value for value in mean_and_interval(logs)]
            if line:
                mean, low, high = zip(*line.values(), strict=True)
                colour = COLOURS[k % len(COLOURS)]
                axes.plot(line.keys(), mean, color=colour, linestyle=STYLES[k % len(STYLES)])
                axes.fill_between(line.keys(), low, high, color=colour, alpha=0.2, linewidth=0)
                ends.append((name, min(line), line[min(line)][0], colour))
        axes.set(yscale="log", xlabel="time step t")
        axes.invert_xaxis()  # as the gradient travels: from the loss back to the first digit
        axes.set_title(TITLES[kind], loc="left", fontsize=10)
        label_lines(axes, ends)
    panels[0, 0].set_ylabel(r"$|\partial L / \partial h_t|$")
    figure.suptitle("How far back the loss reaches", x=0.01, ha="left", fontsize=11)
    save_figure(figure, path)
