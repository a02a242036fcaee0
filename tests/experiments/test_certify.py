"""Certificates: what they prove is true of the network that runs, and every change for the worse is refused."""

import contextlib
import io
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flint import arb
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from experiments import certificate_check, certify
from experiments.adversaries import greedy
from experiments.certificate import Certificate, read_certificate, write_certificate
from experiments.certificate_check import ACTIVATION_ERROR, Checked, Refusal, check_inequalities
from experiments.trained_model import TrainedNetwork, load
from models.networks import LSTM, VanillaRNN, bounds
from models.networks.bounds import (
    boxes,
    gated,
    next_box,
    point,
    transition_of,
    widened,
    worst_case_loss,
    worst_logits,
)
from tests.stress import attack as attack_module
from tests.stress.attack import attack
from tests.stress.attack import main as attack_main
from training.errors import UserError

ROOT = Path(__file__).parent.parent.parent

K = 10
FIT = (*("fit", "--config", str(ROOT / "configs" / "rnn_proved.yaml"), "--seed_everything=1"),)


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> TrainedNetwork:
    """A network of 64 units, trained for some ten seconds, and its certificate in the run's folder."""
    root = tmp_path_factory.mktemp("proved")
    assert cli.main([*FIT, f"--trainer.default_root_dir={root}"]) == 0
    assert cli.main(["certify", f"--ckpt_path={root}/rnn_proved"]) == 0
    return load(str(root / "rnn_proved"), "last_digit")


@pytest.fixture
def certificate(proved: TrainedNetwork) -> Certificate:
    return read_certificate(proved.folder / "certificate" / "certificate.npz")


def weights_of(network: LSTM | VanillaRNN) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def test_a_trained_network_is_proved(proved: TrainedNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certify", f"--ckpt_path={proved.folder}"]) == 0
    assert "every palindrome of every length from 2 to infinity" in capsys.readouterr().out
    assert {path.name for path in (proved.folder / "certificate").iterdir()} == {
        *("certificate.npz", "certificate.csv", "certificate.png", "certificate.svg", "about.json")
    }
    assert cli.main(["certify", f"--ckpt_path={proved.folder}", "--check"]) == 0
    assert "all hold" in capsys.readouterr().out


def assert_sound(network: LSTM | VanillaRNN, certificate: Certificate) -> None:
    """No sequence leaves the boxes, or has a smaller margin than the proved one: random, constant, and greedy ones."""
    result = check_inequalities(certificate, weights_of(network))
    assert isinstance(result, Checked)
    K = network.input_size
    pairs = torch.cartesian_prod(torch.arange(K), torch.arange(K))
    same = torch.cat([pairs[:, :1], pairs[:, 1:].expand(-1, 400)], dim=1)
    for digits in (torch.randint(K, (20_000, 40)), same, greedy(network, torch.randint(K, (300, 1)), 30)):
        left, smallest = attack(network, certificate, digits)
        assert left == 0 and smallest >= result.margin


def test_no_sequence_leaves_the_boxes(proved: TrainedNetwork, certificate: Certificate) -> None:
    assert_sound(proved.network, certificate)


def test_an_attack_finds_a_state_outside_of_a_box(proved: TrainedNetwork, certificate: Certificate) -> None:
    digits = torch.randint(K, (2000, 20), generator=torch.Generator().manual_seed(0))
    left, smallest = attack(proved.network, certificate, digits)
    assert left == 0
    with torch.no_grad():
        logits = proved.network(digits)[0]
    own = logits.gather(2, digits[:, :1, None].expand(-1, 20, 1))[..., 0]
    others = logits.scatter(2, digits[:, :1, None].expand(-1, 20, 1), -torch.inf).amax(2)
    assert smallest == pytest.approx((own - others).min().item(), abs=1e-4)
    upper = certificate.upper.copy()
    upper[certificate.first_box[3], 5] = certificate.lower[certificate.first_box[3], 5]
    left, _ = attack(proved.network, certificate._replace(upper=upper), digits)
    assert left == int((digits[:, 0] == 3).sum())


def test_the_attack_is_a_program(
    proved: TrainedNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["attack", f"--ckpt-path={proved.folder}", "--random=20001", "--greedy=30", "--length=8"]
    monkeypatch.setattr("sys.argv", [*words, f"--output-dir={tmp_path}"])
    assert attack_main() == 0
    _, random, greedily = (line.split(",") for line in (tmp_path / "attack.csv").read_text().splitlines())
    assert random[:4] == ["random", "20001", "8", "0"] and greedily[:4] == ["greedy", "30", "8", "0"]
    assert float(random[4]) >= float(random[5]) and float(greedily[4]) >= float(greedily[5]) == float(random[5])
    monkeypatch.setattr(attack_module, "attack", lambda *_: (1, math.inf))
    assert attack_main() == 1
    monkeypatch.setattr("sys.argv", ["attack", f"--ckpt-path={tmp_path}/nowhere"])
    with pytest.raises(SystemExit, match="2"):
        attack_main()
    assert "nowhere" in capsys.readouterr().err.splitlines()[-1]


def test_an_lstm_is_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "lstm_proved.yaml")
    words = ["fit", "--config", config, "--seed_everything=1", f"--trainer.default_root_dir={tmp_path}"]
    assert cli.main([*words, "--data.num_classes=2", "--model.hidden_size=32"]) == 0
    assert cli.main(["certify", f"--ckpt_path={tmp_path}/lstm_proved"]) == 0
    assert "every palindrome of every length from 2 to infinity" in capsys.readouterr().out
    trained = load(str(tmp_path / "lstm_proved"), "last_digit")
    found = read_certificate(trained.folder / "certificate" / "certificate.npz")
    assert np.isinf(found.upper).any()  # no finite box contains the states of a counter
    assert_sound(trained.network, found)
    arrays = {name: np.array(value) for name, value in found._asdict().items()}
    H = trained.network.hidden_size
    last = found.successor[-1, 0]
    counting = int(np.nonzero(np.isfinite(found.lower[last, H:]))[0][0])
    for change in (np.inf, 100.0):
        arrays["lower"][last, H + counting] = change
        changed = Certificate(**{name: arrays[name] for name in Certificate._fields[:5]}, first_length=2, checksum="")
        assert isinstance(check_inequalities(changed, weights_of(trained.network)), Refusal)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_certificate_changed_for_the_worse_is_refused(proved: TrainedNetwork, data: st.DataObject) -> None:
    certificate = read_certificate(proved.folder / "certificate" / "certificate.npz")
    S, H = certificate.lower.shape
    box, unit, digit = (data.draw(st.integers(0, end - 1)) for end in (S, H, K))
    arrays = {name: np.array(value) for name, value in certificate._asdict().items()}
    low, high = arrays["lower"][box, unit], arrays["upper"][box, unit]
    change = data.draw(st.sampled_from(["lower", "upper", "nan", "swap", "first_digit", "successor", "first_box"]))
    other = (digit + 1 + data.draw(st.integers(0, K - 2))) % K
    if change == "lower":  # the box has room of 1e-3 on each side
        arrays["lower"][box, unit] = high - data.draw(st.floats(0, 0.9)) * (high - low - 0.005)
    elif change == "upper":
        arrays["upper"][box, unit] = low + data.draw(st.floats(0, 0.9)) * (high - low - 0.005)
    elif change == "nan":
        arrays[data.draw(st.sampled_from(["lower", "upper"]))][box, unit] = data.draw(
            st.sampled_from([math.nan, math.inf, -math.inf])
        )
    elif change == "swap":
        arrays["lower"][box, unit], arrays["upper"][box, unit] = high, low
    elif change == "first_digit":
        arrays["first_digit"][box] = (arrays["first_digit"][box] + 1) % K
    elif change == "successor":
        arrays["successor"][box, digit] = data.draw(
            st.sampled_from([-1, S, certificate.first_box[(certificate.first_digit[box] + 1) % K]])
        )
    else:
        arrays["first_box"][digit] = certificate.first_box[other]
    changed = Certificate(**{name: arrays[name] for name in Certificate._fields[:5]}, first_length=2, checksum="")
    result = check_inequalities(changed, weights_of(proved.network))
    assert isinstance(result, Refusal), (change, result)


def test_wider_boxes_and_shorter_lengths_are_refused(proved: TrainedNetwork, certificate: Certificate) -> None:
    weights = weights_of(proved.network)
    wide = certificate._replace(lower=certificate.lower * 0 - 1.1, upper=certificate.upper * 0 + 1.1)
    refused = check_inequalities(wide, weights)
    assert isinstance(refused, Refusal) and "may not be the largest" in refused.reason
    for first_length in (-1, 1, len(certificate.lower) + 2, 2**62):
        assert isinstance(check_inequalities(certificate._replace(first_length=first_length), weights), Refusal)
    assert isinstance(check_inequalities(certificate, weights | {"W_hh": weights["W_hh"] * 1.5}), Refusal)
    assert isinstance(check_inequalities(certificate, weights | {"W_ph": -weights["W_ph"]}), Refusal)
    assert isinstance(check_inequalities(certificate, weights | {"W_ph": weights["W_ph"][:, 1:]}), Refusal)


def two_digits(**changes: Any) -> tuple[Certificate, dict[str, Any]]:
    """One unit with the sign of the first of two digits. Boxes 0 and 1 are those after one digit, 2 and 3 all later.

    The logit of 0 is too large after the digit 1 alone. As all values of the certificate, this was found by hand.
    """
    weights = {
        "W_hx": np.array([[0.01, -0.01]], np.float32),
        "W_hh": np.array([[100.0]], np.float32),
        "b_h": np.zeros(1, np.float32),
        "W_ph": np.array([[1.0], [0.0]], np.float32),
        "b_p": np.array([0.05, 0.0], np.float32),
    }
    certificate = Certificate(
        lower=np.array([[0.0099], [-0.0101], [0.7], [-1.01]]),
        upper=np.array([[0.0101], [-0.0099], [1.01], [-0.7]]),
        first_digit=np.array([0, 1, 0, 1]),
        first_box=np.array([0, 1]),
        successor=np.array([[2, 2], [3, 3], [2, 2], [3, 3]]),
        first_length=3,
        checksum="",
    )
    return certificate._replace(**changes), weights


def test_readout_of_short_sequences_may_be_left_out() -> None:
    result = check_inequalities(*two_digits())
    assert isinstance(result, Checked) and result.num_inequalities == 2 + 4 * 2 + 2
    assert result.margin == pytest.approx(0.65, abs=1e-4)
    assert isinstance(check_inequalities(*two_digits(first_length=4)), Checked)
    refused = check_inequalities(*two_digits(first_length=2))
    assert isinstance(refused, Refusal) and refused.box == 1


@pytest.mark.parametrize("name", ["W_hh", "W_ph"])
def test_sums_that_may_overflow_are_refused(proved: TrainedNetwork, certificate: Certificate, name: str) -> None:
    weights = weights_of(proved.network)
    result = check_inequalities(certificate, weights | {name: weights[name] * np.float32(1e38)})
    assert isinstance(result, Refusal) and "too large for float32" in result.reason


def test_a_change_of_the_first_digit_is_refused() -> None:
    certificate, weights = two_digits()
    # A network that forgets names the last digit: the boxes of its states hold, and so does the readout in them.
    forgets = weights | {"W_hh": np.zeros((1, 1), np.float32), "W_hx": 100 * weights["W_hx"]}
    last = certificate._replace(
        lower=np.array([[0.7], [-0.8]]),
        upper=np.array([[0.8], [-0.7]]),
        first_digit=np.array([0, 1]),
        successor=np.array([[0, 1], [0, 1]]),
        first_length=2,
    )
    refused = check_inequalities(last, forgets)
    assert isinstance(refused, Refusal) and "successor has another first digit" in refused.reason
    # A network that always names the other digit.
    refused = check_inequalities(
        certificate._replace(first_digit=1 - certificate.first_digit), weights | {"W_ph": weights["W_ph"][::-1].copy()}
    )
    assert isinstance(refused, Refusal) and "first box has another first digit" in refused.reason


def test_nothing_is_proved_that_the_check_refuses(
    proved: TrainedNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certify, "ROOM", 0.0)  # then rounding leaves the boxes
    assert cli.main(["certify", f"--ckpt_path={proved.folder}", f"--output_dir={tmp_path}"]) == 1
    assert "Not proved: the check refused the certificate" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_shorter_palindromes_are_tried_as_far_as_possible(proved: TrainedNetwork) -> None:
    network = proved.network
    assert certify.exhaustive_lengths(network) == list(range(2, 11))  # 100,000 of 10 digits
    assert certify.statement(network, 2).endswith("from 2 to infinity.")
    assert certify.statement(network, 5).endswith("All palindromes of length 2 to 4 were tried: no mistake.")
    assert certify.statement(network, 150).endswith("All palindromes of length 2 to 10 were tried: no mistake.")
    untrained = VanillaRNN(10, 4, 10)
    assert certify.statement(untrained, 4).endswith("were tried: mistakes at length 2, 3.")
    assert certify.exhaustive_lengths(VanillaRNN(400, 2, 400)) == [2]


def test_a_margin_is_rounded_down() -> None:
    assert "by at least 6.47." in certify.description(Checked(1, 1, 6.4799))
    assert "by at least 0.000456." in certify.description(Checked(1, 1, 0.00045699))


def test_without_a_mistake_the_bounds_are_the_reason(
    proved: TrainedNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify.explain_failure(proved, "the bounds") == 1
    assert "Not proved: the bounds. No mistake was found" in capsys.readouterr().out


@pytest.mark.parametrize("network", [VanillaRNN, LSTM])
@given(seed=st.integers(0, 2**31), H=st.integers(1, 40), scale=st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_float32_steps_are_inside_the_bounds(network: type[LSTM | VanillaRNN], seed: int, H: int, scale: float) -> None:
    """A step of a box with one state, with sums in a random order, and torch's own."""
    random = np.random.default_rng(seed)
    torchs = network(3, H, 3)
    weights = {
        name: (scale * random.standard_normal(w.shape)).astype(np.float32) for name, w in weights_of(torchs).items()
    }
    W_x, W_h, b = ("W_x", "W_h", "b") if network is LSTM else ("W_hx", "W_hh", "b_h")
    h = np.tanh(random.standard_normal(H)).astype(np.float32)
    c = (10 * random.standard_normal(H)).astype(np.float32) if network is LSTM else h[:0]
    if random.random() < 0.5:  # the terms cancel, so that rounding is large beside their sum
        weights[b] = -(weights[W_h] @ h + weights[W_x][:, 1])
    checked = getattr(certificate_check, network.__name__)(weights)
    state = np.concatenate([h, c]).astype(float)
    bounds = checked.next(checked.image(state, state), 1)
    terms = np.concatenate([weights[W_h] * h, weights[W_x][:, 1:2], weights[b][:, None]], axis=1)
    total = np.zeros(len(terms), np.float32)
    for column in random.permutation(H + 2):
        total = total + terms[:, column]
    torchs.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    before = torch.from_numpy(h)[None], torch.from_numpy(c)[None]
    with torch.no_grad():
        _, ours = torchs(torch.tensor([[1]]), before if network is LSTM else before[0])
    states = [torch.cat(ours, dim=1)[0] if network is LSTM else ours[0]]
    gates = torch.from_numpy(total)
    if network is LSTM:
        g, i, f, o = gates.chunk(4)
        cell = torch.tanh(g) * torch.sigmoid(i) + torch.from_numpy(c) * torch.sigmoid(f)
        states.append(torch.cat([torch.tanh(cell) * torch.sigmoid(o), cell]))
    else:
        states.append(torch.tanh(gates))
    for numbers in states:
        for number, (lowest, highest) in zip(numbers, bounds, strict=True):
            assert float(lowest.lower()) <= number.item() <= float(highest.upper())
    width = max(float((highest - lowest).upper()) for lowest, highest in bounds)
    assert width < 1e-4 * (H + 1) * max(1, scale)  # not so wide that it would prove nothing


finite = st.floats(-(2.0**20), 2.0**20, width=32)
shares = st.floats(0, 1, width=32)


@given(low=finite, high=finite, gate=st.tuples(shares, shares), value=shares, opened=shares)
@settings(max_examples=200, deadline=None)
def test_products_with_gates_are_inside_their_bounds(
    low: float, high: float, gate: tuple[float, float], value: float, opened: float
) -> None:
    low, high = min(low, high), max(low, high)
    lowest, highest = certificate_check.gated((arb(low), arb(high)), (arb(min(gate)), arb(max(gate))))
    for x in (low, high, np.clip(np.float32(low + value * (high - low)), low, high)):
        for g in (*gate, np.clip(np.float32(min(gate) + opened * (max(gate) - min(gate))), min(gate), max(gate))):
            product = float(np.float32(x) * np.float32(g))
            assert lowest <= arb(product) <= highest


def test_functions_of_unbounded_cells_and_their_errors() -> None:
    infinite = arb("inf")
    lowest, highest = certificate_check.tanh((-infinite, infinite))
    assert lowest == -1 and highest == 1
    lowest, highest = certificate_check.tanh((arb(2), infinite))
    assert highest == 1 and arb("0.9640") < lowest < arb(2).tanh()
    for x in (-2, 0, 1):
        for function, exact in (
            (certificate_check.tanh, arb(x).tanh()),
            (certificate_check.sigmoid, 1 / (1 + arb(-x).exp())),
        ):
            lowest, highest = function((arb(x), arb(x)))
            error = ACTIVATION_ERROR * arb("0.999")
            assert lowest < exact - error and highest > exact + error


@pytest.mark.parametrize("fused", [False, True])
def test_activations_are_as_exact_as_the_proof_assumes(fused: bool) -> None:
    values = torch.cat([torch.linspace(-20, 20, 400_001), torch.logspace(-40, 1.5, 100_001), torch.randn(100_000)])
    rnn, lstm = VanillaRNN(1, 1, 1, fused=fused), LSTM(1, 1, 1, fused=fused)
    with torch.no_grad():
        for parameter in (*rnn.parameters(), *lstm.parameters()):
            parameter.zero_()
        rnn.W_hx.fill_(1)
        _, h = rnn(values[:, None, None])
        assert (h[:, 0].double() - torch.tanh(values.double())).abs().max().item() < float(ACTIVATION_ERROR) / 4
        lstm.W_fx.fill_(1)
        lstm.b_i.fill_(-200)  # so that the cell is c = sigmoid(x) * 1
        _, (_, c) = lstm(values[:, None, None], (torch.zeros(len(values), 1), torch.ones(len(values), 1)))
        assert (c[:, 0].double() - torch.sigmoid(values.double())).abs().max().item() < float(ACTIVATION_ERROR) / 4
        assert h.abs().max() <= 1 and c.min() >= 0 and c.max() <= 1


@pytest.mark.parametrize("build", [VanillaRNN, LSTM])
@given(seed=st.integers(0, 2**31), scale=st.floats(0.01, 1.5))
@settings(max_examples=30, deadline=None)
def test_boxes_contain_all_sequences(build: type[LSTM | VanillaRNN], seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    network = build(3, 6, 3, input_scale=scale).double()
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    first = every[:, 0]
    losses = []
    with torch.no_grad():
        found = list(boxes(network, 4))
        for t, box in enumerate(found, start=1):
            logits, state = network(every[:, :t], num_last_steps=1)
            states = (state,) if isinstance(state, torch.Tensor) else state
            for numbers, bounds in zip(states, box, strict=False):
                assert (point(numbers) <= bounds[:, first] + 1e-12).all()
            differences = logits[:, 0] - logits[:, 0].gather(1, first[:, None])
            assert (differences <= worst_logits(network, box.h)[first] + 1e-12).all()
            loss = torch.nn.functional.cross_entropy(logits[:, 0], first, reduction="none")
            losses.append(torch.stack([loss[first == digit].max() for digit in range(3)]).mean())
        assert worst_case_loss(network, 4, 1.0) >= sum(losses) / 4 - 1e-12
        for box, wider in zip(found, boxes(network, 4, slack=0.1), strict=True):
            assert (wider.h >= box.h).all()
        # With share 0 all later digits are the mean digit.
        _, after = boxes(network, 2, share=0.0)
        mean = build(1, 6, 3).double()
        W_x, W_h, b = network.recurrent_weights()
        for ours, theirs in zip(mean.recurrent_weights(), (W_x.mean(1, keepdim=True), W_h, b), strict=True):
            ours.copy_(theirs)
        _, one_digit = network(torch.arange(3)[:, None])
        _, state = mean(torch.zeros(3, 1, dtype=torch.int64), one_digit)
        h = state if isinstance(state, torch.Tensor) else state[0]
        torch.testing.assert_close(after.h, point(h))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


class Reference:
    """The boxes once more, a number at a time, with lower and upper bounds: (lower, upper) for each digit and unit."""

    def __init__(self, network: LSTM | VanillaRNN, share: float, slack: float) -> None:
        W_x, W_h, b = (weights.tolist() for weights in network.recurrent_weights())
        self.W_h, self.slack, self.H, self.K = W_h, slack, network.hidden_size, network.input_size
        self.first = [[W_x[j][k] + b[j] for j in range(len(b))] for k in range(self.K)]
        mean = [sum(row[j] for row in self.first) / self.K for j in range(len(b))]
        self.later = [[m + share * (x - m) for x, m in zip(row, mean, strict=True)] for row in self.first]
        self.is_lstm = isinstance(network, LSTM)

    def begin(self) -> list[Any]:
        nothing = [(0.0, 0.0)] * self.H
        return [self.after([(x, x) for x in row], nothing) for row in self.first]

    def step(self, h: list[Any], c: list[Any]) -> tuple[list[Any], list[Any]]:
        """The hull over all next digits, for one first digit."""
        h, c = ([(low - self.slack, high + self.slack) for low, high in part] for part in (h, c))
        sums = [
            [
                sum(weight * part[weight < 0 if is_low else weight >= 0] for weight, part in zip(row, h, strict=True))
                for is_low in (True, False)
            ]
            for row in self.W_h
        ]
        found = [self.after([(s[0] + x, s[1] + x) for s, x in zip(sums, row, strict=True)], c) for row in self.later]
        hull = [
            [(min(f[part][j][0] for f in found), max(f[part][j][1] for f in found)) for j in range(self.H)]
            for part in (0, 1)
        ]
        return hull[0], hull[1]

    def after(self, pre: list[Any], c: list[Any]) -> tuple[list[Any], list[Any]]:
        if not self.is_lstm:
            return [(math.tanh(low), math.tanh(high)) for low, high in pre], c
        H = self.H
        squashed = [
            tuple((math.tanh if place < H else sigmoid)(bound) for bound in pair) for place, pair in enumerate(pre)
        ]
        g, i, f, o = (squashed[place * H : (place + 1) * H] for place in range(4))
        next_c = []
        for unit in range(H):
            written, kept = hull_of_products(g[unit], i[unit]), hull_of_products(c[unit], f[unit])
            next_c.append((written[0] + kept[0], written[1] + kept[1]))
        tanh_c = [(math.tanh(low), math.tanh(high)) for low, high in next_c]
        return [hull_of_products(*pair) for pair in zip(tanh_c, o, strict=True)], next_c


def hull_of_products(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    products = [x * y for x in a for y in b]
    return min(products), max(products)


@pytest.mark.parametrize("build", [VanillaRNN, LSTM])
@pytest.mark.parametrize("distance", [0.0, 3.0])
def test_the_loss_of_all_sequences_equals_a_plain_reference(
    build: type[LSTM | VanillaRNN], distance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    monkeypatch.setattr(bounds, "SLACK", 0.2)
    monkeypatch.setattr(bounds, "WIDENED_STEPS", 3)
    network = build(3, 4, 3, input_scale=1.0).double()
    share, num_steps = 0.5, 3
    reference = Reference(network, share, 0.1)
    W_ph, b_p = network.W_ph.tolist(), network.b_p.tolist()
    losses = []
    for digit, (h, c) in enumerate(reference.begin()):
        boxes_of_digit, last_c = [(h, c)], c
        for step in range(num_steps - 1 + (3 if distance and build is LSTM else 0)):
            start = c
            if step >= num_steps - 1:
                start = [
                    (
                        low if low > 0 and low >= last[0] else low - distance,
                        high if high < 0 and high <= last[1] else high + distance,
                    )
                    for (low, high), last in zip(c, last_c, strict=True)
                ]
            last_c = start if step >= num_steps - 1 else c
            h, c = reference.step(h, start)
            boxes_of_digit.append((h, c))
        for h_bounds, _ in boxes_of_digit:
            worst = [
                sum(max((row[j] - W_ph[digit][j]) * bound for bound in pair) for j, pair in enumerate(h_bounds))
                + bias
                - b_p[digit]
                for row, bias in zip(W_ph, b_p, strict=True)
            ]
            losses.append(math.log(sum(math.exp(logit) for logit in worst)) - worst[digit])
    ours = worst_case_loss(network, num_steps, share, distance)
    assert ours.item() == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_a_cell_that_counts_keeps_its_bound() -> None:
    torch.manual_seed(0)
    network = LSTM(3, 50, 3, input_scale=1.0)
    with torch.no_grad():
        last, box = boxes(network, 2)
        wide = widened(box, last, 100.0)
        assert box.c is not None and last.c is not None and wide.c is not None
        (lower, upper), (last_lower, last_upper), (wide_lower, wide_upper) = (
            (-bounds[0], bounds[1]) for bounds in (box.c, last.c, wide.c)
        )
        for place in itertools.product(range(3), range(50)):
            up = lower[place] > 0 and lower[place] >= last_lower[place]
            down = upper[place] < 0 and upper[place] <= last_upper[place]
            assert wide_lower[place] == lower[place] - (0 if up else 100)
            assert wide_upper[place] == upper[place] + (0 if down else 100)
        assert worst_case_loss(network, 2, 1.0, distance=100.0) > worst_case_loss(network, 2, 1.0)
        narrow, after = (next_box(transition_of(network), which) for which in (box, wide))
        assert (after.h >= narrow.h).all()
    rnn = VanillaRNN(3, 5, 3)
    last, box = boxes(rnn, 2)
    assert widened(box, last, 100.0) is box


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_bounds_of_a_product_with_a_gate(
    lower: float, width: float, gate: float, gate_width: float, x: float, y: float
) -> None:
    bounds = gated(torch.tensor([-lower, lower + width]), torch.tensor([gate, gate + gate_width]))
    product = (lower + x * width) * (gate + y * gate_width)
    assert -bounds[0].item() - 1e-5 <= product <= bounds[1].item() + 1e-5


def test_the_loss_of_all_sequences_is_added(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    words = [*FIT, f"--trainer.default_root_dir={root}", "--trainer.max_steps=4", "--trainer.log_every_n_steps=1"]
    assert cli.main(words) == 0
    header = (root / "rnn_proved" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert "train/worst_case_loss" in header.split(",")
    untrained = load(str(root / "rnn_proved"), "last_digit")
    assert cli.main(["certify", f"--ckpt_path={root}/rnn_proved"]) == 1
    assert not (untrained.folder / "certificate" / "certificate.npz").exists()


def test_the_bound_grows_as_the_square_of_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def asking(network: LSTM, num_steps: int, share: float, distance: float) -> torch.Tensor:
        asked.append((num_steps, share, distance))
        return worst_case_loss(network, num_steps, share, distance)

    monkeypatch.setattr("models.palindrome.worst_case_loss", asking)
    lstm = [
        "--model.network=lstm",
        "--model.worst_case_ramp=4",
        "--model.worst_case_steps=3",
        "--trainer.max_steps=10",
        "--data.num_test=100",
    ]
    assert cli.main([*FIT, f"--trainer.default_root_dir={tmp_path}", *lstm]) == 0
    shares = [min(1.0, step / 4) ** 2 for step in range(10)]
    distances = [bounds.FAR * min(1.0, max(0.0, step / 4 - 1)) ** 2 for step in range(10)]
    assert asked == list(zip([3] * 10, shares, distances, strict=True))


def test_a_network_that_does_not_remember(run_of_few_steps: TrainedNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    assert certify.certify(str(run_of_few_steps.path)) == 1
    words = capsys.readouterr().out.split()
    assert words[:3] == ["Not", "proved:", "after"]
    digits = torch.tensor([[int(word) for word in words[3 : words.index("it")]]])
    with torch.no_grad():
        named = run_of_few_steps.network(digits, num_last_steps=1)[0][0, -1].argmax().item()
    assert named == int(words[words.index("names") + 1].rstrip(".")) != digits[0, 0].item()


@pytest.fixture
def run_of_few_steps(tmp_path: Path) -> TrainedNetwork:
    words = ["fit", "--config", str(ROOT / "configs" / "rnn_T5.yaml"), "--trainer.max_steps=2"]
    assert cli.main([*words, f"--trainer.default_root_dir={tmp_path}"]) == 0
    return load(str(tmp_path / "rnn_T5"), "last_digit")


def test_wrong_input(
    proved: TrainedNetwork,
    certificate: Certificate,
    command: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command("fit", "--data.task=every_digit") == 0
    every_digit_dir = tmp_path / "runs" / "small"

    def error(*words: str) -> str:
        capsys.readouterr()
        assert cli.main(["certify", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        return said

    ckpt = f"--ckpt_path={proved.folder}"
    assert "trained for task every_digit" in error(f"--ckpt_path={every_digit_dir}")
    assert command("fit", "--trainer.precision=64-true", f"--trainer.default_root_dir={tmp_path / 'double'}") == 0
    assert "are torch.float64, but a proof is about float32" in error(f"--ckpt_path={tmp_path / 'double' / 'small'}")
    assert "cannot be read" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    (tmp_path / "certificate.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    other = io.BytesIO()
    np.savez(other, lower=np.zeros((2, 2)))
    (tmp_path / "certificate.npz").write_bytes(other.getvalue())
    assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    for first_length in (math.inf, 2.5, [2, 2]):
        np.savez(tmp_path / "certificate.npz", **(certificate._asdict() | {"first_length": first_length}))
        assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    whole = (proved.folder / "certificate" / "certificate.npz").read_bytes()
    for place in range(100, len(whole), len(whole) // 40):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        (tmp_path / "certificate.npz").write_bytes(damaged)
        with contextlib.suppress(UserError):  # such as a name in the archive's list that nobody reads
            read_certificate(tmp_path / "certificate.npz")
    write_certificate(certificate._replace(lower=certificate.lower[0]), tmp_path / "certificate.npz")
    assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    write_certificate(certificate._replace(checksum="0"), tmp_path / "certificate.npz")
    assert "for other weights" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    write_certificate(certificate._replace(upper=certificate.lower), tmp_path / "certificate.npz")
    assert cli.main(["certify", ckpt, "--check", f"--output_dir={tmp_path}"]) == 1
    assert "Not proved: the state after the digit 0 is not in its first box" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.worst_case_weight=-1"], "worst_case_weight is -1"),
        (["--model.worst_case_weight=.inf"], "worst_case_weight is inf"),
        (["--model.worst_case_steps=0"], "worst_case_steps is 0; it must be at least 1"),
        (["--model.worst_case_ramp=-1"], "worst_case_ramp is -1; it must be at least 0"),
        (["--data.task=every_digit"], "with task 'every_digit', but its bound is for 'last_digit'; set it to 0"),
    ],
)
def test_wrong_arguments_of_the_loss(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*FIT, f"--trainer.default_root_dir={tmp_path}", *words]) == 2
    assert message in capsys.readouterr().err
