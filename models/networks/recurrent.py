"""What both handwritten networks share: inputs, outputs, gradients.

Legend: B batch, T time steps, n last time steps with outputs, I input features, H hidden units, K classes, G gates
times H (H for the vanilla RNN, 4H for the LSTM).
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from models.networks import fused as compiled
from models.networks.bptt import PassOptions
from models.networks.checks import check_sizes
from models.networks.steps import PLAIN

Backward = Literal["bptt", "autograd"]

MAX_HIDDEN_NUMEL = 1 << 23
"""Elements of hidden states held at a time when there is no backward pass: 32 MiB of float32."""


class HandwrittenNetwork(nn.Module):
    """A recurrence over time with a linear readout (equation 2, which is also equation 10); see its two subclasses.

    Args:
        input_size: features of ``x_t``, I; for digits, the number of different digits.
        hidden_size: features of ``h_t``, H.
        output_size: classes, K.
        backward: ``bptt`` for the hand-derived backward pass, ``autograd`` for torch's own over a readable loop, which
            is slower, but can be differentiated twice. Both give the same outputs and gradients.
        fused: run the steps of ``bptt`` in compiled code (``fused.py``), for float32 and float64 on a CPU. It needs a
            C++ compiler, and ten seconds at the first use. Results differ by rounding.
    Raises:
        ValueError: a size is below 1; there is no such ``backward``; ``fused`` without ``bptt``, or it cannot be
            compiled.
    """

    W_ph: nn.Parameter
    b_p: nn.Parameter
    function: type[torch.autograd.Function]
    """The recurrence with its hand-derived backward pass."""
    num_states: int
    """1 if the state is h, 2 if it is (h, c)."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, backward: Backward, fused: bool) -> None:
        super().__init__()
        if not isinstance(fused, bool):
            raise ValueError(f"fused is {fused!r}; it must be true or false")
        check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size)
        if backward not in get_args(Backward):
            raise ValueError(f"backward is {backward!r}; it must be 'bptt' or 'autograd'")
        if fused and backward != "bptt":
            raise ValueError(f"fused is true with backward {backward!r}; set fused to false, or backward to 'bptt'")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.backward = backward
        self.fused = fused
        if fused:
            compiled.load()  # so that a missing compiler is reported before training begins
        self.W_ph = nn.Parameter(torch.empty(output_size, hidden_size))
        self.b_p = nn.Parameter(torch.empty(output_size))

    def recurrent_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Input weights (G, I), recurrent weights (G, H) and bias (G,)."""
        raise NotImplementedError

    def unroll(self, inputs: Tensor, *state: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The readable loop: every ``h_t`` (B, H), and the final state."""
        raise NotImplementedError

    def readout(self, hidden_states: Tensor) -> Tensor:
        """``p_t = W_ph h_t + b_p`` (equations 2 and 10): (..., H) -> logits (..., K)."""
        return hidden_states @ self.W_ph.t() + self.b_p

    def forward(self, inputs: Tensor, state: Any = None, num_last_steps: int | None = None) -> tuple[Tensor, Any]:
        """Logits of the last ``num_last_steps`` time steps (all by default), and the final state.

        Without gradients only the hidden states of a piece of the sequence are held, whatever its length.

        Shape:
            inputs: digits (B, T) int64 in [0, I), or floats (B, T, I) of the dtype of the parameters.
            state: ``h_0`` (B, H), for an LSTM ``(h_0, c_0)``; zeros by default.
            returns: logits (B, n, K), and the state after the last step in the form of ``state``.
        Raises:
            ValueError: inputs or state do not fit; the message gives the value and the expected one.
        """
        if torch.is_grad_enabled():
            hidden_states, state = self.hidden_states(inputs, state, num_last_steps)
            return self.readout(hidden_states), state
        check_inputs(inputs, num_last_steps, self.input_size, self.W_ph.dtype)
        T, n = inputs.shape[1], num_last_steps or inputs.shape[1]
        piece = max(1, MAX_HIDDEN_NUMEL // max(1, len(inputs) * self.hidden_size))
        logits = []
        for start in range(0, T, piece):
            part = inputs[:, start : start + piece]
            num_needed = min(part.shape[1], start + part.shape[1] - (T - n))  # steps of this part with outputs
            hidden_states, state = self.hidden_states(part, state, max(1, num_needed))
            if num_needed > 0:
                logits.append(self.readout(hidden_states))
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1), state

    def logits(self, inputs: Tensor, num_last_steps: int = 1) -> Tensor:
        """Logits of the last n time steps from zeros, (B, n, K); see ``forward``."""
        logits, _ = self(inputs, num_last_steps=num_last_steps)
        return logits

    def hidden_states(self, inputs: Tensor, state: Any = None, num_last_steps: int | None = None) -> tuple[Tensor, Any]:
        """``h_t`` of the last ``num_last_steps`` time steps (all by default), (B, n, H), and the final state."""
        check_inputs(inputs, num_last_steps, self.input_size, self.W_ph.dtype)
        start = initial_state(state, self.num_states, len(inputs), self.W_ph)
        if self.backward == "bptt":
            hidden_states, *final = self.run_bptt(inputs, start, num_last_steps or inputs.shape[1], state is None)
        else:
            history, (*final,) = self.unroll(inputs, *start)
            hidden_states = torch.stack(history[-(num_last_steps or 0) :], dim=1)
        return hidden_states, final[0] if self.num_states == 1 else tuple(final)

    def hidden_state_gradients(
        self, inputs: Tensor, loss: Callable[[Tensor], Tensor], state: Any = None, num_last_steps: int | None = None
    ) -> Tensor:
        """``dL/dh_t`` for every time step t = 1 ... T, where L is ``loss(logits)``: how far back the loss reaches.

        This is the total derivative, through ``p_t`` and all later steps. ``bptt`` takes it from its backward pass. The
        gradients of the parameters stay as they are. Gradients below 8e-34 (float32) may be zero in the result.

        Args:
            inputs: as for ``forward``.
            state: as for ``forward``.
            num_last_steps: as for ``forward``.
            loss: from the logits (B, n, K) to a number.
        Shape:
            returns: (B, T, H).
        Raises:
            ValueError: inputs or state do not fit, or the loss is not a single number.
        """
        with torch.inference_mode(False), torch.enable_grad():
            check_inputs(inputs, num_last_steps, self.input_size, self.W_ph.dtype)
            (B, T), n = inputs.shape[:2], num_last_steps or inputs.shape[1]
            start = tuple(
                s.detach().clone().requires_grad_()
                for s in initial_state(state, self.num_states, len(inputs), self.W_ph)
            )
            if self.backward == "bptt":
                gradients = self.W_ph.new_empty(T + 1, B, self.hidden_size)
                hidden_states, *_ = self.run_bptt(inputs.clone(), start, n, state_gradients=gradients)
                torch.autograd.grad(check_loss(loss(self.readout(hidden_states))), start[0])
                return gradients[1:].transpose(0, 1)
            history, _ = self.unroll(inputs.clone(), *start)
            value = check_loss(loss(self.readout(torch.stack(history[-n:], dim=1))))
            return torch.stack(torch.autograd.grad(value, history), dim=1)

    def run_bptt(
        self,
        inputs: Tensor,
        state: tuple[Tensor, ...],
        n: int,
        from_zero: bool = False,
        state_gradients: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Hidden states of the last n steps and the final state, with the hand-derived backward pass."""
        weights = self.recurrent_weights()
        dtype, device = weights[1].dtype, inputs.device.type
        if torch.is_autocast_enabled(device) and dtype == torch.float32:
            product_dtype = torch.get_autocast_dtype(device)
        else:
            product_dtype = dtype
        kernels = compiled.load() if self.fused and compiled.supports(device, dtype) else PLAIN
        options = PassOptions(kernels, n, product_dtype, from_zero, torch.is_grad_enabled(), state_gradients)
        return self.function.apply(options, inputs, *weights, *state)


def check_inputs(inputs: Tensor, num_last_steps: int | None, input_size: int, dtype: torch.dtype) -> None:
    """Raise a ValueError unless ``inputs`` are digits (B, T) int64 or floats (B, T, I) with n steps."""
    if not isinstance(inputs, Tensor):
        raise ValueError(f"inputs are of type {type(inputs).__name__}; expected a tensor")
    is_digits = inputs.dtype == torch.int64 and inputs.dim() == 2
    if not is_digits and not (has_dtype(inputs, dtype) and inputs.dim() == 3 and inputs.shape[2] == input_size):
        raise ValueError(
            f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}; "
            f"expected int64 (B, T) or floating point (B, T, {input_size}) of {dtype}"
        )
    num_steps = inputs.shape[1]
    if num_steps == 0:
        raise ValueError("inputs have 0 time steps; at least 1 is needed")
    if num_last_steps is not None and not (type(num_last_steps) is int and 1 <= num_last_steps <= num_steps):
        raise ValueError(
            f"num_last_steps is {num_last_steps!r}; expected 1 to {num_steps}, the time steps of the input"
        )
    if inputs.dim() == 2 and inputs.device.type == "cpu" and inputs.numel() > 0:
        low, high = (int(bound) for bound in inputs.aminmax())
        if low < 0 or high >= input_size:
            raise ValueError(f"inputs go from {low} to {high}; expected 0 to {input_size - 1}")


def initial_state(state: Any, num_states: int, batch_size: int, W_ph: Tensor) -> tuple[Tensor, ...]:
    """``state`` as a tuple, zeros for None; a ValueError unless it has ``num_states`` parts, each (B, H)."""
    expected = (batch_size, W_ph.shape[1])
    if state is None:
        return (W_ph.new_zeros(expected),) * num_states
    parts = (state,) if isinstance(state, Tensor) else state
    if not isinstance(parts, tuple | list) or not all(isinstance(part, Tensor) for part in parts):
        raise ValueError(f"the initial state is of type {type(state).__name__}; expected {num_states} tensors")
    if len(parts) != num_states:
        raise ValueError(f"the initial state has {len(parts)} parts; expected {num_states}")
    for part in parts:
        if tuple(part.shape) != expected or not has_dtype(part, W_ph.dtype):
            raise ValueError(
                f"the initial state is {part.dtype} of shape {tuple(part.shape)}; "
                f"expected (B, H) = {expected} of {W_ph.dtype}"
            )
    return tuple(parts)


def has_dtype(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a tensor has the dtype of the parameters, or one that autocast accepts in its place (never float64)."""
    dtypes = {tensor.dtype, dtype}
    if torch.is_autocast_enabled(tensor.device.type) and torch.float64 not in dtypes:
        return tensor.is_floating_point()
    return len(dtypes) == 1


def check_loss(value: Any) -> Tensor:
    """The value of a loss; a ValueError unless it is a single number that depends on the logits."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is {value!r}"
        raise ValueError(f"the loss {found}; expected a tensor with a single number")
    if not value.requires_grad:
        raise ValueError("the loss does not depend on the logits; expected a function of them")
    return value
