"""GradientFlow records the gradients of autograd in the run's folder, and changes no bit of the run."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.nn import functional

from callbacks import GradientFlow
from datamodules import PalindromeDataModule
from models import PalindromeClassifier, PathGraphClassifier
from tests.conftest import Command
from tests.models.test_classifier import QUIET
from tests.test_resume import assert_same, rows_of, state_of
from training.run_folder import RunFolder
from training.trainer import Trainer

FLOW = '--trainer.callbacks={"class_path": "callbacks.GradientFlow", "init_args": {"every_n_steps": 3}}'
METRICS = ("train/loss", "train/accuracy", "train/gradient_norm")


def captured(path: Path) -> Tensor:
    with path.open(newline="") as file:
        return torch.tensor([float(row["gradient_norm"]) for row in csv.DictReader(file)], dtype=torch.float64)


@pytest.mark.parametrize(
    "args", [[], ["--model.network=rnn"], ["--data.task=every_digit"], ["--model.backward=autograd"]]
)
def test_no_bit_of_a_run_changes(args: list[str], command: Command, tmp_path: Path) -> None:
    runs = []
    for name, flow in (("with", [FLOW]), ("without", [])):
        assert command("fit", f"--trainer.default_root_dir={tmp_path / name}", *args, *flow) == 0
        runs.append(tmp_path / name / "small" / "version_0")
    with_it, without = runs
    assert_same(state_of(with_it), state_of(without))
    for name in METRICS:
        assert rows_of(with_it, (name,)) == rows_of(without, (name,))
    written = {str(path.relative_to(with_it)) for path in (with_it / "gradients").iterdir()}
    assert written == {f"gradients/step_{step:06}.csv" for step in (0, 3, 6)}


def test_the_random_state_is_restored() -> None:
    class Careless(PalindromeClassifier):
        def hidden_state_gradients(self, batch: Any) -> Tensor:
            torch.rand(3)
            return super().hidden_state_gradients(batch)

    states = []
    for callbacks in ([GradientFlow(1)], []):
        torch.manual_seed(0)
        model = Careless(hidden_size=4)
        Trainer(**QUIET, max_steps=3, callbacks=callbacks).fit(model, PalindromeDataModule(6, batch_size=4))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


class Oracle(Callback):
    """What autograd says of the gradients, at the same moment."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        digits, target = batch
        network = pl_module.network
        zeros = [torch.zeros(len(digits), network.hidden_size, dtype=torch.float64) for _ in range(network.num_states)]
        with torch.enable_grad():
            history, _ = network.unroll(digits, *(z.requires_grad_() for z in zeros))
            target = target.view(len(digits), -1)
            logits = network.readout(torch.stack(history[-target.shape[1] :], dim=1))
            losses = functional.cross_entropy(logits.transpose(1, 2), target, reduction="none").mean(dim=1)
            gradients = torch.autograd.grad(losses.sum(), history)
        self.seen.append(torch.stack([g.norm(dim=1).mean() for g in gradients]))


@pytest.mark.parametrize("network", ["rnn", "lstm"])
@pytest.mark.parametrize("task", ["last_digit", "every_digit"])
def test_it_captures_what_autograd_finds(network: Any, task: Any, tmp_path: Path) -> None:
    oracle = Oracle()
    trainer = Trainer(**QUIET, max_steps=5, precision="64-true", callbacks=[GradientFlow(2), oracle])
    trainer.folder = RunFolder(tmp_path)
    trainer.fit(PalindromeClassifier(network, hidden_size=8), PalindromeDataModule(9, batch_size=16, task=task))
    for step in (0, 2, 4):
        ours = captured(tmp_path / "gradients" / f"step_{step:06}.csv")
        torch.testing.assert_close(ours, oracle.seen[step], rtol=1e-10, atol=0)


def test_tensorboard_shows_a_figure_and_a_histogram(command: Command, tmp_path: Path) -> None:
    assert command("fit", FLOW) == 0
    events = EventAccumulator(
        str(tmp_path / "runs" / "small" / "version_0"), size_guidance={"images": 0, "histograms": 0}
    )
    events.Reload()
    assert [image.step for image in events.Images("gradients/flow")] == [0, 3, 6]
    histograms = events.Histograms("gradients/log10_norm")
    assert [histogram.step for histogram in histograms] == [0, 3, 6]
    assert histograms[0].histogram_value.num == 16 * 5


def test_a_resumed_run_captures_the_same(command: Command, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert command("fit", FLOW, f"--trainer.default_root_dir={whole}") == 0
    root = f"--trainer.default_root_dir={parts}"
    assert command("fit", FLOW, root, "--trainer.max_steps=5") == 0
    assert command("fit", FLOW, root, "--ckpt_path=last") == 0
    for path in (whole / "small" / "version_0" / "gradients").iterdir():
        assert path.read_bytes() == (parts / "small" / "version_0" / "gradients" / path.name).read_bytes()


def test_a_gradient_flow_without_steps_or_hidden_states_is_refused() -> None:
    with pytest.raises(ValueError, match="GradientFlow.every_n_steps is 0; it must be at least 1"):
        GradientFlow(0)

    model = PathGraphClassifier(hidden_size=4)
    with pytest.raises(ValueError, match="GradientFlow cannot see the hidden states of PathGraphClassifier; remove it"):
        Trainer(**QUIET, max_steps=1, callbacks=[GradientFlow()]).fit(model, PalindromeDataModule(6))


def test_wrong_steps_end_in_one_line(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", FLOW.replace("3", "0")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "GradientFlow.every_n_steps is 0; it must be at least 1" in line
