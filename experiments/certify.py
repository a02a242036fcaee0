"""Proves that a network predicts the last digit of every palindrome, of every length; see docs/proof.md.

Legend: n boxes of a first digit, K different digits, H hidden units, N numbers of a state: H of a vanilla RNN, 2H of an
LSTM (h, then c).
"""

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from datamodules.palindrome_patterns import all_patterns
from datamodules.palindrome_space import half_length, mirrored
from experiments.certificate import Certificate, checksum_of, read_certificate, write_certificate
from experiments.certificate_check import Checked, Refusal, check_inequalities, rounded_down
from experiments.certify_reversal import certify_reversal
from experiments.patterns import batches_of
from experiments.plotting import COLOURS, PAGE_WIDTH, new_figure, save_figure
from experiments.provenance import record
from experiments.tables import Rows, cannot_write, column, filter_rows, make_folder, save, values_of
from experiments.trained_model import Network, TrainedNetwork, check_float32, load, model_name
from training.errors import UserError

EXAMPLE = "python cli.py certify --ckpt_path runs/rnn_proved"

MAX_BOXES = 200
"""The most boxes of a first digit: the states of networks that can be proved settle within some ten digits."""

ROOM = 1e-3
"""By how much a box is wider than the states that were found, so that all that rounding changes stays inside."""

FREE_AFTER = (10, 5, 20, 40, 80)
"""After how many digits the bounds of an LSTM's cells become infinite, one try after the other."""

TRIED_MAX = 100_000
"""The most palindromes of a length that are all tried: those of up to ten digits from 0 to 9."""

TRIED_LENGTHS = (12, 20, 50, 100, 200, 500, 1000)
"""Lengths of the random palindromes that are tried after them."""

PATTERN_LENGTH_MAX = 100
"""Up to this length, palindromes whose digits repeat are tried, too: 25,500 of 100 digits, for ten different ones."""

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


class Weights(NamedTuple):
    """The weights of a network in float64, the gates of an LSTM in the order g, i, f, o."""

    W_x: NDArray[np.float64]
    W_h: NDArray[np.float64]
    b: NDArray[np.float64]
    W_ph: NDArray[np.float64]
    b_p: NDArray[np.float64]


class Chain(NamedTuple):
    """The boxes of a first digit, (n, N): one after each digit; the last one contains all later states."""

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


class Found(NamedTuple):
    """A certificate that is not checked yet; the chain of each first digit, and its margins, (n,)."""

    certificate: Certificate
    chains: list[Chain]
    margins: list[NDArray[np.float64]]


def certify(ckpt_path: str, output_dir: str | None = None, check: bool = False) -> int:
    """Prove that a network predicts the last digit of every palindrome, or writes every string in reverse.

    Finds a certificate, and checks each of its inequalities in ball arithmetic. Writes certificate.npz, and
    certificate.csv and certificate.png with its boxes (for palindromes), and prints what is proved. If nothing is
    proved, it prints a palindrome or string with which the network is wrong, or where the bounds are too wide. The exit
    status is then 1.

    Args:
        ckpt_path: checkpoint, run folder or experiment folder of a PalindromeClassifier trained on the last digit, or
            of a Transducer with a stack trained on reverse.
        output_dir: folder for the files; by default certificate in the run's folder.
        check: only check the certificate that is in output_dir.
    """
    if model_name(ckpt_path) == "Transducer":
        return certify_reversal(ckpt_path, output_dir, check)
    trained = load(ckpt_path, "last_digit")
    check_float32(trained.path, trained.dtype)
    folder = trained.folder / "certificate" if output_dir is None else Path(output_dir)
    if check:
        return check_file(folder / "certificate.npz", trained)
    make_folder(folder)  # before the search
    found = find(trained.network)
    if isinstance(found, str):
        return explain_failure(trained, found)
    checked = check_certificate(found.certificate, trained.network)
    if isinstance(checked, Refusal):
        return explain_failure(trained, f"the check refused the certificate ({in_words(checked)})")
    try:
        write_certificate(found.certificate, folder / "certificate.npz")
        record(folder, ["certificate.npz"])
    except OSError as error:
        raise cannot_write(folder, error) from error
    print(statement(trained.network, found.certificate.first_length))
    print(description(checked))
    save(rows_of(found, trained.network.hidden_size), draw, folder, "certificate")
    return 0


def find(network: Network) -> Found | str:
    """The boxes of all first digits, or why there are none."""
    tensors = (*network.recurrent_weights(), network.W_ph, network.b_p)
    weights = Weights(*(tensor.detach().double().numpy() for tensor in tensors))
    chains: list[Chain] = []
    for digit in range(network.input_size):
        chain = chain_of(weights, digit)
        if chain is None:
            return f"the boxes of the states after the first digit {digit} still grow after {MAX_BOXES} digits"
        chains.append(chain)
    margins = [margins_of_chain(weights, chain, digit) for digit, chain in enumerate(chains)]
    first_length = first_length_of(margins)
    if first_length is None:
        return "the boxes that contain all states are too wide: two logits may be equal"
    return Found(join(chains, first_length, checksum_of(network.state_dict())), chains, margins)


def statement(network: Network, first_length: int) -> str:
    """What is proved, and at which of the shorter lengths the network is wrong, as far as they can be tried."""
    proved = f"Proved: names the first digit of every palindrome of every length from {first_length} to infinity."
    tried = [length for length in exhaustive_lengths(network) if length < first_length]
    if not tried:
        return proved
    wrong = [str(length) for length in tried if mistake_at(network, length) is not None]
    mistakes = f"mistakes at length {', '.join(wrong)}" if wrong else "no mistake"
    return f"{proved} All palindromes of length 2 to {tried[-1]} were tried: {mistakes}."


def description(checked: Checked) -> str:
    """What the check found, in a line; the margin is rounded down."""
    margin = rounded_down(checked.margin)
    return (
        f"Checked {checked.num_inequalities:,} inequalities of {checked.num_boxes} boxes of states: all hold. The "
        f"logit of the first digit is the largest by at least {margin}."
    )


def chain_of(weights: Weights, digit: int) -> Chain | None:
    """Boxes that contain the states after one digit, two, and so on, until one contains all later ones, too.

    Each box follows from the last one by interval arithmetic. It is widened before it is compared with the last one, so
    the chain ends if the boxes shrink or grow towards a limit (epsilon-inflation; Rump 1983). The cells of an LSTM are
    counters without a limit. Their bounds become infinite after some digits; there are several tries.
    """
    is_lstm = len(weights.W_h) > weights.W_h.shape[1]
    tries = (chain_with_cells_free_after(weights, digit, num) for num in (FREE_AFTER if is_lstm else (MAX_BOXES,)))
    chain = None
    for chain in filter(None, tries):
        if margins_of_chain(weights, chain, digit)[-1] > ROOM:
            return chain
    return chain  # that ends, but is too wide


def chain_with_cells_free_after(weights: Weights, digit: int, num: int) -> Chain | None:
    """The chain in which the bounds of cells are infinite after ``num`` digits; None if it does not end."""
    inputs = weights.W_x.T + weights.b  # (K, H) or (K, 4H)
    H = weights.W_h.shape[1]
    state = step(inputs[digit][None], inputs[digit][None], np.zeros((2, H)), H)
    lower, upper = state[0] - ROOM, state[1] + ROOM
    chain = [(lower, upper)]
    for k in range(2, MAX_BOXES + 1):
        middle = weights.W_h @ (lower[:H] + upper[:H]) / 2
        radius = np.abs(weights.W_h) @ (upper[:H] - lower[:H]) / 2
        cells = np.stack([lower, upper])[:, H:]
        next_lower, next_upper = step(middle - radius + inputs, middle + radius + inputs, cells, H)
        next_lower, next_upper = next_lower - ROOM, next_upper + ROOM
        if (next_lower >= lower).all() and (next_upper <= upper).all():
            return Chain(*map(np.array, zip(*chain, strict=True)))
        falling, rising = next_lower[H:] < lower[H:], next_upper[H:] > upper[H:]
        lower, upper = next_lower - ROOM, next_upper + ROOM
        if k >= num:  # widening: a bound that does not hold has no limit (Cousot and Cousot 1977)
            lower[H:][falling], upper[H:][rising] = -np.inf, np.inf
        chain.append((lower, upper))
    return None


def step(lower: NDArray[np.float64], upper: NDArray[np.float64], cells: NDArray[np.float64], H: int) -> Bounds:
    """Bounds of the next state over all digits.

    Args:
        lower: bounds of the gates before tanh and sigmoid for each digit, (K, H) of a vanilla RNN or (K, 4H).
        upper: the same.
        cells: lower and upper bounds of the cells of an LSTM, (2, H).
        H: hidden units.
    """
    if lower.shape[1] == H:
        return np.tanh(lower.min(axis=0)), np.tanh(upper.max(axis=0))
    parts = np.stack([lower, upper]).reshape(2, len(lower), 4, H)
    g = np.tanh(parts[:, :, 0])
    i, f, o = (expit(parts[:, :, gate]) for gate in (1, 2, 3))
    c = gated(g, i) + gated(np.broadcast_to(cells[:, None], f.shape), f)
    h = gated(np.tanh(c), o)
    return np.concatenate([h[0], c[0]], axis=1).min(axis=0), np.concatenate([h[1], c[1]], axis=1).max(axis=0)


def gated(value: NDArray[np.float64], gate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bounds (2, ...) of the product of a value with a gate, which is above 0, from their bounds."""
    return np.stack([np.minimum(*(value[0] * gate)), np.maximum(*(value[1] * gate))])


def margins_of_chain(weights: Weights, chain: Chain, digit: int) -> NDArray[np.float64]:
    """For each box a lower bound of the logit of the first digit minus the largest other logit, (n,)."""
    rows = np.delete(weights.W_ph[digit] - weights.W_ph, digit, axis=0)  # (K-1, H)
    biases = np.delete(weights.b_p[digit] - weights.b_p, digit)
    H = rows.shape[1]
    lower, upper = chain.lower[:, :H], chain.upper[:, :H]
    middle, radius = (lower + upper) / 2, (upper - lower) / 2
    bounds: NDArray[np.float64] = middle @ rows.T - radius @ np.abs(rows).T + biases
    return bounds.min(axis=1, initial=np.inf)


def first_length_of(margins: list[NDArray[np.float64]]) -> int | None:
    """The shortest palindromes from which on the first digit has the largest logit in all boxes; None if never."""
    first_length = 2
    for of_digit in margins:
        (failed,) = np.nonzero(of_digit <= ROOM)
        if failed.size and failed[-1] == len(of_digit) - 1:
            return None
        first_length = max([first_length, *(int(k) + 3 for k in failed)])
    return first_length


def join(chains: list[Chain], first_length: int, checksum: str) -> Certificate:
    """The certificate of all chains: each box is followed by the next one of its chain, the last one by itself."""
    lengths = [len(chain.lower) for chain in chains]
    first_box = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    following = np.arange(1, sum(lengths) + 1)
    following[np.cumsum(lengths) - 1] -= 1
    return Certificate(
        lower=np.concatenate([chain.lower for chain in chains]),
        upper=np.concatenate([chain.upper for chain in chains]),
        first_digit=np.repeat(np.arange(len(chains)), lengths),
        first_box=first_box,
        successor=np.repeat(following[:, None], len(chains), axis=1),
        first_length=first_length,
        checksum=checksum,
    )


def explain_failure(trained: TrainedNetwork, reason: str) -> int:
    """Say why nothing was proved: by a mistake of the network if one is found, else by the bounds.

    A network may be wrong for palindromes that are shorter than all it was trained on. A longer mistake counts first.
    """
    tried = [mistake_at(trained.network, length) for length in exhaustive_lengths(trained.network)]
    mistake = tried[-1] or find_long_mistake(trained)
    if mistake is not None:
        print(f"Not proved: {mistake}.")
        return 1
    short = [found for found in tried if found is not None]
    exceptions = f", apart from the shortest: {short[-1]}" if short else ""
    print(f"Not proved: {reason}. No mistake was found{exceptions}.")
    return 1


def exhaustive_lengths(network: Network) -> list[int]:
    """The lengths of which all palindromes can be tried, from 2 on."""
    halves = itertools.takewhile(lambda half: network.input_size**half <= TRIED_MAX, itertools.count(1))
    return [length for half in halves for length in (2 * half - 1, 2 * half) if length > 1] or [2]


def find_long_mistake(trained: TrainedNetwork) -> str | None:
    """A mistake among patterns and random palindromes of several lengths; None if there is none."""
    generator = torch.Generator().manual_seed(trained.seed)
    for length in TRIED_LENGTHS:
        random = torch.randint(trained.num_classes, (1000, half_length(length)), generator=generator)
        kinds = all_patterns(length, trained.num_classes).values() if length <= PATTERN_LENGTH_MAX else ()
        for halves in itertools.chain([random], *(batches_of(kind, length) for kind in kinds)):
            if (mistake := mistake_among(trained.network, mirrored(halves, length))) is not None:
                return mistake
    return None


def mistake_at(network: Network, length: int) -> str | None:
    """A palindrome of this length that the network completes wrongly, in words; None if there is none."""
    N = half_length(length)
    halves = torch.cartesian_prod(*[torch.arange(network.input_size)] * N).view(-1, N)
    return mistake_among(network, mirrored(halves, length))


def mistake_among(network: Network, palindromes: torch.Tensor) -> str | None:
    """The first of the palindromes (N, T) that the network completes wrongly, in words; of many digits the first."""
    with torch.no_grad():
        named = network(palindromes[:, :-1], num_last_steps=1)[0][:, -1].argmax(dim=1)
    wrong = (named != palindromes[:, 0]).nonzero()
    if not len(wrong):
        return None
    row = int(wrong[0, 0])
    digits = palindromes[row, :-1].tolist()
    shown = " ".join(map(str, digits[:12])) + (f" ... ({len(digits)} digits)" if len(digits) > 12 else "")
    return f"after {shown} it names {int(named[row])}"


def check_certificate(certificate: Certificate, network: Network) -> Checked | Refusal:
    """Check each inequality of a certificate of this network."""
    return check_inequalities(certificate, {name: tensor.numpy() for name, tensor in network.state_dict().items()})


def check_file(path: Path, trained: TrainedNetwork) -> int:
    """Check the inequalities of a certificate, and print what is proved or the one that does not hold."""
    certificate = read_certificate(path)
    if certificate.checksum != checksum_of(trained.network.state_dict()):
        raise UserError(f"{path} is for other weights than those of {trained.path}; make it again with certify")
    checked = check_certificate(certificate, trained.network)
    if isinstance(checked, Refusal):
        print(f"Not proved: {in_words(checked)}.")
        return 1
    print(statement(trained.network, certificate.first_length))
    print(description(checked))
    return 0


def in_words(refusal: Refusal) -> str:
    """The reason, and the box if it is about one."""
    return refusal.reason + (f", box {refusal.box}" if refusal.box >= 0 else "")


def rows_of(found: Found, H: int) -> Rows:
    """A row for each box: first digit, digits read, mean width of the bounds of a hidden unit, smallest margin."""
    return [
        {"digit": digit, "digits_read": k + 1, "width": float((upper - lower)[:H].mean()), "margin": float(margin)}
        for digit, (chain, margins) in enumerate(zip(found.chains, found.margins, strict=True))
        for k, (lower, upper, margin) in enumerate(zip(*chain, margins, strict=True))
    ]


def draw(rows: Rows, path: Path) -> None:
    """Left how wide the boxes are after each digit, right the smallest margin; a line for each first digit."""
    labels = {"width": "mean width of the bounds of a unit", "margin": "smallest margin of the first digit"}
    figure, panels = new_figure(1, 2, PAGE_WIDTH, 2.8)
    for axes, (key, label) in zip(panels, labels.items(), strict=True):
        for digit in values_of(rows, "digit"):
            own = filter_rows(rows, digit=digit)
            style = {"color": COLOURS[digit % len(COLOURS)], "linestyle": "-" if digit < len(COLOURS) else "--"}
            axes.plot(column(own, "digits_read"), column(own, key), label=str(digit), marker="o", markersize=3, **style)
        axes.set(
            xlabel="digits read (last mark: and all later ones)", ylabel=label, ylim=(min(0, axes.get_ylim()[0]), None)
        )
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=5, columnspacing=1, frameon=False, title="first digit"
    )
    save_figure(figure, path)
