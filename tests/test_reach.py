"""The configs reach the accuracy that they promise on held-out palindromes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import cli
from tests.test_configs import CONFIGS, ROOT
from training.launch import prepare

RECURRENT = "models.PalindromeClassifier"
PALINDROMES = [path for path in CONFIGS if yaml.safe_load(path.read_text())["model"]["class_path"] == RECURRENT]
WITHOUT_CURRICULUM = [
    path
    for path in PALINDROMES
    if "callbacks" not in yaml.safe_load(path.read_text())["trainer"]
    and path.stem != "lstm_proved"  # test_certify trains and proves a smaller one
]


def metrics_of(config: Path, root: Path, *args: str) -> dict[str, Any]:
    """The metrics of a run of a config, its test included."""
    assert cli.main(["fit", "--config", str(config), f"--trainer.default_root_dir={root}", *args]) == 0
    summary = json.loads((root / config.stem / "version_0" / "summary.json").read_text())
    metrics: dict[str, Any] = summary["metrics"]
    return metrics


@pytest.mark.slow
@pytest.mark.parametrize("path", WITHOUT_CURRICULUM, ids=lambda path: path.stem)
def test_accuracy_of_every_config_without_curriculum(path: Path, tmp_path: Path) -> None:
    assert metrics_of(path, tmp_path)["test/accuracy"] >= 0.999


@pytest.mark.slow
def test_a_vanilla_rnn_remembers_longer_than_in_its_training(tmp_path: Path) -> None:
    config = ROOT / "configs" / "rnn_T1000.yaml"
    assert metrics_of(config, tmp_path)["train/mastered_length"] == 1000
    root = f"--trainer.default_root_dir={tmp_path}"
    args = ["--data.test_lengths=[5,6,20,100,1000,5000]", "--data.num_test=1000"]
    command = prepare(["test", "--config", str(config), root, *args])
    command.test()
    assert len(command.model.test_results) == 6
    for result in command.model.test_results:
        right, num = result["num_accuracy"]
        assert right == num
    assert cli.main(["certify", f"--ckpt_path={tmp_path}/rnn_T1000"]) == 0  # and so for every palindrome


# The two below are shortened: in full they take minutes.


@pytest.mark.slow
def test_an_lstm_learns_from_the_curriculum(tmp_path: Path) -> None:
    args = ("--data.num_classes=3", "--data.length=100", "--model.hidden_size=64")
    metrics = metrics_of(ROOT / "configs" / "lstm_T1000.yaml", tmp_path, *args)
    assert metrics["train/mastered_length"] == 100 and metrics["test/accuracy"] == 1
    assert cli.main(["certify", f"--ckpt_path={tmp_path}/lstm_T1000"]) == 0


@pytest.mark.slow
def test_an_lstm_predicts_every_digit(tmp_path: Path) -> None:
    args = ("--data.length=10", "--trainer.max_steps=2000")
    assert metrics_of(ROOT / "configs" / "every_digit.yaml", tmp_path, *args)["test/exact_match"] >= 0.95


@pytest.mark.slow
def test_space_and_time_together_reach_the_best_possible(tmp_path: Path) -> None:
    metrics = metrics_of(ROOT / "configs" / "gcn_lstm_spread.yaml", tmp_path)
    assert metrics["test/loss"] <= metrics["test/best_possible_loss"] + 0.001
    assert metrics["test/accuracy"] >= metrics["test/best_possible_accuracy"] - 0.001
