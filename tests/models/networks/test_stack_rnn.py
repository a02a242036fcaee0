"""The stack RNN: its equations, both backward passes, its depth, hardened actions and wrong inputs."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.networks import StackRNN
from models.networks.stack_rnn import Trace

NUM_IN, H, K, M = 5, 6, 4, 3
SIZES = [(1, 1, 3), (2, 1, 2), (7, 3, 4), (9, 9, 2), (12, 5, 1)]


def network(**options: Any) -> StackRNN:
    torch.manual_seed(0)
    return StackRNN(NUM_IN, H, K, M, **options).double()


def same_weights(net: StackRNN, backward: Any) -> StackRNN:
    other = network(backward=backward)
    other.load_state_dict(net.state_dict())
    return other


def a_state(B: int, D: int) -> tuple[Tensor, Tensor]:
    h, stack = torch.randn(B, H, dtype=torch.float64), torch.randn(B, D, M, dtype=torch.float64)
    return h.requires_grad_(), stack.requires_grad_()


def equations(net: StackRNN, symbols: list[int], hardened: bool = False) -> tuple[list[list[float]], list[int]]:
    """(S1) to (S5) and (2) for one string, in numbers of Python; the logits of all steps, and the likeliest actions."""
    w = {name: parameter.tolist() for name, parameter in net.named_parameters()}

    def affine(matrix: list[list[float]], vector: list[float]) -> list[float]:
        return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]

    h, stack, logits, likeliest = [0.0] * H, [[0.0] * M for _ in range(len(symbols) + 2)], [], []
    for symbol in symbols:
        from_h, from_top = affine(w["W_hh"], h), affine(w["W_hs"], stack[0])
        h = [math.tanh(w["W_hx"][j][symbol] + from_h[j] + from_top[j] + w["b_h"][j]) for j in range(H)]
        scores = [math.exp(x + b) for x, b in zip(affine(w["W_ah"], h), w["b_a"], strict=True)]
        a = [score / sum(scores) for score in scores]
        likeliest.append(a.index(max(a)))
        if hardened:
            a = [float(k == likeliest[-1]) for k in range(3)]
        push, keep, pop = a
        v = [1 / (1 + math.exp(-x - b)) for x, b in zip(affine(w["W_vh"], h), w["b_v"], strict=True)]
        old = [v, *stack, [0.0] * M]
        stack = [
            [push * old[i][j] + keep * old[i + 1][j] + pop * old[i + 2][j] for j in range(M)] for i in range(len(stack))
        ]
        logits.append([x + b for x, b in zip(affine(w["W_ph"], h), w["b_p"], strict=True)])
    return logits, likeliest


@pytest.mark.parametrize("backward", ["bptt", "autograd"])
def test_it_is_the_equations(backward: Any) -> None:
    net = network(backward=backward)
    symbols = torch.randint(NUM_IN, (3, 9))
    expected = torch.tensor([equations(net, row)[0] for row in symbols.tolist()], dtype=torch.float64)
    logits, _ = net(symbols)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(net.logits(symbols, 4), expected[:, -4:])
    with torch.no_grad():
        torch.testing.assert_close(net.logits(symbols, 4), expected[:, -4:])
        torch.testing.assert_close(net.readout(net.trace(symbols).hidden_states), expected)


def test_hardened_actions_are_the_likeliest_ones() -> None:
    net = network()
    with torch.no_grad():
        net.W_ah.normal_(std=20)  # so that all three actions occur
    symbols = torch.randint(NUM_IN, (4, 30))
    logits, actions = zip(*(equations(net, row, hardened=True) for row in symbols.tolist()), strict=True)
    assert {action for row in actions for action in row} == {0, 1, 2}
    torch.testing.assert_close(net.logits(symbols, 30, hardened=True), torch.tensor(logits, dtype=torch.float64))
    trace = net.trace(symbols, hardened=True)
    assert trace.actions.max(2).indices.tolist() == [list(row) for row in actions]
    assert set(trace.actions.flatten().tolist()) == {0.0, 1.0}


def test_a_hardened_stack_is_a_list() -> None:
    """Push, keep and pop of the trace, done with a list of Python; an empty stack stays empty."""
    net = network()
    with torch.no_grad():
        net.W_ah.normal_(std=20)
    trace: Trace = net.trace(torch.randint(NUM_IN, (1, 40)), hardened=True)
    stack: list[list[float]] = []
    for step in range(40):
        action = int(trace.actions[0, step].argmax())
        if action == 0:
            stack.insert(0, trace.pushed[0, step].tolist())
        elif action == 2:
            del stack[:1]
        cells = trace.stacks[0, step].tolist()
        assert cells == stack + [[0.0] * M] * (40 - len(stack))


@pytest.mark.parametrize(("T", "n", "B"), SIZES)
@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("floats", [False, True])
def test_gradients_are_those_of_autograd(T: int, n: int, B: int, depth: int, floats: bool) -> None:
    """Of all outputs with respect to weights, initial state and inputs."""
    autograd = network(backward="autograd")
    inputs = torch.rand(B, T, NUM_IN, dtype=torch.float64).requires_grad_() if floats else torch.randint(NUM_IN, (B, T))
    state = a_state(B, depth)
    results = []
    for net in (autograd, same_weights(autograd, "bptt")):
        logits, (h, stack) = net(inputs, state, n)
        assert logits.shape == (B, n, K) and h.shape == (B, H) and stack.shape == (B, depth + T, M)
        weights = [torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out) for out in (logits, h, stack)]
        loss = (logits * weights[0]).sum().sin() + (h * weights[1]).sum() + (stack * weights[2]).square().sum()
        wanted = [*net.parameters(), *state, *([inputs] if floats else [])]
        results.append([logits, h, stack, *torch.autograd.grad(loss, wanted)])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(T=st.integers(1, 12), B=st.integers(1, 4), data=st.data())
def test_gradients_of_logits_are_those_of_autograd(T: int, B: int, data: Any) -> None:
    """Of ``logits``, which leaves out the cells that the sequence cannot pop any more."""
    n = data.draw(st.integers(1, T))
    autograd = network(backward="autograd")
    symbols = torch.randint(NUM_IN, (B, T))
    results = []
    for net in (autograd, same_weights(autograd, "bptt")):
        logits = net.logits(symbols, n)
        logits.square().sum().backward()
        results.append([logits, *(torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters())])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)


def test_gradcheck() -> None:
    net = network()
    symbols = torch.randint(NUM_IN, (2, 6))
    names = list(dict(net.named_parameters()))

    def outputs(h: Tensor, stack: Tensor, *parameters: Tensor) -> Any:
        named = dict(zip(names, parameters, strict=True))
        logits, final = torch.func.functional_call(net, named, (symbols, (h, stack), 3))
        return logits, *final

    assert torch.autograd.gradcheck(outputs, (*a_state(2, 2), *net.parameters()))


def test_gradients_in_float32() -> None:
    autograd = network(backward="autograd").float()
    bptt = same_weights(autograd, "bptt").float()
    symbols = torch.randint(NUM_IN, (16, 101))
    results = []
    for net in (autograd, bptt):
        net.logits(symbols, 50).logsumexp(2).mean().backward()
        results.append([p.grad for p in net.parameters()])
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-6)


def test_hidden_state_gradients() -> None:
    """By a finite difference of a single hidden state, which no later layer but the network itself sees."""
    net = network()
    symbols = torch.randint(NUM_IN, (2, 7))
    gradients = net.hidden_state_gradients(symbols, lambda logits: logits.square().sum(), num_last_steps=2)
    assert gradients.shape == (2, 7, H)
    last = net.trace(symbols).hidden_states[:, -1]
    expected = 2 * net.readout(last) @ net.W_ph  # the last hidden state reaches the loss through its own logits alone
    torch.testing.assert_close(gradients[:, -1], expected.detach())
    assert gradients[:, 0].abs().sum() > 0


def test_the_state_continues_a_cut_sequence() -> None:
    net = network()
    symbols = torch.randint(NUM_IN, (3, 11))
    whole, (h, stack) = net(symbols)
    first, state = net(symbols[:, :4])
    second, (h_cut, stack_cut) = net(symbols[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    torch.testing.assert_close(h_cut, h)
    torch.testing.assert_close(stack_cut, stack)


@pytest.mark.parametrize("hardened", [False, True])
def test_no_rows(hardened: bool) -> None:
    net = network()
    nothing = torch.empty(0, 5, dtype=torch.int64)
    with torch.no_grad():
        assert net.logits(nothing, 2, hardened).shape == (0, 2, K)
    logits, (h, stack) = net(nothing, num_last_steps=2)
    assert logits.shape == (0, 2, K) and h.shape == (0, H) and stack.shape == (0, 5, M)
    (net.logits(nothing, 2).sum() + logits.sum()).backward()
    assert net.W_hh.grad is not None and not net.W_hh.grad.any()


def test_actions_are_compared_by_their_scores() -> None:
    """The scores 0 and 1e-20 have equal probabilities, but the network keeps the stack."""
    net = network()
    with torch.no_grad():
        net.W_ah.zero_()
        net.b_a.copy_(torch.tensor([0.0, 1e-20, -1.0]))
    symbols = torch.randint(NUM_IN, (2, 6))
    trace = net.trace(symbols, hardened=True)
    assert (trace.actions.argmax(2) == 1).all()
    torch.testing.assert_close(net.logits(symbols, 6, hardened=True), net.readout(trace.hidden_states))


@pytest.mark.parametrize("floats", [False, True])
def test_autocast_changes_the_readout_alone(floats: bool) -> None:
    net = network().float()
    inputs = torch.rand(3, 9, NUM_IN) if floats else torch.randint(NUM_IN, (3, 9))
    expected = net.logits(inputs, 4)
    state = net(inputs)[1]
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.logits(inputs.bfloat16() if floats else inputs, 4)
        h, stack = net(inputs)[1]
        logits.float().sum().backward()
    torch.testing.assert_close(logits.float(), expected, rtol=0.05, atol=0.05)
    assert torch.equal(h, state[0]) and torch.equal(stack, state[1])


def test_results_may_be_changed_in_place() -> None:
    net = network()
    symbols = torch.randint(NUM_IN, (1, 6))
    logits, (h, stack) = net(symbols)
    expected = torch.autograd.grad(logits.sum(), net.W_hh, retain_graph=True)
    with torch.no_grad():
        h.zero_()
        stack.zero_()
    assert torch.equal(torch.autograd.grad(logits.sum(), net.W_hh)[0], expected[0])


@pytest.mark.parametrize("hardened", [False, True])
def test_rows_are_evaluated_piece_by_piece(hardened: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    symbols = torch.randint(NUM_IN, (7, 9))
    with torch.no_grad():
        expected = net.logits(symbols, 5, hardened)
        for name in ("PIECE_NUMEL", "HARDENED_NUMEL", "PROJECTED_NUMEL"):
            monkeypatch.setattr(f"models.networks.stack_bptt.{name}", 60)
        torch.testing.assert_close(net.logits(symbols, 5, hardened), expected)


def test_evaluation_holds_one_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest tensor that is made has the cells of a stack, not those of all steps."""
    monkeypatch.setattr("models.networks.workspace._free", {})  # blocks of other tests may be larger
    net = network()
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.untyped_storage().nbytes() // 8)
            return out

    T = 400
    for hardened in (False, True):
        with torch.no_grad(), Watch():
            net.logits(torch.randint(NUM_IN, (1, T)), 1, hardened)
    assert largest < 10 * T * (M + H)  # all steps: 200 cells of 400 stacks


def test_a_second_derivative_is_refused() -> None:
    net = network()
    weights = tuple(net.parameters())
    gradients = torch.autograd.grad(
        net.logits(torch.randint(NUM_IN, (2, 5)), 2).square().sum(), weights, create_graph=True
    )
    with pytest.raises(RuntimeError, match="backward='autograd'"):
        gradients[0].sum().backward()


def test_no_ready_made_module_of_torch_is_used() -> None:
    assert [type(module) for module in network().modules()] == [StackRNN]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stack_size": 0}, "stack_size is 0"),
        ({"backward": "fast"}, "'fast'"),
        ({"input_scale": -1.0}, "input_scale is -1.0"),
        ({"recurrent_scale": math.inf}, "recurrent_scale is inf"),
    ],
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StackRNN(NUM_IN, H, K, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net, x: net(x, None, 9), "num_last_steps is 9"),
        (lambda net, x: net.logits(x + NUM_IN), "inputs go from"),
        (lambda net, x: net(x.double()), "float64"),
        (lambda net, x: net(x, torch.zeros(3, H)), "two tensors"),
        (lambda net, x: net(x, (torch.zeros(3, H).double(), torch.zeros(3, 2, M + 1).double())), "expected"),
        (lambda net, x: net(x, (torch.zeros(3, H), torch.zeros(3, 2, M))), "float32"),
    ],
)
def test_inputs_and_states_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(network(), torch.randint(NUM_IN, (3, 5)))
