"""Each initialization does what its source says."""

import math

import torch

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
