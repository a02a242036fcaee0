"""The vanilla recurrent network, written by hand (equations 1-2 of the assignment; Elman 1990).

Legend: B batch, T time steps, I input features, H hidden units, K classes, n last time steps asked for.
"""

import torch
from torch import Tensor, nn

from models.networks.initialization import Initialization, normal_, orthogonal_, uniform_
from models.networks.recurrent import HandwrittenNetwork, project_inputs


class VanillaRNN(HandwrittenNetwork):
    """A vanilla recurrent network with a linear readout (equations 1-2 of the assignment).

        h_t = tanh(W_hx x_t + W_hh h_{t-1} + b_h)        (1)
        p_t = W_ph h_t + b_p                             (2)

    The parameters bear the names of the equations: ``W_hx`` (H, I), ``W_hh`` (H, H), ``b_h`` (H,), ``W_ph`` (K, H),
    ``b_p`` (K,).

    Args:
        input_size: features of ``x_t``, I; for digits, the number of different ones.
        hidden_size: features of ``h_t``, H.
        output_size: classes, K.
        initialization: ``orthogonal`` (``W_hh`` orthogonal, ``W_hx`` normal with ``input_scale``, biases 0) or
            ``uniform`` (everything as in ``torch.nn.RNN``).
        input_scale: standard deviation of the entries of ``W_hx`` at the start, for ``orthogonal``.
    Raises:
        ValueError: a size is below 1, or inputs or state do not fit; the message names both.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        initialization: Initialization = "orthogonal",
        input_scale: float = 0.01,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size)
        self.W_hx = nn.Parameter(torch.empty(hidden_size, input_size))
        self.W_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.b_h = nn.Parameter(torch.empty(hidden_size))
        uniform_(self.parameters(), hidden_size)
        if initialization == "orthogonal":
            orthogonal_([self.W_hh])
            normal_([self.W_hx], input_scale)
            nn.init.zeros_(self.b_h)

    def forward(
        self, inputs: Tensor, state: Tensor | None = None, num_last_steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the last ``num_last_steps`` time steps (all by default), and the final state.

        Shape:
            inputs: digits (B, T) int64 in [0, I), or floats (B, T, I).
            state: ``h_0`` (B, H); zeros by default.
            returns: logits (B, n, K) and ``h_T`` (B, H).
        """
        hidden_states, state = self.hidden_states(inputs, state, num_last_steps)
        return self.readout(hidden_states), state

    def hidden_states(
        self, inputs: Tensor, state: Tensor | None = None, num_last_steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """``h_t`` of the last ``num_last_steps`` time steps (all by default), (B, n, H), and the final state."""
        self.check_inputs(inputs, num_last_steps)
        if state is None:
            h = self.W_hh.new_zeros(inputs.shape[0], self.hidden_size)
        else:
            self.check_state(state, inputs)
            h = state
        W_hh_t = self.W_hh.t()
        history = []
        for x_projected in project_inputs(inputs, self.W_hx, self.b_h).unbind(0):
            h = torch.tanh(torch.addmm(x_projected, h, W_hh_t))  # (B, H)
            history.append(h)
        return torch.stack(history[-(num_last_steps or 0) :], dim=1), h
