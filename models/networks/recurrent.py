"""What the handwritten networks share: how inputs enter, how outputs leave, how they are differentiated.

Legend: B batch, T time steps, I input features, H hidden units, K classes, G gates times H (H for the vanilla RNN).
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from models.networks import fused as compiled
from models.networks.bptt import Call
from models.networks.steps import PLAIN

Backward = Literal["bptt", "autograd"]

PIECE_NUMEL = 1 << 23
"""Numbers of hidden states that are held at a time where there is no backward pass: 32 MiB of float32."""


class HandwrittenNetwork(nn.Module):
    """A recurrence over time with a linear readout (equation 2, which is also equation 10); see its two subclasses.

    Args:
        input_size: features of ``x_t``, I; for digits, the number of different ones.
        hidden_size: features of ``h_t``, H.
        output_size: classes, K.
        backward: ``bptt`` for the backward pass derived by hand, ``autograd`` for torch's own over a readable loop:
            slower, but it can be differentiated twice. Both give the same outputs and gradients.
        fused: take the steps of ``bptt`` in compiled code (``fused.py``), in float32 and float64 on a CPU; needs
            a C++ compiler, and ten seconds the first time. Results differ by rounding.
    Raises:
        ValueError: one of the sizes is below 1; no such ``backward``; ``fused`` without ``bptt``, or where nothing
            can be compiled.
    """

    W_ph: nn.Parameter
    b_p: nn.Parameter
    function: type[torch.autograd.Function]
    """The backward pass by hand."""
    num_states: int
    """1 if the state is h, 2 if it is (h, c)."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, backward: Backward, fused: bool) -> None:
        super().__init__()
        if not isinstance(fused, bool):
            raise ValueError(f"fused is {fused!r}; expected true or false")
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("output_size", output_size)):
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        if backward not in get_args(Backward):
            raise ValueError(f"backward is {backward!r}; expected 'bptt' or 'autograd'")
        if fused and backward != "bptt":
            raise ValueError(f"fused is true with backward {backward!r}; leave fused false, or backward 'bptt'")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.backward = backward
        self.fused = fused
        if fused:
            compiled.load()  # what is missing is said before training begins
        self.W_ph = nn.Parameter(torch.empty(output_size, hidden_size))
        self.b_p = nn.Parameter(torch.empty(output_size))

    def recurrent_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Input weights (G, I), recurrent weights (G, H) and bias (G,)."""
        raise NotImplementedError

    def unroll(self, inputs: Tensor, *state: Tensor) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The readable loop: every ``h_t`` (B, H), and the final state."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, state: Any = None, num_last_steps: int | None = None) -> tuple[Tensor, Any]:
        """Logits of the last ``num_last_steps`` time steps (all by default), and the final state.

        Without gradients the hidden states of a piece of the sequence are held at a time, however long it is.

        Shape:
            inputs: digits (B, T) int64 in [0, I), or floats (B, T, I) of the dtype of the parameters.
            state: ``h_0`` (B, H), for an LSTM ``(h_0, c_0)``; zeros by default.
            returns: logits (B, n, K), and the state after the last step in the form of ``state``.
        Raises:
            ValueError: inputs or state do not fit; the message names what came and what is expected.
        """
        if torch.is_grad_enabled():
            hidden_states, state = self.hidden_states(inputs, state, num_last_steps)
            return self.readout(hidden_states), state
        self.check_inputs(inputs, num_last_steps)
        T, n = inputs.shape[1], num_last_steps or inputs.shape[1]
        piece = max(1, PIECE_NUMEL // max(1, len(inputs) * self.hidden_size))
        logits = []
        for start in range(0, T, piece):
            part = inputs[:, start : start + piece]
            wanted = min(part.shape[1], start + part.shape[1] - (T - n))  # how many of its steps are among the last n
            hidden_states, state = self.hidden_states(part, state, max(1, wanted))
            if wanted > 0:
                logits.append(self.readout(hidden_states))
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1), state

    def hidden_states(self, inputs: Tensor, state: Any = None, num_last_steps: int | None = None) -> tuple[Tensor, Any]:
        """``h_t`` of the last ``num_last_steps`` time steps (all by default), (B, n, H), and the final state."""
        self.check_inputs(inputs, num_last_steps)
        start = self.initial_state(inputs, state)
        if self.backward == "bptt":
            hidden_states, *final_list = self.by_hand(inputs, start, num_last_steps or inputs.shape[1], state is None)
            final = tuple(final_list)
        else:
            history, final = self.unroll(inputs, *start)
            hidden_states = torch.stack(history[-(num_last_steps or 0) :], dim=1)
        return hidden_states, final[0] if self.num_states == 1 else final

    def hidden_state_gradients(
        self,
        inputs: Tensor,
        loss: Callable[[Tensor], Tensor],
        state: Any = None,
        num_last_steps: int | None = None,
    ) -> Tensor:
        """``dL/dh_t`` for every time step t = 1 ... T, where L is ``loss(logits)``: how far back the loss reaches.

        It is the whole derivative: through ``p_t`` and through all later steps. ``bptt`` reads it off its backward
        pass. The gradients of the parameters are left alone. Gradients below 8e-34 (float32) may come out as
        zero.

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
            self.check_inputs(inputs, num_last_steps)
            n = num_last_steps or inputs.shape[1]
            start = tuple(s.detach().clone().requires_grad_() for s in self.initial_state(inputs, state))
            if self.backward == "bptt":
                B, T = inputs.shape[:2]
                gradients = self.W_ph.new_empty(T + 1, B, self.hidden_size)
                hidden_states, *_ = self.by_hand(inputs.clone(), start, n, state_gradients=gradients)
            else:
                history, _ = self.unroll(inputs.clone(), *start)
                hidden_states = torch.stack(history[-n:], dim=1)
            value = loss(self.readout(hidden_states))
            if not isinstance(value, Tensor) or value.numel() != 1:
                what = f"has shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"is {value!r}"
                raise ValueError(f"the loss {what}; expected a tensor with a single number")
            if not value.requires_grad:
                raise ValueError("the loss does not depend on the logits; expected a function of them")
            if self.backward == "bptt":
                torch.autograd.grad(value, start[0])
                return gradients[1:].transpose(0, 1)
            return torch.stack(torch.autograd.grad(value, history), dim=1)

    def by_hand(
        self,
        inputs: Tensor,
        state: tuple[Tensor, ...],
        n: int,
        from_zero: bool = False,
        state_gradients: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """Hidden states of the last n steps and the final state, by the autograd function."""
        weights = self.recurrent_weights()
        dtype, device = weights[1].dtype, inputs.device.type
        if torch.is_autocast_enabled(device) and dtype == torch.float32:
            product_dtype = torch.get_autocast_dtype(device)
        else:
            product_dtype = dtype
        steps = compiled.load() if self.fused and compiled.serves(device, dtype) else PLAIN
        call = Call(steps, n, product_dtype, from_zero, torch.is_grad_enabled(), state_gradients)
        return self.function.apply(call, inputs, *weights, *state)

    def num_parameters(self) -> dict[str, int]:
        """Trainable numbers: ``cell`` (the recurrence alone, as question 1.5b counts), ``output`` and ``total``."""
        total = sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)
        output = sum(p.numel() for p in (self.W_ph, self.b_p) if p.requires_grad)
        return {"cell": total - output, "output": output, "total": total}

    def readout(self, hidden_states: Tensor) -> Tensor:
        """``p_t = W_ph h_t + b_p`` (equations 2 and 10): (..., H) -> logits (..., K)."""
        return hidden_states @ self.W_ph.t() + self.b_p

    def check_inputs(self, inputs: Tensor, num_last_steps: int | None) -> None:
        """Raise a ValueError unless ``inputs`` are digits (B, T) int64 or floats (B, T, I) with n steps."""
        if not isinstance(inputs, Tensor):
            raise ValueError(f"inputs are of type {type(inputs).__name__}; expected a tensor")
        if inputs.dtype == torch.int64 and inputs.dim() == 2:
            fits = True
        else:
            fits = self.fits(inputs) and inputs.dim() == 3 and inputs.shape[2] == self.input_size
        if not fits:
            raise ValueError(
                f"inputs are {inputs.dtype} of shape {tuple(inputs.shape)}; "
                f"expected int64 (B, T) or floating point (B, T, {self.input_size}) of {self.W_ph.dtype}"
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
            if low < 0 or high >= self.input_size:
                raise ValueError(f"digits go from {low} to {high}; expected 0 to {self.input_size - 1}")

    def initial_state(self, inputs: Tensor, state: Any) -> tuple[Tensor, ...]:
        """``state`` as a tuple, zeros for None; a ValueError unless each part is (B, H) for the B of ``inputs``."""
        expected = (inputs.shape[0], self.hidden_size)
        if state is None:
            return (self.W_ph.new_zeros(expected),) * self.num_states
        parts = (state,) if isinstance(state, Tensor) else state
        if not isinstance(parts, tuple | list) or not all(isinstance(part, Tensor) for part in parts):
            raise ValueError(f"the initial state is of type {type(state).__name__}; expected {self.num_states} tensors")
        if len(parts) != self.num_states:
            raise ValueError(f"the initial state has {len(parts)} parts; expected {self.num_states}")
        for part in parts:
            if tuple(part.shape) != expected or not self.fits(part):
                raise ValueError(
                    f"the initial state is {part.dtype} of shape {tuple(part.shape)}; "
                    f"expected (B, H) = {expected} of {self.W_ph.dtype}"
                )
        return tuple(parts)

    def fits(self, tensor: Tensor) -> bool:
        """Whether it is of the parameters' dtype, or of one that autocast takes for it: never float64."""
        dtypes = {tensor.dtype, self.W_ph.dtype}
        if torch.is_autocast_enabled(tensor.device.type) and torch.float64 not in dtypes:
            return tensor.is_floating_point()
        return len(dtypes) == 1
