"""Initializations of the handwritten networks' weights, one function each, with its source.

Each works in place on the given tensors. Legend: H hidden units.
"""

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

Initialization = Literal["orthogonal", "identity", "chrono", "uniform"]


def orthogonal_(matrices: Iterable[Tensor], scale: float = 1.0) -> None:
    """Make every recurrent matrix (H, H) ``scale`` times an orthogonal one (Saxe, McClelland and Ganguli 2014, ch. 3).

    At scale 1 all singular values are 1. Apart from the effect of tanh and sigmoid, neither the state nor its gradient
    then shrinks or grows from one time step to the next.
    """
    for matrix in matrices:
        nn.init.orthogonal_(matrix, gain=scale)


def identity_(matrix: Tensor, scale: float = 1.0) -> None:
    """Make a recurrent matrix (H, H) ``scale`` times the identity (Le, Jaitly and Hinton 2015, section 3).

    At scale 1 each unit keeps its value, apart from the effect of tanh (their networks had ReLU). Below 1 it forgets at
    that rate, which they recommend for tasks that need little memory.
    """
    nn.init.eye_(matrix).detach().mul_(scale)


def chrono_(b_i: Tensor, b_f: Tensor, longest_memory: int) -> None:
    """``b_f ~ log U(1, T_max - 1)`` and ``b_i = -b_f`` (Tallec and Ollivier 2018, equation 16).

    A cell with forget bias b keeps its content for about 1 + exp(b) steps. So the cells begin with memories of all
    lengths up to T_max. The longer the memory of a cell, the less its input gate is open.
    """
    with torch.no_grad():
        b_f.uniform_(1, max(1, longest_memory - 1)).log_()
        b_i.copy_(-b_f)


def uniform_(tensors: Iterable[Tensor], hidden_size: int) -> None:
    """Draw every entry from U(-1/sqrt(H), 1/sqrt(H)), as ``torch.nn.RNN`` and ``torch.nn.LSTM`` do by default."""
    bound = 1.0 / math.sqrt(hidden_size)
    for tensor in tensors:
        nn.init.uniform_(tensor, -bound, bound)
