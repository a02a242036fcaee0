"""The handwritten vanilla recurrent network (equations 1-2 of the assignment; Elman 1990).

Legend: B batch, T time steps, I input features, H hidden units, K classes.
"""

import torch
from torch import Tensor, nn

from models.networks.bptt import VanillaRNNFunction
from models.networks.checks import check_choice, check_scale
from models.networks.initialization import Initialization, identity_, orthogonal_, uniform_
from models.networks.projection import project_inputs
from models.networks.recurrent import Backward, HandwrittenNetwork


class VanillaRNN(HandwrittenNetwork):
    """A vanilla recurrent network with a linear readout (equations 1-2 of the assignment).

        h_t = tanh(W_hx x_t + W_hh h_{t-1} + b_h)        (1)
        p_t = W_ph h_t + b_p                             (2)

    The parameters have the names of the equations: ``W_hx`` (H, I), ``W_hh`` (H, H), ``b_h`` (H,), ``W_ph`` (K, H),
    ``b_p`` (K,).

    Args:
        input_size: features of ``x_t``, I; for digits, the number of different digits.
        hidden_size: features of ``h_t``, H.
        output_size: classes, K.
        initialization: ``orthogonal`` or ``identity`` (of ``W_hh``; ``W_hx`` normal, biases 0), or ``uniform``
            (everything as in ``torch.nn.RNN``). There is no ``chrono``, which is for networks with gates.
        input_scale: initial standard deviation of the entries of ``W_hx``; not for ``uniform``. If it is small, later
            inputs disturb the memory less.
        recurrent_scale: factor of the initial ``W_hh``; not for ``uniform``.
        backward, fused: how gradients are computed; see ``HandwrittenNetwork``.
    Raises:
        ValueError: an argument is out of its range, or inputs or state do not fit; the message gives value and limit.
    """

    function = VanillaRNNFunction
    num_states = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        initialization: Initialization = "orthogonal",
        input_scale: float = 0.01,
        recurrent_scale: float = 1.0,
        backward: Backward = "bptt",
        fused: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, output_size, backward, fused)
        check_choice("initialization", initialization, ("orthogonal", "identity", "uniform"))
        check_scale("input_scale", input_scale)
        check_scale("recurrent_scale", recurrent_scale)
        self.W_hx = nn.Parameter(torch.empty(hidden_size, input_size))
        self.W_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.b_h = nn.Parameter(torch.empty(hidden_size))
        uniform_(self.parameters(), hidden_size)
        if initialization != "uniform":
            if initialization == "identity":
                identity_(self.W_hh, recurrent_scale)
            else:
                orthogonal_([self.W_hh], recurrent_scale)
            nn.init.normal_(self.W_hx, std=input_scale)
            nn.init.zeros_(self.b_h)

    def recurrent_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.W_hx, self.W_hh, self.b_h

    def unroll(self, inputs: Tensor, *state: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        (h,) = state
        W_hh_t = self.W_hh.t()
        history = []
        for x_projected in project_inputs(inputs, self.W_hx, self.b_h).unbind(0):
            h = torch.tanh(torch.addmm(x_projected, h, W_hh_t))  # (B, H)
            history.append(h)
        return history, (h,)
