"""Measures how a network keeps the first digit of a palindrome: its states and their gradients.

Legend: K digits, R palindromes for each of them, B = K R, S numbers of a state (H; for an LSTM h and c, 2H), T length.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from experiments.tables import Rows
from experiments.trained_model import Network, TrainedNetwork, as_state, as_vector

TIMES = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
"""States are measured after these numbers of digits."""

KICK_AT = 100
"""States are kicked after this number of digits."""

KICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Sizes of kicks, in half distances to the nearest mean state of another digit."""

MOVES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Parts of the way from the mean state of one digit to that of another."""

NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Standard deviations of random initial states."""

LENGTHS = (5, 20, 100, 1000)
"""Lengths of palindromes whose gradients are measured."""

SETTLING_STEPS = 2000
"""Steps with the average digit before a fixed point is measured."""


def draw_digits(num_classes: int, num_palindromes: int, num_steps: int) -> Tensor:
    """Digits to read, (B, num_steps): R sequences begin with 0, R with 1, and so on; all other digits are random.

    They need not be palindromes: a network reads them in order, and its target is the first digit.
    """
    digits = torch.randint(num_classes, (num_classes * num_palindromes, num_steps))
    digits[:, 0] = torch.arange(num_classes).repeat_interleave(num_palindromes)
    return digits


def settle(trained: TrainedNetwork, digits: Tensor) -> tuple[dict[int, Tensor], Rows]:
    """Read digits, and measure how the hidden states of each first digit separate.

    Returns:
        the states (B, S) after t digits, for each t of ``TIMES``, and a row of measurements for each t.
    """
    network, first, num_steps = trained.network, digits[:, 0], digits.shape[1]
    states: dict[int, Tensor] = {}
    rows: Rows = []
    state: Any = None
    num_read = 0
    for t in sorted({t for t in TIMES if t < num_steps} | {num_steps}):
        _, state = network(digits[:, num_read:t], state, num_last_steps=1)
        num_read = t
        states[t] = as_vector(state)
        h = hidden_state(states[t], network)
        centres = centres_of(h, first, trained.num_classes)
        spread = (h - centres[first]).square().sum(1).mean().sqrt()
        rows.append(
            {
                "t": t,
                "spread": spread.item(),
                "separation": nearest(centres).min().item(),
                "correct": accuracy(network, states[t], first),
            }
        )
    return states, rows


def hidden_state(states: Tensor, network: Network) -> Tensor:
    """The hidden states h (B, H) of the states (B, S)."""
    return states[:, : network.hidden_size]


def centres_of(states: Tensor, first: Tensor, num_classes: int) -> Tensor:
    """The mean state for each first digit, (K, S)."""
    return torch.stack([states[first == digit].mean(0) for digit in range(num_classes)])


def nearest(points: Tensor) -> Tensor:
    """The distance of each point (K, S) to the nearest other one, (K,)."""
    distances = torch.cdist(points, points)
    return distances.fill_diagonal_(float("inf")).amin(dim=1)


def accuracy(network: Network, states: Tensor, digits: Tensor) -> float:
    """The share of states (B, S) from which the network predicts these digits (B,)."""
    logits = network.readout(hidden_state(states, network))
    return (logits.argmax(dim=1) == digits).float().mean().item()


def fixed_points(trained: TrainedNetwork, states: Tensor, first: Tensor) -> Rows:
    """The fixed point of each digit, found by reading the average digit many times, and its stability."""
    network, K = trained.network, trained.num_classes
    average = torch.full((1, 1, K), 1 / K).expand(K, SETTLING_STEPS, K)
    centres = centres_of(states, first, K)
    _, state = network(average, as_state(centres, network), num_last_steps=1)
    points = as_vector(state)
    after_step = as_vector(network(average[:, :1], state)[1])
    movement = (after_step - points).norm(dim=1)
    distances = nearest(points)
    rows: Rows = [
        {"digit": digit, "movement": movement[digit].item(), "nearest": distances[digit].item()} for digit in range(K)
    ]
    for row, point in zip(rows, points, strict=True):
        row["factor"] = spectral_radius(network, point)
    at_zero = spectral_radius(network, torch.zeros_like(points[0]))
    return [*rows, {"digit": "zero", "movement": "", "nearest": "", "factor": at_zero}]


def spectral_radius(network: Network, point: Tensor) -> float:
    """The largest absolute eigenvalue of ds_{t+1}/ds_t at a state (S,), where the network reads the average digit."""
    K = network.input_size

    def step(vector: Tensor) -> Tensor:
        average = torch.full((1, 1, K), 1 / K, dtype=torch.float64)
        return as_vector(precise.hidden_states(average, as_state(vector[None], network))[1])[0]

    precise = type(network)(K, network.hidden_size, network.output_size, backward="autograd").double()
    precise.load_state_dict(network.state_dict())
    with torch.enable_grad():
        jacobian = torch.autograd.functional.jacobian(step, point.double())
    return torch.linalg.eigvals(jacobian).abs().max().item()


def kick(network: Network, states: Tensor, digits: Tensor) -> Rows:
    """Move states (B, S) in random directions, read the other digits, and measure the accuracy for each size."""
    first, rest = digits[:, 0], digits[:, KICK_AT:]
    rows: Rows = []
    for size in KICKS:
        _, state = network(rest, as_state(kicked(states, first, size), network), num_last_steps=1)
        rows.append({"kick": size, "correct": accuracy(network, as_vector(state), first)})
    return rows


def kicked(states: Tensor, first: Tensor, size: float) -> Tensor:
    """States (B, S) moved in random directions, by ``size`` half distances to the nearest centre of another digit."""
    centres = centres_of(states, first, int(first.max()) + 1)
    directions = functional.normalize(torch.randn_like(states), dim=1)
    return states + size * nearest(centres)[first, None] / 2 * directions


def move(network: Network, states: Tensor, digits: Tensor, num_classes: int) -> Rows:
    """Move states (B, S) towards those of another first digit, read the other digits, and see which one is predicted.

    The other digit is random. A state moves by a part of the difference of the two digits' mean states.
    """
    first, rest = digits[:, 0], digits[:, KICK_AT:]
    other = (first + torch.randint(1, num_classes, first.shape)) % num_classes
    centres = centres_of(states, first, num_classes)
    rows: Rows = []
    for part in MOVES:
        moved = states + part * (centres[other] - centres[first])
        _, state = network(rest, as_state(moved, network), num_last_steps=1)
        end = as_vector(state)
        rows.append({"moved": part, "own": accuracy(network, end, first), "other": accuracy(network, end, other)})
    return rows


def distances_after_kick(network: Network, states: Tensor, digits: Tensor, num_steps: int = 40) -> Tensor:
    """Mean distance between kicked and other states while both read the same digits, (num_steps + 1,)."""
    pair = [states, kicked(states, digits[:, 0], 0.2)]
    distances = [(pair[1] - pair[0]).norm(dim=1).mean()]
    for t in range(KICK_AT, KICK_AT + num_steps):
        pair = [as_vector(network(digits[:, t : t + 1], as_state(s, network))[1]) for s in pair]
        distances.append((pair[1] - pair[0]).norm(dim=1).mean())
    return torch.stack(distances)


def start_elsewhere(trained: TrainedNetwork, settled: Tensor, digits: Tensor) -> Rows:
    """Read from initial states other than zero: noise, and the last states of other palindromes."""
    network, first = trained.network, digits[:, 0]
    # Each sequence starts from the last state of a sequence with the next digit.
    other = settled.roll(-(len(first) // trained.num_classes), dims=0)
    starts = {"zero": torch.zeros_like(settled)}
    starts |= {f"noise {std}": std * torch.randn_like(settled) for std in NOISES}
    starts["another palindrome's end"] = other
    rows: Rows = []
    for name, start in starts.items():
        _, state = network(digits, as_state(start, network), num_last_steps=1)
        end = as_vector(state)
        kept = accuracy(network, end, (first + 1) % trained.num_classes) if start is other else ""
        rows.append({"start": name, "correct": accuracy(network, end, first), "kept from before": kept})
    return rows


def gradients(trained: TrainedNetwork, num_palindromes: int) -> Rows:
    """How far back the gradient reaches at several lengths, for an untrained and for the trained network.

    In float64, because in float32 small gradients would be zero.
    """
    rows: Rows = []
    for name, single in (("untrained", trained.untrained), ("trained", trained.network)):
        network = deepcopy(single).double()
        for length in LENGTHS:
            norms, directions = [], []
            for _ in range(2):
                digits = draw_digits(trained.num_classes, num_palindromes, length - 1)
                norms.append(gradient_norms(network, digits))
                directions.append(parameter_gradient(network, digits))
            first, last = (torch.cat(norms).median(dim=0).values[t].item() for t in (0, -1))
            agreement = functional.cosine_similarity(directions[0], directions[1], dim=0).item()
            rows.append(
                {
                    "network": name,
                    "T": length,
                    "first": first,
                    "last": last,
                    "ratio": first / last if last > 0 else float("nan"),
                    "agreement": agreement,
                }
            )
    return rows


def gradient_norms(network: Network, digits: Tensor) -> Tensor:
    """``|dL/dh_t|`` for the loss L of each palindrome: all digits but the last (B, T-1) -> (B, T-1)."""
    last = digits[:, 0]  # the last digit of a palindrome is its first

    def loss(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits[:, -1], last, reduction="sum")

    return network.hidden_state_gradients(digits, loss, num_last_steps=1).norm(dim=2)


def parameter_gradient(network: Network, digits: Tensor) -> Tensor:
    """The gradient of the mean loss with respect to all recurrent and input weights, as one vector."""
    logits, _ = network(digits, num_last_steps=1)
    loss = functional.cross_entropy(logits[:, -1], digits[:, 0])
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.recurrent_weights())])
