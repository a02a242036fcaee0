"""Sampled texts are in files and in TensorBoard, and sampling changes nothing in the run."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks import TextSamples
from callbacks.text_samples import as_markdown
from models import TextModel
from tests.conftest import Command
from tests.test_resume import TRAIN_METRICS, VAL_METRICS, rows_of, state_of
from training.checkpoint_file import read_checkpoint

WITHOUT = ("--trainer.callbacks=[]",)


def test_nothing_else_changes(text_run_dir: Path, text_command: Command, tmp_path: Path) -> None:
    assert text_command("fit", f"--trainer.default_root_dir={tmp_path / 'without'}", *WITHOUT) == 0
    without = tmp_path / "without" / "text" / "version_0"
    ours, theirs = state_of(text_run_dir), state_of(without)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    for name in ours["state_dict"]:
        assert torch.equal(ours["state_dict"][name], theirs["state_dict"][name])
    assert torch.equal(ours["random_state"]["cpu"], theirs["random_state"]["cpu"])
    for names in (TRAIN_METRICS, VAL_METRICS):
        assert rows_of(text_run_dir, names) == rows_of(without, names) != []
    written = {str(path.relative_to(text_run_dir)) for path in text_run_dir.rglob("*") if path.is_file()}
    others = {str(path.relative_to(without)) for path in without.rglob("*") if path.is_file()}
    assert {name for name in written - others if "events" not in name} == {
        "samples/step_000000.txt",
        "samples/step_000005.txt",
    }


def test_there_is_a_text_for_each_length_and_decoding_method(text_run_dir: Path) -> None:
    written = (text_run_dir / "samples" / "step_000005.txt").read_text(encoding="utf-8")
    parts = written.split("--- ")[1:]
    headings = [part.partition("\n")[0] for part in parts]
    ways = ("greedy", "tau 0.5", "tau 1", "tau 2")
    assert headings == [f"{way}, {length} characters" for way in ways for length in (15, 30, 200)]
    for i, part in enumerate(parts):
        text = part.partition("\n")[2].removesuffix("\n" if i + 1 == len(parts) else "\n\n")
        assert len(text) == int(headings[i].split(", ")[1].split()[0])


def test_greedy_is_greedy(text_run_dir: Path) -> None:
    """Against the network itself, from the first character on."""
    checkpoint = read_checkpoint(text_run_dir / "checkpoints" / "last.ckpt")
    characters = checkpoint["BookDataModule"]["characters"]
    model = TextModel(len(characters), hidden_size=8, embedding_size=4)
    model.load_state_dict(checkpoint["state_dict"])
    model.eval()

    class Vocabulary:
        def __len__(self) -> int:
            return len(characters)

        def decode(self, ids: list[int]) -> str:
            return "".join(characters[i] for i in ids)

    (way, text), *_ = TextSamples(lengths=(40,)).texts(model, Vocabulary(), step=3)
    assert way == "greedy"
    ids = [characters.index(text[0])]
    for _ in range(39):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    assert text == Vocabulary().decode(ids)
    firsts = {TextSamples(lengths=(1,)).texts(model, Vocabulary(), step)[0] for step in range(50)}
    assert len(firsts) > 10


def test_tensorboard_keeps_line_breaks(text_run_dir: Path) -> None:
    events = EventAccumulator(str(text_run_dir)).Reload()
    written = (text_run_dir / "samples" / "step_000005.txt").read_text(encoding="utf-8")
    for way in ("greedy", "tau 0.5", "tau 1", "tau 2"):
        shown = events.Tensors(f"samples/{way}/text_summary")
        assert [event.step for event in shown] == [0, 5]
        texts = re.findall(rf"--- {way}, \d+ characters\n(.*?)(?=\n\n---|\n\Z)", written, re.DOTALL)
        assert len(texts) == 3
        assert shown[-1].tensor_proto.string_val[0].decode() == as_markdown(texts)
    expected = "**9 characters**\n\n    one\n    \n     two\n\n**3 characters**\n\n    <b>"
    assert as_markdown(["one\n\n two", "<b>"]) == expected


def test_samples_of_a_stopped_run_are_the_same(text_run_dir: Path, text_command: Command, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    assert text_command("fit", root, "--trainer.max_steps=3") == 0
    assert text_command("fit", root, "--ckpt_path=last") == 0
    parts = tmp_path / "parts" / "text" / "version_0" / "samples"
    assert len(list(parts.iterdir())) == 2
    for path in parts.iterdir():
        assert path.read_bytes() == (text_run_dir / "samples" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_steps": 0}, "every_n_steps is 0; it must be at least 1"),
        ({"lengths": ()}, r"lengths is \[\]; give at least one, each at least 1"),
        ({"lengths": (5, 0)}, r"lengths is \[5, 0\]; give at least one, each at least 1"),
        ({"taus": (1, -1)}, r"taus is \[1, -1\]; each must be at least 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextSamples(**arguments)


def test_palindromes_are_no_text(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("fit", "--trainer.callbacks", "callbacks.TextSamples") == 2
    assert "TextSamples cannot sample text from PalindromeClassifier" in capsys.readouterr().err


def test_each_step_is_taken_once(text_command: Command, tmp_path: Path) -> None:
    root = f"--trainer.default_root_dir={tmp_path / 'parts'}"
    accumulating = (root, "--trainer.accumulate_grad_batches=3")
    assert text_command("fit", *accumulating, "--trainer.max_steps=5") == 0
    assert text_command("fit", *accumulating, "--trainer.max_steps=12", "--ckpt_path=last") == 0
    events = EventAccumulator(str(tmp_path / "parts" / "text" / "version_0")).Reload()
    assert [event.step for event in events.Tensors("samples/greedy/text_summary")] == [0, 5, 10]


def test_a_trial_run_writes_nothing(text_command: Command, tmp_path: Path) -> None:
    assert text_command("fit", "--trainer.fast_dev_run=true", f"--trainer.default_root_dir={tmp_path}") == 0
    assert not (tmp_path / "samples").exists()
