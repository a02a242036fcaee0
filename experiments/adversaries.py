"""Searches for palindromes that a network completes wrongly.

The margin of a palindrome is the logit of its last digit minus the largest other one, before that digit is read.

Legend: B palindromes, T length, N = ceil(T/2) digits of their first halves, K different digits.
"""

import torch
from torch import Tensor
from torch.nn import functional

from datamodules.palindrome_space import half_length, mirrored
from experiments.trained_model import Network

ROUNDS = 8
"""Changes of each palindrome by the search along gradients, at most."""


def margins_of(network: Network, digits: Tensor) -> Tensor:
    """The margin of each palindrome: (B, T) -> (B,)."""
    with torch.no_grad():
        return margins(network(digits[:, :-1], num_last_steps=1)[0][:, 0], digits[:, -1])


def margins(logits: Tensor, digits: Tensor) -> Tensor:
    """The logit of a digit minus the largest other one: (B, K) and (B,) -> (B,)."""
    own = logits.gather(1, digits[:, None])[:, 0]
    return own - logits.scatter(1, digits[:, None], -torch.inf).amax(dim=1)


def greedy_halves(network: Network, length: int) -> Tensor:
    """Halves whose digits are chosen one after the other, (2 K^2, N), for a length of at least 4.

    For each first and second digit, the next digit is the one after which the logit of the first digit is ahead by
    least. Each half occurs a second time with the digits after the first one in reverse order: in the second half of
    the palindrome they are then read in the order in which they were chosen.
    """
    digits = torch.arange(network.input_size)
    halves = greedy(network, torch.cartesian_prod(digits, digits), half_length(length) - 2)
    return torch.cat([halves, torch.cat([halves[:, :1], halves[:, 1:].flip(1)], dim=1)])


def greedy(network: Network, start: Tensor, num_digits: int) -> Tensor:
    """Longer sequences, (B, n) -> (B, n + num_digits): each digit is the one after which the first one's logit is ahead
    by least."""
    K, B = network.input_size, len(start)
    first, rows = start[:, 0], torch.arange(B)
    chosen = [start]
    every_digit = torch.arange(K).repeat(B)[:, None]
    with torch.no_grad():
        _, state = network(start, num_last_steps=1)
        for _ in range(num_digits):
            logits, after = network(every_digit, at(state, rows.repeat_interleave(K)))
            digit = margins(logits[:, 0], first.repeat_interleave(K)).view(B, K).argmin(dim=1)
            chosen.append(digit[:, None])
            state = at(after, rows * K + digit)
    return torch.cat(chosen, dim=1)


def at(state: Tensor | tuple[Tensor, ...], rows: Tensor) -> Tensor | tuple[Tensor, ...]:
    """The rows of a state h, or of (h, c)."""
    return state[rows] if isinstance(state, Tensor) else tuple(part[rows] for part in state)


def along_gradients(network: Network, halves: Tensor, length: int) -> Tensor:
    """Halves (B, N) with smaller margins, of the same first digits.

    The gradient of the margin with respect to the one-hot inputs estimates what another digit at a place, and at its
    mirror image, would change (Ebrahimi et al. 2018). The 1, 2, 4, ... most promising places are changed together, and
    the change with the smallest margin is kept, at most ``ROUNDS`` times.
    """
    N = halves.shape[1]
    smallest = margins_of(network, mirrored(halves, length))
    for _ in range(ROUNDS):
        slopes = input_slopes(network, halves, length)
        gains = slopes - slopes.gather(2, halves[:, :, None])
        gains[:, 0] = torch.inf  # the first digit stays
        gain, digit = gains.min(dim=2)
        places = gain.argsort(dim=1)
        better = halves
        for num in [2**k for k in range(N.bit_length()) if 2**k < N]:
            changed = halves.scatter(1, places[:, :num], digit.gather(1, places[:, :num]))
            found = margins_of(network, mirrored(changed, length))
            better = torch.where((found < smallest)[:, None], changed, better)
            smallest = torch.minimum(found, smallest)
        if torch.equal(better, halves):
            break
        halves = better
    return halves


def input_slopes(network: Network, halves: Tensor, length: int) -> Tensor:
    """The gradient of the margin with respect to each digit of the halves and its mirror image, (B, N, K)."""
    palindromes = mirrored(halves, length)
    inputs = functional.one_hot(palindromes[:, :-1], network.input_size).to(network.W_ph.dtype).requires_grad_()
    logits, _ = network(inputs, num_last_steps=1)
    (slopes,) = torch.autograd.grad(margins(logits[:, 0], palindromes[:, -1]).sum(), inputs)
    own = slopes[:, : halves.shape[1]].clone()
    # The last digit is not read, so the digit at place t = 1, 2, ... has its mirror image t - 1 places before the end.
    own[:, 1 : length // 2] += slopes.flip(1)[:, : length // 2 - 1]
    return own
