"""The model of spreading signals measures what it reports, and its network learns what neither half can."""

import math
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule
from torch.nn import functional

import cli
from datamodules import BookDataModule, PalindromeDataModule, SpreadDataModule
from models import PalindromeClassifier, SpreadClassifier, TextModel
from tests.conftest import Command
from tests.models.test_classifier import QUIET
from training.trainer import Trainer

Network = Literal["gcn_lstm", "gcn", "lstm"]
SMALL: dict[str, Any] = {"num_nodes": 8, "num_steps": 12, "refractory": 3, "spontaneous": 0.05}


@pytest.fixture
def spread_config(tmp_path: Path) -> Path:
    path = tmp_path / "spread.yaml"
    path.write_text(
        "model: {class_path: models.SpreadClassifier, init_args: {hidden_size: 8}}\n"
        "data: {class_path: datamodules.SpreadDataModule,\n"
        "       init_args: {num_nodes: 8, num_steps: 6, batch_size: 4, num_val: 5, num_test: 12}}\n"
        "trainer: {max_steps: 3, log_every_n_steps: 1, val_check_interval: 2}\n"
    )
    return path


@pytest.fixture
def spread_command(spread_config: Path, tmp_path: Path) -> Command:
    def run(name: str, *args: str) -> int:
        root = f"--trainer.default_root_dir={tmp_path / 'runs'}"
        return cli.main([name, "--config", str(spread_config), root, *args])

    return run


def small_test(model: SpreadClassifier, **data: Any) -> dict[str, float]:
    (result,) = Trainer(**QUIET).test(model, SpreadDataModule(**SMALL, **data), verbose=False)
    return dict(result)


def trained(network: Network, steps: int) -> dict[str, float]:
    """What is measured after so many steps on small graphs."""
    torch.manual_seed(1)
    model = SpreadClassifier(network, hidden_size=16)
    data = SpreadDataModule(**SMALL, num_test=200)
    Trainer(**QUIET, max_steps=steps, limit_val_batches=0).fit(model, data)
    return small_test(model, num_test=200)


def test_space_and_time_together_learn_what_neither_can() -> None:
    both, space, time = (trained(network, 250) for network in ("gcn_lstm", "gcn", "lstm"))
    best = both["test/best_possible_loss"]
    assert best < both["test/loss"] < best + 0.04
    assert min(space["test/loss"], time["test/loss"]) > best + 0.08
    assert both["test/accuracy"] > max(space["test/accuracy"], time["test/accuracy"]) + 0.02


@pytest.mark.parametrize("network", ["gcn_lstm", "gcn", "lstm"])
def test_the_test_measures_loss_accuracy_recall_and_the_best_possible(network: Network) -> None:
    model = SpreadClassifier(network, hidden_size=8)
    torch.nn.init.normal_(next(p for name, p in model.named_parameters() if name[-3:] in ("b_p", "b_2")), std=3.0)
    small_test(model, num_test=30)  # which must not affect the next test
    result = small_test(model, num_test=130)  # a whole batch and another
    A, signals, target, probability = map(
        torch.cat, zip(*SpreadDataModule(**SMALL, num_test=130).test_dataloader(), strict=True)
    )
    with torch.no_grad():
        logits = model(A, signals)
    right = logits.argmax(-1) == target
    chance = torch.where(target == 1, probability, 1 - probability).double()
    assert result == pytest.approx(
        {
            "test/loss": functional.cross_entropy(logits.permute(0, 3, 1, 2), target).item(),
            "test/accuracy": right.double().mean().item(),
            "test/recall": right[target == 1].double().mean().item(),
            "test/best_possible_loss": -chance.log().mean().item(),
            "test/best_possible_accuracy": (chance > 0.5).double().mean().item(),
        },
        rel=1e-4,
    )
    heading, line = model.describe_test()
    assert len(heading) == len(line)
    cells = (
        "sequences",
        "test/loss",
        "best possible",
        "test/accuracy",
        "best possible accuracy",
        "excitations predicted",
    )
    assert heading.split() == " ".join(cells).split()
    assert line.split()[:3] == ["130", f"{result['test/loss']:.4f}", f"{result['test/best_possible_loss']:.4f}"]
    assert f"predicts {100 * result['test/recall']:.1f} % of the excitations" in model.describe_learning()


def test_the_best_possible_is_the_entropy_of_spontaneous_excitations() -> None:
    result = small_test(SpreadClassifier(hidden_size=4), num_test=2000)
    _, _, _, probability = SpreadDataModule(**SMALL).draw(2000, "val", 0)
    spontaneous = (probability == probability[probability > 0].min()).double().mean().item()
    entropy = -0.05 * math.log(0.05) - 0.95 * math.log(0.95)
    assert result["test/best_possible_loss"] == pytest.approx(spontaneous * entropy, rel=0.03)
    assert 1 - result["test/best_possible_accuracy"] == pytest.approx(spontaneous * 0.05, rel=0.05)


def test_training_measures_recall() -> None:
    model = SpreadClassifier(hidden_size=8)
    Trainer(**QUIET, max_steps=3, limit_val_batches=0).fit(model, SpreadDataModule(**SMALL))
    metrics = model.training_metrics()
    assert metrics.keys() >= {"train/loss", "train/accuracy", "train/recall"}


def test_probabilities_are_not_shown_to_the_network() -> None:
    model = SpreadClassifier(hidden_size=8)
    *batch, probability = SpreadDataModule(**SMALL).draw(4, "val", 0)
    one, two = (model.logits_and_target((*batch, some))[0] for some in (probability, 1 - probability))
    assert torch.equal(one, two)


def test_predictions_are_shown_next_to_the_target() -> None:
    model = SpreadClassifier(hidden_size=8)
    A, signals, target, probability = SpreadDataModule(**SMALL).draw(4, "test", 0)
    prediction = model.predict_step((A, signals, target, probability), 0)
    assert torch.equal(prediction["preds"], model(A, signals).argmax(-1))
    prediction["preds"] = target.clone()
    prediction["preds"][1, -1, :2] = 1 - target[1, -1, :2]
    lines = model.describe_predictions([prediction, prediction], num_shown=6)
    assert (
        lines[0] == "excited nodes (#) at the last step observed, at the next step, and as predicted"
        and len(lines) == 7
    )
    for b, line in enumerate(lines[1:5]):
        shown = ["".join("#" if x else "." for x in some[b, -1].tolist()) for some in (signals, target)]
        assert line.split()[:2] == shown
        assert line.endswith("  2 wrong") if b == 1 else line.split()[2:] == shown[1:]
    assert len(model.describe_predictions([])) == 1


def test_fit_test_and_predict_of_the_command_line(spread_command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert spread_command("fit") == 0
    assert "best possible accuracy" in capsys.readouterr().out
    assert spread_command("test") == 0
    assert spread_command("predict") == 0
    shown = capsys.readouterr().out.splitlines()
    assert len([line for line in shown if set(line.split()[0]) <= {"#", "."}]) == 10


def test_nothing_is_reported_if_nothing_is_tested(spread_command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert spread_command("fit", "--trainer.limit_test_batches=0") == 0
    assert "Nothing was tested" in capsys.readouterr().out


def test_loads_from_a_checkpoint_without_its_config(spread_command: Command, tmp_path: Path) -> None:
    assert spread_command("fit", "--model.network=gcn") == 0
    path = tmp_path / "runs" / "spread" / "version_0" / "checkpoints" / "last.ckpt"
    model = SpreadClassifier.load_from_checkpoint(path, weights_only=True)
    saved = torch.load(path, weights_only=True)["state_dict"]
    torch.testing.assert_close(dict(model.state_dict()), dict(saved), rtol=0, atol=0)


@pytest.mark.parametrize("size", [{"hidden_size": 0}, {"neighbourhood_size": 0}])
def test_sizes_below_one_are_refused(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        SpreadClassifier(**size)  # type: ignore[arg-type]


def test_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once upon a time there was a king.\n" * 100)
    book = BookDataModule(str(tmp_path / "book.txt"), seq_len=12)
    pairs: list[tuple[LightningModule, LightningDataModule, str]] = [
        (
            SpreadClassifier(),
            PalindromeDataModule(6),
            "SpreadClassifier cannot read PalindromeDataModule, which has no",
        ),
        (SpreadClassifier(), book, "SpreadClassifier cannot read BookDataModule, which has no signals on graphs; use"),
        (PalindromeClassifier(), SpreadDataModule(), "PalindromeClassifier cannot read SpreadDataModule, which has no"),
        (TextModel(), SpreadDataModule(), "TextModel cannot read SpreadDataModule, which has no vocabulary"),
    ]
    for model, data, message in pairs:
        with pytest.raises(ValueError, match=message):
            Trainer(**QUIET, max_steps=1).fit(model, data)
