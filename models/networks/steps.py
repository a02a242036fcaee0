"""The steps of both passes through time, in plain torch; ``fused.cpp`` is the same in compiled code.

The comments (B1) ... (B9), here and in ``bptt.py``, are the equations of docs/derivations/bptt.md. All functions work
in place, on one chunk of m time steps, time first.

Legend: B batch, m steps of the chunk, I input features, H hidden units, G gates times H (H for the vanilla RNN, 4H
for the LSTM, in the order g, i, f, o). ``a`` are the gates before tanh and sigmoid, ``delta`` is dL/da.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEPS_TO_SUBNORMAL = 8
"""Steps between two checks for vanished gradients. A gradient that shrinks to a quarter at each step is set to zero
before it becomes subnormal."""

# Long in torch, but without a public name: (grad, y, grad_input=out).
tanh_backward = torch.ops.aten.tanh_backward.grad_input  # grad * (1 - y^2)
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input  # grad * y * (1 - y)


class StepKernels(NamedTuple):
    """The functions that compute the steps of one network.

    ``forward(a, h, [c,] W_t, table, ids, from_zero)`` fills ``a`` (m, B, G) with the gates; the RNN has no buffer for
    them, its ``a`` is ``h[1:]``. ``h`` and ``c`` (m+1, B, H) begin with the state before the chunk; the rest is filled.
    The inputs contribute row ``ids[t, b]`` of ``table`` (I, G) to ``a``; if both are None, ``a`` holds the
    contributions already. ``from_zero`` means that the state before the chunk is zero.

    ``backward(gates, [c,] dh, [dc,] delta, W, incoming, vanished, to_start)``: ``dh`` (m+1, B, H) ends with dL/dh after
    the chunk. The rest is filled backwards, the first entry only if ``to_start``; the entries may share memory. ``dc``
    (B, H) is dL/dc after the chunk, and becomes dL/dc before it. ``delta`` (m, B, G) is filled. ``incoming``
    (m, B, H), or None, is the direct gradient of the loss at each h. Gradients below ``vanished`` are set to zero.

    Matrices are multiplied in the dtype of ``W``.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]


class NetworkKernels(NamedTuple):
    """The kernels of both networks, all plain or all compiled."""

    rnn: StepKernels
    lstm: StepKernels


def rnn_forward(a: Tensor, h: Tensor, W_t: Tensor, table: Tensor | None, ids: Tensor | None, from_zero: bool) -> None:
    look_up(table, ids, a)
    hs = h.unbind(0)
    for t in range(len(a)):
        if t > 0 or not from_zero:
            add_product(hs[t + 1], hs[t], W_t)
        hs[t + 1].tanh_()  # (1)


def rnn_backward(
    gates: Tensor, dh: Tensor, delta: Tensor, W: Tensor, incoming: Tensor | None, vanished: float, to_start: bool
) -> None:
    hs, dhs, deltas = gates.unbind(0), dh.unbind(0), delta.unbind(0)
    for t in reversed(range(len(delta))):
        if (len(delta) - 1 - t) % STEPS_TO_SUBNORMAL == 0:
            torch.hardshrink(dhs[t + 1], vanished, out=dhs[t + 1])
        if incoming is not None:
            dhs[t + 1].add_(incoming[t])  # (B1)
        tanh_backward(dhs[t + 1], hs[t], grad_input=deltas[t])  # (B2)
        if t > 0 or to_start:
            product(dhs[t], deltas[t], W)  # (B3)


def lstm_forward(
    a: Tensor, h: Tensor, c: Tensor, W_t: Tensor, table: Tensor | None, ids: Tensor | None, from_zero: bool
) -> None:
    look_up(table, ids, a)
    H = h.shape[2]
    g, i, f, o = (gate.unbind(0) for gate in a.split(H, dim=2))
    ifo = a[:, :, H:].unbind(0)
    hs, cs = h.unbind(0), c.unbind(0)
    for t, a_t in enumerate(a.unbind(0)):
        if t > 0 or not from_zero:
            add_product(a_t, hs[t], W_t)
        ifo[t].sigmoid_()  # (5)-(7)
        g[t].tanh_()  # (4)
        torch.mul(cs[t], f[t], out=cs[t + 1]).addcmul_(g[t], i[t])  # (8)
        torch.tanh(cs[t + 1], out=hs[t + 1]).mul_(o[t])  # (9)


def lstm_backward(
    gates: Tensor,
    c: Tensor,
    dh: Tensor,
    dc: Tensor,
    delta: Tensor,
    W: Tensor,
    incoming: Tensor | None,
    vanished: float,
    to_start: bool,
) -> None:
    m, B, H = len(gates), *dc.shape
    g, i, f, o = gates.split(H, dim=2)
    # The factors of dL/dh and dL/dc are known before the loop, for all steps: compute them at once, in delta.
    delta_g, delta_i, delta_f, delta_o = delta.split(H, dim=2)
    tanh_c = torch.tanh(c[1:])
    tanh_backward(i, g, grad_input=delta_g)
    sigmoid_backward(g, i, grad_input=delta_i)
    sigmoid_backward(c[:-1], f, grad_input=delta_f)
    sigmoid_backward(tanh_c, o, grad_input=delta_o)
    dh_to_dc = tanh_backward(o, tanh_c, grad_input=tanh_c).unbind(0)

    delta_gif = delta.view(m, B, 4, H)[:, :, :3].unbind(0)
    delta_o, deltas, f, dhs, dc_gif = delta_o.unbind(0), delta.unbind(0), f.unbind(0), dh.unbind(0), dc[:, None]
    for t in reversed(range(m)):
        if (m - 1 - t) % STEPS_TO_SUBNORMAL == 0:
            torch.hardshrink(dhs[t + 1], vanished, out=dhs[t + 1])
            torch.hardshrink(dc, vanished, out=dc)
        if incoming is not None:
            dhs[t + 1].add_(incoming[t])  # (B1)
        dc.addcmul_(dhs[t + 1], dh_to_dc[t])  # (B5)
        delta_o[t].mul_(dhs[t + 1])  # (B6)
        delta_gif[t].mul_(dc_gif)  # (B7)
        dc.mul_(f[t])  # (B8)
        if t > 0 or to_start:
            product(dhs[t], deltas[t], W)  # (B3)


PLAIN = NetworkKernels(StepKernels(rnn_forward, rnn_backward), StepKernels(lstm_forward, lstm_backward))


def look_up(table: Tensor | None, ids: Tensor | None, a: Tensor) -> None:
    """Fill ``a`` with the contributions of the inputs, unless it holds them already."""
    if table is not None and ids is not None:
        torch.index_select(table, 0, ids.view(-1), out=a.view(-1, a.shape[2]))


def add_product(out: Tensor, left: Tensor, right: Tensor, beta: float = 1.0) -> None:
    """``out = beta * out + left @ right``, multiplied in the dtype of ``right``; beta is 0 or 1."""
    if left.dtype == out.dtype == right.dtype:
        torch.addmm(out, left, right, beta=beta, out=out)
    elif beta == 0.0:
        out.copy_(torch.mm(left.to(right.dtype), right))
    else:
        out.add_(torch.mm(left.to(right.dtype), right))


def product(out: Tensor, left: Tensor, right: Tensor) -> None:
    """``out = left @ right``, multiplied in the dtype of ``right``; ``left`` has the dtype of ``out``."""
    if out.dtype == right.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(torch.mm(left.to(right.dtype), right))
