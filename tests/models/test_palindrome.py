"""The palindrome model learns, predicts, and can be loaded by Lightning's own means."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from models.metrics import wilson_interval
from models.networks import LSTM, VanillaRNN
from models.tables import percent
from tests.models.test_classifier import QUIET
from training.trainer import Trainer


@pytest.mark.parametrize(("name", "network"), [("rnn", VanillaRNN), ("lstm", LSTM)])
def test_overfits_one_batch(name: str, network: type[nn.Module]) -> None:
    model = PalindromeClassifier(name, hidden_size=32)  # type: ignore[arg-type]
    assert isinstance(model.network, network)
    digits, target = PalindromeDataModule(8, batch_size=16).train_dataloader().batch(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(150):
        loss = functional.cross_entropy(model(digits)[:, -1], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.01
    prediction = model.predict_step((digits, target), 0)
    assert torch.equal(prediction["preds"], target[:, None])
    assert prediction["probs"].min() > 0.9 and prediction["digits"] is digits


def test_reads_the_last_step_only() -> None:
    model = PalindromeClassifier(hidden_size=8)
    digits = torch.randint(10, (4, 9))
    torch.testing.assert_close(model(digits), model.network(digits)[0][:, -1:])
    torch.testing.assert_close(model(digits, 4), model.network(digits)[0][:, -4:])


def test_loads_from_a_checkpoint_without_its_config(run_dir: Path) -> None:
    model = PalindromeClassifier.load_from_checkpoint(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert model.hparams["hidden_size"] == 8
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    torch.testing.assert_close(dict(model.state_dict()), dict(saved), rtol=0, atol=0)


@pytest.mark.parametrize("size", [{"hidden_size": 0}, {"num_classes": 0}])
def test_sizes_below_one_are_refused(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1|larger than 1"):
        PalindromeClassifier(**size)  # type: ignore[arg-type]


def test_every_digit_is_scored_by_itself_and_the_palindrome_as_a_whole() -> None:
    model = PalindromeClassifier(hidden_size=8)
    data = PalindromeDataModule(9, task="every_digit", num_test=200, eval_batch_size=64)
    (result,) = Trainer(**QUIET).test(model, data, verbose=False)
    digits, target = (torch.cat(parts) for parts in zip(*data.test_dataloader()[0], strict=True))
    logits, _ = model.network(digits)
    right = torch.stack([logits[:, -4 + j].argmax(1) == target[:, j] for j in range(4)], dim=1)
    assert result["test/accuracy"] == pytest.approx(right.float().mean().item())
    assert result["test/exact_match"] == pytest.approx(right.all(1).float().mean().item())
    losses = [functional.cross_entropy(logits[:, -4 + j], target[:, j]).item() for j in range(4)]
    assert result["test/loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)


@pytest.mark.parametrize("length", [7, 8])
def test_training_measures_every_digit(length: int) -> None:
    model, seen = PalindromeClassifier(hidden_size=8), []
    original = model.training_step

    def training_step(batch: Any, batch_idx: int) -> Any:
        with torch.no_grad():
            logits, _ = model.network(batch[0], num_last_steps=length // 2)
        seen.append((logits.argmax(-1) == batch[1]).float())
        return original(batch, batch_idx)

    model.training_step = training_step  # type: ignore[method-assign]
    trainer = Trainer(**QUIET, max_steps=6, limit_val_batches=0)
    trainer.fit(model, PalindromeDataModule(length, task="every_digit", batch_size=16))
    metrics = model.training_metrics()
    right = torch.cat(seen)
    assert metrics["train/accuracy"].item() == pytest.approx(right.mean().item())
    assert metrics["train/exact_match"].item() == pytest.approx(right.all(1).float().mean().item())


def test_one_digit_has_no_exact_match() -> None:
    model = PalindromeClassifier(hidden_size=8)
    trainer = Trainer(**QUIET, max_steps=2, limit_val_batches=0)
    trainer.fit(model, PalindromeDataModule(6))
    assert "train/exact_match" not in model.training_metrics()
    (result,) = trainer.test(model, PalindromeDataModule(6), verbose=False)
    assert result.keys() == {"test/loss", "test/accuracy"}


def test_each_length_is_measured_and_shown_by_itself() -> None:
    model = PalindromeClassifier(hidden_size=8)
    data = PalindromeDataModule(6, num_test=150, eval_batch_size=64, test_lengths=[5, 20])
    Trainer(**QUIET).test(model, data, verbose=False)
    heading, five, twenty = model.describe_test()
    assert heading.split() == ["T", "palindromes", "test/accuracy", "95", "%", "interval", "test/loss"]
    for line, loader, length, num in zip((five, twenty), data.test_dataloader(), ("5", "20"), (93, 150), strict=True):
        right = torch.cat([model(digits)[:, -1].argmax(1) == target for digits, target in loader])
        assert line.split()[:4] == [length, str(num), f"{100 * int(right.sum()) / num:.2f}", "%"]
        assert line.split()[4] == f"{100 * wilson_interval(int(right.sum()), num)[0]:.2f}"
    assert len(heading) == len(five) == len(twenty)


def test_palindromes_whose_digits_repeat_are_measured_by_themselves() -> None:
    model = PalindromeClassifier("rnn", hidden_size=8)
    data = PalindromeDataModule(6, num_test=150, eval_batch_size=64, test_lengths=[5, 9], test_patterns=True)
    trainer = Trainer(**QUIET)
    logged = {name: value for part in trainer.test(model, data, verbose=False) for name, value in part.items()}
    heading, *lines = model.describe_test()
    assert "digits" in heading and len(lines) == 4
    kinds = ["_T5", "_T9", "_patterns_T5", "_patterns_T9"]
    for line, loader, name in zip(lines, data.test_dataloader(), kinds, strict=True):
        right = torch.cat([model(digits)[:, -1].argmax(1) == target for digits, target in loader])
        assert logged[f"test/accuracy{name}"] == pytest.approx(right.double().mean().item(), abs=1e-6)
        assert ("repeat" in line) == ("patterns" in name) and ("to" in line.split()) == ("patterns" not in name)
        assert f"{len(right):,}" in line
    assert len({len(line) for line in (heading, *lines)}) == 1
    assert f"of {93 + 150:,} held-out palindromes" in model.describe_learning()
    assert f"of {2900 + 17_400:,} whose digits repeat" in model.describe_learning()


@pytest.mark.parametrize(("right", "num"), [(0, 10), (8, 10), (93, 93), (9_990, 10_000), (10_000, 10_000)])
def test_the_observed_fraction_is_two_standard_errors_from_each_bound(right: int, num: int) -> None:
    share = right / num
    low, high = wilson_interval(right, num)
    assert 0 <= low <= share <= high <= 1
    for bound in {low, high} - {0.0, 1.0}:
        assert abs(share - bound) == pytest.approx(1.959964 * math.sqrt(bound * (1 - bound) / num), rel=1e-4)
    assert low == 0.0 if right == 0 else low > 0
    assert high == 1.0 if right == num else high < 1


@pytest.mark.parametrize(
    ("fraction", "places", "text"),
    [
        (1.0, 2, "100.00 %"),
        (0.999999, 2, "99.99 %"),
        (0.9999, 2, "99.99 %"),
        (0.999, 0, "99 %"),
        (0.35, 1, "35.0 %"),
        (2 / 3, 2, "66.67 %"),
        (0.0, 2, "0.00 %"),
    ],
)
def test_only_all_is_a_hundred_per_cent(fraction: float, places: int, text: str) -> None:
    assert percent(fraction, places) == text


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_accuracies_are_exact_in_any_precision(precision: str) -> None:
    model = PalindromeClassifier(hidden_size=4, backward="autograd")
    rights: list[torch.Tensor] = []
    original = model.correctness

    def correctness(logits: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        correct = original(logits, target)
        rights.append(correct["accuracy"])
        return correct

    model.correctness = correctness  # type: ignore[method-assign]
    data = PalindromeDataModule(12, num_test=3000, eval_batch_size=7)
    (result,) = Trainer(**QUIET, precision=precision).test(model, data, verbose=False)
    right = torch.cat(rights)
    (measured,) = model.test_results
    assert measured["num_accuracy"] == (int(right.sum()), 3000)
    if precision == "32-true":
        assert result["test/accuracy"] == pytest.approx(right.double().mean().item())
    assert percent(int(right.sum()) / 3000) in model.describe_test()[1]


def test_predictions_of_every_digit_are_shown_together() -> None:
    model = PalindromeClassifier(hidden_size=8)
    digits, target = PalindromeDataModule(6, task="every_digit", batch_size=3).train_dataloader().batch(0)
    prediction = model.predict_step((digits, target), 0)
    probs = model.network(digits, num_last_steps=3)[0].softmax(-1)
    torch.testing.assert_close(prediction["probs"], probs.amax(-1).prod(1))
    heading, first, *_ = model.describe_predictions([prediction])
    assert heading == "input digits, the second half, the prediction and its probability"
    words = first.split()
    assert words[0] + words[1][-1] == (words[0] + words[1][-1])[::-1] and len(words[1]) == len(words[2]) == 3
