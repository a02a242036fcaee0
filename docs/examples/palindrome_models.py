"""Other recurrent networks on the palindromes, each a ``PalindromeModel`` with a ``forward``.

Legend: B batch, T time steps, n last time steps with outputs, H hidden units, K different digits.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
from pytorch_lightning.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from models.networks import LSTM, VanillaRNN
from models.palindrome import PalindromeModel


class NumberClassifier(PalindromeModel):
    """Reads each digit as one number from 0 to K - 1, as the assignment's template does, not one-hot.

    Args:
        network: ``rnn`` (equations 1-2) or ``lstm`` (equations 4-10), with torch's default initialization.
        hidden_size: hidden units, H.
        num_classes: different digits, K; the command line links it to the data's.
        optimizer, lr_scheduler: see ``PalindromeClassifier``.
    """

    def __init__(
        self,
        network: Literal["rnn", "lstm"] = "lstm",
        hidden_size: int = 128,
        num_classes: int = 10,
        fused: bool = False,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        build = VanillaRNN if network == "rnn" else LSTM
        self.network = build(1, hidden_size, num_classes, initialization="uniform", fused=fused)

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        numbers = digits.to(self.network.W_ph.dtype)[:, :, None]
        logits, _ = self.network(numbers, num_last_steps=num_last_steps)
        return logits


class BaselineClassifier(PalindromeModel):
    """Predicts the last digit with one of four other recurrent networks.

    Args:
        network: ``gru`` is torch's gated recurrent unit (Cho et al. 2014). ``irnn`` has rectified linear units, and
            recurrent weights that start as the identity (Le, Jaitly and Hinton 2015). ``exprnn`` keeps its recurrent
            weights orthogonal, as the exponential of a skew-symmetric matrix, with modReLU units (Lezcano-Casado and
            Martinez-Rubio 2019). ``minlstm`` has gates that do not see the hidden state (Feng et al. 2024).
        hidden_size: hidden units, H.
        num_classes: different digits, K; the command line links it to the data's.
        optimizer, lr_scheduler: see ``PalindromeClassifier``.
    """

    def __init__(
        self,
        network: Literal["gru", "irnn", "exprnn", "minlstm"] = "gru",
        hidden_size: int = 128,
        num_classes: int = 10,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3),
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer, lr_scheduler)
        self.num_classes = num_classes
        build: Callable[[int, int], nn.Module] = {"gru": GRU, "irnn": IRNN, "exprnn": ExpRNN, "minlstm": MinLSTM}[
            network
        ]
        self.network = build(num_classes, hidden_size)
        self.output = nn.Linear(hidden_size, num_classes)

    def forward(self, digits: Tensor, num_last_steps: int = 1) -> Tensor:
        inputs = functional.one_hot(digits, self.num_classes).to(self.output.weight.dtype)
        return self.output(self.network(inputs)[:, -num_last_steps:])


class GRU(nn.Module):
    """torch's GRU; (B, T, K) -> (B, T, H)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.gru(inputs)[0]


class IRNN(nn.Module):
    """``h_t = relu(W x_t + U h_{t-1} + b)``; U starts as the identity, W from N(0, 0.001^2) (their section 3)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, nonlinearity="relu", batch_first=True)
        nn.init.eye_(self.rnn.weight_hh_l0)
        nn.init.normal_(self.rnn.weight_ih_l0, std=0.001)
        nn.init.zeros_(self.rnn.bias_ih_l0)
        nn.init.zeros_(self.rnn.bias_hh_l0)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.rnn(inputs)[0]


class ExpRNN(nn.Module):
    """``h_t = modrelu(W x_t + exp(A - A^T) h_{t-1})``, where ``modrelu(z) = sign(z) relu(|z| + b)``.

    The orthogonal matrix starts with rotations by random angles (their section 4.3, Henaff initialization).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(input_size, hidden_size, bias=False)
        nn.init.kaiming_normal_(self.inputs.weight)
        self.recurrent = nn.Linear(hidden_size, hidden_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        skew = torch.zeros(hidden_size, hidden_size)
        skew.diagonal(1)[::2] = torch.empty(hidden_size // 2).uniform_(-math.pi, math.pi)
        parametrizations.orthogonal(self.recurrent, orthogonal_map="matrix_exp", use_trivialization=False)
        with torch.no_grad():  # torch's map reads the lower triangle
            self.recurrent.parametrizations.weight.original.copy_(skew.T)

    def forward(self, inputs: Tensor) -> Tensor:
        W = self.recurrent.weight  # the exponential is computed once, not at each step
        h = inputs.new_zeros(len(inputs), len(W))
        states = []
        for x in self.inputs(inputs).unbind(1):
            z = x + h @ W.T
            h = z.sign() * functional.relu(z.abs() + self.bias)
            states.append(h)
        return torch.stack(states, dim=1)


class MinLSTM(nn.Module):
    """``h_t = f_t h_{t-1} + i_t g_t`` with gates of ``x_t`` alone, ``f_t + i_t = 1`` (their section 3.2).

    The forget gate's bias starts at 3, as in this project's LSTM.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gates = nn.Linear(input_size, 3 * hidden_size)
        nn.init.constant_(self.gates.bias[:hidden_size].detach(), 3.0)

    def forward(self, inputs: Tensor) -> Tensor:
        f, i, g = self.gates(inputs).chunk(3, dim=-1)
        f, i = f.sigmoid(), i.sigmoid()
        f, i = f / (f + i), i / (f + i)
        h = torch.zeros_like(g[:, 0])
        states = []
        for forget, write in zip(f.unbind(1), (i * g).unbind(1), strict=True):
            h = forget * h + write
            states.append(h)
        return torch.stack(states, dim=1)
