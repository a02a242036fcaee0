"""The hand-derived backward passes against autograd over the readable loop, finite differences, and wrong input."""

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.networks import LSTM, VanillaRNN, bptt, workspace
from tests.models.networks.helpers import needs_compiler

I, H, K = 5, 4, 7  # noqa: E741
NETWORKS = [VanillaRNN, LSTM]
OPTIONS = [
    pytest.param({}, id="plain"),
    pytest.param({"fused": True}, id="fused", marks=needs_compiler),
]


@pytest.fixture(params=[None, 3], ids=["one_chunk", "chunks"])
def steps_per_chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also cut the sequences, which are short here, into chunks of three steps."""
    if request.param is not None:
        monkeypatch.setattr(bptt, "chunks", lambda T, n, _: chunks_of(T, n, request.param))


chunks = bptt.chunks


def chunks_of(num_steps: int, num_last_steps: int, length: int) -> list[tuple[int, int]]:
    return chunks(num_steps, num_last_steps, bptt.CHUNK_NUMEL // length)


def pair(network: Any, options: dict[str, Any], sizes: tuple[int, int, int] = (I, H, K), **kwargs: Any) -> Any:
    """A network with the hand-derived backward pass, and its oracle with the same weights."""
    kwargs.setdefault("initialization", "uniform")
    ours = network(*sizes, **options, **kwargs)
    oracle = network(*sizes, backward="autograd", **kwargs)
    oracle.load_state_dict(ours.state_dict())
    return ours, oracle


def make_state(network: Any, batch_size: int, size: int = H, dtype: torch.dtype = torch.float64) -> Any:
    h, c = torch.randn(2, batch_size, size, dtype=dtype)
    return (h.requires_grad_(), c.requires_grad_()) if network is LSTM else h.requires_grad_()


def flat(state: Any) -> tuple[Tensor, ...]:
    return state if isinstance(state, tuple) else (state,)


def copy(value: Any) -> Any:
    """A leaf of its own for each side of a comparison, with the same strides."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return tuple(copy(v) for v in value)
    copied = torch.empty_like(value).copy_(value.detach())
    return copied.requires_grad_(value.requires_grad)


def results(
    network: Any, inputs: Tensor, state: Any, num_last_steps: int | None, use_final: bool
) -> dict[str, Tensor | None]:
    """Outputs, and gradients of a loss that weighs each number it sees differently."""
    inputs, state = copy(inputs), copy(state)
    logits, final = network(inputs, state, num_last_steps)
    torch.manual_seed(1)
    loss = (logits * torch.randn(logits.shape, dtype=logits.dtype)).sum()
    if use_final:
        loss = loss + sum((s * torch.randn(s.shape, dtype=s.dtype)).sum() for s in flat(final))
    network.zero_grad()
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters()} | {"inputs": inputs.grad}
    if state is not None:
        gradients |= {f"state {k}": s.grad for k, s in enumerate(flat(state))}
    return {"logits": logits.detach()} | {f"final {k}": s.detach() for k, s in enumerate(flat(final))} | gradients


def assert_same(ours: dict[str, Tensor | None], theirs: dict[str, Tensor | None], tolerance: float) -> None:
    """Each tensor within ``tolerance`` of the other, relative to its norm."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        actual = ours[name]
        if expected is None or actual is None:
            assert actual is expected, name
            continue
        assert actual.dtype == expected.dtype and actual.shape == expected.shape, name
        error = (actual.double() - expected.double()).norm() / expected.double().norm().clamp(min=1e-300)
        assert error <= tolerance, f"{name}: {error}"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("num_steps", [1, 2, 11])
@pytest.mark.usefixtures("steps_per_chunk")
def test_equals_autograd(network: Any, options: dict[str, Any], num_steps: int) -> None:
    ours, oracle = (n.double() for n in pair(network, options))
    for batch_size in (1, 3):
        for inputs in (
            torch.randint(I, (batch_size, num_steps)),
            torch.randn(batch_size, num_steps, I, dtype=torch.float64, requires_grad=True),
        ):
            for state in (None, make_state(network, batch_size)):
                for num_last_steps in {1, min(4, num_steps), num_steps}:
                    for use_final in (False, True):
                        case = (inputs, state, num_last_steps, use_final)
                        assert_same(results(ours, *case), results(oracle, *case), 1e-10)


@pytest.mark.parametrize("options", OPTIONS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_equals_autograd_for_any_sizes(options: dict[str, Any], data: st.DataObject) -> None:
    network = data.draw(st.sampled_from(NETWORKS))
    sizes = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    B, T = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 20))
    ours, oracle = (n.double() for n in pair(network, options, sizes))
    digits = torch.randint(sizes[0], (B, T))
    case = (digits, make_state(network, B, sizes[1]), data.draw(st.integers(1, T)), data.draw(st.booleans()))
    assert_same(results(ours, *case), results(oracle, *case), 1e-10)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_threads_share_a_batch(network: Any, options: dict[str, Any]) -> None:
    torch.set_num_threads(3)
    ours, oracle = pair(network, options, (I, 33, K))
    case = (torch.randint(I, (70, 9)), make_state(network, 70, 33, torch.float32), 9, True)
    assert_same(results(ours, *case), results(oracle, *case), 2e-6)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("initialization", ["uniform", "orthogonal"])
def test_float32_over_300_steps(network: Any, initialization: str) -> None:
    ours, oracle = pair(network, {}, (10, 64, 10), initialization=initialization)
    case = (torch.randint(10, (16, 300)), None, 1, False)
    assert_same(results(ours, *case), results(oracle, *case), 1e-4)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS[1:])
def test_float32_over_300_steps_fused(network: Any, options: dict[str, Any]) -> None:
    # From orthogonal weights and noise, 300 steps make any two roundings differ by 1e-3, torch's own two included.
    ours, oracle = pair(network, options, (10, 64, 10))
    case = (torch.randint(10, (16, 300)), None, None, False)
    assert_same(results(ours, *case), results(oracle, *case), 1e-4)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(network: Any, options: dict[str, Any]) -> None:
    net = network(2, 3, 2, initialization="uniform", **options).double()
    names = [name for name, _ in net.named_parameters()]

    def outputs(inputs: Tensor, h: Tensor, c: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        state = (h, c) if network is LSTM else h
        logits, final = torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (inputs, state, 2))
        return logits, *flat(final)

    x = torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True)
    h, c = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(outputs, (x, h, c, *net.parameters()))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_tensors_that_are_not_contiguous(network: Any, options: dict[str, Any]) -> None:
    ours, oracle = (n.double() for n in pair(network, options))
    digits = torch.randint(I, (2 * 6, 3)).t()[:, ::2]
    floats = torch.randn(6, 3, 2 * I, dtype=torch.float64).transpose(0, 1)[:, :, ::2]
    h, c = torch.randn(2, H, 3, dtype=torch.float64).transpose(1, 2)
    for inputs in (digits, floats):
        for state in (None, (h, c) if network is LSTM else h):
            outputs = [net(inputs, state)[0] for net in (ours, oracle)]
            torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
            weights = torch.randn(7, 6, 3, dtype=torch.float64).permute(2, 1, 0)
            gradients = [
                torch.autograd.grad(output, list(net.parameters()), weights)
                for net, output in zip((ours, oracle), outputs, strict=True)
            ]
            torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_only_requested_gradients_are_computed(network: Any, options: dict[str, Any]) -> None:
    ours, oracle = (n.double() for n in pair(network, options))
    names = [name for name, _ in ours.named_parameters()]
    floats = torch.randn(3, 6, I, dtype=torch.float64)
    for inputs in (torch.randint(I, (3, 6)), floats, floats.clone().requires_grad_()):
        for wanted in ([], *([name] for name in names), names[:3]):
            if not wanted and not inputs.requires_grad:
                continue
            for net in (ours, oracle):
                for name, parameter in net.named_parameters():
                    parameter.requires_grad_(name in wanted)
                    parameter.grad = None
            case = (inputs, None, None, False)
            assert_same(results(ours, *case), results(oracle, *case), 1e-10)
            assert [name for name, p in ours.named_parameters() if p.grad is not None] == wanted


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("hidden_size", [32, 64])  # from 64 on, the compiled steps lay the weights out for AMX
def test_autocast_multiplies_in_bfloat16_and_keeps_the_rest(
    hidden_size: int, network: Any, options: dict[str, Any]
) -> None:
    ours, oracle = pair(network, options, (10, hidden_size, 10))
    for inputs in (torch.randint(10, (8, 40)), torch.randn(8, 40, 10, requires_grad=True)):
        exact = results(ours, inputs, None, None, False)
        for net in (ours, oracle):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                rough = results(net, inputs, None, None, False)
            assert rough["logits"].dtype == torch.float32 == rough["W_ph"].dtype
            assert_same(
                {k: v for k, v in rough.items() if "final" not in k},
                {k: v for k, v in exact.items() if "final" not in k},
                2e-2,
            )
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden_states = net.hidden_states(inputs)[0].float()
            assert not torch.allclose(hidden_states, net.hidden_states(inputs)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_autocast_takes_what_layers_below_it_give(network: Any, options: dict[str, Any]) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        net = pair(network, options)[0].to(dtype)
        for given_dtype in (torch.float32, torch.bfloat16):
            inputs = torch.randn(3, 6, I, dtype=given_dtype, requires_grad=True)
            state = make_state(network, 3, dtype=given_dtype)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits, _ = net(inputs, state)
                gradients = net.hidden_state_gradients(inputs, lambda logits: logits.float().square().sum(), state)
            logits.float().square().sum().backward()
            assert inputs.grad is not None and inputs.grad.dtype == given_dtype and inputs.grad.isfinite().all()
            assert gradients.dtype == dtype
    net = pair(network, options)[0].double()
    refused = pytest.raises(ValueError, match="floating point .* of torch.float64")
    with torch.autocast("cpu", dtype=torch.bfloat16), refused:
        net(torch.randn(3, 6, I))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_bfloat16_parameters(network: Any, options: dict[str, Any]) -> None:
    ours, oracle = (n.bfloat16() for n in pair(network, options, (10, 32, 10)))
    case = (torch.randint(10, (8, 40)), None, None, False)
    assert_same(results(ours, *case), results(oracle, *case), 3e-2)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_a_second_derivative_is_refused(network: Any, options: dict[str, Any]) -> None:
    net, oracle = pair(network, options)

    def refused() -> Any:
        return pytest.raises(RuntimeError, match="cannot be differentiated again.*backward='autograd'")

    digits, floats = torch.randint(I, (2, 3)), torch.randn(2, 3, I, requires_grad=True)
    state = make_state(network, 2, dtype=torch.float32)
    for inputs, causes in ((digits, []), (floats, [floats])):
        for function in (torch.square, torch.clone):
            loss = function(net(inputs, state)[0]).sum()
            wanted = [*net.recurrent_weights(), *flat(state), *causes]
            for gradient in torch.autograd.grad(loss, wanted, create_graph=True):
                with refused():
                    gradient.sum().backward(retain_graph=True)
                for cause in wanted:
                    with refused():
                        torch.autograd.grad(gradient.sum(), cause, retain_graph=True, allow_unused=True)
    (gradient,) = torch.autograd.grad(net(digits)[0].square().sum(), net.recurrent_weights()[1], create_graph=True)
    with refused():
        torch.autograd.grad(gradient.sum(), net.W_ph)  # through the incoming gradient
    first = torch.autograd.grad(oracle(digits)[0].sum(), list(oracle.parameters()), create_graph=True)
    sum(g.sum() for g in first).backward()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_passes_do_not_disturb_each_other(network: Any, options: dict[str, Any]) -> None:
    """Memory is used again, but never while a pass, a result or a carried state needs it."""
    ours, oracle = (n.double() for n in pair(network, options))
    batches = [torch.randint(I, (3, T)) for T in (6, 9, 4)]
    collected: list[list[Tensor]] = []
    for net in (ours, oracle):
        outputs, state = [], None
        for digits in batches:  # each continues where the one before it ended
            logits, state = net(digits, state)
            outputs.append(logits)
        kept = [logits.detach().clone() for logits in outputs]
        gradients = []
        for logits in (outputs[2], outputs[0], outputs[2], outputs[1]):
            gradients += torch.autograd.grad(logits.square().sum(), list(net.parameters()), retain_graph=True)
            net(batches[1])[0].sum().backward()
        torch.testing.assert_close([logits.detach() for logits in outputs], kept, rtol=0, atol=0)
        collected.append([*kept, *flat(state), *gradients])
    torch.testing.assert_close(*collected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_incoming_gradients_may_be_transposed(network: Any, options: dict[str, Any]) -> None:
    ours, oracle = pair(network, options)
    digits, weights = torch.randint(I, (3, 6)), torch.randn(2, H, 3)
    gradients = []
    for net in (ours, oracle):
        _, final = net(digits)
        loss = sum((s * w.t()).sum() for s, w in zip(flat(final), weights, strict=False))  # w.t() comes back
        gradients.append(torch.autograd.grad(loss, net.recurrent_weights()))
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
def test_incoming_gradients_are_not_changed(network: Any, options: dict[str, Any]) -> None:
    net, _ = pair(network, options)
    hidden_states, final = net.hidden_states(torch.randint(I, (3, 6)))
    incoming = [torch.randn_like(output) for output in (hidden_states, *flat(final))]
    before = [gradient.clone() for gradient in incoming]
    torch.autograd.grad((hidden_states, *flat(final)), net.recurrent_weights(), incoming)
    torch.testing.assert_close(incoming, before, rtol=0, atol=0)


def test_memory_is_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: dict[tuple[int, int], Tensor] = {}
    monkeypatch.setattr(workspace, "_free", blocks)
    net = LSTM(I, H, K)

    def step(num_steps: int) -> None:
        net(torch.randint(I, (3, num_steps)))[0].sum().backward()

    step(20)
    first = set(blocks)
    assert len(first) == workspace.MAX_FREE
    for num_steps in (20, 5, 20):
        step(num_steps)
        assert set(blocks) == first
    for num_steps in range(21, 40):
        step(num_steps)
    assert len(blocks) <= workspace.MAX_FREE
    logits, state = net(torch.randint(I, (3, 60)))
    assert len(blocks) == workspace.MAX_FREE - 1, "the block that has become too small goes at once"
    carried = [s.detach() for s in state]
    logits.sum().backward()
    del logits, state
    assert len(blocks) == workspace.MAX_FREE, "a state that is carried on holds nothing but itself"
    before = [s.clone() for s in carried]
    step(60)
    assert all(torch.equal(s, b) for s, b in zip(carried, before, strict=True))
    waiting = [net(torch.randint(I, (3, 30)))[0] for _ in range(4)]
    assert not blocks
    del waiting
    assert len(blocks) <= workspace.MAX_FREE


@pytest.mark.parametrize("network", NETWORKS)
def test_memory_is_kept_while_a_tensor_uses_it(network: Any) -> None:
    """Here nothing but other views of the activations is kept for the backward pass."""
    ours, oracle = pair(network, {})
    digits = torch.randint(I, (3, 50))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor):
        logits = [net(digits)[0] for net in (ours, oracle)]
    ours(digits)[0].sum().backward()
    gradients = [
        torch.autograd.grad(p.square().sum(), net.recurrent_weights())
        for p, net in zip(logits, (ours, oracle), strict=True)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_threads_share_the_memory() -> None:
    ours, oracle = pair(LSTM, {})
    batches = [torch.randint(I, (3, T)) for T in (4, 9, 30)]
    expected = [torch.autograd.grad(oracle(digits)[0].square().sum(), oracle.W_h)[0] for digits in batches]

    def work(_: int) -> None:
        for _ in range(20):
            for digits, theirs in zip(batches, expected, strict=True):
                (gradient,) = torch.autograd.grad(ours(digits)[0].square().sum(), ours.W_h)
                torch.testing.assert_close(gradient, theirs, rtol=1e-4, atol=1e-5)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.usefixtures("steps_per_chunk")
def test_without_gradients_one_chunk_is_kept(
    network: Any, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, oracle = (n.double() for n in pair(network, options))
    digits = torch.randint(I, (3, 11))
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            for num_last_steps in (1, 4, None):
                torch.testing.assert_close(
                    ours(digits, None, num_last_steps), oracle(digits, None, num_last_steps), rtol=1e-10, atol=1e-12
                )
    longest: list[int] = []
    allocate = workspace.allocate
    monkeypatch.setattr(
        workspace, "allocate", lambda shapes, like: longest.append(shapes[0][0]) or allocate(shapes, like)
    )
    monkeypatch.setattr(bptt, "chunks", lambda T, n, _: chunks_of(T, n, 3))
    with torch.no_grad():
        ours(digits, num_last_steps=1)
    assert longest == [3 + 1]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", [*OPTIONS, pytest.param({"backward": "autograd"}, id="autograd")])
@pytest.mark.parametrize("num_last_steps", [1, 3, None])
@pytest.mark.usefixtures("steps_per_chunk")
def test_hidden_state_gradients(network: Any, options: dict[str, Any], num_last_steps: int | None) -> None:
    """Against autograd through a chain of one-step calls, whose hidden states it is asked about."""
    net = pair(network, options)[0].double()
    oracle = network(I, H, K, backward="autograd").double()
    oracle.load_state_dict(net.state_dict())
    state = make_state(network, 3)
    digits, T = torch.randint(I, (3, 8)), 8

    def loss(logits: Tensor) -> Tensor:
        return (logits * torch.arange(logits.numel()).view(logits.shape)).sum()

    hidden, logits, carried = [], [], state
    for t in range(T):
        _, carried = oracle(digits[:, t : t + 1], carried)
        hidden.append(flat(carried)[0])
        logits.append(oracle.readout(hidden[-1]))
    wanted = torch.stack(logits[T - (num_last_steps or T) :], dim=1)
    expected = torch.stack(torch.autograd.grad(loss(wanted), hidden), dim=1)

    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            actual = net.hidden_state_gradients(digits, loss, state, num_last_steps)
        assert actual.shape == (3, T, H)
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-12)
    assert all(parameter.grad is None for parameter in net.parameters())
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    torch.testing.assert_close(
        net.hidden_state_gradients(digits, loss, state, num_last_steps), expected, rtol=1e-9, atol=1e-12
    )
    wrong: list[tuple[Any, str]] = [
        (lambda logits: logits, r"the loss has shape \(3, 8, 7\); expected a tensor with a single number"),
        (lambda logits: 1.0, "the loss is 1.0; expected a tensor"),
        (lambda logits: logits.detach().sum(), "the loss does not depend on the logits"),
    ]
    for loss_function, message in wrong:
        with pytest.raises(ValueError, match=message):
            net.hidden_state_gradients(digits, loss_function)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("steps_in_a_chunk", [3, 32])
def test_a_gradient_that_vanishes_becomes_zero_and_not_subnormal(
    network: Any, options: dict[str, Any], steps_in_a_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bptt, "chunks", lambda T, n, _: chunks_of(T, n, steps_in_a_chunk))
    net, _ = pair(network, options, (10, 16, 10))
    gradients = net.hidden_state_gradients(torch.randint(10, (4, 400)), lambda p: p.sum(), num_last_steps=1).abs()
    assert gradients[:, -1].min() > 0 and gradients[:, 0].max() == 0
    subnormal = (gradients > 0) & (gradients < torch.finfo(torch.float32).tiny)
    assert not subnormal.any()
    exact = net.double().hidden_state_gradients(torch.randint(10, (4, 400)), lambda p: p.sum(), num_last_steps=1)
    assert 0 < exact[:, 0].abs().max() < 1e-34


def test_chunks_cover_every_step_once() -> None:
    for T in range(1, 12):
        for n in range(1, T + 1):
            parts = chunks_of(T, n, 3)
            assert [t for start, end in parts for t in range(start, end)] == list(range(T))
            assert n == 1 or all(end <= T - n or start >= T - n for start, end in parts)
            assert all(0 < end - start <= 3 for start, end in parts)
