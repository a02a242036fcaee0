"""The measurements on a network with known attractors, and the command."""

import csv
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import cli
from experiments import attractor_measures as measures
from experiments import attractors
from experiments.trained_model import Network, TrainedNetwork, as_state, as_vector
from models.networks import LSTM, VanillaRNN
from tests.conftest import Command
from training.checkpoint_file import read_checkpoint, write_checkpoint

# h = tanh(3 h) has the solutions 0, where the slope is 3, and +-REST, where it is 3 (1 - REST^2).
REST = 0.9949015284526289


def latch() -> TrainedNetwork:
    """Two units keep the sign that the first digit gives them, whatever digits follow."""
    network = VanillaRNN(2, 2, 2)
    with torch.no_grad():
        network.W_hx.copy_(torch.tensor([[0.3, -0.3], [-0.3, 0.3]]))
        network.W_hh.copy_(3 * torch.eye(2))
        network.W_ph.copy_(torch.eye(2))
        network.b_p.zero_()
    return TrainedNetwork(Path("latch.ckpt"), network, VanillaRNN(2, 2, 2), 2, 0, 5, Path())


def test_a_latch_separates_its_states_and_predicts_every_digit() -> None:
    trained = latch()
    digits = measures.draw_digits(2, 20, 300)
    assert digits[:, 0].tolist() == [0] * 20 + [1] * 20
    with torch.no_grad():
        states, rows = measures.settle(trained, digits)
    assert [row["t"] for row in rows] == list(states) == [1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100, 200, 300]
    for t in (1, 7, 300):
        expected, _ = trained.network.hidden_states(digits[:, :t], num_last_steps=1)
        torch.testing.assert_close(states[t], expected[:, 0])
    assert rows[0]["spread"] == pytest.approx(0, abs=1e-6)
    assert rows[0]["separation"] == pytest.approx(2 * 2**0.5 * torch.tensor(0.3).tanh().item())
    assert all(row["correct"] == 1 for row in rows)
    assert rows[-1]["separation"] > 20 * rows[-1]["spread"] > 0


def test_its_fixed_points_are_those_of_the_equation() -> None:
    trained = latch()
    states = torch.tensor([[0.5, -0.5], [0.7, -0.6], [-0.5, 0.5], [-0.4, 0.9]])
    with torch.no_grad():
        *rows, zero = measures.fixed_points(trained, states, torch.tensor([0, 0, 1, 1]))
    for row in rows:
        assert row["movement"] < 1e-6
        assert row["nearest"] == pytest.approx(2 * 2**0.5 * REST, rel=1e-5)
        assert row["factor"] == pytest.approx(3 * (1 - REST**2), rel=1e-3)
    assert zero["digit"] == "zero" and zero["factor"] == pytest.approx(3)


def test_the_factor_of_an_lstm_is_that_of_finite_differences() -> None:
    network = LSTM(3, 2, 3, initialization="uniform")
    point = torch.randn(4, dtype=torch.float64)
    precise = LSTM(3, 2, 3).double()
    precise.load_state_dict(network.state_dict())
    average = torch.full((1, 1, 3), 1 / 3, dtype=torch.float64)

    def step(vector: torch.Tensor) -> torch.Tensor:
        return as_vector(precise(average, as_state(vector[None], precise))[1])[0]

    with torch.no_grad():
        differences = [(step(point + 1e-6 * unit) - step(point - 1e-6 * unit)) / 2e-6 for unit in torch.eye(4).double()]
    expected = torch.linalg.eigvals(torch.stack(differences, dim=1)).abs().max().item()
    assert measures.spectral_radius(network, point.float()) == pytest.approx(expected, rel=1e-3)


def test_kicks_are_measured_in_half_distances() -> None:
    states = torch.tensor([[1.0, 0.0], [1.2, 0.0], [-1.0, 0.0], [-1.2, 0.0]])
    moved = measures.kicked(states, torch.tensor([0, 0, 1, 1]), 0.5) - states
    torch.testing.assert_close(moved.norm(dim=1), torch.full((4,), 0.5 * 1.1))
    assert (moved[0] - moved[1]).norm() > 1e-3


def test_a_latch_returns_after_small_kicks() -> None:
    trained = latch()
    digits = measures.draw_digits(2, 40, 300)
    with torch.no_grad():
        states, _ = measures.settle(trained, digits)
        rows = measures.kick(trained.network, states[measures.KICK_AT], digits)
        path = measures.distances_after_kick(trained.network, states[measures.KICK_AT], digits)
    correct = {row["kick"]: row["correct"] for row in rows}
    assert correct[0.05] == correct[0.5] == 1 and correct[3.0] < 1
    assert path[0] == pytest.approx(0.2 * 2**0.5 * REST, rel=0.05)
    assert path[10] < 1e-3 * path[0]


def test_a_latch_keeps_its_initial_state() -> None:
    trained = latch()
    digits = measures.draw_digits(2, 20, 300)
    with torch.no_grad():
        states, _ = measures.settle(trained, digits)
        rows = {row["start"]: row for row in measures.start_elsewhere(trained, states[300], digits)}
    assert rows["zero"]["correct"] == rows["noise 0.003"]["correct"] == 1
    assert rows["noise 1.0"]["correct"] < 0.9
    other = rows["another palindrome's end"]
    assert other["correct"] == 0 and other["kept from before"] == 1


def test_the_answer_follows_a_moved_state() -> None:
    trained = latch()
    digits = measures.draw_digits(trained.num_classes, 20, 300)
    with torch.no_grad():
        states, _ = measures.settle(trained, digits)
        rows = {row["moved"]: row for row in measures.move(trained.network, states[100], digits, trained.num_classes)}
    assert rows[0.0]["own"] == rows[0.25]["own"] == rows[0.75]["other"] == rows[1.0]["other"] == 1
    assert rows[0.0]["other"] == rows[1.0]["own"] == 0


@pytest.mark.parametrize("network", [VanillaRNN(4, 6, 4), LSTM(4, 6, 4)], ids=["rnn", "lstm"])
def test_gradients_are_autograds(network: Network) -> None:
    digits = measures.draw_digits(4, 2, 5)
    state = torch.zeros(8, 6)
    states = [state] if network.num_states == 1 else [state, state]
    history, _ = network.unroll(digits, *states)
    losses = functional.cross_entropy(network.readout(history[-1]), digits[:, 0], reduction="none")
    expected = torch.stack(torch.autograd.grad(losses.sum(), history), dim=1).norm(dim=2)
    torch.testing.assert_close(measures.gradient_norms(network, digits), expected, rtol=1e-4, atol=1e-9)

    history, _ = network.unroll(digits, *states)
    loss = functional.cross_entropy(network.readout(history[-1]), digits[:, 0])
    weights = torch.autograd.grad(loss, network.recurrent_weights())
    ours = measures.parameter_gradient(network, digits)
    torch.testing.assert_close(ours, torch.cat([w.flatten() for w in weights]), rtol=1e-4, atol=1e-8)


def test_gradients_are_of_both_networks_at_each_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "LENGTHS", (3, 5))
    rows = measures.gradients(latch(), 10)
    assert [(row["network"], row["T"]) for row in rows] == [
        ("untrained", 3),
        ("untrained", 5),
        ("trained", 3),
        ("trained", 5),
    ]
    for row in rows:
        assert row["ratio"] == pytest.approx(row["first"] / row["last"]) and -1 <= row["agreement"] <= 1


def tables_of(folder: Path) -> dict[str, list[dict[str, str]]]:
    tables = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            tables[path.stem] = list(csv.DictReader(file))
    return tables


@pytest.mark.parametrize("network", ["rnn", "lstm"])
def test_the_command_writes_tables_and_a_figure(
    network: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("fit", f"--model.network={network}") == 0
    run = tmp_path / "runs" / "small" / "version_0"
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main(["attractors", f"--ckpt_path={run}", "--num_steps=200", "--num_palindromes=3"]) == 0
    written = {path.name for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    assert written == {
        "about.json",
        "attractors.png",
        "attractors.svg",
        *(f"{name}.csv" for name in tables_of(run / "attractors")),
    }
    assert (run / "attractors" / "attractors.png").read_bytes().startswith(b"\x89PNG")
    tables = tables_of(run / "attractors")
    assert tables.keys() == {"states", "fixed_points", "kicks", "moves", "starts", "gradients"}
    assert [row["digit"] for row in tables["fixed_points"]] == [*map(str, range(10)), "zero"]
    out = capsys.readouterr().out
    assert (
        "Hidden states after t digits" in out
        and f"attractors.png, attractors.svg, states.csv, fixed_points.csv, kicks.csv, moves.csv, starts.csv, gradients.csv to {run / 'attractors'}"
        in out
    )
    again = tmp_path / "elsewhere"
    args = ["--num_steps=200", "--num_palindromes=3", f"--output_dir={again}"]
    assert cli.main(["attractors", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", *args]) == 0
    assert tables_of(again) == tables


def test_a_config_holds_the_same_keys(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "attractors.yaml"
    path.write_text(f"ckpt_path: {run_dir}\nnum_steps: 200\nnum_palindromes: 2\n")
    assert cli.main(["attractors", "--config", str(path)]) == 0
    with pytest.raises(SystemExit, match="0"):
        cli.main(["attractors", "--help"])
    assert "num_palindromes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "ckpt_path"),
        (["--ckpt_path=nowhere"], "--ckpt_path nowhere: no such file or folder"),
        (["--ckpt_path={run}", "--num_steps=199"], "num_steps is 199; it must be at least 200"),
        (["--ckpt_path={run}", "--num_steps=x"], "num_steps"),
        (["--ckpt_path={run}", "--num_palindromes=1"], "num_palindromes is 1; it must be at least 2"),
        (["--ckpt_path={run}", "--num_steps=1000000000"], "the limit is 134217728, so lower one of them"),
        (["--ckpt_path={run}", "--seed=-1"], "seed is -1; it must be from 0 to 4294967295"),
        (
            ["--ckpt_path={run}", "--output_dir={run}/config.yaml"],
            "config.yaml: File exists; choose another folder with --output_dir",
        ),
        (["--ckpt_path={run}", "--steps=3"], "steps"),
        (["--config={run}/job.json"], "host"),
        (["--config=nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert cli.main(["attractors", *(arg.replace("{run}", str(run_dir)) for arg in args)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (run_dir / "attractors").exists()


def checkpoint_of(run_dir: Path, network: Network, path: Path, **arguments: int) -> Path:
    """A checkpoint of a run with another network in it."""
    checkpoint = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    checkpoint["config"]["model"]["init_args"] |= arguments
    checkpoint["state_dict"] = {f"network.{name}": value for name, value in network.state_dict().items()}
    write_checkpoint(checkpoint, path)
    return path


def with_weights(network: Network, **values: float) -> Network:
    """The network, with all entries of the parameters named set to a value."""
    with torch.no_grad():
        for name, value in values.items():
            network.get_parameter(name).fill_(value)
    return network


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (with_weights(LSTM(10, 8, 10), W_x=0.0, W_h=0.0, b=0.0), {}),  # states that never differ
        (with_weights(LSTM(10, 8, 10), W_ph=0.0, b_p=0.0), {}),  # no gradient
        (LSTM(10, 1, 10), {"hidden_size": 1}),
        (LSTM(300, 4, 300), {"hidden_size": 4, "num_classes": 300}),
    ],
    ids=["never apart", "no gradient", "one unit", "many digits"],
)
def test_unusual_networks(
    network: Network, arguments: dict[str, int], run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "LENGTHS", (5, 20))
    path = checkpoint_of(run_dir, network, tmp_path / "other.ckpt", **arguments)
    assert cli.main(["attractors", f"--ckpt_path={path}", "--num_steps=200", "--num_palindromes=2"]) == 0
    assert (tmp_path / "attractors" / "attractors.png").is_file()


def test_weights_that_are_not_finite_are_refused(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_of(run_dir, with_weights(LSTM(10, 8, 10), b=float("nan")), tmp_path / "nan.ckpt")
    capsys.readouterr()
    assert cli.main(["attractors", f"--ckpt_path={path}"]) == 2
    assert "nan.ckpt are not all finite; give a checkpoint from before the loss diverged" in capsys.readouterr().err


def test_too_little_memory_is_reported_in_one_line(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw_digits(*args: int) -> None:
        raise RuntimeError("not enough memory: you tried to allocate 1 byte")

    monkeypatch.setattr(attractors, "draw_digits", draw_digits)
    capsys.readouterr()
    assert cli.main(["attractors", f"--ckpt_path={run_dir}"]) == 2
    assert "not enough memory" in capsys.readouterr().err


def test_a_stop_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_command(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.command.run_command", run_command)
    assert cli.main(["attractors"]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_another_task_is_refused(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--data.task=every_digit") == 0
    capsys.readouterr()
    assert cli.main(["attractors", f"--ckpt_path={tmp_path / 'runs' / 'small'}"]) == 2
    assert "was trained for task every_digit; this command needs task last_digit" in capsys.readouterr().err
