"""Searches for mistakes of networks: one digit after the other, and along gradients."""

import pytest
import torch

from datamodules.palindrome_space import mirrored
from experiments.adversaries import along_gradients, greedy_halves, input_slopes, margins_of
from models.networks import LSTM, VanillaRNN


def network_of(build: type[LSTM | VanillaRNN], scale: float = 1.0) -> LSTM | VanillaRNN:
    torch.manual_seed(0)
    return build(3, 6, 3, input_scale=scale)


def test_margins_are_those_of_the_last_step() -> None:
    network = network_of(VanillaRNN)
    digits = mirrored(torch.randint(3, (9, 4)), 7)
    assert torch.equal(digits, digits.flip(1))
    for row, margin in zip(digits, margins_of(network, digits).tolist(), strict=True):
        logits = network(row[None, :-1])[0][0, -1].tolist()
        right = logits.pop(int(row[-1]))
        assert margin == pytest.approx(right - max(logits), abs=1e-6)


@pytest.mark.parametrize("build", [VanillaRNN, LSTM])
@pytest.mark.parametrize("length", [4, 9, 12])
def test_greedy_digits_have_the_smallest_margin_of_their_step(build: type[LSTM | VanillaRNN], length: int) -> None:
    network, N = network_of(build), (length + 1) // 2
    halves = greedy_halves(network, length)
    assert halves.shape == (18, N) and len(halves[:9, :2].unique(dim=0)) == 9
    assert torch.equal(halves[9:, 1:], halves[:9, 1:].flip(1)) and torch.equal(halves[9:, 0], halves[:9, 0])
    for half in halves[:9]:
        for n in range(2, N):
            with torch.no_grad():
                logits = network(torch.cat([half[:n].repeat(3, 1), torch.arange(3)[:, None]], dim=1))[0][:, -1]
            first = int(half[0])
            others = logits[:, [k for k in range(3) if k != first]].amax(dim=1)
            margins = logits[:, first] - others
            assert margins[half[n]] <= margins.min() + 1e-6


@pytest.mark.parametrize("build", [VanillaRNN, LSTM])
@pytest.mark.parametrize("length", [4, 8, 9])
def test_slopes_are_those_of_a_digit_and_its_mirror_image(build: type[LSTM | VanillaRNN], length: int) -> None:
    """A small change of the one-hot inputs at both places changes the margin by the slope."""
    network = network_of(build).double()
    half = torch.randint(3, (1, (length + 1) // 2))
    digits = mirrored(half, length)
    slopes = input_slopes(network, half, length)

    def margin(inputs: torch.Tensor) -> float:
        with torch.no_grad():
            logits = network(inputs)[0][0, -1].tolist()
        own = logits.pop(int(half[0, 0]))
        return float(own - max(logits))

    inputs = torch.nn.functional.one_hot(digits[:, :-1], 3).double()
    for t in range(half.shape[1]):
        for k in range(3):
            values = []
            for change in (1e-6, -1e-6):
                changed = inputs.clone()
                for place in {t, length - 1 - t} - {length - 1}:
                    changed[0, place, k] += change
                values.append(margin(changed))
            assert slopes[0, t, k].item() == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-6)


@pytest.mark.parametrize("build", [VanillaRNN, LSTM])
def test_gradients_lead_to_smaller_margins_of_the_same_first_digits(build: type[LSTM | VanillaRNN]) -> None:
    network = network_of(build, scale=3.0)
    halves = torch.randint(3, (40, 5), generator=torch.Generator().manual_seed(1))
    found = along_gradients(network, halves, 9)
    assert torch.equal(found[:, 0], halves[:, 0])
    before, after = margins_of(network, mirrored(halves, 9)), margins_of(network, mirrored(found, 9))
    assert (after <= before).all() and float((after < before).float().mean()) > 0.5
    # The smallest margins of all palindromes with the same first digit, by trying them all.
    every = torch.cartesian_prod(*[torch.arange(3)] * 5)
    smallest = margins_of(network, mirrored(every, 9))
    for digit in range(3):
        reached = after[halves[:, 0] == digit].min()
        assert smallest[every[:, 0] == digit].min() - 1e-6 <= reached <= smallest[every[:, 0] == digit].quantile(0.2)


def test_a_search_finds_the_smallest_margin() -> None:
    """Of a network whose margin falls with each 2."""
    network = VanillaRNN(3, 2, 3)
    torch.manual_seed(0)
    halves = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 0, 1, 1]])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.W_hx[0, 2] = 1.0  # h_0 grows with the number of 2s that were read recently
        network.W_hh[0, 0] = 0.5
        network.W_ph[2, 0] = 1.0
    found = along_gradients(network, halves, 9)
    assert (found[:, 1:] == 2).all() and (margins_of(network, mirrored(found, 9)) < 0).all()
