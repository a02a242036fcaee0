"""Exported models compute what the model computes, in onnxruntime and after loading."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cli
from experiments.onnx_graph import write_onnx
from models import NodeClassifier, PalindromeClassifier, TextModel
from models.networks import LSTM, VanillaRNN
from models.networks.stacked_lstm import StackedLSTM
from tests.conftest import Command

onnxruntime = pytest.importorskip("onnxruntime")


def export(ckpt_path: Path, format: str, output_dir: Path) -> Path:
    assert cli.main(["export", f"--ckpt_path={ckpt_path}", f"--format={format}", f"--output_dir={output_dir}"]) == 0
    return output_dir


def session_of(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


NETWORKS = {
    "embedding": lambda: StackedLSTM(23, 16, 3, 7),
    "one-hot": lambda: StackedLSTM(11, 8, 1, None),
    "orthogonal": lambda: StackedLSTM(11, 16, 2, 4, initialization="orthogonal"),
    "lstm": lambda: LSTM(10, 16, 10),
    "rnn": lambda: VanillaRNN(10, 16, 10, initialization="identity"),
}


def states_of(network: torch.nn.Module, B: int) -> list[torch.Tensor]:
    if isinstance(network, StackedLSTM):
        return [torch.randn(network.lstm.num_layers, B, network.lstm.hidden_size) for _ in range(2)]
    return [torch.randn(1, B, network.hidden_size) for _ in range(network.num_states)]


def in_torch(network: torch.nn.Module, ids: torch.Tensor, states: list[torch.Tensor]) -> list[torch.Tensor]:
    with torch.no_grad():
        if isinstance(network, StackedLSTM):
            logits, final = network(ids, tuple(states))
            return [logits, *final]
        start = states[0][0] if len(states) == 1 else tuple(state[0] for state in states)
        logits, final = network(ids, start)
        return [logits, *(part[None] for part in (final if len(states) == 2 else [final]))]


@pytest.mark.parametrize("name", NETWORKS)
def test_any_batch_size_and_length(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]().eval()
    for weight in network.parameters():  # also of biases that begin with 0
        weight.data += 0.1 * torch.randn_like(weight)
    write_onnx(network, {"characters": "é\n"}, tmp_path / "model.onnx")
    session = session_of(tmp_path / "model.onnx")
    names = [value.name for value in session.get_inputs()]
    V = session.get_outputs()[0].shape[2]
    for B, T in ((1, 1), (5, 1), (3, 17), (1, 100)):
        ids, states = torch.randint(V, (B, T)), states_of(network, B)
        theirs = session.run(None, dict(zip(names, (t.numpy() for t in (ids, *states)), strict=True)))
        for ours, their in zip(in_torch(network, ids, states), theirs, strict=True):
            np.testing.assert_allclose(their, ours.numpy(), rtol=0, atol=1e-5)
    assert json.loads(session.get_modelmeta().custom_metadata_map["characters"]) == "é\n"


@pytest.mark.parametrize("name", ["embedding", "lstm", "rnn"])
def test_the_state_over_ten_thousand_steps(name: str, tmp_path: Path) -> None:
    """One step at a time, the state of each the start of the next."""
    network = NETWORKS[name]().eval()
    write_onnx(network, {}, tmp_path / "model.onnx")
    session = session_of(tmp_path / "model.onnx")
    names = [value.name for value in session.get_inputs()]
    V = session.get_outputs()[0].shape[2]
    ids = torch.randint(V, (2, 10_000))
    states = [torch.zeros_like(state) for state in states_of(network, 2)]
    logits, *final = in_torch(network, ids, states)
    theirs = [state.numpy() for state in states]
    largest = 0.0
    for t in range(ids.shape[1]):
        step, *theirs = session.run(None, dict(zip(names, (ids[:, t : t + 1].numpy(), *theirs), strict=True)))
        largest = max(largest, float(np.abs(step - logits[:, t : t + 1].numpy()).max()))
    assert largest < 1e-5
    for their, ours in zip(theirs, final, strict=True):
        np.testing.assert_allclose(their, ours.numpy(), rtol=0, atol=1e-5)


def test_a_text_model(text_run_dir: Path, tmp_path: Path) -> None:
    folder = export(text_run_dir, "onnx", tmp_path / "onnx")
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "config.json", "README.md"}
    model = TextModel.load(text_run_dir)
    session = session_of(folder / "model.onnx")
    characters = json.loads(session.get_modelmeta().custom_metadata_map["characters"])
    ids = np.array([[characters.index(character) for character in "The king"]])
    state = np.zeros((2, 1, 8), dtype=np.float32)
    logits, *_ = session.run(None, {"ids": ids, "h": state, "c": state})
    greedy = characters[int(logits[0, -1].argmax())]
    assert model.generate("The king", length=1) == "The king" + greedy
    facts = json.loads((folder / "config.json").read_text())
    assert facts["data_state"]["BookDataModule"]["characters"] == characters
    card = (folder / "README.md").read_text()
    assert "TextModel" in card and "test/loss" in card and str(text_run_dir) in card


@pytest.mark.parametrize("as_file", [False, True])
def test_safetensors_load_bit_for_bit(
    as_file: bool, text_run_dir: Path, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, palindromes = (export(run, "safetensors", tmp_path / run.parent.name) for run in (text_run_dir, run_dir))
    if as_file:
        text, palindromes = text / "model.safetensors", palindromes / "model.safetensors"
    ids = torch.randint(20, (3, 9))
    with torch.no_grad():
        assert torch.equal(TextModel.load(text)(ids), TextModel.load(text_run_dir)(ids))
    assert TextModel.load(text).generate("The", length=30, seed=1) == TextModel.load(text_run_dir).generate(
        "The", length=30, seed=1
    )
    ours, theirs = (PalindromeClassifier.load(path).hidden_states("0123") for path in (palindromes, run_dir))
    assert torch.equal(ours["c"], theirs["c"])
    capsys.readouterr()
    assert cli.main(["generate", f"--ckpt_path={text}", "--prompt=The", "--length=30"]) == 0
    assert capsys.readouterr().out == TextModel.load(text_run_dir).generate("The", length=30) + "\n"


def test_a_model_of_nodes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--trainer.default_root_dir={tmp_path}", "--trainer.max_steps=2"]
    assert cli.main(["fit", "--config=configs/gcn_karate.yaml", *words]) == 0
    folder = export(tmp_path / "gcn_karate", "safetensors", tmp_path / "exported")
    ours, theirs = (NodeClassifier.load(path).state_dict() for path in (folder, tmp_path / "gcn_karate"))
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    capsys.readouterr()
    assert cli.main(["export", f"--ckpt_path={tmp_path / 'gcn_karate'}", "--format=onnx"]) == 2
    assert "safetensors" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*onnx*"))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--ckpt_path={run}", "--format=pickle"], "pickle"),
        (["--ckpt_path=nowhere", "--format=onnx"], "nowhere"),
        (["--ckpt_path={damaged}", "--format=onnx"], "damaged"),
        (["--ckpt_path={run}", "--format=onnx", "--output_dir={folder}"], "exists already"),
        (["--ckpt_path={run}", "--format=onnx", "--output_dir={damaged}/onnx"], "cannot write"),
        (["--ckpt_path={no_config}", "--format=onnx"], "cannot read"),
        (["--ckpt_path={no_weights}", "--format=onnx"], "no_weights"),
    ],
)
def test_wrong_exports(
    words: list[str], part: str, run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {name: tmp_path / name for name in ("damaged", "folder", "no_config", "no_weights")}
    names["damaged"].write_bytes(b"no checkpoint")
    names["folder"].mkdir()
    for name, missing in (("no_config", "config.json"), ("no_weights", "model.safetensors")):
        (export(run_dir, "safetensors", names[name]) / missing).write_text("{") if name == "no_weights" else (
            export(run_dir, "safetensors", names[name]) / missing
        ).unlink()
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert cli.main(["export", *(word.format(run=run_dir, **names) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and part in error, error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("format", "package"), [("onnx", "onnx"), ("safetensors", "safetensors")])
def test_a_package_that_is_not_installed(
    format: str, package: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name.split(".")[0] == package or name == "experiments.onnx_graph":
            raise ModuleNotFoundError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    capsys.readouterr()
    assert cli.main(["export", f"--ckpt_path={run_dir}", f"--format={format}"]) == 2
    error = capsys.readouterr().err
    assert package in error and "pip install" in error and "[export]" in error
    assert not (run_dir / format).exists()


def test_export_by_default_goes_into_the_folder_of_the_run(run_dir: Path, command: Command) -> None:
    assert cli.main(["export", f"--ckpt_path={run_dir.parent}", "--format=onnx"]) == 0
    assert (run_dir / "onnx" / "model.onnx").is_file()
