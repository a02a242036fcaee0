"""Each initialization does what its source says."""

import math
from typing import Any

import pytest
import torch

from models import PalindromeClassifier
from models.networks import LSTM, VanillaRNN

H = 32


def test_orthogonal_keeps_lengths() -> None:
    lstm, rnn = LSTM(10, H, 10), VanillaRNN(10, H, 10)
    for matrix in (rnn.W_hh, lstm.W_gh, lstm.W_ih, lstm.W_fh, lstm.W_oh):
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(H), rtol=0, atol=1e-5)
    assert not torch.equal(lstm.W_gh, lstm.W_ih)


def test_orthogonal_has_small_inputs_and_a_forget_bias() -> None:
    lstm = LSTM(10, 1000, 10, input_scale=0.02, forget_bias=3.0)
    assert abs(lstm.W_x.std().item() - 0.02) < 0.001
    assert (lstm.b_f == 3).all()
    assert not lstm.b_g.any() and not lstm.b_i.any() and not lstm.b_o.any()
    rnn = VanillaRNN(10, 1000, 10, input_scale=0.02)
    assert abs(rnn.W_hx.std().item() - 0.02) < 0.001
    assert not rnn.b_h.any()


def test_uniform_is_torchs_default() -> None:
    for network in (LSTM(10, H, 10, initialization="uniform"), VanillaRNN(10, H, 10, initialization="uniform")):
        for parameter in network.parameters():
            assert parameter.abs().max() <= 1 / math.sqrt(H)
        values = torch.cat([p.flatten() for p in network.parameters()])
        assert abs(values.std().item() * math.sqrt(3 * H) - 1) < 0.05  # of U(-a, a): a / sqrt(3)


def test_identity_is_scaled_and_without_inputs_each_unit_depends_only_on_itself() -> None:
    rnn = VanillaRNN(10, H, 10, initialization="identity", recurrent_scale=0.9, input_scale=0.0)
    assert torch.equal(rnn.W_hh, 0.9 * torch.eye(H))
    assert not rnn.b_h.any() and not rnn.W_hx.any()
    h = 1e-3 * torch.randn(2, H)  # so small that tanh is the identity, too
    _, h_5 = rnn(torch.zeros(2, 5, dtype=torch.int64), h)
    torch.testing.assert_close(h_5, 0.9**5 * h, rtol=1e-4, atol=0)


def test_scales_are_factors() -> None:
    rnn, lstm = VanillaRNN(10, H, 10, recurrent_scale=0.5), LSTM(10, H, 10, recurrent_scale=0.5)
    for matrix in (rnn.W_hh, lstm.W_oh):
        torch.testing.assert_close(matrix @ matrix.T, 0.25 * torch.eye(H), rtol=0, atol=1e-5)


def test_chrono_spreads_memories_evenly_up_to_the_longest() -> None:
    lstm = LSTM(10, 4000, 1, initialization="chrono", longest_memory=200)
    assert torch.equal(lstm.b_i, -lstm.b_f)
    assert not lstm.b_g.any() and not lstm.b_o.any()
    spread = (lstm.b_f.exp() - 1) / 198  # uniform from 0 to 1
    assert spread.min() >= 0 and spread.max() <= 1
    torch.testing.assert_close(torch.histc(spread, 4, 0, 1) / 4000, torch.full((4,), 0.25), rtol=0, atol=0.04)


def test_a_chrono_cell_keeps_a_third_for_as_long_as_its_bias_says() -> None:
    lstm = LSTM(10, 50, 10, initialization="chrono", longest_memory=300, input_scale=0.0, recurrent_scale=0.0)
    digits, c_0 = torch.zeros(1, 400, dtype=torch.int64), torch.ones(1, 50)
    c = torch.stack([lstm(digits[:, :t], (torch.zeros(1, 50), c_0))[1][1][0] for t in range(1, 400)])
    lasted = (c > math.exp(-1)).sum(0)
    torch.testing.assert_close(lasted.float(), 1 + lstm.b_f.exp().detach(), rtol=0.02, atol=1.5)


@pytest.mark.parametrize("longest_memory", [1, 2])
def test_chrono_with_a_short_memory_has_zero_bias(longest_memory: int) -> None:
    lstm = LSTM(10, 4, 10, initialization="chrono", longest_memory=longest_memory)
    assert not lstm.b_f.any() and not lstm.b_i.any()


@pytest.mark.parametrize(
    ("network", "options", "message"),
    [
        (VanillaRNN, {"initialization": "chrono"}, "'chrono'; for this network it is one of orthogonal, identity, uni"),
        (LSTM, {"initialization": "identity"}, "'identity'; for this network it is one of orthogonal, chrono, uniform"),
        (VanillaRNN, {"input_scale": -1.0}, "input_scale is -1.0; it must be finite and at least 0"),
        (LSTM, {"input_scale": float("nan")}, "input_scale is nan; it must be finite and at least 0"),
        (VanillaRNN, {"recurrent_scale": float("inf")}, "recurrent_scale is inf; it must be finite and at least 0"),
        (LSTM, {"recurrent_scale": -0.5}, "recurrent_scale is -0.5"),
        (LSTM, {"longest_memory": 0}, "longest_memory is 0; it must be at least 1"),
    ],
)
def test_initializations_of_other_networks_are_refused(network: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(10, 4, 10, **options)


def test_a_forget_bias_replaces_that_of_the_initialization() -> None:
    for initialization in ("uniform", "orthogonal"):
        torch.manual_seed(0)
        by_default = LSTM(10, 16, 10, initialization=initialization)
        torch.manual_seed(0)
        lstm = LSTM(10, 16, 10, initialization=initialization, forget_bias=-1.5)
        assert lstm.b_f.eq(-1.5).all() and by_default.b_f.ne(-1.5).all()
        for gate in "gio":
            torch.testing.assert_close(getattr(lstm, f"b_{gate}"), getattr(by_default, f"b_{gate}"))
        torch.testing.assert_close(lstm.W_h, by_default.W_h)


@pytest.mark.parametrize(
    ("initialization", "bias", "message"),
    [("chrono", 1.0, "forget_bias is 1.0 with initialization 'chrono'"), ("uniform", float("nan"), "must be finite")],
)
def test_a_wrong_forget_bias_is_refused(initialization: Any, bias: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSTM(10, 4, 10, initialization=initialization, forget_bias=bias)


def test_a_network_without_gates_has_no_forget_bias() -> None:
    with pytest.raises(ValueError, match="forget_bias is 3.0 with network 'rnn'"):
        PalindromeClassifier(network="rnn", forget_bias=3.0)
