"""Both handwritten networks against torch's, against the equations, and against their documentation."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.networks import TORCH_ORDER, vendor
from models.networks import LSTM, VanillaRNN, recurrent

B, T, I, H, K = 3, 6, 5, 4, 7  # noqa: E741
NETWORKS = [VanillaRNN, LSTM]
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def make(network: Any, **kwargs: Any) -> Any:
    return network(I, H, K, initialization="uniform", **kwargs).double()


def random_state(network: Any) -> Any:
    h, c = torch.randn(2, B, H, dtype=torch.float64)
    return (h, c) if network is LSTM else h


def as_theirs(state: Any) -> Any:
    return tuple(s[None] for s in state) if isinstance(state, tuple) else state[None]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("given_state", [False, True])
def test_equals_torch_in_outputs_and_gradients(network: Any, given_state: bool) -> None:
    ours = make(network)
    theirs = vendor(ours)
    inputs = torch.randn(B, T, I, dtype=torch.float64)
    x_ours, x_theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    state = random_state(network) if given_state else None
    h_ours, final_ours = ours.hidden_states(x_ours, state)
    h_theirs, final_theirs = theirs(x_theirs, None if state is None else as_theirs(state))
    torch.testing.assert_close(h_ours, h_theirs, **TOLERANCE)
    torch.testing.assert_close(as_theirs(final_ours), final_theirs, **TOLERANCE)

    weights = torch.randn_like(h_ours)
    (h_ours * weights).sum().backward()
    (h_theirs * weights).sum().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, **TOLERANCE)
    if network is LSTM:
        for gate, theirs_x, theirs_h, theirs_b in zip(
            TORCH_ORDER,
            theirs.weight_ih_l0.grad.chunk(4),
            theirs.weight_hh_l0.grad.chunk(4),
            theirs.bias_ih_l0.grad.chunk(4),
            strict=True,
        ):
            rows = slice("gifo".index(gate) * H, ("gifo".index(gate) + 1) * H)
            torch.testing.assert_close(ours.W_x.grad[rows], theirs_x, **TOLERANCE)
            torch.testing.assert_close(ours.W_h.grad[rows], theirs_h, **TOLERANCE)
            torch.testing.assert_close(ours.b.grad[rows], theirs_b, **TOLERANCE)
    else:
        torch.testing.assert_close(ours.W_hx.grad, theirs.weight_ih_l0.grad, **TOLERANCE)
        torch.testing.assert_close(ours.W_hh.grad, theirs.weight_hh_l0.grad, **TOLERANCE)
        torch.testing.assert_close(ours.b_h.grad, theirs.bias_ih_l0.grad, **TOLERANCE)


def test_rnn_is_equations_1_and_2() -> None:
    net = make(VanillaRNN)
    x = torch.randn(1, 2, I, dtype=torch.float64)
    h1 = torch.tanh(net.W_hx @ x[0, 0] + net.W_hh @ torch.zeros(H, dtype=torch.float64) + net.b_h)
    h2 = torch.tanh(net.W_hx @ x[0, 1] + net.W_hh @ h1 + net.b_h)
    logits, _ = net(x)
    expected = torch.stack([net.W_ph @ h1 + net.b_p, net.W_ph @ h2 + net.b_p])
    torch.testing.assert_close(logits[0], expected, **TOLERANCE)


def test_lstm_is_equations_4_to_10() -> None:
    net = make(LSTM)
    x = torch.randn(1, 2, I, dtype=torch.float64)
    h = c = torch.zeros(H, dtype=torch.float64)
    expected = []
    for x_t in x[0]:
        g = torch.tanh(net.W_gx @ x_t + net.W_gh @ h + net.b_g)
        i = torch.sigmoid(net.W_ix @ x_t + net.W_ih @ h + net.b_i)
        f = torch.sigmoid(net.W_fx @ x_t + net.W_fh @ h + net.b_f)
        o = torch.sigmoid(net.W_ox @ x_t + net.W_oh @ h + net.b_o)
        c = g * i + c * f
        h = torch.tanh(c) * o
        expected.append(net.W_ph @ h + net.b_p)
    logits, state = net(x)
    torch.testing.assert_close(logits[0], torch.stack(expected), **TOLERANCE)
    torch.testing.assert_close(state, (h[None], c[None]), **TOLERANCE)


@pytest.mark.parametrize("network", NETWORKS)
def test_digits_are_one_hot_vectors(network: Any) -> None:
    net = make(network)
    digits = torch.randint(I, (B, T))
    one_hot = functional.one_hot(digits, I).double()
    torch.testing.assert_close(net(digits)[0], net(one_hot)[0], **TOLERANCE)


@pytest.mark.parametrize("network", NETWORKS)
def test_gradcheck(network: Any) -> None:
    net = network(2, 3, 2, initialization="uniform").double()
    names = [name for name, _ in net.named_parameters()]

    def logits(inputs: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> Tensor:
        state = (h, c) if network is LSTM else h
        output, _ = torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (inputs, state))
        return output

    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    h, c = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(logits, (x, h, c, *net.parameters()))


@pytest.mark.parametrize("network", NETWORKS)
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_output_depends_on_neither_batch_nor_future(network: Any, data: st.DataObject) -> None:
    net = make(network)
    digits = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(0, I - 1), min_size=T, max_size=T), min_size=2, max_size=4))
    )
    logits, _ = net(digits)
    row = data.draw(st.integers(0, len(digits) - 1))
    torch.testing.assert_close(net(digits[row : row + 1])[0], logits[row : row + 1], **TOLERANCE)
    t = data.draw(st.integers(0, T - 1))
    changed = digits.clone()
    changed[:, t] = (changed[:, t] + 1) % I
    logits_changed, _ = net(changed)
    torch.testing.assert_close(logits_changed[:, :t], logits[:, :t], rtol=0, atol=0)
    assert not torch.equal(logits_changed[:, t], logits[:, t])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_state_continues_a_cut_sequence(network: Any) -> None:
    net = make(network)
    digits = torch.randint(I, (B, T))
    whole, final = net(digits)
    first, state = net(digits[:, :2])
    second, final_of_parts = net(digits[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, **TOLERANCE)
    torch.testing.assert_close(final_of_parts, final, **TOLERANCE)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("num_last_steps", [1, 3, T])
def test_last_steps_are_the_end_of_all_steps(network: Any, num_last_steps: int) -> None:
    net = make(network)
    digits = torch.randint(I, (B, T))
    logits, _ = net(digits, num_last_steps=num_last_steps)
    assert logits.shape == (B, num_last_steps, K)
    torch.testing.assert_close(logits, net(digits)[0][:, -num_last_steps:], **TOLERANCE)


def test_number_of_parameters_is_the_formula_of_question_1_5b() -> None:
    n, d, K = 128, 10, 10
    for network, num_gates in ((LSTM, 4), (VanillaRNN, 1)):
        num_parameters = sum(p.numel() for p in network(d, n, K).parameters())
        assert num_parameters == num_gates * (n * d + n * n + n) + K * (n + 1)


def test_gates_are_read_and_set_by_their_names_in_the_equations() -> None:
    net = make(LSTM)
    for k, gate in enumerate("gifo"):
        for name, shape in ((f"W_{gate}x", (H, I)), (f"W_{gate}h", (H, H)), (f"b_{gate}", (H,))):
            assert getattr(net, name).shape == shape
            setattr(net, name, nn.Parameter(torch.full(shape, float(k))))
            assert (getattr(net, name) == k).all()
    assert [name for name, _ in net.named_parameters()] == ["W_ph", "b_p", "W_x", "W_h", "b"]
    assert net.W_x[H].tolist() == [1.0] * I


def test_setting_a_gate_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 4\); expected \(4, 5\)"):
        make(LSTM).W_gx = torch.zeros(H, H)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            torch.zeros(2, 3, I + 1),
            r"torch.float32 of shape \(2, 3, 6\); expected int64 \(B, T\) or floating point \(B, T, 5\)",
        ),
        (torch.zeros(2, 3, dtype=torch.int32), r"torch.int32 of shape \(2, 3\)"),
        (torch.zeros(2, 3), r"torch.float32 of shape \(2, 3\)"),
        (torch.zeros(2, 0, dtype=torch.int64), "0 time steps"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(network: Any, inputs: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(network)(inputs)


@pytest.mark.parametrize("network", NETWORKS)
def test_states_steps_and_sizes_that_do_not_fit_are_refused(network: Any) -> None:
    digits = torch.zeros(B, T, dtype=torch.int64)
    state = torch.zeros(B + 1, H, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"shape \(4, 4\); expected \(B, H\) = \(3, 4\)"):
        make(network)(digits, (state, state) if network is LSTM else state)
    for wrong in (T + 1, 0, -1, True, 2.0, "2"):
        with pytest.raises(ValueError, match=f"num_last_steps is {wrong!r}; expected 1 to 6"):
            make(network)(digits, num_last_steps=wrong)
    for wrong in (5, "ab", [1.0, 2.0], (None, None), {}):
        with pytest.raises(ValueError, match=f"the initial state is of type {type(wrong).__name__}; expected"):
            make(network)(digits, wrong)
    num_states = 2 if network is LSTM else 1
    with pytest.raises(ValueError, match=f"the initial state has 3 parts; expected {num_states}"):
        make(network)(digits, (state,) * 3)
    message = r"torch.float32 of shape \(3, 4\); expected \(B, H\) = \(3, 4\) of torch.float64"
    with pytest.raises(ValueError, match=message):
        make(network)(digits, (state[:B].float(),) * num_states)
    for wrong_digit in (-1, I):
        low, high = min(wrong_digit, 0), max(wrong_digit, 0)
        with pytest.raises(ValueError, match=f"inputs go from {low} to {high}; expected 0 to 4"):
            make(network)(torch.tensor([[0, wrong_digit]]))
    with pytest.raises(ValueError, match="inputs are of type list; expected a tensor"):
        make(network)([[1, 2]])
    with pytest.raises(ValueError, match="initialization is 'zeros'; for this network it is one of orthogonal, "):
        network(I, H, K, initialization="zeros")
    with pytest.raises(ValueError, match="hidden_size is 0; it must be at least 1"):
        network(I, 0, K)


@pytest.mark.parametrize("network", NETWORKS)
def test_no_ready_made_module_of_torch_is_used(network: Any) -> None:
    ready_made = (nn.RNNBase, nn.RNNCellBase, nn.Linear)
    assert not any(isinstance(module, ready_made) for module in network(I, H, K).modules())


def test_importing_the_networks_does_not_import_lightning() -> None:
    code = "import sys, models.networks; sys.exit('pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("backward", ["bptt", "autograd"])
@pytest.mark.parametrize("num_last_steps", [None, 1, 2, 9, 13])
def test_without_gradients_long_sequences_are_taken_piece_by_piece(
    network: Any, backward: str, num_last_steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = make(network, backward=backward)
    digits, state = torch.randint(I, (B, 13)), random_state(network)
    expected = net(digits, state, num_last_steps)
    monkeypatch.setattr(recurrent, "MAX_HIDDEN_NUMEL", 4 * B * H)
    pieces = []
    whole = net.hidden_states

    def noted(inputs: Tensor, *args: Any) -> Any:
        pieces.append(inputs.shape[1])
        return whole(inputs, *args)

    monkeypatch.setattr(net, "hidden_states", noted)
    with torch.no_grad():
        torch.testing.assert_close(net(digits, state, num_last_steps), expected, rtol=0, atol=1e-12)
        assert pieces == [4, 4, 4, 1]
        with pytest.raises(ValueError, match="inputs go from 0 to 5; expected 0 to 4"):
            net(torch.tensor([[0] * 12 + [5]]))
        with pytest.raises(ValueError, match="num_last_steps is 14; expected 1 to 13"):
            net(digits, None, 14)


@pytest.mark.slow
def test_memory_does_not_grow_with_length() -> None:
    code = """
import sys, torch
from pathlib import Path
from models.networks import LSTM
def peak():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l).split()[1]) / 1024
net, digits = LSTM(10, 64, 10), torch.randint(10, (32, 60_001))
with torch.no_grad():
    net(digits[:, :101], num_last_steps=50)
    before = peak()
    net(digits, num_last_steps=50_000)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300  # the logits are 61 MiB; with the hidden states of all these steps it is over 500
