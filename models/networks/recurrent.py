"""What the handwritten networks share: how inputs enter, how outputs leave, how many numbers are learned.

Legend: B batch, T time steps, I input features, H hidden units, K classes, G gates times H (H for the vanilla RNN).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


class HandwrittenNetwork(nn.Module):
    """A recurrence over time with a linear readout (equation 2, which is also equation 10); see its two subclasses.

    Args:
        input_size: features of ``x_t``, I; for digits, the number of different ones.
        hidden_size: features of ``h_t``, H.
        output_size: classes, K.
    Raises:
        ValueError: one of the sizes is below 1.
    """

    W_ph: nn.Parameter
    b_p: nn.Parameter

    def __init__(self, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("output_size", output_size)):
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.W_ph = nn.Parameter(torch.empty(output_size, hidden_size))
        self.b_p = nn.Parameter(torch.empty(output_size))

    def num_parameters(self) -> dict[str, int]:
        """Trainable numbers: ``cell`` (the recurrence alone, as question 1.5b counts), ``output`` and ``total``."""
        total = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        output = sum(p.numel() for p in (self.W_ph, self.b_p) if p.requires_grad)
        return {"cell": total - output, "output": output, "total": total}

    def readout(self, hidden_states: Tensor) -> Tensor:
        """``p_t = W_ph h_t + b_p`` (equations 2 and 10): (..., H) -> logits (..., K)."""
        return hidden_states @ self.W_ph.t() + self.b_p

    def check_inputs(self, inputs: Tensor, num_last_steps: int | None) -> None:
        """Raise a ValueError unless ``inputs`` are digits (B, T) int64 or floats (B, T, I) with the steps asked for."""
        if inputs.dtype == torch.int64 and inputs.dim() == 2:
            fits = True
        else:
            fits = inputs.is_floating_point() and inputs.dim() == 3 and inputs.shape[2] == self.input_size
        if not fits:
            raise ValueError(
                f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}; "
                f"expected int64 (B, T) or floating point (B, T, {self.input_size})"
            )
        num_steps = inputs.shape[1]
        if num_steps == 0:
            raise ValueError("inputs have 0 time steps; at least 1 is needed")
        if num_last_steps is not None and not 1 <= num_last_steps <= num_steps:
            raise ValueError(
                f"num_last_steps is {num_last_steps}; expected 1 to {num_steps}, the time steps of the input"
            )

    def check_state(self, state: Tensor, inputs: Tensor) -> None:
        """Raise a ValueError unless ``state`` is (B, H) for the B of ``inputs``."""
        expected = (inputs.shape[0], self.hidden_size)
        if tuple(state.shape) != expected:
            raise ValueError(f"the initial state has shape {tuple(state.shape)}; expected (B, H) = {expected}")


def project_inputs(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``W x_t + b`` for all time steps at once, time first.

    A digit stands for a one-hot vector, so its product with ``weight`` is a column of ``weight``: a lookup, no product.

    Shape:
        digits (B, T) int64 in [0, I), or floats (B, T, I); weight (G, I); bias (G,) -> (T, B, G).
    """
    if inputs.is_floating_point():
        return inputs.transpose(0, 1) @ weight.t() + bias
    return functional.embedding(inputs.t(), weight.t().contiguous() + bias)
