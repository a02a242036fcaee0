"""Shows how far back in time the gradient of the loss reaches, RNN against LSTM (question 1.7 of the assignment).

Legend: B palindromes, T length, H hidden units.
"""

import math
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from matplotlib.lines import Line2D
from torch import Tensor
from torch.nn import functional

from datamodules.palindrome_space import mirrored
from experiments.attractor_measures import gradient_norms
from experiments.plotting import COLOURS, NAME_MAX, PAGE_WIDTH, STYLES, new_figure, save_figure
from experiments.runs import experiment_of
from experiments.tables import Rows, column, filter_rows, print_table, save, values_of
from experiments.trained_model import Network, load
from models.networks import LSTM, VanillaRNN
from models.networks.initialization import Initialization
from training.errors import UserError
from training.seeds import check_seeds

EXAMPLE = "python cli.py gradients --config configs/gradients/T100.yaml"

NUM_CLASSES = 10

NETWORKS: dict[str, type[Network]] = {"rnn": VanillaRNN, "lstm": LSTM}
TITLES = {"rnn": "vanilla RNN", "lstm": "LSTM"}
PANELS = (("rnn", "h"), ("lstm", "h"), ("lstm", "c"))

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
    """Show the gradient of the loss with respect to the state of every time step.

    The loss is the cross-entropy of the last digit, separately for each palindrome. Its gradient with respect to the
    hidden state has the norm |dL/dh_t| for t = 1 ... T-1, in which c_t is held fixed. For an LSTM, |dL/dc_t| is the
    norm of the total derivative with respect to the cell, through h_t and all later steps. Computed in float64. Prints
    a summary, and writes grads_over_time.csv, with medians and quartiles over palindromes, and grads_over_time.png.

    Args:
        output_dir: folder for the files.
        length: digits of the palindromes, T, at least 2; the network reads all but the last.
        untrained: initializations of untrained networks; by default three for each kind of network.
        ckpt_paths: trained networks: checkpoints, run folders or experiment folders. Runs of one experiment with
            different seeds are seeds of one network.
        hidden_size: hidden units of the untrained networks, H.
        num_palindromes: palindromes for each seed, B.
        seeds: random seeds of the untrained weights and their palindromes; 1 to 5 by default.
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
    names = [(experiment_of(trained.folder), trained.seed) for trained in networks]
    for trained, (name, seed) in zip(networks, names, strict=True):
        if paths.count(trained.path) > 1:
            raise UserError(f"ckpt_paths has {trained.path} more than once; give each checkpoint once")
        name = name if names.count((name, seed)) == 1 else str(trained.folder)
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
    """A row for each state, h and for an LSTM also c, and each time step; quantiles are over the palindromes.

    The palindromes are drawn from torch's global random numbers.
    """
    digits = draw_palindromes(num_palindromes, length, network.input_size)[:, :-1]
    norms = {"h": gradient_norms(network.double(), digits)}
    kind = "rnn"
    if isinstance(network, LSTM):
        kind = "lstm"
        norms["c"] = cell_gradient_norms(network, digits)
    quantiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    return [
        {"network": kind, "weights": weights, "seed": seed, "state": state, "t": t}
        | {"lower_quartile": low, "median": middle, "upper_quartile": high}
        for state, of_state in norms.items()
        for t, (low, middle, high) in enumerate(of_state.quantile(quantiles, dim=0).T.tolist(), start=1)
    ]


def cell_gradient_norms(network: LSTM, digits: Tensor) -> Tensor:
    """``|dL/dc_t|`` for the loss L of each palindrome: all digits but the last (B, T-1) -> (B, T-1).

    This is the total derivative: through ``h_t = tanh(c_t) o_t`` and through all later steps.
    """
    h = c = network.W_ph.new_zeros(len(digits), network.hidden_size)
    cells = []
    for t in range(digits.shape[1]):
        _, (h, c) = network.unroll(digits[:, t : t + 1], h, c)
        cells.append(c)
    loss = functional.cross_entropy(network.readout(h), digits[:, 0], reduction="sum")
    return torch.stack(torch.autograd.grad(loss, cells), dim=1).norm(dim=2)


def shortened(name: str) -> str:
    """A name that fits into the legend; of a longer one only the end is shown."""
    return name if len(name) <= NAME_MAX else f"...{name[3 - NAME_MAX :]}"


def draw_palindromes(num: int, length: int, num_classes: int) -> Tensor:
    """Whole palindromes, (B, T) int64."""
    half = torch.randint(num_classes, (num, (length + 1) // 2))
    return mirrored(half, length)


def summarize(rows: Rows) -> Rows:
    """For each network and state: the gradient at the first and at the last step, and its growth for each step back.

    Each is the median over seeds of the values of a seed, which follow from medians over palindromes.
    """
    table: Rows = []
    for network, weights, state in dict.fromkeys((row["network"], row["weights"], row["state"]) for row in rows):
        lines = filter_rows(rows, network=network, weights=weights, state=state)
        norms = [column(filter_rows(lines, seed=seed), "median") for seed in values_of(lines, "seed")]
        num_steps = len(norms[0])
        ratios = [line[0] / line[-1] if line[-1] > 0 else math.nan for line in norms]
        table.append(
            {
                "network": network,
                "weights": weights,
                "gradient": f"|dL/d{state}_t|",
                "t = 1": median(line[0] for line in norms),
                f"t = {num_steps}": median(line[-1] for line in norms),
                "first / last": median(ratios),
                "factor a step back": median(ratio ** (1 / max(1, num_steps - 1)) for ratio in ratios),
            }
        )
    return table


def draw(rows: Rows, path: Path) -> None:
    """A panel for each kind of network and state: a line for each seed, the median over palindromes."""
    panels = [key for key in PANELS if filter_rows(rows, network=key[0], state=key[1])]
    figure, grid = new_figure(1, len(panels), PAGE_WIDTH, 3.2, sharey=True, squeeze=False)
    names = list(dict.fromkeys(row["weights"] for row in rows))
    for axes, (kind, state) in zip(grid[0], panels, strict=True):
        own = filter_rows(rows, network=kind, state=state)
        for k, name in enumerate(names):
            lines = filter_rows(own, weights=name)
            for seed in values_of(lines, "seed"):
                points = [(row["t"], row["median"]) for row in filter_rows(lines, seed=seed) if row["median"] > 0]
                axes.plot(*zip(*points, strict=True), linewidth=0.8, **style_of(k))
        axes.set(yscale="log", xlabel="time step t")
        axes.set_title(f"{TITLES[kind]}, $|\\partial L / \\partial {state}_t|$", loc="left")
    handles = [Line2D([], [], label=shortened(name), **style_of(k)) for k, name in enumerate(names)]
    figure.supxlabel("The digits are read from left to right; gradients flow from right to left.", fontsize=8)
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    save_figure(figure, path)


def style_of(k: int) -> dict[str, Any]:
    """The colour and the dashes of the k-th network; they repeat."""
    return {"color": COLOURS[k % len(COLOURS)], "linestyle": STYLES[k % len(STYLES)]}
