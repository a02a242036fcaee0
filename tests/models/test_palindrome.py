"""The palindrome model learns, predicts, and can be loaded by Lightning's own means."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from models.networks import LSTM, VanillaRNN


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
