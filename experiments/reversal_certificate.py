"""The file that proves that a stack RNN writes strings in reverse; ``docs/strings.md`` has the theorem.

Legend: K different symbols, H hidden units, M features of a cell of the stack.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.certificate import reading_certificate

SHAPES = {"lower": 1, "upper": 1, "writing_lower": 1, "writing_upper": 1, "pushed_lower": 2, "pushed_upper": 2}
"""The arrays of a certificate and their numbers of dimensions."""

Array = NDArray[np.float64]


class ReversalCertificate(NamedTuple):
    """Boxes that contain all states while strings are read and written, float64.

    Args:
        lower, upper: bounds of h and of the top of the stack while a string is read, (H + M,).
        writing_lower, writing_upper: bounds of h from the marker on, (H,).
        pushed_lower, pushed_upper: for each symbol the bounds of what is pushed when it is read, (K, M).
        checksum: SHA-256 of the weights; see ``experiments.certificate.checksum_of``.
    """

    lower: Array
    upper: Array
    writing_lower: Array
    writing_upper: Array
    pushed_lower: Array
    pushed_upper: Array
    checksum: str


def read_reversal_certificate(path: Path) -> ReversalCertificate:
    """Read a certificate.

    Raises:
        UserError: the file cannot be read, or it is not such a certificate.
    """
    with reading_certificate(path, SHAPES) as arrays:
        bounds = {name: arrays[name].astype(np.float64, casting="equiv") for name in SHAPES}
        return ReversalCertificate(**bounds, checksum=str(arrays["checksum"]))
