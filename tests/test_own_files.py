"""A newcomer writes a model, a datamodule and callbacks in their own files, and changes no file of the project."""

import csv
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.forked import ROOT, run_python
from training.checkpoint_file import read_checkpoint

FILES = {
    "my_model.py": '''\
import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.nn import functional

from models import PalindromeClassifier


class ScaledClassifier(PalindromeClassifier):
    """A classifier with one more argument, the factor of its logits."""

    def __init__(self, logit_scale: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.logit_scale = logit_scale

    def forward(self, digits, num_last_steps=1):
        return self.logit_scale * super().forward(digits, num_last_steps)


class LinearModel(LightningModule):
    """A model that uses Lightning only."""

    def __init__(self, num_features: int = 3, learning_rate: float = 0.1):
        super().__init__()
        self.layer = nn.Linear(num_features, 1)
        self.learning_rate = learning_rate

    def loss(self, batch):
        x, y = batch
        return functional.mse_loss(self.layer(x)[:, 0], y)

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.loss(batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)
''',
    "my_data.py": '''\
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, TensorDataset

from datamodules import PalindromeDataModule


class ShiftedPalindromes(PalindromeDataModule):
    """Palindromes with one more argument, which is added to each digit, modulo K."""

    def __init__(self, length: int, shift: int = 0, batch_size: int = 16, num_classes: int = 10, seed: int = 0):
        super().__init__(length, batch_size=batch_size, num_classes=num_classes, seed=seed)
        self.shift = shift

    def on_after_batch_transfer(self, batch, dataloader_idx):
        digits, target = batch
        return (digits + self.shift) % self.num_classes, (target + self.shift) % self.num_classes


class Points(LightningDataModule):
    """Data that use Lightning only: y = x_1 + 2 x_2 + 3 x_3, without noise."""

    def __init__(self, num_points: int = 64):
        super().__init__()
        self.num_points = num_points

    def setup(self, stage):
        x = torch.randn(self.num_points, 3, generator=torch.Generator().manual_seed(0))
        self.points = TensorDataset(x, x @ torch.tensor([1.0, 2.0, 3.0]))

    def train_dataloader(self):
        return DataLoader(self.points, batch_size=8)

    val_dataloader = test_dataloader = train_dataloader
''',
    "my_callback.py": '''\
from pathlib import Path

from pytorch_lightning import Callback


class CountSteps(Callback):
    """Counts the steps of a run, before and after a resume, and writes the number into the run folder."""

    def __init__(self, file_name: str = "count.txt"):
        self.file_name = file_name
        self.num_steps = 0

    def on_train_batch_end(self, trainer, *args):
        self.num_steps += 1

    def on_train_end(self, trainer, pl_module):
        Path(trainer.log_dir, self.file_name).write_text(str(self.num_steps))

    def state_dict(self):
        return {"num_steps": self.num_steps}

    def load_state_dict(self, state_dict):
        self.num_steps = state_dict["num_steps"]
''',
    "my_bugs.py": """\
from pytorch_lightning import Callback

from my_data import Points
from my_model import LinearModel


class BuggyForward(LinearModel):
    def training_step(self, batch, batch_idx):
        return self.layer.wieght.sum()  # bug


class Vocabulary(LinearModel):
    def __init__(self, vocab_size: int = 3):
        super().__init__(vocab_size)


class BuggyProperty(Points):
    @property
    def vocab_size(self):
        return self.vocabulary  # bug


class BuggyInit(LinearModel):
    def __init__(self, num_features: int = 3):
        super().__init__(num_features)
        self.size = len(num_features)  # bug


class BuggySetup(Points):
    def setup(self, stage):
        self.points = {}["points"]  # bug


class BuggyLoader(Points):
    def train_dataloader(self):
        return {}["loader"]  # bug


class BuggyStart(Callback):
    def on_train_start(self, trainer, pl_module):
        trainer.modle.eval()  # bug


class BuggyStep(Callback):
    def on_train_batch_end(self, trainer, *args):
        sum(trainer.global_step)  # bug
""",
    "my_broken_import.py": "import nothing_of_that_name  # bug\n",
    "my_run.yaml": """\
model: {class_path: my_model.ScaledClassifier, init_args: {logit_scale: 2.0, hidden_size: 8}}
data: {class_path: my_data.ShiftedPalindromes, init_args: {length: 6, shift: 3}}
trainer: {max_steps: 10, val_check_interval: 5, callbacks: [{class_path: my_callback.CountSteps}]}
""",
    "plain.yaml": """\
model: {class_path: my_model.LinearModel, init_args: {learning_rate: 0.2}}
data: {class_path: my_data.Points}
trainer: {max_steps: 60, val_check_interval: 5, callbacks: [{class_path: my_callback.CountSteps}]}
""",
    "my_sweep.yaml": """\
base: my_run.yaml
grid: {model.logit_scale: [1.0, 2.0]}
seeds: [42]
workers: 1
output_dir: sweep
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with these files and nothing else."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python cli.py``, typed in the folder."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return run_python(str(ROOT / "cli.py"), *words, cwd=folder, environment=environment)


def output_of(folder: Path, *words: str) -> str:
    ended = run(folder, *words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def weights_of(run_dir: Path) -> dict[str, Any]:
    weights: dict[str, Any] = read_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]
    return weights


def test_fit_resume_and_test(folder: Path) -> None:
    fit = ("fit", "--config=my_run.yaml")
    output_of(folder, *fit, "--trainer.default_root_dir=undisturbed")
    output_of(folder, *fit, "--trainer.max_steps=4")
    output_of(folder, *fit, "--ckpt_path=last")
    undisturbed, resumed = folder / "undisturbed/my_run/version_0", folder / "runs/my_run/version_0"
    torch.testing.assert_close(weights_of(resumed), weights_of(undisturbed), rtol=0, atol=0)
    assert (resumed / "count.txt").read_text() == (undisturbed / "count.txt").read_text() == "10"
    assert "test/accuracy" in output_of(folder, "test", "--config=my_run.yaml")
    assert not list((ROOT / "runs").glob("my_run*"))


@pytest.mark.parametrize("argument", ["model.logit_scale=3", "data.shift=4"])
def test_another_value_of_an_own_argument_is_refused_on_resume(argument: str, folder: Path) -> None:
    output_of(folder, "fit", "--config=my_run.yaml", "--trainer.max_steps=4")
    refused = run(folder, "fit", "--config=my_run.yaml", "--ckpt_path=last", f"--{argument}")
    group, name, value = re.split("[.=]", argument)
    assert refused.returncode == 2
    (line,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
    assert f"{group}.init_args.{name}" in line and value in line


def test_an_own_argument_changes_training(folder: Path) -> None:
    runs = [f"--{argument}" for argument in ("model.logit_scale=2", "model.logit_scale=1", "data.shift=0")]
    for k, argument in enumerate(runs):
        output_of(folder, "fit", "--config=my_run.yaml", argument)
        if k > 0:
            with pytest.raises(AssertionError):
                ours, theirs = (weights_of(folder / f"runs/my_run/version_{i}") for i in (0, k))
                torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_sweep(folder: Path) -> None:
    output_of(folder, "sweep", "--config=my_sweep.yaml")
    with (folder / "sweep/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model.logit_scale"], row["status"]) for row in rows] == [("1.0", "finished"), ("2.0", "finished")]
    output_of(folder, "fit", "--config=my_run.yaml")
    with (folder / "runs/my_run/version_0/metrics.csv").open(newline="") as file:
        (loss,) = [row["test/loss"] for row in csv.DictReader(file) if row["test/loss"]]
    assert float(rows[1]["test/loss"]) == float(loss) != float(rows[0]["test/loss"])


def test_a_model_that_uses_lightning_only(folder: Path) -> None:
    """Lightning's own table shows its metrics."""
    fit = ("fit", "--config=plain.yaml")
    output = output_of(folder, *fit, "--trainer.max_steps=30")
    assert re.search(r"test/loss\W+\d", output)
    output_of(folder, *fit, "--ckpt_path=last")
    run_dir = folder / "runs/plain/version_0"
    assert (run_dir / "count.txt").read_text() == "60"
    weight = weights_of(run_dir)["layer.weight"]
    torch.testing.assert_close(weight, torch.tensor([[1.0, 2.0, 3.0]]), rtol=0, atol=0.1)
    assert re.search(r"test/loss\W+\d", output_of(folder, "test", "--config=plain.yaml"))


@pytest.mark.parametrize(
    ("argument", "exception"),
    [
        ("model=my_bugs.BuggyForward", "AttributeError"),
        ("model=my_bugs.BuggyInit", "TypeError"),
        ("data=my_bugs.BuggySetup", "KeyError"),
        ("data=my_bugs.BuggyLoader", "KeyError"),
        ("trainer.callbacks=my_bugs.BuggyStart", "AttributeError"),
        ("trainer.callbacks=my_bugs.BuggyStep", "TypeError"),
    ],
)
def test_a_bug_keeps_its_traceback(argument: str, exception: str, folder: Path) -> None:
    name = argument.rpartition(".")[2]
    lines = FILES["my_bugs.py"].splitlines()
    bug = next(k for k, line in enumerate(lines) if k > lines.index(start_of(name, lines)) and line.endswith("# bug"))
    ended = run(folder, "fit", "--config=plain.yaml", f"--{argument}")
    assert ended.returncode == 1, ended.stderr
    assert "Traceback (most recent call last):" in ended.stderr
    assert f'File "{folder}/my_bugs.py", line {bug + 1}, in ' in ended.stderr
    assert lines[bug].strip() in ended.stderr
    assert any(line.startswith(f"{exception}: ") for line in ended.stderr.splitlines())


def test_a_bug_in_a_linked_property_keeps_its_traceback(folder: Path) -> None:
    """jsonargparse alone would give the model its default."""
    ended = run(folder, "fit", "--config=plain.yaml", "--data=my_bugs.BuggyProperty", "--model=my_bugs.Vocabulary")
    assert ended.returncode == 1 and "return self.vocabulary  # bug" in ended.stderr, ended.stderr
    assert "AttributeError: 'BuggyProperty' object has no attribute 'vocabulary'" in ended.stderr


@pytest.mark.parametrize("key", ["trainer.callbacks", "trainer.callbacks+", "model", "data"])
def test_an_import_that_fails_in_an_own_file_keeps_its_traceback(key: str, folder: Path) -> None:
    ended = run(folder, "fit", "--config=plain.yaml", f"--{key}", "my_broken_import.Thing")
    assert ended.returncode == 1 and f'File "{folder}/my_broken_import.py", line 1' in ended.stderr, ended.stderr


def test_a_class_of_the_project_is_named_with_its_module(folder: Path) -> None:
    refused = run(folder, "fit", "--config=plain.yaml", "--trainer.callbacks", "LengthCurriculum")
    assert refused.returncode == 2
    assert "LengthCurriculum is no known class; give its module, too: callbacks.LengthCurriculum" in refused.stderr


def test_what_is_said_is_true_in_a_folder_without_the_project(folder: Path) -> None:
    """A resumed run names its folder as the first start did, and commands can be typed as they are."""
    fit = ("fit", "--config=plain.yaml")
    first = output_of(folder, *fit, "--trainer.max_steps=30").splitlines()[-2:]
    again = output_of(folder, *fit, "--ckpt_path=last").splitlines()[-2:]
    assert again[0] == first[0] and "The run is in runs/plain/version_0: checkpoints, metrics.csv" in again[0]
    assert again[1] == first[1] and again[1].endswith("tensorboard --logdir runs")
    palindromes = ("fit", "--config=my_run.yaml")
    look = output_of(folder, *palindromes).splitlines()[-1].partition(", or ")[2]
    assert f"{ROOT / 'cli.py'} predict --ckpt_path runs/my_run/version_0" in look
    *_, place, following = output_of(folder, *palindromes, "--trainer.enable_checkpointing=false").splitlines()
    assert "checkpoints" not in place and ", or " not in following


def start_of(name: str, lines: list[str]) -> str:
    return next(line for line in lines if line.startswith(f"class {name}("))
