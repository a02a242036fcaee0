"""Hand-derived backpropagation through time for both handwritten networks (docs/derivations/bptt.md).

There is one ``torch.autograd.Function`` for each network. Time is the first dimension of every buffer. A sequence is
cut into chunks. Within a chunk only the recurrence is computed step by step (``steps.py``). Inputs, factors of the
Jacobians and gradients of the weights are computed for all steps of a chunk at once, while they are in the cache.

Legend: B batch, T time steps, m steps of a chunk, n last time steps whose hidden states are needed, I input features,
H hidden units, G gates times H (H for the vanilla RNN, 4H for the LSTM). ``delta`` is dL/da; a are the gates before
tanh and sigmoid.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.networks import workspace
from models.networks.projection import projection
from models.networks.steps import NetworkKernels, StepKernels, add_product

Gradients = tuple[Tensor | None, ...]

CHUNK_NUMEL = 2**21
"""Most elements of ``delta`` in a chunk; this decides m. Chunks are long enough for efficient matrix products and short
enough for the cache (measured from 2^17 to 2^23: docs/performance.md)."""

VANISHED = {dtype: torch.finfo(dtype).tiny * 2.0**16 for dtype in (torch.bfloat16, torch.float32, torch.float64)}
"""Smaller gradients (8e-34 in float32) are set to zero, at least every eight steps. Vanishing gradients would otherwise
become subnormal numbers, with which a processor is tens of times slower."""


@dataclass(frozen=True)
class PassOptions:
    """Arguments of a forward and backward pass that are no inputs, weights or states.

    Args:
        kernels: the functions that compute the recurrence, plain or compiled.
        num_last_steps: last time steps whose hidden states are needed, n.
        dtype: of the matrix products; under autocast lower than that of the parameters.
        from_zero: the initial state is zero.
        grad_enabled: whether gradients are enabled; torch disables them within ``forward``.
        state_gradients: (T+1, B, H), or None; the backward pass writes dL/dh_0 ... dL/dh_T into it.
    """

    kernels: NetworkKernels
    num_last_steps: int
    dtype: torch.dtype
    from_zero: bool
    grad_enabled: bool
    state_gradients: Tensor | None = None


def chunks(num_steps: int, num_last_steps: int, numel_per_step: int) -> list[tuple[int, int]]:
    """(start, end) of each chunk. Either all of its hidden states are needed or none.

    With n = 1 there is no extra chunk: the gradient of the last hidden state enters at the end.
    """
    m = max(1, CHUNK_NUMEL // max(1, numel_per_step))
    first_needed = 0 if num_last_steps == 1 else num_steps - num_last_steps
    return [
        (start, min(start + m, end))
        for begin, end in ((0, first_needed), (first_needed, num_steps))
        for start in range(begin, end, m)
    ]


def forward_pass(
    ctx: Any,
    kernels: StepKernels,
    options: PassOptions,
    inputs: Tensor,
    W_x: Tensor,
    W_h: Tensor,
    b: Tensor,
    start_state: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """Hidden states of the last n steps (B, n, H), and the final state: (h,) or (h, c), like the initial state.

    All activations are kept if a backward pass may follow, otherwise those of one chunk.
    """
    (B, T), (G, H), n = inputs.shape[:2], W_h.shape, options.num_last_steps
    parts = chunks(T, n, B * G)
    keep = options.grad_enabled and any(ctx.needs_input_grad)
    num_kept = T if keep else max(end - start for start, end in parts)
    shapes = [(num_kept + 1, B, H)] * len(start_state) + [(num_kept, B, G)] * (G != H)
    buffers = workspace.allocate(shapes, W_h)
    states, a = states_and_gates(buffers, len(start_state))
    state = list(start_state)
    x = projection(inputs, W_x, b, options.dtype)
    x.prepare()
    W_t = W_h.t() if W_h.dtype == options.dtype else W_h.to(options.dtype).t().contiguous()
    hidden = W_h.new_empty(B, n, H)
    for start, end in parts:
        first = start if keep else 0
        last = first + end - start
        if start == 0 or not keep:
            for buffer, before in zip(states, state, strict=True):
                buffer[first].copy_(before)
        from_zero = options.from_zero and start == 0
        chunk, a_chunk = [buffer[first : last + 1] for buffer in states], a[first:last]
        kernels.forward(a_chunk, *chunk, W_t, *x.project(start, end, a_chunk), from_zero)
        state = [buffer[-1] for buffer in chunk]
        needed = max(start, T - n)
        if needed < end:
            hidden[:, needed - (T - n) : end - (T - n)] = chunk[0][1 + needed - start :].transpose(0, 1)
    if keep:
        # start_state is only saved because gradients depend on it: see differentiable_once
        ctx.save_for_backward(inputs, W_x, W_h, b, *start_state, *buffers)
        ctx.options, ctx.parts = options, parts
        ctx.set_materialize_grads(False)
    return hidden, *(s.clone() for s in state)


def states_and_gates(buffers: list[Tensor], num_states: int) -> tuple[list[Tensor], Tensor]:
    """h (and c) for all steps and the one before, and the gates. The gates of a vanilla RNN are its hidden states."""
    states = buffers[:num_states]
    return states, buffers[num_states] if len(buffers) > num_states else states[0][1:]


def differentiable_once(backward: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """A backward pass whose results raise an error when they are differentiated. Torch would take them as constants."""

    @functools.wraps(backward)
    def once(ctx: Any, kernels: StepKernels, *d_outputs: Tensor | None) -> Gradients:
        if not torch.is_grad_enabled():  # that is, unless create_graph=True
            return backward(ctx, kernels, *d_outputs)
        with torch.no_grad():
            gradients = backward(ctx, kernels, *d_outputs)
        # With all tensors on which they depend: torch skips functions that do not lead to the requested tensors.
        return RefuseSecondDerivative.apply(len(gradients), *gradients, *ctx.saved_tensors, *d_outputs)

    return once


class RefuseSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, num_gradients: int, *gradients_and_causes: Tensor | None) -> Gradients:
        return gradients_and_causes[:num_gradients]

    @staticmethod
    def backward(ctx: Any, *_: Tensor | None) -> None:
        raise RuntimeError(
            "the hand-derived backward pass cannot be differentiated again; for second derivatives create the network "
            "with backward='autograd'"
        )


@differentiable_once
def backward_pass(ctx: Any, kernels: StepKernels, d_hidden: Tensor | None, *d_state: Tensor | None) -> Gradients:
    """Gradients of ``options`` (None), inputs, W_x, W_h, b and initial state, from those of the outputs."""
    inputs, W_x, W_h, b, *buffers = ctx.saved_tensors
    del buffers[: len(d_state)]  # the initial state is also in the buffers
    options, parts = ctx.options, ctx.parts
    states, gates = states_and_gates(buffers, len(d_state))
    (T, B, G), H, n = gates.shape, W_h.shape[1], options.num_last_steps
    needs_grad = dict(zip(("inputs", "W_x", "W_h", "b", "h_0"), ctx.needs_input_grad[1:6], strict=True))
    d_h, *d_c = [
        torch.zeros_like(states[0][0]) if d is None else d.clone(memory_format=torch.contiguous_format) for d in d_state
    ]
    incoming = None
    if d_hidden is not None and n > 1:
        incoming = d_hidden.transpose(0, 1)
    elif d_hidden is not None:
        d_h.add_(d_hidden[:, 0])
    m = max(end - start for start, end in parts)
    if options.state_gradients is None:
        dh = d_h.expand(m + 1, B, H)  # each step overwrites the step after it
    else:
        dh = options.state_gradients
        dh[T] = d_h
    x = projection(inputs, W_x, b, options.dtype)
    x.prepare_gradients(needs_grad["inputs"], needs_grad["W_x"], needs_grad["b"])
    d_W_h = torch.empty_like(W_h) if needs_grad["W_h"] else None
    W = W_h.to(options.dtype)
    vanished = VANISHED.get(W_h.dtype, 0.0)
    (buffer,) = workspace.allocate([(m, B, G)], W_h)
    for start, end in reversed(parts):
        delta = buffer[: end - start]
        dh_chunk = dh[: end - start + 1] if options.state_gradients is None else dh[start : end + 1]
        sent = None if incoming is None or start < T - n else incoming[start - (T - n) : end - (T - n)]
        kept = [gates[start:end], *(s[start : end + 1] for s in states[1:])]
        kernels.backward(*kept, dh_chunk, *d_c, delta, W, sent, vanished, start > 0 or needs_grad["h_0"])
        factor = delta.to(options.dtype)  # converted once for all products
        if d_W_h is not None:  # (B4)
            first = 1 if options.from_zero and start == 0 else 0
            h_before = states[0][start + first : end].view(-1, H).to(options.dtype)
            add_product(d_W_h, factor[first:].view(-1, G).t(), h_before, beta=float(end < T))
        x.add_gradients(start, end, delta.view(-1, G), factor.view(-1, G))  # (B9)
    d_inputs, d_W_x, d_b = x.gradients()
    d_h_0 = dh[0] if needs_grad["h_0"] else None
    return None, d_inputs, d_W_x, d_W_h, d_b, d_h_0, *d_c


class VanillaRNNFunction(torch.autograd.Function):
    """Equation 1 over all steps: ``apply(options, inputs, W_hx, W_hh, b_h, h_0) -> hidden (B, n, H), h_T``."""

    @staticmethod
    def forward(ctx: Any, options: PassOptions, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, W_hx, W_hh, b_h, h_0 = tensors
        return forward_pass(ctx, options.kernels.rnn, options, inputs, W_hx, W_hh, b_h, (h_0,))

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> Gradients:
        return backward_pass(ctx, ctx.options.kernels.rnn, *d_outputs)


class LSTMFunction(torch.autograd.Function):
    """Equations 4-9 over all steps: ``apply(options, inputs, W_x, W_h, b, h_0, c_0) -> hidden (B, n, H), h_T, c_T``."""

    @staticmethod
    def forward(ctx: Any, options: PassOptions, *tensors: Tensor) -> tuple[Tensor, ...]:
        inputs, W_x, W_h, b, h_0, c_0 = tensors
        return forward_pass(ctx, options.kernels.lstm, options, inputs, W_x, W_h, b, (h_0, c_0))

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> Gradients:
        return backward_pass(ctx, ctx.options.kernels.lstm, *d_outputs)
