"""Proofs that strings are written in reverse: they hold for the network that runs, and no wrong one is accepted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from datamodules.string_tasks import reversed_strings
from experiments.automaton import transitions
from experiments.certificate_check import Refusal
from experiments.certify_reversal import check_certificate, find
from experiments.reversal_certificate import ReversalCertificate, read_reversal_certificate
from experiments.reversal_check import CheckedReversal
from experiments.trained_model import TrainedStackRNN, load_stack_rnn
from models.networks import StackRNN

ROOT = Path(__file__).parent.parent.parent
K = 3


def built() -> StackRNN:
    """A network that was not trained: units for the symbol that is read, for the one at the top, and for the mode."""
    network = StackRNN(K + 2, 2 * K + 2, K, K)
    reads, writes, marks, blanks = range(K), range(K, 2 * K), 2 * K, 2 * K + 1
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.b_h.fill_(-10)
        for k in range(K):
            network.W_hx[reads[k], k] = 20
            network.W_hx[writes[k]] = -40
            network.W_hx[writes[k], K + 1] = 0
            network.W_hs[writes[k], k] = 20
            network.W_vh[k, reads[k]] = 10
            network.W_ph[k, writes[k]] = 10
        network.W_hx[marks, K], network.W_hx[blanks, K + 1] = 20, 20
        network.W_ah[1, marks], network.W_ah[2, blanks] = 10, 10
    return network


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> TrainedStackRNN:
    """A small network of three symbols that is trained for some seconds; its run has a certificate."""
    root = tmp_path_factory.mktemp("proved")
    small = ["--data.num_symbols=3", "--data.length=8", "--data.test_lengths=[8,100]", "--data.batch_size=32"]
    small += ["--model.hidden_size=16", "--model.worst_case_ramp=300", "--model.optimizer.lr=0.01"]
    config = ROOT / "configs" / "reverse_proved.yaml"
    words = [f"--config={config}", "--trainer.max_steps=500", "--seed_everything=1"]
    assert cli.main(["fit", *words, *small, f"--trainer.default_root_dir={root}"]) == 0
    assert cli.main(["certify", f"--ckpt_path={root}/reverse_proved"]) == 0
    return load_stack_rnn(f"{root}/reverse_proved", "reverse")


def certificate_of(network: StackRNN) -> ReversalCertificate:
    found = find(network)
    assert isinstance(found, ReversalCertificate)
    return found


def test_a_trained_network_is_proved(proved: TrainedStackRNN, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["certify", f"--ckpt_path={proved.folder}", "--check"]) == 0
    assert "every string of every length from 1 to infinity" in capsys.readouterr().out
    assert {path.name for path in (proved.folder / "certificate").iterdir()} == {"certificate.npz", "about.json"}


@pytest.mark.parametrize("which", ["built", "trained"])
def test_no_string_leaves_the_boxes(which: str, proved: TrainedStackRNN) -> None:
    """In float32: states, pushed values, actions and margins of random, constant and all short strings."""
    network = built() if which == "built" else proved.network
    found = certificate_of(network)
    checked = check_certificate(found, network)
    assert isinstance(checked, CheckedReversal)
    every = torch.cartesian_prod(*[torch.arange(K)] * 5)
    for strings in (torch.randint(K, (300, 60)), torch.arange(K)[:, None].expand(K, 90), every):
        n = strings.shape[1]
        symbols, target = reversed_strings(strings, K)
        trace = network.trace(symbols, hardened=True)
        h, H = trace.hidden_states.detach().double().numpy(), network.hidden_size
        tops = trace.stacks[:, :n, 0].detach().double().numpy()
        assert (found.lower[:H] <= h[:, :n]).all() and (h[:, :n] <= found.upper[:H]).all()
        assert (found.lower[H:] <= tops).all() and (tops <= found.upper[H:]).all()
        assert (found.writing_lower <= h[:, n:]).all() and (h[:, n:] <= found.writing_upper).all()
        for k in range(K):
            pushed = trace.pushed[:, :n].detach().double().numpy()[strings.numpy() == k]
            assert (found.pushed_lower[k] <= pushed).all() and (pushed <= found.pushed_upper[k]).all()
        assert trace.actions.argmax(2).tolist() == [[0] * n + [1] + [2] * n] * len(strings)
        logits = network.readout(trace.hidden_states[:, -n:])
        right = logits.gather(2, target[:, :, None])[:, :, 0]
        others = logits.scatter(2, target[:, :, None], -torch.inf).amax(2)
        assert (right - others).min().item() >= checked.margin


def test_margins_of_a_built_network_are_those_of_its_weights() -> None:
    """tanh of 10 is 1 but for 4e-9, and the widths of the boxes are 1e-4 at least."""
    checked = check_certificate(certificate_of(built()), built())
    assert isinstance(checked, CheckedReversal)
    assert checked.margin == pytest.approx(20, abs=0.1) and checked.action_margin == pytest.approx(10, abs=0.1)
    H, M = 2 * K + 2, K
    assert checked.num_inequalities == (H + M) + K * (3 * H + 2 * M + 6 + K - 1)


def test_margins_contain_the_rounding_of_float32() -> None:
    """A bias of 1e7 for all symbols changes no exact margin. But float32 has steps of 1 there, so logits may be equal."""
    network = built()
    with torch.no_grad():
        network.b_p.fill_(1e7)
        network.W_ph *= 4
    checked = check_certificate(certificate_of(network), network)
    assert isinstance(checked, CheckedReversal)
    H = network.hidden_size
    assert checked.margin == pytest.approx(80 - 2 * (H + 1) * 2**-24 * 1e7, abs=0.5)
    with torch.no_grad():
        network.b_p.fill_(1e9)
    refused = check_certificate(certificate_of(network), network)
    assert isinstance(refused, Refusal) and "may be written" in refused.reason


def test_sums_that_may_overflow_are_refused() -> None:
    """All logits are infinite in float32, although the exact ones have a large margin."""
    network = built()
    found = certificate_of(network)
    with torch.no_grad():
        network.W_ph.mul_(1e36)
        network.W_ph[:, 2 * K] -= 3e38  # of a unit that is -1 while the network writes
        network.b_p.fill_(3e38)
    checked = check_certificate(found, network)
    assert isinstance(checked, Refusal) and "too large for float32" in checked.reason
    logits = network.logits(reversed_strings(torch.tensor([[0, 1]]), K)[0], 2, hardened=True)
    assert logits.isinf().all()
    _, num_strings, num_wrong, margin = transitions(network, K, 2)
    assert num_wrong == num_strings == 12 and not margin > 0


def test_states_contain_the_rounding_of_float32() -> None:
    """The same for what tanh is applied to, which is 10 or -10 if sums of numbers of 1e7 are exact."""
    network = built()
    found = certificate_of(network)
    with torch.no_grad():
        network.W_hx += 1e7
        network.b_h -= 1e7
    assert torch.equal(network.W_hx + network.b_h[:, None], built().W_hx + built().b_h[:, None])
    assert isinstance(check_certificate(found, network), Refusal)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_certificate_changed_for_the_worse_is_refused(data: Any) -> None:
    """A bound is moved past the states that were found, so that the box no longer contains them."""
    network = built()
    found = certificate_of(network)
    name = data.draw(st.sampled_from(["lower", "writing_lower", "pushed_lower"]))
    low, high = getattr(found, name).copy(), getattr(found, name.replace("lower", "upper")).copy()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in low.shape)
    if data.draw(st.booleans()):
        low[place] = high[place] - 1e-9
    else:
        high[place] = low[place] + 1e-9
    changed = found._replace(**{name: low, name.replace("lower", "upper"): high})
    assert isinstance(check_certificate(changed, network), Refusal)


@pytest.mark.parametrize(
    ("parameter", "place", "value", "reason"),
    [
        ("b_a", (1,), 20.0, "may not be pushed"),
        ("b_a", (1,), -15.0, "the marker after the symbol 0 may change the stack"),
        ("b_a", (2,), -15.0, "may not pop"),
        ("W_ph", (1, K + 1), -10.0, "another symbol than 0 may be written"),
        ("W_vh", (0, 0), -10.0, "what is pushed"),
    ],
)
def test_weights_of_another_network_are_refused(parameter: str, place: Any, value: float, reason: str) -> None:
    network = built()
    found = certificate_of(network)
    with torch.no_grad():
        getattr(network, parameter)[place] = value
    checked = check_certificate(found, network)
    assert isinstance(checked, Refusal) and reason in checked.reason


@pytest.mark.parametrize(
    ("bound", "places", "value", "reason"),
    [
        (
            "upper",
            slice(2 * K + 2, None),
            0.5,
            "the box of what is pushed for the symbol 0 is not in the box of reading",
        ),
        ("upper", 2 * K, -0.5, "the state before the first symbol"),
        ("writing_upper", 2 * K, 0.5, "the marker after the symbol 0 leads out of the box of writing"),
        ("writing_upper", 2 * K + 1, 0.5, "a blank with the symbol 0 at the top leads out of the box of writing"),
    ],
)
def test_each_condition_is_checked_by_itself(bound: str, places: Any, value: float, reason: str) -> None:
    """A narrower box that breaks this condition alone: the units of the mode never lie in between."""
    found = certificate_of(built())
    narrower = getattr(found, bound).copy()
    narrower[places] = value
    checked = check_certificate(found._replace(**{bound: narrower}), built())
    assert isinstance(checked, Refusal) and reason in checked.reason


def test_boxes_that_do_not_fit_are_refused() -> None:
    network = built()
    found = certificate_of(network)
    for changed in (
        found._replace(lower=found.lower[1:]),
        found._replace(pushed_upper=found.pushed_upper[:, :1]),
        found._replace(writing_lower=found.writing_upper, writing_upper=found.writing_lower),
        found._replace(upper=np.full_like(found.upper, np.inf)),
        found._replace(lower=np.full_like(found.lower, np.nan)),
    ):
        assert isinstance(check_certificate(changed, network), Refusal)
    shifted = found._replace(lower=found.lower + 0.1 * (found.lower < 0))
    checked = check_certificate(shifted._replace(lower=np.where(shifted.lower > 0, 0.1, shifted.lower)), network)
    assert isinstance(checked, Refusal)


def test_a_network_that_makes_mistakes_is_not_proved(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["fit", f"--config={ROOT / 'configs' / 'reverse.yaml'}", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--data.num_symbols=3", "--data.length=4", "--model.hidden_size=8", "--trainer.max_steps=2"]
    assert cli.main([*words, "--data.test_lengths=[4]"]) == 0
    assert cli.main(["certify", f"--ckpt_path={tmp_path}/reverse"]) == 1
    assert "Not proved: after " in capsys.readouterr().out
    assert not (tmp_path / "reverse" / "version_0" / "certificate" / "certificate.npz").exists()


def test_the_automaton_of_a_trained_network(
    proved: TrainedStackRNN, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["automaton", f"--ckpt_path={proved.folder}", f"--output_dir={tmp_path}"]
    assert cli.main([*words, "--max_length=4", "--num_symbols_shown=5"]) == 0
    out = capsys.readouterr().out
    assert f"All {3 + 9 + 27 + 81} strings" in out and "all are written in reverse" in out
    lines = (tmp_path / "automaton.csv").read_text().splitlines()
    steps = 3 + 2 * 9 + 3 * 27 + 4 * 81
    assert [line.split(",")[:5] for line in lines[1:]] == [
        ["read", "symbol", "push", "read", str(steps)],
        ["read", "marker", "keep", "write", str(3 + 9 + 27 + 81)],
        ["write", "blank", "pop", "write", str(steps)],
    ]
    rows = [line.split(",") for line in (tmp_path / "stack.csv").read_text().splitlines()]
    string = "".join(row[1] for row in rows[1:6])
    assert rows[6][1] == "#" and rows[6][-1] == " ".join(string)  # the stack at the marker
    assert "".join(row[2] for row in rows[7:]) == string[::-1]
    assert (tmp_path / "stack.png").read_bytes().startswith(b"\x89PNG")


def test_an_automaton_with_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", f"--config={ROOT / 'configs' / 'reverse.yaml'}", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--data.num_symbols=2", "--data.length=4", "--model.hidden_size=8", "--trainer.max_steps=1"]
    assert cli.main([*words, "--data.test_lengths=[4]"]) == 0
    assert cli.main(["automaton", f"--ckpt_path={tmp_path}/reverse", "--max_length=3"]) == 1
    assert "are not written in reverse" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("automaton", ["--max_length=0"], "max_length is 0; it must be from 1 to"),
        ("automaton", ["--max_length=30"], "max_length is 30"),
        ("automaton", ["--num_symbols_shown=0"], "num_symbols_shown is 0"),
        ("automaton", ["--seed=-1"], "seed"),
        ("certify", ["--check", "--output_dir=/nowhere"], "cannot be read"),
    ],
)
def test_wrong_input(
    command: str, words: list[str], message: str, proved: TrainedStackRNN, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, f"--ckpt_path={proved.folder}", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_another_models_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=1", "--model.hidden_size=8"]
    config = ROOT / "configs" / "reverse.yaml"
    small = ["--data.length=3", "--data.test_lengths=[3]"]
    for name, words in (("lstm", ["--model.network=lstm"]), ("brackets", ["--data.task=brackets"])):
        folder = f"--trainer.default_root_dir={tmp_path / name}"
        assert cli.main(["fit", f"--config={config}", *short, *small, folder, *words]) == 0
        capsys.readouterr()
        for command in ("automaton", "certify"):
            assert cli.main([command, f"--ckpt_path={tmp_path / name / 'reverse'}"]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert {"lstm": "has no stack", "brackets": "task brackets"}[name] in line
    assert cli.main(["fit", f"--config={ROOT / 'configs' / 'rnn_T5.yaml'}", *short]) == 0
    capsys.readouterr()
    assert cli.main(["automaton", f"--ckpt_path={tmp_path / 'rnn_T5'}"]) == 2
    assert "needs Transducer" in capsys.readouterr().err


def test_a_certificate_for_other_weights_or_a_damaged_one(
    proved: TrainedStackRNN, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (proved.folder / "certificate" / "certificate.npz").read_bytes()
    found = read_reversal_certificate(proved.folder / "certificate" / "certificate.npz")
    words = ["certify", f"--ckpt_path={proved.folder}", "--check", f"--output_dir={tmp_path}"]
    np.savez(tmp_path / "certificate.npz", **found._replace(checksum="0" * 64)._asdict())
    assert cli.main(words) == 2 and "for other weights" in capsys.readouterr().err
    np.savez(tmp_path / "certificate.npz", **found._replace(lower=found.lower[None])._asdict())
    assert cli.main(words) == 2 and "dimensions" in capsys.readouterr().err
    for damaged in (b"", content[:200], content[:-40]):
        (tmp_path / "certificate.npz").write_bytes(damaged)
        assert cli.main(words) == 2 and "is not a certificate" in capsys.readouterr().err
