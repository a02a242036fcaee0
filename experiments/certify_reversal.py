"""Proves that a stack RNN with hardened actions writes every string in reverse, of every length; see docs/strings.md.

Legend: K different symbols, H hidden units, M features of a cell of the stack.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from datamodules.string_tasks import reversed_strings
from experiments.certificate import checksum_of, write_certificate
from experiments.certificate_check import Refusal, rounded_down
from experiments.provenance import record
from experiments.reversal_certificate import ReversalCertificate, read_reversal_certificate
from experiments.reversal_check import CheckedReversal, check_reversal
from experiments.tables import cannot_write, make_folder
from experiments.trained_model import TrainedStackRNN, check_float32, load_stack_rnn
from models.networks import StackRNN
from training.errors import UserError

MAX_STEPS = 200
"""The most steps until the boxes must have settled."""

ROOM = 1e-4
"""By how much a box is wider than the states that were found, so that all that rounding changes stays inside."""

TRIED_LENGTHS = (1, 2, 3, 5, 10, 40, 100, 500)
"""Lengths of the strings that are tried if nothing is proved."""

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


def certify_reversal(ckpt_path: str, output_dir: str | None, check: bool) -> int:
    """The command ``certify`` for a Transducer; see ``experiments.certify.certify``."""
    trained = load_stack_rnn(ckpt_path, "reverse")
    check_float32(trained.path, trained.dtype)
    folder = trained.folder / "certificate" if output_dir is None else Path(output_dir)
    path = folder / "certificate.npz"
    if check:
        certificate = read_reversal_certificate(path)
        if certificate.checksum != checksum_of(trained.network.state_dict()):
            raise UserError(f"{path} is for other weights than those of {trained.path}; make it again with certify")
        checked = check_certificate(certificate, trained.network)
        return tell(checked, trained)
    make_folder(folder)  # before the search
    found = find(trained.network)
    if isinstance(found, Refusal):
        return tell(found, trained)
    checked = check_certificate(found, trained.network)
    if isinstance(checked, CheckedReversal):
        try:
            write_certificate(found, path)
            record(folder, [path.name])
        except OSError as error:
            raise cannot_write(folder, error) from error
    return tell(checked, trained)


def check_certificate(certificate: ReversalCertificate, network: StackRNN) -> CheckedReversal | Refusal:
    """Check each inequality of a certificate of this network."""
    return check_reversal(certificate, {name: tensor.numpy() for name, tensor in network.state_dict().items()})


def tell(checked: CheckedReversal | Refusal, trained: TrainedStackRNN) -> int:
    """Print what is proved, or why nothing is; the exit status."""
    if isinstance(checked, Refusal):
        print(f"Not proved: {find_mistake(trained) or checked.reason + '. No mistake was found'}.")
        return 1
    print("Proved: writes every string of every length from 1 to infinity in reverse, with hardened actions.")
    print(
        f"Checked {checked.num_inequalities:,} inequalities: all hold. The logit of the right symbol is the largest by "
        f"at least {rounded_down(checked.margin)}, the score of the right action by at least "
        f"{rounded_down(checked.action_margin)}."
    )
    return 0


def find(network: StackRNN) -> ReversalCertificate | Refusal:
    """The boxes of all states, which are not checked yet, or why there are none.

    Each box follows from the last one by interval arithmetic and is widened, until nothing grows any more.
    """
    w = {name: tensor.detach().double().numpy() for name, tensor in network.named_parameters()}
    K, H = w["W_ph"].shape
    W_r, inputs = np.concatenate([w["W_hh"], w["W_hs"]], 1), w["W_hx"].T + w["b_h"]
    lower, upper = np.zeros(W_r.shape[1]), np.zeros(W_r.shape[1])
    for _ in range(MAX_STEPS):
        read = [np.tanh(bound + inputs[:K]) for bound in affine(W_r, (lower, upper))]
        read_lower, read_upper = read[0] - ROOM, read[1] + ROOM
        pushed = affine(w["W_vh"], (read_lower, read_upper), w["b_v"])
        pushed_lower, pushed_upper = expit(pushed[0]) - ROOM, expit(pushed[1]) + ROOM
        after_lower = np.concatenate([read_lower, pushed_lower], 1).min(0)
        after_upper = np.concatenate([read_upper, pushed_upper], 1).max(0)
        if (after_lower >= lower).all() and (after_upper <= upper).all():
            break
        lower, upper = np.minimum(lower, after_lower - ROOM), np.maximum(upper, after_upper + ROOM)
    else:
        return Refusal(f"the box of the states that read still grows after {MAX_STEPS} steps", -1)
    after = np.concatenate([read_lower, pushed_lower], 1), np.concatenate([read_upper, pushed_upper], 1)
    marked = [np.tanh(bound + inputs[K]) for bound in affine(W_r, after)]
    writing_lower, writing_upper = marked[0].min(0) - ROOM, marked[1].max(0) + ROOM
    for _ in range(MAX_STEPS):
        before_lower = np.concatenate([np.broadcast_to(writing_lower, (K, H)), pushed_lower], 1)
        before_upper = np.concatenate([np.broadcast_to(writing_upper, (K, H)), pushed_upper], 1)
        written = [np.tanh(bound + inputs[K + 1]) for bound in affine(W_r, (before_lower, before_upper))]
        after_lower, after_upper = written[0].min(0) - ROOM, written[1].max(0) + ROOM
        if (after_lower >= writing_lower).all() and (after_upper <= writing_upper).all():
            break
        writing_lower = np.minimum(writing_lower, after_lower - ROOM)
        writing_upper = np.maximum(writing_upper, after_upper + ROOM)
    else:
        return Refusal(f"the box of the states that write still grows after {MAX_STEPS} steps", -1)
    boxes = (lower, upper, writing_lower, writing_upper, pushed_lower, pushed_upper)
    return ReversalCertificate(*boxes, checksum_of(network.state_dict()))


def affine(W: NDArray[np.float64], box: Bounds, b: NDArray[np.float64] | float = 0.0) -> Bounds:
    """Bounds of ``W x + b`` for all x of a box; (..., N) -> (..., G)."""
    middle, radius = (box[0] + box[1]) / 2 @ W.T + b, (box[1] - box[0]) / 2 @ np.abs(W).T
    return middle - radius, middle + radius


def find_mistake(trained: TrainedStackRNN) -> str | None:
    """A string that the network does not write in reverse, in words; None if none is found."""
    generator = torch.Generator().manual_seed(trained.seed)
    for length in TRIED_LENGTHS:
        strings = torch.randint(trained.num_symbols, (1000, length), generator=generator)
        symbols, target = reversed_strings(strings, trained.num_symbols)
        written = trained.network.logits(symbols, length, hardened=True).argmax(2)
        wrong = (written != target).any(1).nonzero()
        if len(wrong):
            row = int(wrong[0, 0])
            words = [" ".join(map(str, ids[row, :12].tolist())) for ids in (strings, written)]
            more = f" ... ({length} symbols)" if length > 12 else ""
            return f"after {words[0]}{more} it writes {words[1]}{' ...' if more else ''}"
    return None
