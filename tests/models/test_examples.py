"""The other networks of the palindromes, in docs/examples, against references of their equations."""

from typing import Any

import pytest
import torch
from torch.nn import functional

from docs.examples.palindrome_models import BaselineClassifier, NumberClassifier
from models.networks import LSTM

DIGITS = torch.tensor([[3, 0, 9, 1], [7, 7, 2, 5]])


@pytest.mark.parametrize("network", ["gru", "irnn", "exprnn", "minlstm"])
def test_a_baseline_reads_in_order_and_every_weight_learns(network: Any) -> None:
    torch.manual_seed(0)
    model = BaselineClassifier(network, hidden_size=8)
    logits = model(DIGITS, 2)
    assert logits.shape == (2, 2, 10)
    assert torch.allclose(logits[:, 0], model(DIGITS[:, :3])[:, 0], atol=1e-6)  # no step reads what follows
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_minlstm_is_a_weighted_mean_of_what_it_has_read() -> None:
    torch.manual_seed(0)
    model = BaselineClassifier("minlstm", hidden_size=8)
    h = torch.zeros(2, 8)
    W, b = model.network.gates.weight, model.network.gates.bias
    for x in functional.one_hot(DIGITS, 10).float().unbind(1):
        f, i, g = (x @ W.T + b).chunk(3, dim=1)
        share = i.sigmoid() / (f.sigmoid() + i.sigmoid())
        h = h.lerp(g, share)
    assert torch.allclose(model(DIGITS)[:, 0], model.output(h), atol=1e-6)


def test_exprnn_keeps_its_recurrent_weights_orthogonal() -> None:
    torch.manual_seed(0)
    model = BaselineClassifier("exprnn", hidden_size=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = model.network.recurrent.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        model(DIGITS).square().sum().backward()
        optimizer.step()
    W = model.network.recurrent.weight
    assert torch.allclose(W @ W.T, torch.eye(8), atol=1e-5) and not torch.allclose(W, before, atol=1e-3)


def test_digits_are_read_as_numbers() -> None:
    torch.manual_seed(0)
    model = NumberClassifier("lstm", hidden_size=8)
    one_hot = LSTM(10, 8, 10)
    weights = dict(model.network.state_dict())
    weights["W_x"] = weights["W_x"] @ torch.arange(10.0)[None]  # digit k adds k times the one column
    one_hot.load_state_dict(weights)
    assert torch.allclose(model(DIGITS), one_hot(DIGITS, num_last_steps=1)[0], atol=1e-6)
