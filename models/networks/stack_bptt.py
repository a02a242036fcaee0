"""The passes of the stack RNN through time, its backward pass derived by hand (docs/derivations/stack_rnn.md).

Features come before rows of the batch in every buffer, so that a probability multiplies contiguous memory. A step
between the cells of two stacks is then three products with shifted views. The comments (C1) ... (C9) are the equations
of the derivation, (S1) ... (S5) those of ``StackRNN``.

Legend: B batch, T time steps, n last time steps whose hidden states are needed, I input features, H hidden units, M
features of a cell, D cells of the stack before the first step. ``delta`` is dL/dz, z is what tanh is applied to; ``a``
are the probabilities of the actions; ``o`` are their 3 scores and what the sigmoid is applied to, 3 + M values.
"""

import collections
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.networks import workspace
from models.networks.bptt import Gradients, differentiable_once
from models.networks.projection import project_inputs, projection
from models.networks.steps import sigmoid_backward, tanh_backward

NUM_ACTIONS = 3
PUSH, KEEP, POP = range(NUM_ACTIONS)

softmax_backward = torch.ops.aten._softmax_backward_data.out  # y * (grad - sum of grad * y)

PIECE_NUMEL = 1 << 19
"""Elements of the stacks of the rows that are evaluated together: 2 MiB of float32. With fewer rows calls cost more
than products; with more, the stacks leave the cache."""

HARDENED_NUMEL = 1 << 26
"""With hardened actions, where a step touches one cell of a stack: the most elements of stacks, or of the hidden states
that are kept, 256 MiB."""

PROJECTED_NUMEL = 1 << 18
"""Elements of the projected inputs that are held at a time, 1 MiB."""


class StackRNNFunction(torch.autograd.Function):
    """(S1) to (S5) over all steps.

    ``apply(n, keeps_state, grad_enabled, inputs, W_hx, W_r, b_h, W_o, b_o, h_0, s_0) -> hidden, h_T, s_T``

    Args:
        n: last time steps whose hidden states are needed.
        keeps_state: whether ``s_T`` is needed; if not, it has no cells, and none are computed that the sequence cannot
            pop any more.
        grad_enabled: whether gradients are enabled; torch disables them within ``forward``.
    Shape:
        inputs as for ``StackRNN``; W_hx (H, I); W_r (H, H + M), which is ``W_hh`` beside ``W_hs``; b_h (H,); W_o
        (3 + M, H), which is ``W_ah`` above ``W_vh``; b_o (3 + M,); h_0 (B, H); s_0 (B, D, M).
        returns hidden (B, n, H), h_T (B, H), s_T (B, D + T, M).
    """

    @staticmethod
    def forward(ctx: Any, n: int, keeps_state: bool, grad_enabled: bool, inputs: Tensor, *tensors: Tensor) -> Any:
        W_hx, W_r, b_h, W_o, b_o, h_0, s_0 = tensors
        keeps = grad_enabled and any(ctx.needs_input_grad)
        steps = Steps(inputs, W_hx, W_r, b_h, W_o, b_o, h_0, s_0, keeps_state=keeps_state, keeps_steps=keeps)
        hidden = last_hidden_states(steps, n)
        if keeps:
            ctx.save_for_backward(inputs, *tensors, steps.r, steps.stacks, steps.o)
            ctx.n, ctx.depths = n, steps.depths
            ctx.set_materialize_grads(False)
        T = inputs.shape[1]
        last = T % len(steps.r)
        contiguous = torch.contiguous_format  # copies, because the results may be changed in place
        h_T = steps.r[last, : steps.H].t().clone(memory_format=contiguous)
        s_T = steps.stacks[last, 1 : 1 + steps.depths[T]].permute(2, 0, 1).clone(memory_format=contiguous)
        return hidden, h_T, s_T

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> Gradients:
        return backward_pass(ctx, None, *d_outputs)


class Steps:
    """The buffers of a forward pass, and its steps.

    ``r`` holds ``h_t`` above the top of the stack, (H + M, B) for a step; ``stacks`` holds ``v_{t+1}``, then the cells
    of ``s_t``, then two empty ones, each (M, B); ``o`` holds the probabilities of step t + 1 and what ``v_{t+1}`` is
    made of, (3 + M, B). Without a backward pass every other step uses the same memory.
    """

    def __init__(
        self,
        inputs: Tensor,
        W_hx: Tensor,
        W_r: Tensor,
        b_h: Tensor,
        W_o: Tensor,
        b_o: Tensor,
        h_0: Tensor,
        s_0: Tensor,
        *,
        keeps_state: bool,
        keeps_steps: bool,
    ) -> None:
        (B, T), (H, M) = inputs.shape[:2], (len(W_r), len(W_o) - NUM_ACTIONS)
        self.inputs, self.W_hx, self.W_r, self.b_h = inputs, W_hx, W_r, b_h
        self.W_o, self.b_o = W_o, b_o[:, None]
        self.H, self.depths = H, depths(s_0.shape[1], T, keeps_state)
        held = T + 1 if keeps_steps else 2
        shapes = [(held, H + M, B), (held, max(self.depths) + 3, M, B), (held, NUM_ACTIONS + M, B)]
        self.r, self.stacks, self.o = workspace.allocate(shapes, W_r)
        self.r[0, :H] = h_0.t()
        self.stacks[0, 1 : 1 + s_0.shape[1]] = s_0.permute(1, 2, 0)
        self.stacks[0, 1 + s_0.shape[1] :][:2].zero_()
        self.r[0, H:] = self.stacks[0, 1]

    def projected(self) -> Iterator[Tensor]:
        """``W_hx x_t + b_h`` of each step, (H, B)."""
        m = max(1, PROJECTED_NUMEL // max(1, len(self.inputs) * self.H))
        for some in self.inputs.split(m, dim=1):
            yield from project_inputs(some, self.W_hx, self.b_h).transpose(1, 2).contiguous().unbind(0)

    def __iter__(self) -> Iterator[Tensor]:
        """Compute step after step; the hidden states, (H, B)."""
        r, h, top = self.r.unbind(0), self.r[:, : self.H].unbind(0), self.r[:, self.H :].unbind(0)
        stacks, o = self.stacks.unbind(0), self.o.unbind(0)
        a, v = self.o[:, :NUM_ACTIONS].unbind(0), self.o[:, NUM_ACTIONS:].unbind(0)
        push, keep, pop = (self.o[:, action].unbind(0) for action in (PUSH, KEEP, POP))
        held = len(r)
        for t, x in enumerate(self.projected()):
            now, then = t % held, (t + 1) % held
            torch.addmm(x, self.W_r, r[now], out=h[then]).tanh_()  # (S1)
            depth = self.depths[t + 1]
            if depth > 0:
                before, after = stacks[now], stacks[then]
                torch.addmm(self.b_o, self.W_o, h[then], out=o[now])
                torch.softmax(a[now], 0, out=a[now])  # (S2)
                torch.sigmoid(v[now], out=before[0])  # (S3)
                cells = torch.mul(before[:depth], push[now], out=after[1 : 1 + depth])  # (S4), (S5)
                cells.addcmul_(before[1 : 1 + depth], keep[now])
                cells.addcmul_(before[2 : 2 + depth], pop[now])
                if depth > self.depths[t]:  # the next step sees the two empty cells below
                    after[1 + depth : 3 + depth].zero_()
                top[then].copy_(after[1])
            yield h[then]


def depths(first: int, num_steps: int, keeps_state: bool) -> list[int]:
    """How many cells are computed after each step: all that can be filled, or those that can still be popped."""
    grown = range(first, first + num_steps + 1)
    if keeps_state:
        return list(grown)
    return [min(depth, num_steps - t) if t else depth for t, depth in enumerate(grown)]


@differentiable_once
def backward_pass(ctx: Any, _: None, d_hidden: Tensor | None, d_h_T: Tensor | None, d_s_T: Tensor | None) -> Gradients:
    """Gradients of the arguments of ``StackRNNFunction`` from those of its results."""
    inputs, W_hx, W_r, b_h, W_o, _, _, s_0, r, stacks, o = ctx.saved_tensors
    n, depths = ctx.n, ctx.depths
    (H, R), T, B = W_r.shape, inputs.shape[1], len(inputs)
    M = R - H
    delta, delta_o = workspace.allocate([(T, H, B), (T, NUM_ACTIONS + M, B)], W_r)
    # dL/ds, of this step and the one before: two empty cells above and below, so that shifted views need no edges.
    # Those below are never written: backwards in time, the number of cells grows at first and then shrinks.
    ds, ds_before = W_r.new_zeros(2, max(depths) + 5, M, B).unbind(0)
    products = W_r.new_empty(NUM_ACTIONS * max(depths) * M, B)
    if d_s_T is not None:
        ds[2 : 2 + depths[T]] = d_s_T.permute(1, 2, 0)
    dr = torch.zeros_like(r[0])
    dh, d_top = dr[:H], dr[H:]
    if d_h_T is not None:
        dh += d_h_T.t()
    sent = None if d_hidden is None else d_hidden.permute(1, 2, 0).contiguous().unbind(0)
    W_r_t, W_o_t = W_r.t().contiguous(), W_o.t().contiguous()
    h, stacks_before, deltas, delta_os = r[1:, :H].unbind(0), stacks.unbind(0), delta.unbind(0), delta_o.unbind(0)
    d_scores, d_values = delta_o[:, :NUM_ACTIONS].unbind(0), delta_o[:, NUM_ACTIONS:].unbind(0)
    a = o[:, :NUM_ACTIONS].unbind(0)
    push, keep, pop = (o[:, action].unbind(0) for action in (PUSH, KEEP, POP))
    for t in reversed(range(T)):
        depth, num_before = depths[t + 1], depths[t]
        if sent is not None and t >= T - n:
            dh += sent[t - (T - n)]  # (C1)
        if depth > 0:
            # The stack before, seen from a push, from keep and from a pop: the same memory, one cell apart.
            seen = stacks_before[t].as_strided(
                (NUM_ACTIONS, depth * M, B), (M * B, B, 1), stacks_before[t].storage_offset()
            )
            part = products[: NUM_ACTIONS * depth * M].view(NUM_ACTIONS, depth * M, B)
            da = torch.mul(seen, ds[2 : 2 + depth].view(depth * M, B), out=part).sum(1)  # (C2)
            softmax_backward(da, a[t], 0, da.dtype, grad_input=d_scores[t])  # (C3)
            sigmoid_backward(ds[2] * push[t], stacks_before[t][0], grad_input=d_values[t])  # (C4)
            dh.addmm_(W_o_t, delta_os[t])  # (C5)
            after = torch.mul(ds[3 : 3 + num_before], push[t], out=ds_before[2 : 2 + num_before])  # (C6)
            after.addcmul_(ds[2 : 2 + num_before], keep[t])
            after.addcmul_(ds[1 : 1 + num_before], pop[t])
        else:
            delta_os[t].zero_()
            ds_before[2 : 2 + num_before].zero_()
        tanh_backward(dh, h[t], grad_input=deltas[t])  # (C7)
        torch.mm(W_r_t, deltas[t], out=dr)  # (C8)
        if num_before > 0:
            ds_before[2] += d_top
        ds, ds_before = ds_before, ds
    needs = dict(zip(("inputs", "W_hx", "W_r", "b_h", "W_o", "b_o"), ctx.needs_input_grad[3:9], strict=True))
    x = projection(inputs, W_hx, b_h, W_r.dtype)
    x.prepare_gradients(needs["inputs"], needs["W_hx"], needs["b_h"])
    by_row = delta.transpose(1, 2).reshape(T * B, H)
    x.add_gradients(0, T, by_row, by_row)
    d_inputs, d_W_hx, d_b_h = x.gradients()
    d_W_r = product_over_steps(delta, r[:-1])  # (C9)
    d_W_o = product_over_steps(delta_o, r[1:, :H])
    d_s_0 = ds[2 : 2 + s_0.shape[1]].permute(2, 0, 1).contiguous()
    return None, None, None, d_inputs, d_W_hx, d_W_r, d_b_h, d_W_o, delta_o.sum((0, 2)), dh.t().contiguous(), d_s_0


def product_over_steps(left: Tensor, right: Tensor) -> Tensor:
    """The sum over steps and rows of ``left right^T``: (T, L, B) and (T, R, B) -> (L, R)."""
    return left.transpose(0, 1).flatten(1) @ right.transpose(0, 1).flatten(1).t()


def last_hidden_states(steps: Steps, n: int) -> Tensor:
    """Hidden states of the last n steps, (B, n, H)."""
    first = len(steps.depths) - 1 - n
    if len(steps.r) == 2:
        hidden = steps.r.new_empty(n, steps.H, len(steps.inputs))
        for t, h in enumerate(steps):
            if t >= first:
                hidden[t - first] = h
    else:
        collections.deque(steps, maxlen=0)
        hidden = steps.r[1 + first :, : steps.H]
    return hidden.permute(2, 0, 1).contiguous()


def soft_hidden_states(
    inputs: Tensor, n: int, W_hx: Tensor, W_r: Tensor, b_h: Tensor, W_o: Tensor, b_o: Tensor
) -> Iterator[Tensor]:
    """Hidden states of the last n steps, some rows at a time (any, n, H), from zeros and an empty stack.

    There is no backward pass.
    """
    M = len(W_o) - NUM_ACTIONS
    num_rows = max(1, PIECE_NUMEL // ((inputs.shape[1] // 2 + 3) * M))
    for rows in inputs.split(num_rows) if len(inputs) else ():
        h_0, s_0 = W_r.new_zeros(len(rows), len(W_r)), W_r.new_zeros(len(rows), 0, M)
        steps = Steps(rows, W_hx, W_r, b_h, W_o, b_o, h_0, s_0, keeps_state=False, keeps_steps=False)
        yield last_hidden_states(steps, n)


def hardened_hidden_states(
    inputs: Tensor, n: int, W_hx: Tensor, W_r: Tensor, b_h: Tensor, W_o: Tensor, b_o: Tensor
) -> Iterator[Tensor]:
    """As ``soft_hidden_states``, but each step takes its most likely action, so a stack is a list with a pointer."""
    T, H, M = inputs.shape[1], len(W_r), len(W_o) - NUM_ACTIONS
    num_rows = max(1, HARDENED_NUMEL // max((T // 2 + 1) * M, n * H))
    for rows in inputs.split(num_rows) if len(inputs) else ():
        B = len(rows)
        cells = W_r.new_empty(B, T + 1, M)  # the system provides the pages that are written
        cells[:, 0] = 0  # the empty cell below every stack
        flat, bottom = cells.view(-1, M), torch.arange(B, device=inputs.device) * (T + 1)
        height = torch.zeros_like(bottom)
        r = W_r.new_zeros(B, H + M)
        kept = W_r.new_empty(B, n, H)
        W_r_t, W_o_t = W_r.t(), W_o.t()
        start = 0
        for some in rows.split(max(1, PROJECTED_NUMEL // (B * H)), dim=1):
            for t, x in enumerate(project_inputs(some, W_hx, b_h).unbind(0), start=start):
                h = torch.addmm(x, r, W_r_t).tanh_()  # (S1)
                if t >= T - n:
                    kept[:, t - (T - n)] = h
                o = torch.addmm(b_o, h, W_o_t)
                action = o[:, :NUM_ACTIONS].max(1).indices
                pushes = action == PUSH
                height = (height + pushes.long() - (action == POP).long()).clamp_(min=0)
                place = bottom + height
                top = torch.where(pushes[:, None], o[:, NUM_ACTIONS:].sigmoid(), flat.index_select(0, place))
                flat.index_copy_(0, place, top)
                r = torch.cat([h, top], 1)
            start += some.shape[1]
        yield kept
