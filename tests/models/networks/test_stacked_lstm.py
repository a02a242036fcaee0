"""The next-character network against equations 4-10 written out, and its steps against itself."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.networks.stacked_lstm import CharacterSteps, StackedLSTM, State, drop_weights

B, T, V, H = 3, 7, 5, 4


def by_hand(
    network: StackedLSTM, ids: Tensor, state: State | None = None, masks: list[Tensor] | None = None
) -> tuple[Tensor, State]:
    """Equations 4-10, layer by layer, from the network's weights; what a layer gives is multiplied by its mask."""
    weights = dict(network.named_parameters())
    inputs = functional.one_hot(ids, V).double() if network.embedding is None else weights["embedding.weight"][ids]
    ends = []
    for layer in range(network.lstm.num_layers):
        W_x, W_h = weights[f"lstm.weight_ih_l{layer}"], weights[f"lstm.weight_hh_l{layer}"]
        b = weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]
        h, c = (torch.zeros(len(ids), H, dtype=torch.float64),) * 2 if state is None else (s[layer] for s in state)
        hidden = []
        for t in range(ids.shape[1]):
            i, f, g, o = (inputs[:, t] @ W_x.t() + h @ W_h.t() + b).split(H, dim=1)
            c = g.tanh() * i.sigmoid() + c * f.sigmoid()
            h = c.tanh() * o.sigmoid()
            hidden.append(h)
        inputs = torch.stack(hidden, dim=1) * (1.0 if masks is None else masks[layer])
        ends.append((h, c))
    h_n, c_n = map(torch.stack, zip(*ends, strict=True))
    return inputs @ weights["output.weight"].t() + weights["output.bias"], (h_n, c_n)


@pytest.mark.parametrize("embedding_size", [None, 3])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_it_is_the_equations(num_layers: int, embedding_size: int | None) -> None:
    ours = StackedLSTM(V, H, num_layers, embedding_size).double()
    ids = torch.randint(V, (B, T))
    logits, (h, c) = ours(ids)
    expected, ends = by_hand(ours, ids)
    torch.testing.assert_close((logits, (h, c)), (expected, ends), atol=1e-12, rtol=0)


def test_the_state_continues() -> None:
    network = StackedLSTM(V, H)
    ids = torch.randint(V, (B, T))
    whole, final = network(ids)
    first, state = network(ids[:, :3])
    second, end = network(ids[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    torch.testing.assert_close(end, final)


def test_orthogonal_weights() -> None:
    network = StackedLSTM(V, 64, num_layers=2, embedding_size=16, initialization="orthogonal")
    weights = dict(network.named_parameters())
    for layer in range(2):
        for W_h in weights[f"lstm.weight_hh_l{layer}"].split(64):
            torch.testing.assert_close(W_h @ W_h.t(), torch.eye(64), atol=1e-5, rtol=0)
        W_x = weights[f"lstm.weight_ih_l{layer}"]
        assert W_x.var().item() * W_x.shape[1] == pytest.approx(1, abs=0.15)
        i, f, g, o = (weights[f"lstm.bias_ih_l{layer}"] + weights[f"lstm.bias_hh_l{layer}"]).split(64)
        assert (f == 1).all() and not torch.cat([i, g, o]).any()


@pytest.mark.parametrize("num_layers", [1, 3])
def test_dropout_masks_every_layer_for_all_steps_of_a_row(num_layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = StackedLSTM(V, H, num_layers, dropout=0.5).double()
    ids, state = (
        torch.randint(V, (B, T)),
        (torch.randn(num_layers, B, H).double(), torch.randn(num_layers, B, H).double()),
    )
    masks: list[Tensor] = []

    def dropout(ones: Tensor, p: float) -> Tensor:
        assert p == 0.5 and (ones == 1).all()
        masks.append(torch.rand_like(ones))  # numbers that show where each went
        return masks[-1]

    monkeypatch.setattr(functional, "dropout", dropout)
    logits, (h, c) = network(ids, state)
    assert [mask.shape for mask in masks] == [(B, 1, H)] * num_layers
    expected, ends = by_hand(network, ids, state, masks)
    torch.testing.assert_close(logits, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close((h, c), ends, atol=1e-12, rtol=0)
    network.eval()
    torch.testing.assert_close(network(ids)[0], by_hand(network, ids)[0], atol=1e-12, rtol=0)
    assert len(masks) == num_layers


@pytest.mark.parametrize("num_layers", [1, 2])
def test_samples_of_dropout_are_masks_of_the_last_layer(num_layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = StackedLSTM(V, H, num_layers, dropout=0.5, dropout_samples=3).double()
    ids = torch.randint(V, (B, T))
    masks: list[Tensor] = []

    def dropout(ones: Tensor, p: float) -> Tensor:
        assert p == 0.5 and (ones == 1).all()
        masks.append(torch.rand_like(ones))
        return masks[-1]

    monkeypatch.setattr(functional, "dropout", dropout)
    logits, state = network(ids)
    *between, last = masks
    assert [mask.shape for mask in between] == [(B, 1, H)] * (num_layers - 1) and last.shape == (3, 1, H)
    assert logits.shape == (B, T, 3, V)
    for sample, mask in zip(logits.unbind(dim=2), last, strict=True):
        expected, ends = by_hand(network, ids, masks=[*between, mask])
        torch.testing.assert_close((sample, state), (expected, ends), atol=1e-12, rtol=0)
    network.eval()
    torch.testing.assert_close(network(ids)[0], by_hand(network, ids)[0], atol=1e-12, rtol=0)


def test_dropout_is_drawn_for_each_batch() -> None:
    network = StackedLSTM(V, H, 1, dropout=0.5)
    ids = torch.randint(V, (B, T))
    assert not torch.equal(network(ids)[0], network(ids)[0])


@pytest.mark.parametrize("probability", [0.0001, 0.1, 0.5, 0.9, 0.999])
def test_weights_are_dropped_as_often_as_asked(probability: float) -> None:
    num = 1_000_003
    dropped = drop_weights(torch.ones(num), probability)
    share = min(max(round(probability * 256), 1), 255) / 256
    assert abs((dropped == 0).sum().item() / num - share) < 5 * math.sqrt(share * (1 - share) / num)
    for part in dropped[: num - num % 8].view(-1, 8).unbind(dim=1):  # each byte of the random words
        assert abs((part == 0).sum().item() / len(part) - share) < 5 * math.sqrt(share * (1 - share) / len(part))
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 1 / (1 - share)]))


@pytest.mark.parametrize("num_layers", [1, 2])
def test_weight_dropout_is_of_the_recurrent_weights_for_a_batch_and_in_training_only(num_layers: int) -> None:
    torch.manual_seed(3)
    network = StackedLSTM(V, H, num_layers, 3, weight_dropout=0.5).double()
    ids = torch.randint(V, (B, T))
    names = [f"lstm.weight_hh_l{layer}" for layer in range(num_layers)]
    torch.manual_seed(4)
    logits, _ = network(ids)
    logits.sum().backward()
    reference = copy.deepcopy(network)
    torch.manual_seed(4)
    with torch.no_grad():
        for name in names:
            weights = reference.get_parameter(name)
            weights.copy_(drop_weights(weights, 0.5))
    torch.testing.assert_close(logits, by_hand(reference, ids)[0], atol=1e-12, rtol=0)
    for name in names:
        grad, dropped = network.get_parameter(name).grad, reference.get_parameter(name) == 0
        assert grad is not None and 0 < dropped.sum() < dropped.numel() and torch.equal(grad == 0, dropped)
    assert not torch.equal(network(ids)[0], logits)
    network.eval()
    torch.testing.assert_close(network(ids)[0], by_hand(network, ids)[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("embedding_size", [None, 3])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_steps_are_the_same_function(
    num_layers: int, embedding_size: int | None, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr("models.networks.stacked_lstm.MIN_NUMEL_TRANSPOSED", 1)
    network = StackedLSTM(V, H, num_layers, embedding_size, dropout=0.5)
    steps = CharacterSteps(network)
    network.eval()
    ids = torch.randint(V, (B, T))
    expected, final = network(ids)
    state = steps.start(B)
    for t in range(T):
        logits, state = steps(ids[:, t], state)
        torch.testing.assert_close(logits, expected[:, t], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(state, final, atol=1e-6, rtol=1e-5)
    assert not logits.requires_grad


def test_steps_keep_their_weights() -> None:
    network = StackedLSTM(V, H, embedding_size=None)
    steps = CharacterSteps(network)
    state = torch.randn(2, 1, H), torch.randn(2, 1, H)
    before, _ = steps(torch.tensor([1]), state)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(3.0)
    after, _ = steps(torch.tensor([1]), state)
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; it must be at least 1"),
        ({"hidden_size": 0}, "hidden_size is 0; it must be at least 1"),
        ({"num_layers": 0}, "num_layers is 0; it must be at least 1"),
        ({"embedding_size": 0}, "embedding_size is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0; it must be at least 0 and below 1"),
        ({"weight_dropout": 1.0}, "weight_dropout is 1.0; it must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout is -0.1; it must be at least 0 and below 1"),
        ({"dropout_samples": 0}, "dropout_samples is 0; it must be at least 1"),
        ({"dropout_samples": 4}, "dropout_samples is 4, but dropout is 0, .*; set dropout above 0, or dropout_samples"),
    ],
)
def test_wrong_sizes_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackedLSTM(**({"vocab_size": V} | arguments))
