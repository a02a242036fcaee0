"""Backpropagation through time by hand, for both handwritten networks; derived in docs/derivations/bptt.md.

One ``torch.autograd.Function`` for each network. Time comes first in every buffer. Steps are taken in chunks: within a chunk
only what depends on the step before is done step by step, in place; inputs, factors of the Jacobians and gradients of the
weights are dealt with for all its steps at once, while they are in the cache.

Legend: B batch, T time steps, m steps of a chunk, n last time steps asked for, I input features, H hidden units, G gates
times H (H for the vanilla RNN, 4H for the LSTM). ``a`` is what the squashing functions are given, ``delta`` is dL/da.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.networks import workspace

CHUNK_NUMEL = 2**21
"""Elements of ``delta`` in a chunk, at most, which makes m: large enough for an efficient product, small enough for the
cache. Measured from 2^18 to 2^22 on two cores."""

VANISHED = {dtype: torch.finfo(dtype).tiny * 2.0**16 for dtype in (torch.bfloat16, torch.float32, torch.float64)}
"""Gradients smaller than this (8e-34 in float32) count as zero: a little below lie the numbers a processor is a hundred times
slower with, and a gradient that vanishes over time would get there."""

tanh_backward = torch.ops.aten.tanh_backward.grad_input  # (grad, y, grad_input=out): grad * (1 - y^2)
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # (grad, y, grad_input=out): grad * y * (1 - y)


class Steps(NamedTuple):
    """What is done step by step within a chunk: here in plain torch, in ``fused.py`` compiled. All work in place.

    Forward, ``(a, h, [c,] W_t, table, ids)``: ``a`` (m, B, G) becomes the gates (for the RNN it is ``h[1:]``); ``h`` and
    ``c`` (m+1, B, H) hold the state before the chunk and are filled. What the inputs contribute to ``a`` is the row
    ``ids[t, b]`` of ``table`` (I, G), or stands in ``a`` already if both are None.

    Backward, ``([gates,] h or c, dh, [dc,] delta, W, incoming)``: ``dh`` (m+1, B, H) holds dL/dh after the chunk and is
    filled backwards, ``dc`` (B, H) goes from after to before the chunk, ``delta`` (m, B, G) is filled. ``incoming``
    (m, B, H), or None, is what the loss sends into each ``h`` directly.
    """

    rnn_forward: Callable[..., None]
    rnn_backward: Callable[..., None]
    lstm_forward: Callable[..., None]
    lstm_backward: Callable[..., None]


def rnn_forward(a: Tensor, h: Tensor, W_t: Tensor, table: Tensor | None, ids: Tensor | None) -> None:
    """Equation 1."""
    if table is not None:
        torch.index_select(table, 0, ids.view(-1), out=a.view(-1, a.shape[2]))
    hs = h.unbind(0)
    for t in range(len(a)):
        add_product(hs[t + 1], hs[t], W_t)
        hs[t + 1].tanh_()


def rnn_backward(h: Tensor, dh: Tensor, delta: Tensor, W: Tensor, incoming: Tensor | None) -> None:
    hs, dhs, deltas = h.unbind(0), dh.unbind(0), delta.unbind(0)
    for t in reversed(range(len(delta))):
        if incoming is not None:
            dhs[t + 1].add_(incoming[t])
        tanh_backward(dhs[t + 1], hs[t + 1], grad_input=deltas[t])
        product(dhs[t], deltas[t], W)


def lstm_forward(a: Tensor, h: Tensor, c: Tensor, W_t: Tensor, table: Tensor | None, ids: Tensor | None) -> None:
    """Equations 4-9."""
    if table is not None:
        torch.index_select(table, 0, ids.view(-1), out=a.view(-1, a.shape[2]))
    H = h.shape[2]
    g, i, f, o = (gate.unbind(0) for gate in a.split(H, dim=2))
    ifo = a[:, :, H:].unbind(0)
    hs, cs = h.unbind(0), c.unbind(0)
    for t, a_t in enumerate(a.unbind(0)):
        add_product(a_t, hs[t], W_t)
        ifo[t].sigmoid_()
        g[t].tanh_()
        torch.mul(cs[t], f[t], out=cs[t + 1]).addcmul_(g[t], i[t])
        torch.tanh(cs[t + 1], out=hs[t + 1]).mul_(o[t])


def lstm_backward(
    gates: Tensor, c: Tensor, dh: Tensor, dc: Tensor, delta: Tensor, W: Tensor, incoming: Tensor | None
) -> None:
    m, B, H = len(gates), *dc.shape
    g, i, f, o = gates.split(H, dim=2)
    # What dL/dc and dL/dh are multiplied with is known before they are: it waits in delta.
    delta_g, delta_i, delta_f, delta_o = delta.split(H, dim=2)
    tanh_c = torch.tanh(c[1:])
    tanh_backward(i, g, grad_input=delta_g)
    sigmoid_backward(g, i, grad_input=delta_i)
    sigmoid_backward(c[:-1], f, grad_input=delta_f)
    sigmoid_backward(tanh_c, o, grad_input=delta_o)
    dh_dc = tanh_backward(o, tanh_c, grad_input=tanh_c).unbind(0)

    delta_gif = delta.view(m, B, 4, H)[:, :, :3].unbind(0)
    delta_o, deltas, f, dhs, dc_gif = delta_o.unbind(0), delta.unbind(0), f.unbind(0), dh.unbind(0), dc[:, None]
    for t in reversed(range(m)):
        if incoming is not None:
            dhs[t + 1].add_(incoming[t])
        dc.addcmul_(dhs[t + 1], dh_dc[t])
        delta_o[t].mul_(dhs[t + 1])
        delta_gif[t].mul_(dc_gif)
        dc.mul_(f[t])
        product(dhs[t], deltas[t], W)


PLAIN = Steps(rnn_forward, rnn_backward, lstm_forward, lstm_backward)


def add_product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out += left @ right``, multiplied in the dtype of ``right``."""
    if out.dtype == right.dtype:
        torch.addmm(out, left, right, out=out)
    else:
        out.add_(torch.mm(left.to(right.dtype), right))


def product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out = left @ right``, multiplied in the dtype of ``right``."""
    if out.dtype == right.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(torch.mm(left.to(right.dtype), right))


@dataclass(frozen=True)
class Call:
    """What a pass is told besides its tensors.

    Args:
        steps: who does what is done step by step.
        num_last_steps: the hidden states wanted, n.
        dtype: what matrices are multiplied in; lower than that of the parameters under autocast.
        state_gradients: (T+1, B, H), or None; the backward pass writes dL/dh_0 ... dL/dh_T here.
    """

    steps: Steps
    num_last_steps: int
    dtype: torch.dtype
    state_gradients: Tensor | None = None


class Digits:
    """Inputs (B, T) int64. A digit is a one-hot vector: its product with ``W_x`` is a column of ``W_x``, looked up."""

    def __init__(self, digits: Tensor) -> None:
        self.ids = digits.t().contiguous()

    def prepare(self, W_x: Tensor, b: Tensor, dtype: torch.dtype) -> None:
        self.table = torch.add(W_x.t(), b, out=W_x.new_empty(W_x.shape[::-1]))

    def project(self, start: int, end: int, a: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self.table, self.ids[start:end]

    def prepare_gradients(self, W_x: Tensor, dtype: torch.dtype, wanted: Sequence[bool]) -> None:
        self.d_table = W_x.new_zeros(W_x.shape[::-1]) if wanted[1] or wanted[2] else None

    def add_gradients(self, start: int, end: int, delta: Tensor) -> None:
        if self.d_table is not None:
            self.d_table.index_add_(0, self.ids[start:end].view(-1), delta)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if self.d_table is None:
            return None, None, None
        return None, self.d_table.t(), self.d_table.sum(0)


class Floats:
    """Inputs (B, T, I)."""

    def __init__(self, inputs: Tensor) -> None:
        self.x = inputs.transpose(0, 1)

    def chunk(self, start: int, end: int) -> Tensor:
        return self.x[start:end].reshape(-1, self.x.shape[2])

    def prepare(self, W_x: Tensor, b: Tensor, dtype: torch.dtype) -> None:
        self.W_x_t, self.b = W_x.t().to(dtype), b

    def project(self, start: int, end: int, a: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a.copy_(self.b)
        add_product(a.view(-1, a.shape[2]), self.chunk(start, end), self.W_x_t)
        return None, None

    def prepare_gradients(self, W_x: Tensor, dtype: torch.dtype, wanted: Sequence[bool]) -> None:
        self.W_x = W_x.to(dtype)
        self.d_x = torch.empty_like(self.x, memory_format=torch.contiguous_format) if wanted[0] else None
        self.d_W_x = torch.zeros_like(W_x) if wanted[1] else None
        self.d_b = W_x.new_zeros(len(W_x)) if wanted[2] else None

    def add_gradients(self, start: int, end: int, delta: Tensor) -> None:
        if self.d_x is not None:
            product(self.d_x[start:end].view(-1, self.x.shape[2]), delta, self.W_x)
        if self.d_W_x is not None:
            add_product(self.d_W_x, delta.t(), self.chunk(start, end).to(self.W_x.dtype))
        if self.d_b is not None:
            self.d_b.add_(delta.sum(0))

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return None if self.d_x is None else self.d_x.transpose(0, 1), self.d_W_x, self.d_b


def chunks(num_steps: int, num_last_steps: int, numel_per_step: int) -> list[tuple[int, int]]:
    """(start, end) of each chunk. Either each of its hidden states is wanted or none is; the very last goes its own way."""
    m = max(1, CHUNK_NUMEL // numel_per_step)
    first_wanted = 0 if num_last_steps == 1 else num_steps - num_last_steps
    return [
        (start, min(start + m, end))
        for begin, end in ((0, first_wanted), (first_wanted, num_steps))
        for start in range(begin, end, m)
    ]


def forward_pass(
    ctx: Any, call: Call, inputs: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, state: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Hidden states of the last n steps (B, n, H) and the final state; for an RNN ``state`` is (h,), for an LSTM (h, c).

    All activations are kept if there will be a backward pass, otherwise those of one chunk.
    """
    (B, T), (G, H), n = inputs.shape[:2], W_h.shape, call.num_last_steps
    parts = chunks(T, n, B * G)
    keep = any(ctx.needs_input_grad)
    num_kept = T if keep else max(end - start for start, end in parts)
    shapes = [(num_kept + 1, B, H)] * len(state) + [(num_kept, B, G)] * (len(state) - 1)
    flat = workspace.take(shapes, W_h)
    h, *c_and_gates = workspace.carve(flat, shapes)
    x: Digits | Floats = (Floats if inputs.is_floating_point() else Digits)(inputs)
    x.prepare(W_x, b, call.dtype)
    W_t = W_h.t().to(call.dtype)
    hidden = W_h.new_empty(B, n, H)
    for start, end in parts:
        first = start if keep else 0
        last = first + end - start
        if start == 0 or not keep:
            for buffer, before in zip((h, *c_and_gates), state, strict=False):
                buffer[first].copy_(before)
        h_chunk = h[first : last + 1]
        if c_and_gates:
            c, gates = c_and_gates
            a = gates[first:last]
            call.steps.lstm_forward(a, h_chunk, c[first : last + 1], W_t, *x.project(start, end, a))
            state = h[last], c[last]
        else:
            call.steps.rnn_forward(h_chunk[1:], h_chunk, W_t, *x.project(start, end, h_chunk[1:]))
            state = (h[last],)
        wanted = max(start, T - n)
        if wanted < end:
            hidden[:, wanted - (T - n) : end - (T - n)] = h_chunk[1 + wanted - start :].transpose(0, 1)
    if keep:
        ctx.save_for_backward(inputs, W_x, W_h, flat)
        ctx.call, ctx.parts, ctx.shapes = call, parts, shapes
        ctx.set_materialize_grads(False)
    return hidden, *(s.clone() for s in state)


def backward_pass(ctx: Any, d_hidden: Tensor | None, d_state: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    """Gradients of ``call`` (none), inputs, W_x, W_h, b and the initial state."""
    inputs, W_x, W_h, flat = ctx.saved_tensors
    call, parts = ctx.call, ctx.parts
    _, wants_inputs, wants_W_x, wants_W_h, wants_b, *_ = ctx.needs_input_grad
    h, *c_and_gates = workspace.carve(flat, ctx.shapes)
    (T, B, H), G, n = h[1:].shape, len(W_h), call.num_last_steps

    d_last = [torch.zeros_like(h[0]) if d is None else d.clone() for d in d_state]
    incoming = None
    if d_hidden is not None and n == 1:
        d_last[0].add_(d_hidden[:, 0])
    elif d_hidden is not None:
        incoming = d_hidden.transpose(0, 1)
    m = max(end - start for start, end in parts)
    if call.state_gradients is None:
        dh = d_last[0].expand(m + 1, B, H)  # every step writes over the one after it
    else:
        dh = call.state_gradients
        dh[T].copy_(d_last[0])
    delta = W_h.new_empty(m, B, G)
    d_W_h = torch.zeros_like(W_h) if wants_W_h else None
    W = W_h.to(call.dtype)
    x: Digits | Floats = (Floats if inputs.is_floating_point() else Digits)(inputs)
    x.prepare_gradients(W_x, call.dtype, (wants_inputs, wants_W_x, wants_b))
    for start, end in reversed(parts):
        dh_chunk = dh[: end - start + 1] if call.state_gradients is None else dh[start : end + 1]
        for d in (dh_chunk[-1], *d_last[1:]):
            torch.hardshrink(d, VANISHED.get(d.dtype, 0.0), out=d)
        delta_chunk = delta[: end - start]
        sent = None if incoming is None or start < T - n else incoming[start - (T - n) : end - (T - n)]
        if c_and_gates:
            c, gates = c_and_gates
            call.steps.lstm_backward(
                gates[start:end], c[start : end + 1], dh_chunk, d_last[1], delta_chunk, W, sent
            )
        else:
            call.steps.rnn_backward(h[start : end + 1], dh_chunk, delta_chunk, W, sent)
        rows = delta_chunk.view(-1, G)
        if d_W_h is not None:
            add_product(d_W_h, rows.t(), h[start:end].view(-1, H).to(call.dtype))
        x.add_gradients(start, end, rows)
    d_inputs, d_W_x, d_b = x.gradients()
    return None, d_inputs, d_W_x, d_W_h, d_b, dh[0].clone(), *d_last[1:]


class OnlyOnce(torch.autograd.Function):
    """Hands gradients on, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        return gradients

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> None:
        raise RuntimeError(
            "the hand-derived backward pass cannot be differentiated again; for second derivatives build the network "
            "with backward='autograd'"
        )


def differentiable_once(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    """``gradients``, of which no further gradient can be taken silently: without this they would count as constants."""
    if not torch.is_grad_enabled():  # unless create_graph=True
        return gradients
    return OnlyOnce.apply(*(g if g is None else g.detach().requires_grad_() for g in gradients))


class VanillaRNNFunction(torch.autograd.Function):
    """Equation 1 over all time steps: ``apply(call, inputs, W_hx, W_hh, b_h, h_0) -> hidden (B, n, H), h_T``."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, inputs: Tensor, W_hx: Tensor, W_hh: Tensor, b_h: Tensor, h_0: Tensor
    ) -> tuple[Tensor, ...]:
        return forward_pass(ctx, call, inputs, W_hx, W_hh, b_h, (h_0,))

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor | None, *d_state: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            gradients = backward_pass(ctx, d_hidden, d_state)
        return differentiable_once(gradients)


class LSTMFunction(torch.autograd.Function):
    """Equations 4-9 over all time steps: ``apply(call, inputs, W_x, W_h, b, h_0, c_0) -> hidden (B, n, H), h_T, c_T``."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, inputs: Tensor, W_x: Tensor, W_h: Tensor, b: Tensor, h_0: Tensor, c_0: Tensor
    ) -> tuple[Tensor, ...]:
        return forward_pass(ctx, call, inputs, W_x, W_h, b, (h_0, c_0))

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor | None, *d_state: Tensor | None) -> tuple[Tensor | None, ...]:
        with torch.no_grad():
            gradients = backward_pass(ctx, d_hidden, d_state)
        return differentiable_once(gradients)
