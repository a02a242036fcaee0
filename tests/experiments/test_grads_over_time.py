"""|dL/dh_t| equals that of a plain loop, and the product of Jacobians in the derivation."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import cli
from experiments.attractor_measures import gradient_norms
from experiments.grads_over_time import cell_gradient_norms, draw_palindromes, rows_of, summarize
from models.networks import LSTM, VanillaRNN
from tests.conftest import Command

K = 10


def loop(network: Any, digits: Tensor) -> list[Tensor]:
    """Equations 1-2 or 4-10, step by step, every h_t with its gradient kept; ends with the backward pass."""
    x = functional.one_hot(digits, K).double()
    h = torch.zeros(len(digits), network.hidden_size, dtype=torch.float64, requires_grad=True)
    c = torch.zeros_like(h, requires_grad=True)
    history = []
    for t in range(digits.shape[1]):
        if isinstance(network, LSTM):
            gates = {
                name: x[:, t] @ getattr(network, f"W_{name}x").T
                + h @ getattr(network, f"W_{name}h").T
                + getattr(network, f"b_{name}")
                for name in "gifo"
            }
            c = gates["g"].tanh() * gates["i"].sigmoid() + c * gates["f"].sigmoid()
            h = c.tanh() * gates["o"].sigmoid()
        else:
            h = torch.tanh(x[:, t] @ network.W_hx.T + h @ network.W_hh.T + network.b_h)
        h.retain_grad()
        c.retain_grad()
        history.append((h, c))
    logits = h @ network.W_ph.T + network.b_p
    functional.cross_entropy(logits, digits[:, 0], reduction="sum").backward()
    return [(h.grad, c.grad if isinstance(network, LSTM) else h.grad) for h, c in history]


@pytest.mark.parametrize("network", [VanillaRNN, LSTM])
@pytest.mark.parametrize("initialization", ["uniform", "orthogonal"])
def test_the_norms_equal_those_of_autograd(network: Any, initialization: Any) -> None:
    net = network(K, 16, K, initialization=initialization).double()
    digits = draw_palindromes(7, 30, K)[:, :-1]
    by_hidden_state, by_cell = (torch.stack(parts, dim=1).norm(dim=2) for parts in zip(*loop(net, digits), strict=True))
    torch.testing.assert_close(gradient_norms(net, digits), by_hidden_state, rtol=1e-10, atol=0)
    if isinstance(net, LSTM):
        torch.testing.assert_close(cell_gradient_norms(net, digits), by_cell, rtol=1e-10, atol=0)


def test_the_norms_equal_the_product_of_jacobians() -> None:
    """dL/dh_t = (p_hat - y) W_ph J_{T-1} ... J_{t+1} with J_t = diag(1 - h_t^2) W_hh, for the vanilla RNN."""
    net = VanillaRNN(K, 12, K).double()
    digits = draw_palindromes(1, 20, K)[:, :-1]
    with torch.no_grad():
        history, _ = net.hidden_states(digits)
        h = history[0]
        probs = (net.W_ph @ h[-1] + net.b_p).softmax(0)
        row = (probs - functional.one_hot(digits[0, 0], K)) @ net.W_ph
        expected = [row.norm()]
        for t in range(len(h) - 1, 0, -1):
            row = row @ (torch.diag(1 - h[t] ** 2) @ net.W_hh)
            expected.append(row.norm())
    torch.testing.assert_close(gradient_norms(net, digits)[0], torch.stack(expected[::-1]), rtol=1e-10, atol=0)


@pytest.mark.parametrize("length", [2, 5, 8])
def test_palindromes_read_the_same_backwards(length: int) -> None:
    palindromes = draw_palindromes(50, length, K)
    assert palindromes.shape == (50, length)
    assert torch.equal(palindromes, palindromes.flip(1))
    assert len(palindromes.unique(dim=0)) > 5


def test_the_summary_is_of_medians() -> None:
    rows = [
        {"network": "rnn", "weights": "w", "seed": seed, "state": "h", "t": t, "median": value}
        for seed, values in ((1, (1.0, 2.0, 4.0)), (2, (3.0, 5.0, 3.0)), (3, (16.0, 5.0, 1.0)))
        for t, value in enumerate(values, start=1)
    ]
    (line,) = summarize(rows)
    assert (line["gradient"], line["t = 1"], line["t = 3"]) == ("|dL/dh_t|", 3.0, 3.0)
    assert line["first / last"] == 1.0 and line["factor a step back"] == 1.0


def test_a_row_has_quartiles_over_palindromes() -> None:
    torch.manual_seed(0)
    net = LSTM(K, 8, K).double()
    state = torch.get_rng_state()
    rows = rows_of(net, "some", 3, 10, 20)
    torch.set_rng_state(state)
    norms = gradient_norms(net, draw_palindromes(20, 10, K)[:, :-1])
    assert [(row["state"], row["t"]) for row in rows] == [(name, t) for name in "hc" for t in range(1, 10)]
    for row in rows[:9]:
        of_step = sorted(norms[:, row["t"] - 1].tolist())
        assert row["median"] == pytest.approx((of_step[9] + of_step[10]) / 2)
        assert of_step[4] <= row["lower_quartile"] <= of_step[5] <= of_step[14] <= row["upper_quartile"] <= of_step[15]


SMALL = ["--length=12", "--hidden_size=8", "--num_palindromes=5", "--seeds=[1,2]"]


def test_the_command_writes_a_row_for_each_step(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main(["gradients", *SMALL, f"--ckpt_paths=[{run_dir}]", f"--output_dir={out}"]) == 0
    with (out / "grads_over_time.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kinds = {(row["network"], row["weights"]) for row in rows}
    untrained = {("rnn", n) for n in ("uniform", "orthogonal", "identity")}
    untrained |= {("lstm", n) for n in ("uniform", "orthogonal", "chrono")}
    assert kinds == {(kind, f"untrained, {name}") for kind, name in untrained} | {("lstm", "trained, small")}
    # Two seeds of three RNNs and of three LSTMs, these with both states, and the trained LSTM.
    assert len(rows) == (2 * 3 + 2 * 3 * 2 + 2) * 11
    assert (out / "grads_over_time.png").read_bytes().startswith(b"\x89PNG")
    assert "factor a step back" in capsys.readouterr().out


def test_checkpoints_with_equal_names_are_shown_with_their_folders(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / name / "small" / "version_0" for name in ("a", "b")]
    for run in runs:
        assert command("fit", f"--trainer.default_root_dir={run.parent.parent}") == 0
    args = ["gradients", *SMALL, "--untrained={}", f"--output_dir={tmp_path / 'out'}"]
    assert cli.main([*args, f"--ckpt_paths=[{runs[0]},{runs[1]}]"]) == 0
    with (tmp_path / "out" / "grads_over_time.csv").open(newline="") as file:
        assert {row["weights"] for row in csv.DictReader(file)} == {f"trained, {run}" for run in runs}
    capsys.readouterr()
    assert cli.main([*args, f"--ckpt_paths=[{runs[0]},{runs[0].parent}]"]) == 2
    assert "best.ckpt more than once; give each checkpoint once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--length=1"], "length is 1; it must be at least 2"),
        (["--hidden_size=0"], "hidden_size is 0; it must be at least 1"),
        (["--num_palindromes=0"], "num_palindromes is 0; it must be at least 1"),
        (["--length=1000000", "--num_palindromes=1000"], "1000000000 digits; the limit is 16777216"),
        (["--seeds=[]"], "seeds is empty; give at least one"),
        (["--seeds=[-1]"], "seeds has -1; each must be from 0 to 4294967295"),
        (["--seeds=[1,1]"], "seeds has 1 2 times; give each seed once"),
        (["--untrained={rnn: [uniform, uniform]}"], "untrained has uniform for rnn more than once"),
        (["--untrained={}"], "untrained and ckpt_paths are both empty"),
        (["--untrained={lstm: [identity]}"], "initialization is 'identity'; for this network it is one of"),
        (["--untrained={gru: [uniform]}"], "untrained has gru; a network is one of rnn, lstm"),
        (["--ckpt_paths=[nowhere]"], "nowhere: no such file or folder"),
        (["--ckpt_path=x"], "ckpt_path"),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [word for word in SMALL if word.split("=")[0] not in {a.split("=")[0] for a in args}]
    assert cli.main(["gradients", *small, f"--output_dir={tmp_path / 'out'}", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()
