"""Certificates: what they prove is true of the network that runs, and every change for the worse is refused."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from experiments import certify
from experiments.certificate import WEIGHTS, Certificate, read_certificate, write_certificate
from experiments.certificate_check import TANH_ERROR, Checked, Network, Refusal, check
from experiments.trained_model import TrainedNetwork, load
from models.networks import VanillaRNN
from models.networks.bounds import boxes, worst_case_loss, worst_logits

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


def weights_of(network: VanillaRNN) -> dict[str, Any]:
    return {name: getattr(network, name).detach().numpy() for name in WEIGHTS}


def test_a_trained_network_is_proved(proved: TrainedNetwork, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certify", f"--ckpt_path={proved.folder}"]) == 0
    assert "every palindrome of every length from 2 to infinity" in capsys.readouterr().out
    assert {path.name for path in (proved.folder / "certificate").iterdir()} == {
        *("certificate.npz", "certificate.csv", "certificate.png", "certificate.svg", "about.json")
    }
    assert cli.main(["certify", f"--ckpt_path={proved.folder}", "--check"]) == 0
    assert "all hold" in capsys.readouterr().out


def greedy(network: VanillaRNN, digits: torch.Tensor, num_steps: int) -> torch.Tensor:
    """Longer sequences: at each step the digit with which the margin of the first digit becomes smallest, (N, T)."""
    N = len(digits)
    for _ in range(num_steps):
        tried = torch.cat([digits.repeat(K, 1), torch.arange(K).repeat_interleave(N)[:, None]], dim=1)
        logits = network(tried, num_last_steps=1)[0][:, 0].view(K, N, K)
        first = digits[:, 0].view(1, N, 1).expand(K, N, 1)
        margins = logits.gather(2, first)[..., 0] - logits.scatter(2, first, -torch.inf).amax(2)
        digits = torch.cat([digits, margins.argmin(0)[:, None]], dim=1)
    return digits


@torch.no_grad()
def test_no_sequence_leaves_the_boxes(proved: TrainedNetwork, certificate: Certificate) -> None:
    network, result = proved.network, check(certificate, weights_of(proved.network))
    assert isinstance(result, Checked) and isinstance(network, VanillaRNN)
    random = torch.randint(K, (20_000, 40))
    for digits in (random, greedy(network, torch.randint(K, (300, 1)), 30)):
        box = torch.from_numpy(certificate.first_box)[digits[:, 0]]
        h = None
        for t in range(digits.shape[1]):
            logits, h = network(digits[:, t : t + 1], h)
            if t > 0:
                box = torch.from_numpy(certificate.successor)[box, digits[:, t]]
            inside = (h >= torch.from_numpy(certificate.lower)[box]) & (h <= torch.from_numpy(certificate.upper)[box])
            assert inside.all()
            first = digits[:, :1]
            margin = logits[:, 0].gather(1, first)[:, 0] - logits[:, 0].scatter(1, first, -torch.inf).amax(1)
            assert (margin >= result.margin).all()


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
    result = check(changed, weights_of(proved.network))
    assert isinstance(result, Refusal), (change, result)


def test_wider_boxes_and_shorter_lengths_are_refused(proved: TrainedNetwork, certificate: Certificate) -> None:
    weights = weights_of(proved.network)
    wide = certificate._replace(lower=certificate.lower * 0 - 1.1, upper=certificate.upper * 0 + 1.1)
    assert "may not be the largest" in check(wide, weights).reason  # type: ignore[union-attr]
    assert isinstance(check(certificate._replace(first_length=1), weights), Refusal)
    assert isinstance(check(certificate, weights | {"W_hh": weights["W_hh"] * 1.5}), Refusal)
    assert isinstance(check(certificate, weights | {"W_ph": -weights["W_ph"]}), Refusal)
    assert isinstance(check(certificate, weights | {"W_ph": weights["W_ph"][:, 1:]}), Refusal)


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
    result = check(*two_digits())
    assert isinstance(result, Checked) and result.num_inequalities == 2 + 4 * 2 + 2
    assert result.margin == pytest.approx(0.65, abs=1e-4)
    assert isinstance(check(*two_digits(first_length=4)), Checked)
    refused = check(*two_digits(first_length=2))
    assert isinstance(refused, Refusal) and refused.box == 1


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
    refused = check(last, forgets)
    assert isinstance(refused, Refusal) and "successor has another first digit" in refused.reason
    # A network that always names the other digit.
    refused = check(
        certificate._replace(first_digit=1 - certificate.first_digit), weights | {"W_ph": weights["W_ph"][::-1].copy()}
    )
    assert isinstance(refused, Refusal) and "first box has another first digit" in refused.reason


def test_without_a_mistake_the_bounds_are_the_reason(
    proved: TrainedNetwork, capsys: pytest.CaptureFixture[str]
) -> None:
    assert certify.explain_failure(proved, "the bounds") == 1
    assert "Not proved: the bounds. No mistake was found" in capsys.readouterr().out


@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from([0.1, 1.0, 30.0]))
@settings(max_examples=60, deadline=None)
def test_float32_steps_are_inside_the_bounds(seed: int, H: int, scale: float) -> None:
    """A step of a box with one state, with its sums in a random order, and torch's own."""
    random = np.random.default_rng(seed)
    shapes = {"W_hx": (H, 3), "W_hh": (H, H), "b_h": (H,), "W_ph": (3, H), "b_p": (3,)}
    weights = {name: (scale * random.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    h = np.tanh(random.standard_normal(H)).astype(np.float32)
    if random.random() < 0.5:  # the terms cancel, so that rounding is large beside their sum
        weights["b_h"] = -(weights["W_hh"] @ h + weights["W_hx"][:, 1])
    network = Network(weights)
    bounds = network.next(network.recurrent_part(h.astype(float), h.astype(float)), 1)
    terms = np.concatenate([weights["W_hh"] * h, weights["W_hx"][:, 1:2], weights["b_h"][:, None]], axis=1)
    total = np.zeros(H, np.float32)
    for column in random.permutation(H + 2):
        total = total + terms[:, column]
    torchs = VanillaRNN(3, H, 3)
    torchs.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    _, ours = torchs(torch.tensor([[1]]), torch.from_numpy(h)[None])
    for state in (torch.tanh(torch.from_numpy(total)), ours[0].detach()):
        for i, (lowest, highest) in enumerate(bounds):
            assert float(lowest.lower()) <= state[i].item() <= float(highest.upper())
    width = max(float((highest - lowest).upper()) for lowest, highest in bounds)
    assert width < 1e-5 * (H + 1) * max(1, scale)  # not so wide that it would prove nothing


@pytest.mark.parametrize("fused", [False, True])
def test_tanh_is_as_exact_as_the_proof_assumes(fused: bool) -> None:
    values = torch.cat([torch.linspace(-20, 20, 400_001), torch.logspace(-40, 1.5, 100_001), torch.randn(100_000)])
    network = VanillaRNN(1, 1, 1, fused=fused)
    with torch.no_grad():
        network.W_hx.fill_(1)
        network.W_hh.zero_()
        network.b_h.zero_()
        _, h = network(values[:, None, None])
    error = (h[:, 0].double() - torch.tanh(values.double())).abs().max()
    assert error.item() < float(TANH_ERROR) / 4


@given(st.integers(0, 2**31), st.floats(0.01, 1.5))
@settings(max_examples=30, deadline=None)
def test_boxes_contain_all_sequences(seed: int, scale: float) -> None:
    torch.manual_seed(seed)
    network = VanillaRNN(3, 6, 3, input_scale=scale).double()
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    _, losses = [], []
    with torch.no_grad():
        found = list(boxes(network, 4))
        for t, box in enumerate(found, start=1):
            logits, h = network(every[:, :t], num_last_steps=1)
            first = every[:, 0]
            assert (h >= box.lower[first] - 1e-12).all() and (h <= box.upper[first] + 1e-12).all()
            differences = logits[:, 0] - logits[:, 0].gather(1, first[:, None])
            assert (differences <= worst_logits(network, box)[first] + 1e-12).all()
            loss = torch.nn.functional.cross_entropy(logits[:, 0], first, reduction="none")
            losses.append(torch.stack([loss[first == digit].max() for digit in range(3)]).mean())
        assert worst_case_loss(network, 4, 1.0) >= sum(losses) / 4 - 1e-12
        for box, wider in zip(found, boxes(network, 4, slack=0.1), strict=True):
            assert (wider.lower <= box.lower).all() and (wider.upper >= box.upper).all()
        mean = VanillaRNN(3, 6, 3, input_scale=scale).double()  # with share 0 all later digits are the mean digit
        mean.load_state_dict(network.state_dict())
        (_, after) = (box.lower for box in boxes(mean, 2, share=0.0))
        inputs = mean.W_hx.T + mean.b_h
        torch.testing.assert_close(after, torch.tanh(torch.tanh(inputs) @ mean.W_hh.T + inputs.mean(0)))


def test_the_loss_of_all_sequences_is_added(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    words = [*FIT, f"--trainer.default_root_dir={root}", "--trainer.max_steps=4", "--trainer.log_every_n_steps=1"]
    assert cli.main(words) == 0
    header = (root / "rnn_proved" / "version_0" / "metrics.csv").read_text().splitlines()[0]
    assert "train/worst_case_loss" in header.split(",")
    untrained = load(str(root / "rnn_proved"), "last_digit")
    assert cli.main(["certify", f"--ckpt_path={root}/rnn_proved"]) == 1
    assert not (untrained.folder / "certificate" / "certificate.npz").exists()


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
    run_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def error(*words: str) -> str:
        capsys.readouterr()
        assert cli.main(["certify", *words]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        return said

    ckpt = f"--ckpt_path={proved.folder}"
    assert "has an LSTM" in error(f"--ckpt_path={run_dir}")
    assert "cannot be read" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    (tmp_path / "certificate.npz").write_bytes(b"PK\x03\x04 no archive")
    assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    other = io.BytesIO()
    np.savez(other, lower=np.zeros((2, 2)))
    (tmp_path / "certificate.npz").write_bytes(other.getvalue())
    assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    write_certificate(certificate._replace(lower=certificate.lower[0]), tmp_path / "certificate.npz")
    assert "is not a certificate" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    write_certificate(certificate._replace(checksum="0"), tmp_path / "certificate.npz")
    assert "for other weights" in error(ckpt, "--check", f"--output_dir={tmp_path}")
    write_certificate(certificate._replace(upper=certificate.lower), tmp_path / "certificate.npz")
    assert cli.main(["certify", ckpt, "--check", f"--output_dir={tmp_path}"]) == 1
    assert "Refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.worst_case_weight=-1"], "worst_case_weight is -1"),
        (["--model.worst_case_weight=.inf"], "worst_case_weight is inf"),
        (["--model.worst_case_steps=0"], "worst_case_steps is 0; it must be at least 1"),
        (["--model.worst_case_ramp=-1"], "worst_case_ramp is -1; it must be at least 0"),
        (["--model.network=lstm"], "it is for 'rnn'"),
    ],
)
def test_wrong_arguments_of_the_loss(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*FIT, f"--trainer.default_root_dir={tmp_path}", *words]) == 2
    assert message in capsys.readouterr().err
