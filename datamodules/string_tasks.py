"""Tasks on strings of any length that need a stack: reverse a string, push and pop, close brackets.

Legend: B batch, n symbols of a string, T time steps, m symbols to predict, K different symbols.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]

StringTask = Literal["reverse", "stack_manipulation", "brackets"]


class TaskForm(NamedTuple):
    """How a task turns strings into what a network reads, and what it is to predict.

    Args:
        num_drawn: different symbols in a string that is drawn, from K.
        num_features: different symbols in the input.
        num_classes: different symbols to predict.
        encode: from strings (B, n) and K to inputs (B, T), and targets (B, m) for the last m steps; all int64.
        change: from strings and K to valid strings of the same shape; None if all strings are valid.
    """

    num_drawn: Callable[[int], int]
    num_features: Callable[[int], int]
    num_classes: Callable[[int], int]
    encode: Callable[[Tensor, int], Batch]
    change: Callable[[Tensor, int], Tensor] | None = None

    def changed(self, num_symbols: int) -> Callable[[Tensor], Tensor] | None:
        """``change`` with K fixed; None if all strings are valid."""
        change = self.change
        return None if change is None else lambda strings: change(strings, num_symbols)


def reversed_strings(strings: Tensor, num_symbols: int) -> Batch:
    """The symbols, a marker and n blanks; to predict at the blanks: the symbols in reverse, (B, n).

    The marker is K, a blank K + 1.
    """
    marker, blanks = torch.full_like(strings[:, :1], num_symbols), torch.full_like(strings, num_symbols + 1)
    return torch.cat([strings, marker, blanks], 1), strings.flip(1)


def stack_contents(strings: Tensor, num_symbols: int) -> Batch:
    """A symbol below K is pushed, K pops (an empty stack stays empty); then follow n + 1 blanks, K + 1.

    To predict at the blanks: the stack from its top, then K, which is its end, (B, n + 1).
    """
    _, stacks = push_and_pop(strings, num_symbols)
    return torch.cat([strings, torch.full_like(stacks, num_symbols + 1)], 1), stacks


def brackets(strings: Tensor, num_symbols: int) -> Batch:
    """A symbol below K opens a bracket of this kind, K closes the innermost one; then follow n + 1 blanks, 2K.

    In the input the bracket that closes kind k is K + k. To predict at the blanks: the kinds of the brackets that are
    open, from the innermost, then K, which is the end, (B, n + 1).
    """
    tops, stacks = push_and_pop(strings, num_symbols)
    symbols = torch.where(strings < num_symbols, strings, num_symbols + tops)
    return torch.cat([symbols, torch.full_like(stacks, 2 * num_symbols)], 1), stacks


def without_unopened(strings: Tensor, num_symbols: int) -> Tensor:
    """Strings of ``brackets`` in which a bracket of kind 0 is opened where none is open that could be closed."""
    tops, _ = push_and_pop(strings, num_symbols, bottom=0)
    return torch.where((strings == num_symbols) & (tops == num_symbols), 0, strings)


def push_and_pop(strings: Tensor, num_symbols: int, bottom: int | None = None) -> tuple[Tensor, Tensor]:
    """Push the symbols below K, and pop for K.

    Args:
        strings: (B, n).
        num_symbols: K.
        bottom: what is pushed where an empty stack is to be popped; by default nothing.
    Returns:
        the top before each step, (B, n), and the stack at the end from its top, (B, n + 1); an empty cell is K.
    """
    B, n = strings.shape
    stacks = strings.new_full((B, n + 1), num_symbols)  # the cell below the bottom stays empty
    heights, rows, tops = strings.new_zeros(B), torch.arange(B), torch.empty_like(strings)
    for step in range(n):
        symbols, tops[:, step] = strings[:, step], stacks[rows, heights]
        if bottom is not None:
            symbols = torch.where((symbols == num_symbols) & (heights == 0), bottom, symbols)
        pushes = symbols < num_symbols
        heights = (heights + torch.where(pushes, 1, -1)).clamp_(min=0)
        stacks[rows, heights] = torch.where(pushes, symbols, stacks[rows, heights])
    return tops, stacks.gather(1, (heights[:, None] - torch.arange(n + 1)).clamp_(min=0))


TASKS: dict[str, TaskForm] = {
    "reverse": TaskForm(lambda K: K, lambda K: K + 2, lambda K: K, reversed_strings),
    "stack_manipulation": TaskForm(lambda K: K + 1, lambda K: K + 2, lambda K: K + 1, stack_contents),
    "brackets": TaskForm(lambda K: K + 1, lambda K: 2 * K + 1, lambda K: K + 1, brackets, without_unopened),
}
