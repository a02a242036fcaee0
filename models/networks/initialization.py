"""How the weights of the handwritten networks start: one small function each, its source beside it.

Each works in place on the tensors it is given. Legend: H hidden units.
"""

import math
from collections.abc import Iterable
from typing import Literal, get_args

from torch import Tensor, nn

Initialization = Literal["orthogonal", "uniform"]


def check_name(initialization: str) -> None:
    if initialization not in get_args(Initialization):
        raise ValueError(f"initialization is {initialization!r}; expected one of {', '.join(get_args(Initialization))}")


def orthogonal_(matrices: Iterable[Tensor]) -> None:
    """Make every recurrent matrix (H, H) orthogonal (Saxe, McClelland and Ganguli 2014, section 3).

    All singular values are 1, so that, the squashing functions aside, neither the state nor its gradient shrinks or
    grows from one time step to the next.
    """
    for matrix in matrices:
        nn.init.orthogonal_(matrix)


def normal_(tensors: Iterable[Tensor], std: float) -> None:
    """Draw every entry from N(0, ``std``^2).

    On the input weights a small ``std`` lets what is remembered outlast what is read in between.
    """
    for tensor in tensors:
        nn.init.normal_(tensor, std=std)


def uniform_(tensors: Iterable[Tensor], hidden_size: int) -> None:
    """Draw every entry from U(-1/sqrt(H), 1/sqrt(H)), as ``torch.nn.RNN`` and ``torch.nn.LSTM`` do by default."""
    bound = 1.0 / math.sqrt(hidden_size)
    for tensor in tensors:
        nn.init.uniform_(tensor, -bound, bound)
