"""The handwritten long short-term memory (equations 4-10 of the assignment; Hochreiter and Schmidhuber 1997).

Legend: B batch, T time steps, I input features, H hidden units, K classes.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.bptt import LSTMFunction
from models.networks.checks import check_choice, check_scale, check_sizes
from models.networks.initialization import Initialization, chrono_, orthogonal_, uniform_
from models.networks.projection import project_inputs
from models.networks.recurrent import Backward, HandwrittenNetwork

GATES = "gifo"
"""The order of the four gates in the stored weights, that of equations 4-7."""


class Gate:
    """One gate's H rows of a stored tensor, ``W_x``, ``W_h`` or ``b``, read and set by the name in the equations."""

    def __init__(self, stored: str, gate: str) -> None:
        self.stored = stored
        self.row_block = GATES.index(gate)

    def __get__(self, network: Any, owner: type | None = None) -> Any:
        if network is None:
            return self
        H = network.hidden_size
        return getattr(network, self.stored)[self.row_block * H : (self.row_block + 1) * H]

    def __set__(self, network: Any, value: Tensor) -> None:
        rows = self.__get__(network)
        if value.shape != rows.shape:
            raise ValueError(f"the value has shape {tuple(value.shape)}; expected {tuple(rows.shape)}")
        with torch.no_grad():
            rows.copy_(value)


class LSTM(HandwrittenNetwork):
    """Long short-term memory with a linear readout (equations 4-10 of the assignment).

        g_t = tanh(W_gx x_t + W_gh h_{t-1} + b_g)        (4)  candidate
        i_t = sigmoid(W_ix x_t + W_ih h_{t-1} + b_i)     (5)  input gate
        f_t = sigmoid(W_fx x_t + W_fh h_{t-1} + b_f)     (6)  forget gate
        o_t = sigmoid(W_ox x_t + W_oh h_{t-1} + b_o)     (7)  output gate
        c_t = g_t * i_t + c_{t-1} * f_t                  (8)
        h_t = tanh(c_t) * o_t                            (9)
        p_t = W_ph h_t + b_p                             (10)

    The four gates are stacked in the order g, i, f, o, as ``W_x`` (4H, I), ``W_h`` (4H, H) and ``b`` (4H,), so that a
    step is one matrix product. Each can also be read and set by its name in the equations: ``W_gx`` (H, I), ``W_gh``
    (H, H), ``b_g`` (H,), and so on. Reading gives a view, setting copies. ``W_ph`` is (K, H) and ``b_p`` (K,).

    Args:
        input_size: features of ``x_t``, I; for digits, the number of different digits.
        hidden_size: features of ``h_t`` and of ``c_t``, H.
        output_size: classes, K.
        initialization: ``orthogonal`` (each of the four recurrent matrices; input weights normal, biases 0 except
            ``b_f``), ``chrono`` (the same, with ``b_f`` and ``b_i`` for memories of all lengths up to
            ``longest_memory``) or ``uniform`` (everything as in ``torch.nn.LSTM``). There is no ``identity``, which is
            for networks without gates.
        input_scale: initial standard deviation of the entries of ``W_x``; not for ``uniform``. If it is small, later
            inputs disturb the memory less.
        recurrent_scale: factor of the initial recurrent matrices; not for ``uniform``.
        forget_bias: initial value of ``b_f``; above 0 the cell keeps its content at first (Gers, Schmidhuber and
            Cummins 2000). By default 3 for ``orthogonal``, and the drawn values for ``uniform``; not for ``chrono``.
        longest_memory: largest number of time steps between a cause and its effect, T_max, for ``chrono``.
        backward, fused: how gradients are computed; see ``HandwrittenNetwork``.
    Raises:
        ValueError: an argument is out of its range, or inputs or state do not fit; the message gives value and limit.
    """

    function = LSTMFunction
    num_states = 2
    W_gx, W_ix, W_fx, W_ox = (Gate("W_x", gate) for gate in GATES)
    W_gh, W_ih, W_fh, W_oh = (Gate("W_h", gate) for gate in GATES)
    b_g, b_i, b_f, b_o = (Gate("b", gate) for gate in GATES)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        initialization: Initialization = "orthogonal",
        forget_bias: float | None = None,
        longest_memory: int = 100,
        input_scale: float = 0.01,
        recurrent_scale: float = 1.0,
        backward: Backward = "bptt",
        fused: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, backward, fused)
        check_choice("initialization", initialization, ("orthogonal", "chrono", "uniform"))
        check_scale("input_scale", input_scale)
        check_scale("recurrent_scale", recurrent_scale)
        check_sizes(longest_memory=longest_memory)
        if forget_bias is not None and (initialization == "chrono" or not math.isfinite(forget_bias)):
            raise ValueError(
                f"forget_bias is {forget_bias} with initialization {initialization!r}; it must be finite, and chrono "
                "draws its own, so leave it out there"
            )
        self.W_x = nn.Parameter(torch.empty(len(GATES) * hidden_size, input_size))
        self.W_h = nn.Parameter(torch.empty(len(GATES) * hidden_size, hidden_size))
        self.b = nn.Parameter(torch.empty(len(GATES) * hidden_size))
        uniform_(self.parameters(), hidden_size)
        if initialization != "uniform":
            recurrent = [self.W_gh.detach(), self.W_ih.detach(), self.W_fh.detach(), self.W_oh.detach()]
            orthogonal_(recurrent, recurrent_scale)
            nn.init.normal_(self.W_x, std=input_scale)
            nn.init.zeros_(self.b)
        if initialization == "orthogonal" and forget_bias is None:
            forget_bias = 3.0
        if forget_bias is not None:
            nn.init.constant_(self.b_f.detach(), forget_bias)
        if initialization == "chrono":
            chrono_(self.b_i.detach(), self.b_f.detach(), longest_memory)

    def __setattr__(self, name: str, value: Any) -> None:
        # torch.nn.Module would register a Parameter under this name, and not copy it into the stored weights.
        gate = getattr(type(self), name, None)
        if isinstance(gate, Gate):
            gate.__set__(self, value)
        else:
            super().__setattr__(name, value)

    def recurrent_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.W_x, self.W_h, self.b

    def unroll(self, inputs: Tensor, *state: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        h, c = state
        H = self.hidden_size
        W_h_t = self.W_h.t()
        history = []
        for x_projected in project_inputs(inputs, self.W_x, self.b).unbind(0):
            pre = torch.addmm(x_projected, h, W_h_t)  # (B, 4H): g, i, f, o before tanh and sigmoid
            g_pre, ifo_pre = pre.split((H, 3 * H), dim=1)
            g = torch.tanh(g_pre)
            i, f, o = torch.sigmoid(ifo_pre).chunk(3, dim=1)
            c = torch.addcmul(c * f, g, i)  # g * i + c * f, rounded as in the hand-derived backward pass
            h = torch.tanh(c) * o
            history.append(h)
        return history, (h, c)
