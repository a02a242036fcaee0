"""Every config builds with its command, is short, asks a question, repeats no default, and equals its golden file."""

import inspect
import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning import LightningDataModule, LightningModule

import cli
import datamodules
import models
from datamodules import labelled_graph, library
from training.launch import prepare, resolved_config
from training.trainer import DEFAULTS, Trainer

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SWEEPS = [*sorted((ROOT / "configs" / "sweep").glob("*.yaml")), ROOT / "configs" / "cluster" / "sweep.yaml"]
HOPS = sorted((ROOT / "configs" / "hops").glob("*.yaml"))
GRADIENTS = sorted((ROOT / "configs" / "gradients").glob("*.yaml"))


@pytest.fixture
def no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every known book is a short one that is there, every citation network the karate club."""
    path = tmp_path / "book.txt"
    path.write_text("Once upon a time there was a king.\n" * 100)
    monkeypatch.setattr(library, "download", lambda name: path)
    monkeypatch.setattr(labelled_graph, "labelled_planetoid", lambda name: labelled_graph.read_labelled_graph("karate"))


def shared_arguments(ours: Any, golden: Any) -> Any:
    """Ours without the arguments of torch's classes that the golden value lacks: they differ between versions of torch."""
    if isinstance(ours, list) and isinstance(golden, list) and len(ours) == len(golden):
        return [shared_arguments(*pair) for pair in zip(ours, golden, strict=True)]
    if not isinstance(ours, dict) or not isinstance(golden, dict):
        return ours
    is_of_torch = str(ours.get("class_path")).startswith("torch.")
    ours = {key: shared_arguments(value, golden.get(key)) for key, value in ours.items()}
    if is_of_torch and isinstance(golden.get("init_args"), dict):
        ours["init_args"] = {key: value for key, value in ours["init_args"].items() if key in golden["init_args"]}
    return ours


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_builds_and_equals_its_golden_file(path: Path) -> None:
    command = prepare(["fit", "--config", str(path)])
    assert isinstance(command.model, LightningModule) and isinstance(command.data, LightningDataModule)
    ours = {key: command.config[key] for key in ("seed_everything", "model", "data")}
    set_by_us = DEFAULTS.keys() | yaml.safe_load(path.read_text())["trainer"].keys()
    ours["trainer"] = {key: command.config["trainer"][key] for key in set_by_us}
    golden = GOLDEN / path.name
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(yaml.safe_dump(ours))
    expected = yaml.safe_load(golden.read_text())
    ours, expected = shared_arguments(ours, expected), shared_arguments(expected, ours)
    assert ours == expected, "if this is meant, run the test with UPDATE_GOLDEN=1"


def test_every_golden_file_has_its_config() -> None:
    assert [path.name for path in sorted(GOLDEN.iterdir())] == [path.name for path in CONFIGS]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweeps_grid_fits_its_base(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    args = ["sweep", "--config", str(path), f"--output_dir={tmp_path / 'out'}", "--dry_run=true"]
    assert cli.main(args) == 0
    config = yaml.safe_load(path.read_text())
    assert config["output_dir"] == f"runs/{path.parent.name}/{path.stem}"
    num_trials = config["search"]["trials"] if "search" in config else math.prod(map(len, config["grid"].values()))
    num_runs = num_trials * len(config["seeds"])
    assert f"{num_runs} runs, {num_runs} of them to do" in capsys.readouterr().out


@pytest.mark.parametrize("path", GRADIENTS, ids=lambda path: path.stem)
def test_gradients_are_shown(path: Path, tmp_path: Path) -> None:
    small = ["--hidden_size=8", "--num_palindromes=2", "--seeds=[1]", f"--output_dir={tmp_path}"]
    assert cli.main(["gradients", "--config", str(path), *small]) == 0
    assert yaml.safe_load(path.read_text())["output_dir"] == f"runs/gradients/{path.stem}"


@pytest.mark.parametrize("path", HOPS, ids=lambda path: path.stem)
def test_hops_are_shown(path: Path, tmp_path: Path) -> None:
    assert cli.main(["hops", "--config", str(path), f"--output_dir={tmp_path}"]) == 0
    assert yaml.safe_load(path.read_text())["output_dir"] == f"runs/hops/{path.stem}"


@pytest.mark.parametrize(
    "path", CONFIGS + SWEEPS + GRADIENTS + HOPS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_it_is_short_and_asks_a_question(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 25
    assert lines[0].startswith("# ") and lines[0].endswith("?")


def repeated_defaults(config: dict[str, Any], signature: inspect.Signature) -> list[str]:
    return [key for key, value in config.items() if value == signature.parameters[key].default]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_repeats_no_default(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    for key in ("model", "data"):
        module, _, name = config[key]["class_path"].rpartition(".")
        cls = getattr(import_module(module), name)
        assert repeated_defaults(config[key].get("init_args", {}), inspect.signature(cls)) == []
    trainer = inspect.signature(Trainer.__base__)
    assert repeated_defaults(config["trainer"], trainer) == []
    assert not [key for key, value in config["trainer"].items() if DEFAULTS.get(key) == value]


@pytest.mark.parametrize("model", models.__all__)
@pytest.mark.parametrize("data", datamodules.__all__)
def test_every_model_builds_with_every_datamodule(model: str, data: str) -> None:
    required = {
        "PalindromeDataModule": ["--data.length=5"],
        "BookDataModule": ["--data.book=python_reference"],
        "GraphDataModule": ["--data.graph=karate"],
        "SpreadDataModule": [],
        "StringDataModule": ["--data.length=5"],
    }
    command = prepare(["fit", f"--model=models.{model}", f"--data=datamodules.{data}", *required[data]])
    assert type(command.model).__name__ == model and type(command.data).__name__ == data


def test_linked_values_are_equal() -> None:
    book = ["--data=datamodules.BookDataModule", "--data.book=python_reference", "--data.carry_state=false"]
    command = prepare(["fit", "--model=models.TextModel", *book, "--seed_everything=7"])
    assert command.model.network.vocab_size == command.data.vocab_size > 50
    assert command.model.carry_state is command.data.carry_state is False
    assert command.data.seed == 7


@pytest.mark.parametrize("package", [models, datamodules])
def test_packages_export_their_lists(package: Any) -> None:
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    with pytest.raises(AttributeError, match="Nothing"):
        package.Nothing  # noqa: B018


@pytest.mark.usefixtures("no_download")
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_optimizer_can_be_changed_from_the_command_line(path: Path) -> None:
    """In every config, whether or not it names an optimizer."""
    run = prepare(["fit", f"--config={path}", "--model.optimizer.lr=0.0123", "--model.optimizer.weight_decay=0.25"])
    optimizer, default = (
        prepared.model.make_optimizer(prepared.model.parameters())
        for prepared in (run, prepare(["fit", f"--config={path}"]))
    )
    assert type(optimizer) is type(default)
    changed = {name for name, value in optimizer.defaults.items() if value != default.defaults[name]}
    assert changed == {"lr", "weight_decay"} and (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (
        0.0123,
        0.25,
    )
    schedule = run.config["model"]["init_args"]["lr_scheduler"]
    for name in {"gamma", "final"} & set(schedule["init_args"] if schedule else ()):
        changed_schedule = resolved_config(["fit", f"--config={path}", f"--model.lr_scheduler.{name}=0.5"])
        assert changed_schedule["model"]["init_args"]["lr_scheduler"]["init_args"] == schedule["init_args"] | {
            name: 0.5
        }
