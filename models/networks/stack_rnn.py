"""The handwritten recurrent network with a stack (Joulin and Mikolov 2015, section 3.1).

Legend: B batch, T time steps, n last time steps with outputs, I input features, H hidden units, K classes, M features
of a cell of the stack, D cells of the stack.
"""

from collections.abc import Callable
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.checks import check_choice, check_scale, check_sizes
from models.networks.initialization import orthogonal_, uniform_
from models.networks.projection import project_inputs
from models.networks.recurrent import Backward, check_inputs, check_loss, has_dtype
from models.networks.stack_bptt import (
    NUM_ACTIONS,
    StackRNNFunction,
    hardened_hidden_states,
    soft_hidden_states,
)

ACTIONS = ("push", "keep", "pop")
"""The order of the actions in ``W_ah``, ``b_a`` and in the probabilities."""

State = tuple[Tensor, Tensor]


class Trace(NamedTuple):
    """What a stack RNN does at each of T time steps.

    Args:
        hidden_states: ``h_t``, (B, T, H).
        actions: ``a_t``, the probabilities of ``ACTIONS``, (B, T, 3).
        pushed: ``v_t``, (B, T, M).
        stacks: ``s_t``, the top first, (B, T, D, M), with D = T.
    """

    hidden_states: Tensor
    actions: Tensor
    pushed: Tensor
    stacks: Tensor


class StackRNN(nn.Module):
    """A recurrent network with a stack and a linear readout.

        h_t = tanh(W_hx x_t + W_hh h_{t-1} + W_hs s_{t-1}[0] + b_h)                          (S1)
        a_t = softmax(W_ah h_t + b_a)                                                        (S2)  push, keep, pop
        v_t = sigmoid(W_vh h_t + b_v)                                                        (S3)
        s_t[0] = a_t[push] v_t + a_t[keep] s_{t-1}[0] + a_t[pop] s_{t-1}[1]                  (S4)
        s_t[i] = a_t[push] s_{t-1}[i-1] + a_t[keep] s_{t-1}[i] + a_t[pop] s_{t-1}[i+1]       (S5)  i = 1, 2, ...
        p_t = W_ph h_t + b_p                                                                 (2)

    ``s_t[0]`` is the top of the stack. Empty cells are zero; ``v_t`` is not, so the network can tell them apart. The
    actions are probabilities, so the cells are mixtures, and the gradient passes through them. With ``hardened``
    actions the most likely one has the probability 1: then the stack is an ordinary one.

    Joulin and Mikolov have several stacks with one number in a cell, a sigmoid in place of tanh, and -1 in empty cells.
    One stack with M numbers in a cell is that of Delétang et al. (2023). The stack has no largest depth: as many cells
    are computed as the sequence can fill, and in ``logits`` only those that it can still pop. Under autocast all is
    computed in the dtype of the parameters, apart from the readout in training.

    The parameters have the names of the equations: ``W_hx`` (H, I), ``W_hh`` (H, H), ``W_hs`` (H, M), ``b_h`` (H,),
    ``W_ah`` (3, H), ``b_a`` (3,), ``W_vh`` (M, H), ``b_v`` (M,), ``W_ph`` (K, H), ``b_p`` (K,).

    Args:
        input_size: features of ``x_t``, I; for symbols, the number of different ones.
        hidden_size: features of ``h_t``, H.
        output_size: classes, K.
        stack_size: features of a cell of the stack, M.
        input_scale: initial standard deviation of the entries of ``W_hx``.
        recurrent_scale: the initial ``W_hh`` is an orthogonal matrix times this factor. With 0, a network begins as one
            that remembers by its stack alone. The other weights are drawn as in ``torch.nn.RNN``.
        backward: ``bptt`` for the hand-derived backward pass (docs/derivations/stack_rnn.md), ``autograd`` for torch's.
    Raises:
        ValueError: an argument is out of its range, or inputs or state do not fit; the message gives value and limit.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        stack_size: int = 8,
        input_scale: float = 1.0,
        recurrent_scale: float = 0.0,
        backward: Backward = "bptt",
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size, output_size=output_size, stack_size=stack_size)
        check_scale("input_scale", input_scale)
        check_scale("recurrent_scale", recurrent_scale)
        check_choice("backward", backward, get_args(Backward))
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.output_size = output_size
        self.stack_size = stack_size
        self.backward = backward
        self.W_hx = nn.Parameter(torch.empty(hidden_size, input_size))
        self.W_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.W_hs = nn.Parameter(torch.empty(hidden_size, stack_size))
        self.b_h = nn.Parameter(torch.empty(hidden_size))
        self.W_ah = nn.Parameter(torch.empty(NUM_ACTIONS, hidden_size))
        self.b_a = nn.Parameter(torch.empty(NUM_ACTIONS))
        self.W_vh = nn.Parameter(torch.empty(stack_size, hidden_size))
        self.b_v = nn.Parameter(torch.empty(stack_size))
        self.W_ph = nn.Parameter(torch.empty(output_size, hidden_size))
        self.b_p = nn.Parameter(torch.empty(output_size))
        uniform_(self.parameters(), hidden_size)
        nn.init.normal_(self.W_hx, std=input_scale)
        orthogonal_([self.W_hh], recurrent_scale)

    def forward(
        self, inputs: Tensor, state: State | None = None, num_last_steps: int | None = None
    ) -> tuple[Tensor, State]:
        """Logits of the last ``num_last_steps`` time steps (all by default), and the final state.

        Shape:
            inputs: symbols (B, T) int64 in [0, I), or floats (B, T, I) of the dtype of the parameters.
            state: ``h_0`` (B, H) and ``s_0`` (B, D, M), the top first; by default zeros, and an empty stack.
            returns: logits (B, n, K), and the state after the last step; its stack has D + T cells.
        Raises:
            ValueError: inputs or state do not fit; the message gives the value and the expected one.
        """
        check_inputs(inputs, num_last_steps, self.input_size, self.W_ph.dtype)
        start = self.initial_state(len(inputs)) if state is None else self.checked_state(state, len(inputs))
        n = num_last_steps or inputs.shape[1]
        if self.backward == "bptt":
            hidden, *final = self.run_bptt(inputs, n, start, keeps_state=True)
            return self.readout(hidden), (final[0], final[1])
        history, last = self.unroll(inputs, *start)
        return self.readout(torch.stack(history[-n:], dim=1)), last

    def logits(self, inputs: Tensor, num_last_steps: int = 1, hardened: bool = False) -> Tensor:
        """Logits of the last n time steps, from zeros and an empty stack: (B, n, K).

        Only the cells are computed that can still reach the top within the sequence. Without gradients one stack of
        each row is held, not those of all steps.

        Args:
            inputs: as for ``forward``.
            num_last_steps: n.
            hardened: take the most likely action at each step; without gradients.
        """
        if self.backward == "autograd" and torch.is_grad_enabled() and not hardened:
            return self(inputs, None, num_last_steps)[0]
        check_inputs(inputs, num_last_steps, self.input_size, self.W_ph.dtype)
        if torch.is_grad_enabled() and not hardened:
            start = self.initial_state(len(inputs))
            return self.readout(self.run_bptt(inputs, num_last_steps, start, keeps_state=False)[0])
        with torch.no_grad():
            hidden_states = hardened_hidden_states if hardened else soft_hidden_states
            with torch.autocast(inputs.device.type, enabled=False):
                pieces = hidden_states(inputs, num_last_steps, *self.stacked_weights())
                logits = [self.readout(piece) for piece in pieces]
            return torch.cat(logits) if logits else inputs.new_empty(0, num_last_steps, self.output_size).to(self.b_p)

    def readout(self, hidden_states: Tensor) -> Tensor:
        """``p_t = W_ph h_t + b_p`` (equation 2): (..., H) -> logits (..., K)."""
        return hidden_states @ self.W_ph.t() + self.b_p

    def stacked_weights(self) -> tuple[Tensor, ...]:
        """Those of ``StackRNNFunction``: two matrix products a step are faster than four."""
        W_r = torch.cat([self.W_hh, self.W_hs], 1)
        return self.W_hx, W_r, self.b_h, torch.cat([self.W_ah, self.W_vh]), torch.cat([self.b_a, self.b_v])

    def run_bptt(self, inputs: Tensor, n: int, start: State, keeps_state: bool) -> tuple[Tensor, ...]:
        """Hidden states of the last n steps and the final state, with the hand-derived backward pass."""
        grad_enabled = torch.is_grad_enabled()
        with torch.autocast(inputs.device.type, enabled=False):
            start = start[0].to(self.b_h.dtype), start[1].to(self.b_h.dtype)
            inputs = inputs.to(self.b_h.dtype) if inputs.is_floating_point() else inputs
            return StackRNNFunction.apply(n, keeps_state, grad_enabled, inputs, *self.stacked_weights(), *start)

    def initial_state(self, batch_size: int) -> State:
        """Zeros, and a stack without cells."""
        return self.b_h.new_zeros(batch_size, self.hidden_size), self.b_h.new_zeros(batch_size, 0, self.stack_size)

    def checked_state(self, state: State, batch_size: int) -> State:
        """The state, or a ValueError if it does not fit."""
        if not isinstance(state, tuple | list) or not all(isinstance(part, Tensor) for part in state):
            raise ValueError(f"the initial state is of type {type(state).__name__}; expected two tensors")
        shapes = [tuple(part.shape) for part in state]
        fits = len(shapes) == 2 and shapes[0] == (batch_size, self.hidden_size) and len(shapes[1]) == 3
        if not fits or shapes[1][::2] != (batch_size, self.stack_size):
            raise ValueError(
                f"the initial state has the shapes {shapes}; expected (B, H) = {(batch_size, self.hidden_size)} and "
                f"(B, D, M) = ({batch_size}, any, {self.stack_size})"
            )
        if not all(has_dtype(part, self.b_h.dtype) for part in state):
            raise ValueError(f"the initial state is {state[0].dtype} and {state[1].dtype}; expected {self.b_h.dtype}")
        return state[0], state[1]

    def step(self, x: Tensor, h: Tensor, stack: Tensor, hardened: bool = False) -> tuple[Tensor, ...]:
        """Equations (S1) to (S5): the hidden state, the actions, what is pushed, and the stack, one cell deeper.

        Args:
            x: ``W_hx x_t + b_h``, (B, H).
            h: (B, H).
            stack: (B, D, M), the top first.
            hardened: whether the most likely action has the probability 1.
        """
        empty = stack.new_zeros(len(stack), 2, self.stack_size)
        below = torch.cat([stack, empty], 1)  # (B, D+2, M)
        h = torch.tanh(x + h @ self.W_hh.t() + below[:, 0] @ self.W_hs.t())
        scores = h @ self.W_ah.t() + self.b_a
        a = torch.softmax(scores, dim=1)
        if hardened:
            a = functional.one_hot(scores.max(1).indices, NUM_ACTIONS).to(a.dtype)
        v = torch.sigmoid(h @ self.W_vh.t() + self.b_v)
        push, keep, pop = a[:, :, None, None].unbind(1)
        pushed = torch.cat([v[:, None], stack], 1)  # (B, D+1, M)
        return h, a, v, push * pushed + keep * below[:, :-1] + pop * below[:, 1:]

    def unroll(self, inputs: Tensor, h: Tensor, stack: Tensor) -> tuple[list[Tensor], State]:
        """The readable loop: every ``h_t`` (B, H), and the final state."""
        history = []
        for x in project_inputs(inputs, self.W_hx, self.b_h).unbind(0):
            h, _, _, stack = self.step(x, h, stack)
            history.append(h)
        return history, (h, stack)

    def trace(self, inputs: Tensor, hardened: bool = False) -> Trace:
        """What the network does at each step of a short sequence; the stacks of all steps take T^2 M numbers a row.

        Args:
            inputs: as for ``forward``.
            hardened: whether the most likely action is taken.
        """
        check_inputs(inputs, None, self.input_size, self.W_ph.dtype)
        T, steps = inputs.shape[1], []
        h, stack = self.initial_state(len(inputs))
        with torch.no_grad():
            for t, x in enumerate(project_inputs(inputs, self.W_hx, self.b_h).unbind(0), start=1):
                h, a, v, stack = self.step(x, h, stack, hardened)
                steps.append((h, a, v, functional.pad(stack, (0, 0, 0, T - t))))
        return Trace(*(torch.stack(parts, 1) for parts in zip(*steps, strict=True)))

    def hidden_state_gradients(
        self, inputs: Tensor, loss: Callable[[Tensor], Tensor], num_last_steps: int | None = None
    ) -> Tensor:
        """``dL/dh_t`` for every time step, where L is ``loss(logits)``: see ``HandwrittenNetwork``; (B, T, H)."""
        with torch.inference_mode(False), torch.enable_grad():
            check_inputs(inputs, num_last_steps, self.input_size, self.W_ph.dtype)
            history, _ = self.unroll(inputs.clone(), *self.initial_state(len(inputs)))
            value = check_loss(loss(self.readout(torch.stack(history[-(num_last_steps or 0) :], dim=1))))
            return torch.stack(torch.autograd.grad(value, history), dim=1)
