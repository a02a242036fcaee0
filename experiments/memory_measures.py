"""What is measured about how a network keeps the first digit of a palindrome: its states, and their gradients.

Legend: K digits, R palindromes for each of them, B = K R, S numbers of a state (H; for an LSTM h and c, 2H), T length.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from experiments.tables import Rows
from experiments.trained_network import Network, TrainedNetwork, as_state, as_vector

TIMES = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
KICK_AT = 100
"""After so many digits states are kicked."""
KICKS = (0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0)
"""How far, in half distances to the nearest other digit's state."""
NOISES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Standard deviations of initial states."""
LENGTHS = (5, 20, 100, 1000)
"""Lengths whose gradients are looked at."""
SETTLING_STEPS = 2000
"""Steps with the average digit after which a state must have come to rest, if it ever does."""


def draw_digits(num_classes: int, num_palindromes: int, num_steps: int) -> Tensor:
    """Digits to be read, (B, num_steps): R sequences that begin with 0, R with 1, and so on; the rest is random.

    That they are no whole palindromes makes no difference to a network that reads them once, in order.
    """
    digits = torch.randint(num_classes, (num_classes * num_palindromes, num_steps))
    digits[:, 0] = torch.arange(num_classes).repeat_interleave(num_palindromes)
    return digits


def settle(trained: TrainedNetwork, digits: Tensor) -> tuple[dict[int, Tensor], Rows]:
    """The states (B, S) after t digits, for some t, and how the hidden states among them lie."""
    network, first, num_steps = trained.network, digits[:, 0], digits.shape[1]
    states: dict[int, Tensor] = {}
    rows: Rows = []
    state: Any = None
    before = 0
    for t in sorted({t for t in TIMES if t < num_steps} | {num_steps}):
        _, state = network(digits[:, before:t], state, num_last_steps=1)
        before = t
        states[t] = as_vector(state)
        h = hidden_state(states[t], network)
        centres = centres_of(h, first, trained.num_classes)
        spread = (h - centres[first]).square().sum(1).mean().sqrt()
        rows.append(
            {
                "t": t,
                "spread": spread.item(),
                "separation": nearest(centres).min().item(),
                "named": share_named(network, states[t], first),
            }
        )
    return states, rows


def hidden_state(states: Tensor, network: Network) -> Tensor:
    """h of the states (B, S), (B, H)."""
    return states[:, : network.hidden_size]


def centres_of(states: Tensor, first: Tensor, num_classes: int) -> Tensor:
    """The mean state for each first digit, (K, S)."""
    return torch.stack([states[first == digit].mean(0) for digit in range(num_classes)])


def nearest(points: Tensor) -> Tensor:
    """The distance of each point (K, S) to the nearest other one, (K,)."""
    distances = torch.cdist(points, points)
    return distances.fill_diagonal_(float("inf")).amin(dim=1)


def share_named(network: Network, states: Tensor, digits: Tensor) -> float:
    """The share of states (B, S) from which these digits (B,) are named."""
    logits = network.readout(hidden_state(states, network))
    return (logits.argmax(dim=1) == digits).float().mean().item()


def fixed_points(trained: TrainedNetwork, states: Tensor, first: Tensor) -> Rows:
    """Where each digit's state comes to rest, given the average digit again and again, and how it is drawn there."""
    network, K = trained.network, trained.num_classes
    average = torch.full((1, 1, K), 1 / K).expand(K, SETTLING_STEPS, K)
    centres = centres_of(states, first, K)
    _, state = network(average, as_state(centres, network), num_last_steps=1)
    points = as_vector(state)
    step = as_vector(network(average[:, :1], state)[1])
    moved = (step - points).norm(dim=1)
    apart = nearest(points)
    rows: Rows = [
        {"digit": digit, "movement": moved[digit].item(), "nearest": apart[digit].item()} for digit in range(K)
    ]
    for row, point in zip(rows, points, strict=True):
        row["factor"] = spectral_radius(network, point)
    at_zero = spectral_radius(network, torch.zeros_like(points[0]))
    return [*rows, {"digit": "zero", "movement": "", "nearest": "", "factor": at_zero}]


def spectral_radius(network: Network, point: Tensor) -> float:
    """The largest modulus of the eigenvalues of ds_{t+1}/ds_t at a state (S,), the average digit being read."""
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
    """Push states (B, S) in random directions, let them read on, and see which digits they still name."""
    first, rest = digits[:, 0], digits[:, KICK_AT:]
    rows: Rows = []
    for size in KICKS:
        _, state = network(rest, as_state(kicked(states, first, size), network), num_last_steps=1)
        rows.append({"kick": size, "named": share_named(network, as_vector(state), first)})
    return rows


def kicked(states: Tensor, first: Tensor, size: float) -> Tensor:
    """States (B, S) moved by ``size`` half distances to the nearest other digit's centre, in random directions."""
    centres = centres_of(states, first, int(first.max()) + 1)
    directions = functional.normalize(torch.randn_like(states), dim=1)
    return states + size * nearest(centres)[first, None] / 2 * directions


def distances_after_kick(network: Network, states: Tensor, digits: Tensor, num_steps: int = 40) -> Tensor:
    """Distance of kicked states from those that were not, as both read the same digits: mean, (num_steps + 1,)."""
    pair = [states, kicked(states, digits[:, 0], 0.2)]
    distances = [(pair[1] - pair[0]).norm(dim=1).mean()]
    for t in range(KICK_AT, KICK_AT + num_steps):
        pair = [as_vector(network(digits[:, t : t + 1], as_state(s, network))[1]) for s in pair]
        distances.append((pair[1] - pair[0]).norm(dim=1).mean())
    return torch.stack(distances)


def start_elsewhere(trained: TrainedNetwork, settled: Tensor, digits: Tensor) -> Rows:
    """Read from initial states other than zero: noise, and where another palindrome has left off."""
    network, first = trained.network, digits[:, 0]
    # Each sequence begins where one with the next digit has ended.
    other = settled.roll(-(len(first) // trained.num_classes), dims=0)
    starts = {"zero": torch.zeros_like(settled)}
    starts |= {f"noise {std}": std * torch.randn_like(settled) for std in NOISES}
    starts["another palindrome's end"] = other
    rows: Rows = []
    for name, start in starts.items():
        _, state = network(digits, as_state(start, network), num_last_steps=1)
        end = as_vector(state)
        kept = share_named(network, end, (first + 1) % trained.num_classes) if start is other else ""
        rows.append({"start": name, "named": share_named(network, end, first), "kept from before": kept})
    return rows


def gradients(trained: TrainedNetwork, num_palindromes: int) -> Rows:
    """How far back the loss reaches, before and after training, at several lengths."""
    rows: Rows = []
    for name, network in (("untrained", trained.untrained), ("trained", trained.network)):
        for length in LENGTHS:
            norms, directions = [], []
            for _ in range(2):
                digits = draw_digits(trained.num_classes, num_palindromes, length - 1)
                norms.append(gradient_norms(network, digits).mean(dim=0))
                directions.append(parameter_gradient(network, digits))
            first, last = (torch.stack(norms).mean(0)[t].item() for t in (0, -1))
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
    """``|dL/dh_t|``, L the loss of each palindrome by itself: all digits but the last, (B, T-1), -> (B, T-1)."""
    last = digits[:, 0]  # what a palindrome begins with, it ends with

    def loss(logits: Tensor) -> Tensor:
        return functional.cross_entropy(logits[:, -1], last, reduction="sum")

    return network.hidden_state_gradients(digits, loss, num_last_steps=1).norm(dim=2)


def parameter_gradient(network: Network, digits: Tensor) -> Tensor:
    """The gradient of the loss with respect to all recurrent and input weights, one vector."""
    logits, _ = network(digits, num_last_steps=1)
    loss = functional.cross_entropy(logits[:, -1], digits[:, 0])
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, network.recurrent_weights())])
