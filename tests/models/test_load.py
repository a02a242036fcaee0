"""Trained models from Python: the same results as the commands give."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import cli
from datamodules import GraphDataModule
from models import NodeClassifier, PalindromeClassifier, PathGraphClassifier, TextModel
from tests.conftest import Command
from training.checkpoint_file import read_checkpoint, write_checkpoint
from training.errors import UserError

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    "options",
    [
        {"length": 50, "tau": 1.5, "seed": 1},
        {"length": 30},
        {"length": 30, "temperature": 0.5, "top_k": 5, "top_p": 0.9, "seed": 3},
        {"length": 20, "beam": 3},
        {"length": 80, "beam": 3, "stop": "e", "length_penalty": 0.5},
    ],
    ids=str,
)
def test_generate_gives_the_text_of_the_command(
    options: dict[str, float], text_run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    words = [f"--{name}={value}" for name, value in options.items()]
    assert cli.main(["generate", f"--ckpt_path={text_run_dir}", "--prompt=The king", *words]) == 0
    printed = capsys.readouterr().out
    model = TextModel.load(text_run_dir)
    assert model.generate("The king", **options) + "\n" == printed
    assert model.generate("The king", **options) + "\n" == printed
    assert capsys.readouterr() == ("", "")


def test_wrong_options(text_run_dir: Path) -> None:
    model = TextModel.load(text_run_dir)
    for options in (
        {"tau": -1},
        {"top_p": 0},
        {"tau": 1, "temperature": 1},
        {"length": 0},
        {"beam": 2, "seed": 3, "tau": 1},
    ):
        with pytest.raises(ValueError, match="; "):
            model.generate("The", **options)
    with pytest.raises(ValueError, match="never seen: 'Ж'"):
        model.generate("Жar")
    assert model.generate("Жar", on_unknown="skip", length=5).startswith("ar")
    with pytest.raises(ValueError, match=r"TextModel\.load"):
        TextModel(vocab_size=3).generate("a")


@pytest.mark.parametrize(("network", "task"), [("rnn", "last_digit"), ("lstm", "last_digit"), ("lstm", "every_digit")])
def test_predictions_of_palindromes(
    network: str, task: str, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (f"--model.network={network}", f"--data.task={task}", "--data.length=8")
    assert command("fit", *words) == 0
    capsys.readouterr()
    assert command("predict", *words, "--ckpt_path=best") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    model = PalindromeClassifier.load(tmp_path / "runs" / "small")
    assert len(lines) == 10
    for line in lines:
        digits, _, predicted, *_ = line.split()
        assert model.predict(digits) == predicted


@pytest.mark.parametrize("network", ["rnn", "lstm"])
def test_hidden_states(network: str, command: Command, tmp_path: Path) -> None:
    """Against torch's own recurrent network with the same weights."""
    assert command("fit", f"--model.network={network}") == 0
    model = PalindromeClassifier.load(tmp_path / "runs" / "small")
    states = model.hidden_states("31415926")
    W_x, W_h, b = model.network.recurrent_weights()
    theirs = (torch.nn.LSTM if network == "lstm" else torch.nn.RNN)(10, 8, batch_first=True)
    order = [1, 2, 0, 3] if network == "lstm" else [0]  # torch stacks i, f, g, o
    rows = torch.cat([torch.arange(8) + 8 * gate for gate in order])
    with torch.no_grad():
        for name, value in {"weight_ih": W_x, "weight_hh": W_h, "bias_ih": b, "bias_hh": torch.zeros_like(b)}.items():
            theirs.get_parameter(f"{name}_l0").copy_(value[rows])
        inputs = torch.nn.functional.one_hot(torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]]), 10).float()
        hidden, last = theirs(inputs)
    torch.testing.assert_close(states["h"], hidden[0])
    assert states.keys() == ({"h", "c"} if network == "lstm" else {"h"})
    if network == "lstm":
        assert states["c"].shape == (8, 8)
        torch.testing.assert_close(states["c"][-1], last[1][0, 0])


def test_digits_that_are_none(run_dir: Path) -> None:
    model = PalindromeClassifier.load(run_dir)
    for digits in ("", "12a", "1 2", "١٢"):
        with pytest.raises(ValueError, match="digits .*from 0 to 9"):
            model.predict(digits)
        with pytest.raises(ValueError, match="digits .*from 0 to 9"):
            model.hidden_states(digits)


def test_classes_of_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config=configs/gcn_karate.yaml", f"--trainer.default_root_dir={tmp_path}"]
    assert cli.main(["fit", *words, "--trainer.max_steps=20"]) == 0
    capsys.readouterr()
    assert cli.main(["predict", f"--ckpt_path={tmp_path / 'gcn_karate'}"]) == 0  # there is no validation, so no best
    lines = capsys.readouterr().out.splitlines()[1:]
    model, data = NodeClassifier.load(tmp_path / "gcn_karate"), GraphDataModule(graph="karate")
    probs = model.probabilities(data.features, data.graph.edges)
    preds = model.predict(data.features, data.graph.edges)
    torch.testing.assert_close(probs.sum(1), torch.ones(34))
    for line in lines:
        name, _, pred, prob = line.removesuffix("  wrong").split()
        node = data.graph.names.index(name)
        assert data.graph.class_names[preds[node]] == pred and f"{probs[node].max():.3f}" == prob


def test_what_only_training_uses_has_its_default(command: Command, tmp_path: Path) -> None:
    assert command("fit", "--model.backward=autograd", "--model.optimizer=torch.optim.Adam") == 0
    model = PalindromeClassifier.load(tmp_path / "runs" / "small")
    assert model.network.backward == "bptt" and not model.training


def test_wrong_checkpoints(run_dir: Path, text_run_dir: Path, tmp_path: Path) -> None:
    diverged = read_checkpoint(run_dir / "checkpoints" / "best.ckpt")
    diverged["state_dict"]["network.b_p"].fill_(float("nan"))
    write_checkpoint(diverged, tmp_path / "diverged.ckpt")
    (tmp_path / "damaged.ckpt").write_bytes((run_dir / "checkpoints" / "best.ckpt").read_bytes()[:-9])
    for model_class, path, words in (
        (TextModel, run_dir, "PalindromeClassifier, which is no TextModel"),
        (PathGraphClassifier, run_dir, "no PathGraphClassifier"),
        (PalindromeClassifier, text_run_dir, "no PalindromeClassifier"),
        (TextModel, tmp_path / "nowhere", "no such file"),
        (TextModel, "last", "which run"),
        (PalindromeClassifier, tmp_path / "diverged.ckpt", "not all finite"),
        (PalindromeClassifier, tmp_path / "damaged.ckpt", "damaged"),
    ):
        with pytest.raises(UserError, match=words):
            model_class.load(path)


def test_it_works_from_another_folder(text_run_dir: Path, tmp_path: Path) -> None:
    shutil.move(text_run_dir, tmp_path / "run")
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom models import TextModel\n"
    code += "print(repr(TextModel.load('run').generate('The', length=9)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(TextModel.load(tmp_path / "run").generate("The", length=9))
    assert done.stderr == ""
