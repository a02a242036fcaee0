"""The file that proves what a network remembers; ``docs/proof.md`` has the theorem.

A certificate is a graph of boxes in the space of states: of h, or in an LSTM of h and c. A box belongs to a first
digit, and it has a successor for every next digit. It proves that a network predicts the first digit after
every sequence of at least ``first_length - 1`` digits if

- the state after each single digit is in that digit's first box,
- each digit maps each box into its successor, whatever the rounding,
- in every box that a state can be in after ``first_length - 1`` digits or more, the logit of the first digit is the
  largest, whatever the rounding.

``experiments.certificate_check`` checks these inequalities. It shares no code with ``experiments.certify``, which finds
the boxes.

Legend: S boxes, K different digits, N numbers of a state: H of a vanilla RNN, 2H of an LSTM (h, then c).
"""

import contextlib
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.errors import UserError

SHAPES = {"lower": 2, "upper": 2, "first_digit": 1, "first_box": 1, "successor": 2}
"""The arrays of a certificate and their numbers of dimensions."""


class Certificate(NamedTuple):
    """A graph of boxes.

    Args:
        lower, upper: bounds of each number of a state, (S, N) float64; those of c may be infinite.
        first_digit: of the sequences whose states the box contains, (S,) int64.
        first_box: for each first digit the box of the state after it, (K,) int64.
        successor: for each box and each next digit the box that contains the next state, (S, K) int64.
        first_length: the shortest palindromes for which the readout is proved.
        checksum: SHA-256 of the weights; see ``checksum_of``.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    first_digit: NDArray[np.int64]
    first_box: NDArray[np.int64]
    successor: NDArray[np.int64]
    first_length: int
    checksum: str


def checksum_of(weights: dict[str, Tensor]) -> str:
    """SHA-256 of the weights' names, shapes and float32 values."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        array = weights[name].detach().cpu().numpy().astype("<f4")
        digest.update(f"{name} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


def write_certificate(certificate: NamedTuple, path: Path) -> None:
    """Write a certificate as a compressed ``.npz`` file without pickled objects."""
    np.savez_compressed(path, allow_pickle=False, **certificate._asdict())


@contextlib.contextmanager
def reading_certificate(path: Path, dimensions: dict[str, int]) -> Iterator[dict[str, NDArray[Any]]]:
    """The arrays of a file; within the context, what a damaged file raises becomes a UserError.

    Args:
        path: of the file.
        dimensions: of the arrays by their names; there may be others.
    """
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        sizes = {name: arrays[name].ndim for name in dimensions}
        if sizes == dimensions:
            yield arrays
            return
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}; make it with certify") from error
    except (LookupError, TypeError, ValueError, OverflowError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{path} is not a certificate; make it with certify") from error
    raise UserError(f"{path} is not a certificate: its arrays have {sizes} dimensions; make it with certify")


def read_certificate(path: Path) -> Certificate:
    """Read a certificate.

    Raises:
        UserError: the file cannot be read, or it is not a certificate.
    """
    with reading_certificate(path, SHAPES) as arrays:
        return Certificate(
            lower=arrays["lower"].astype(np.float64, casting="equiv"),
            upper=arrays["upper"].astype(np.float64, casting="equiv"),
            first_digit=arrays["first_digit"].astype(np.int64, casting="equiv"),
            first_box=arrays["first_box"].astype(np.int64, casting="equiv"),
            successor=arrays["successor"].astype(np.int64, casting="equiv"),
            first_length=int(arrays["first_length"].astype(np.int64, casting="equiv")),
            checksum=str(arrays["checksum"]),
        )
