"""A command that names a run needs no ``--config``."""

import shutil
from pathlib import Path

import pytest
import yaml

import cli
from tests.conftest import Command
from training.checkpoint_file import read_checkpoint
from training.launch import resolved_config


def step_of(run: Path) -> int:
    return int(read_checkpoint(run / "checkpoints" / "last.ckpt")["global_step"])


@pytest.mark.parametrize("form", ["checkpoints/last.ckpt", ".", ".."])
def test_a_run_is_resumed_without_a_config(form: str, run_dir: Path) -> None:
    assert cli.main(["fit", "--ckpt_path", str(run_dir / form), "--trainer.max_steps", "9"]) == 0
    assert step_of(run_dir) == 9
    assert [path.name for path in run_dir.parent.iterdir()] == ["version_0"]  # in the same folder
    assert yaml.safe_load((run_dir / "config.resume_7.yaml").read_text())["trainer"]["max_steps"] == 9


def test_the_newest_config_of_a_run_is_taken(run_dir: Path) -> None:
    for steps in ("9", "11"):
        assert cli.main(["fit", f"--ckpt_path={run_dir}", f"--trainer.max_steps={steps}"]) == 0
    assert resolved_config(["fit", f"--ckpt_path={run_dir}"])["trainer"]["max_steps"] == 11
    # The best checkpoint is of an earlier step: from there on, what came later has not been.
    best = run_dir / "checkpoints" / "best.ckpt"
    shutil.copy(run_dir / "checkpoints" / "previous.ckpt", best)
    before = read_checkpoint(best)["global_step"]
    later = run_dir / "config.resume_99.yaml"
    shutil.copy(run_dir / "config.yaml", later)
    assert before < 11
    assert cli.main(["fit", f"--ckpt_path={best}", f"--trainer.max_steps={before + 2}"]) == 0
    assert not later.exists()
    steps_of_configs = sorted(int(path.stem.rpartition("_")[2]) for path in run_dir.glob("config.resume_*.yaml"))
    assert steps_of_configs[-1] == before
    assert step_of(run_dir) == before + 2


def test_a_run_can_be_moved(run_dir: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "version_3"
    shutil.move(run_dir, moved)
    assert cli.main(["fit", "--ckpt_path", str(moved), "--trainer.max_steps", "9"]) == 0
    assert step_of(moved) == 9
    assert not list((tmp_path / "runs").rglob("*.ckpt"))


@pytest.mark.parametrize("name", ["validate", "test", "predict"])
def test_a_run_is_evaluated_without_a_config(
    name: str, run_dir: Path, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert command(name, f"--ckpt_path={run_dir}") == 0
    expected = capsys.readouterr().out
    assert cli.main([name, f"--ckpt_path={run_dir}"]) == 0
    assert capsys.readouterr().out == expected
    alone = tmp_path / "alone.ckpt"  # with model and data, which the checkpoint itself records
    shutil.copy(run_dir / "checkpoints" / "best.ckpt", alone)
    assert cli.main([name, f"--ckpt_path={alone}"]) == 0
    assert capsys.readouterr().out == expected


def test_keys_on_the_command_line_override_the_own_config(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert cli.main(["test", f"--ckpt_path={run_dir}", "--data.test_lengths=[5,6]"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["T", "5", "6"]
    assert cli.main(["fit", f"--ckpt_path={run_dir}", "--data.length=7"]) == 2
    assert "data.init_args.length = 6" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["fit", "--ckpt_path=last"], ["--ckpt_path last", "which run", "--config"]),
        (["test", "--ckpt_path=nowhere"], ["nowhere", "no such file"]),
        (["fit", "--ckpt_path"], ["--ckpt_path", "expected one argument"]),
        (["fit", "--ckpt_path=alone.ckpt"], ["alone.ckpt", "give --config"]),
        (["test", "--ckpt_path=broken"], ["broken/version_0/config.yaml", "--config"]),
        (["fit", "--ckpt_path=broken", "--trainer.max_steps=9"], ["broken/version_0/config.yaml", "--config"]),
    ],
)
def test_wrong_runs(
    words: list[str], parts: list[str], run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copy(run_dir / "checkpoints" / "best.ckpt", tmp_path / "alone.ckpt")
    shutil.copytree(run_dir, tmp_path / "broken" / "version_0")
    (tmp_path / "broken" / "version_0" / "config.yaml").write_text("model: [1, {")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(part in error for part in parts), error
    assert sorted(tmp_path.rglob("*")) == before


def test_a_config_that_names_a_former_default_optimizer(run_dir: Path) -> None:
    """Before optimizers were classes, the models' defaults were functions."""
    path = run_dir / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["model"]["init_args"]["optimizer"] = "models.palindrome.rmsprop"
    path.write_text(yaml.safe_dump(config))
    assert cli.main(["fit", f"--ckpt_path={run_dir}", "--trainer.max_steps=9"]) == 0
    assert step_of(run_dir) == 9


def test_a_former_config_can_be_given(config: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(config.read_text())
    content["model"]["init_args"]["optimizer"] = "models.palindrome.rmsprop"
    (tmp_path / "former.yaml").write_text(yaml.safe_dump(content))
    resolved = resolved_config(["fit", f"--config={tmp_path / 'former.yaml'}", "--model.optimizer.alpha=0.5"])
    optimizer = resolved["model"]["init_args"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.RMSprop"
    assert (optimizer["init_args"]["lr"], optimizer["init_args"]["alpha"]) == (0.001, 0.5)
