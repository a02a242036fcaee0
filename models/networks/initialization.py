"""How the weights of the handwritten networks start: one small function each, its source beside it.

Each works in place on the tensors it is given. Legend: H hidden units.
"""

import math
from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Initialization = Literal["orthogonal", "identity", "chrono", "uniform"]


def check_name(initialization: str, possible: tuple[str, ...] = get_args(Initialization)) -> None:
    """Raise a ValueError unless the name is one of those that the network has."""
    if initialization not in possible:
        raise ValueError(f"initialization is {initialization!r}; for this network it is one of {', '.join(possible)}")


def check_scale(name: str, value: float) -> None:
    """Raise a ValueError unless a scale is a number, 0 or above."""
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; it must be a number from 0 up")


def orthogonal_(matrices: Iterable[Tensor], scale: float = 1.0) -> None:
    """Make every recurrent matrix (H, H) ``scale`` times an orthogonal one (Saxe, McClelland and Ganguli 2014, ch. 3).

    At scale 1 all singular values are 1, so that, the squashing functions aside, neither the state nor its gradient
    shrinks or grows from one time step to the next.
    """
    for matrix in matrices:
        nn.init.orthogonal_(matrix, gain=scale)


def identity_(matrices: Iterable[Tensor], scale: float = 1.0) -> None:
    """Make every recurrent matrix (H, H) ``scale`` times the identity (Le, Jaitly and Hinton 2015, section 3).

    At scale 1 each unit keeps to itself what it has, the squashing function aside (theirs was ReLU); below 1 it forgets
    at that rate, which they recommend where little need be remembered.
    """
    for matrix in matrices:
        nn.init.eye_(matrix)
        matrix.detach().mul_(scale)


def chrono_(b_i: Tensor, b_f: Tensor, longest_memory: int) -> None:
    """``b_f ~ log U(1, T_max - 1)`` and ``b_i = -b_f`` (Tallec and Ollivier 2018, equation 16).

    A cell with forget bias b keeps its content for about 1 + exp(b) steps; so the cells begin with memories of all
    lengths up to T_max, and each with an input gate as narrow as its memory is long.
    """
    with torch.no_grad():
        b_f.uniform_(1, max(1, longest_memory - 1)).log_()
        b_i.copy_(-b_f)


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
