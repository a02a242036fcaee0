"""torch's own networks with the weights of ours."""

import torch
from torch import nn

from models.networks import LSTM, VanillaRNN

TORCH_ORDER = "ifgo"
"""The order of the gates in ``torch.nn.LSTM``'s weights; ours is that of the equations."""


def vendor(ours: LSTM | VanillaRNN) -> nn.LSTM | nn.RNN:
    """``torch.nn.LSTM`` or ``torch.nn.RNN`` with the weights of ``ours``; it has two biases, of which one is zero."""
    dtype = ours.W_ph.dtype
    if isinstance(ours, LSTM):
        theirs: nn.LSTM | nn.RNN = nn.LSTM(ours.input_size, ours.hidden_size, batch_first=True, dtype=dtype)
        weights = [
            torch.cat([getattr(ours, f"{kind[0]}_{gate}{kind[1:]}") for gate in TORCH_ORDER])
            for kind in ("Wx", "Wh", "b")
        ]
    else:
        theirs = nn.RNN(ours.input_size, ours.hidden_size, batch_first=True, dtype=dtype)
        weights = [ours.W_hx, ours.W_hh, ours.b_h]
    with torch.no_grad():
        for name, weight in zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"), weights, strict=True):
            theirs.get_parameter(name).copy_(weight)
        theirs.get_parameter("bias_hh_l0").zero_()
    return theirs
