"""Both sides are measured with the same ruler; nanoGPT is played by a checkout that learns nothing."""

import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from benchmarks import nanogpt
from models.networks.stacked_lstm import StackedLSTM

PREPARE = """
import pickle
text = open("input.txt", encoding="utf-8").read()
pickle.dump({"length": len(text)}, open("meta.pkl", "wb"))
"""
TRAIN = """
import os, pickle, sys, torch
assert "--max_iters=2000" in sys.argv and "config/train_shakespeare_char.py" == sys.argv[1]
data = pickle.load(open("data/shakespeare_char/meta.pkl", "rb"))
os.mkdir("out-shakespeare-char")
checkpoint = {"model_args": {"vocab_size": data["length"] // 100, "block_size": 64}, "model": {"w": torch.zeros(1)}}
torch.save(checkpoint, "out-shakespeare-char/ckpt.pt")
"""
MODEL = """
import types, torch
GPTConfig = types.SimpleNamespace
class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        print("number of parameters: 0.00M")
        self.config, self.w = config, torch.nn.Parameter(torch.ones(1))
    def forward(self, x, y):
        return self.w * torch.ones(*x.shape, self.config.vocab_size), None
    def generate(self, start, num):
        assert start.shape == (1, 1) and num == 2000
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "nanoGPT"
    (root / "data" / "shakespeare_char").mkdir(parents=True)
    (root / "data" / "shakespeare_char" / "prepare.py").write_text(PREPARE)
    (root / "train.py").write_text(TRAIN)
    (root / "model.py").write_text(MODEL)
    return root


@pytest.fixture
def network() -> StackedLSTM:
    torch.manual_seed(0)
    return StackedLSTM(7, hidden_size=8, num_layers=1, embedding_size=4).eval()


def negative_log_likelihoods(network: StackedLSTM, ids: torch.Tensor) -> list[float]:
    """Of each character but the first, read from the first on."""
    logits, _ = network(ids[None, :-1])
    return functional.cross_entropy(logits[0], ids[1:], reduction="none").tolist()


@pytest.mark.parametrize("num_windows", [1, 3, nanogpt.AT_ONCE + 2])
def test_windows_are_all_that_fit_and_each_is_read_by_itself(num_windows: int, network: StackedLSTM) -> None:
    ids = torch.randint(7, (num_windows * 5 + 3,))
    expected: list[float] = []
    for k in range(num_windows):
        expected += negative_log_likelihoods(network, ids[5 * k : 5 * k + 6])
    loss = nanogpt.windows_loss(nanogpt.logits_of(network), ids, 5)
    assert loss == pytest.approx(sum(expected) / (5 * num_windows), rel=1e-5)


@pytest.mark.parametrize("num_at_once", [4, 22, 50])
def test_streaming_reads_the_text_from_end_to_end(num_at_once: int, network: StackedLSTM) -> None:
    ids = torch.randint(7, (23,))
    expected = negative_log_likelihoods(network, ids)
    assert nanogpt.streaming_loss(network, ids, num_at_once) == pytest.approx(sum(expected) / 22, rel=1e-5)


def test_copies_are_counted() -> None:
    assert nanogpt.copied_share("abcabx", "xxabcab", 3) == 3 / 4  # abc, bca, cab are there, abx is not
    assert nanogpt.copied_share("abc", "abc", 3) == 1
    assert nanogpt.copied_share("abc", "cba", 3) == 0


def test_ours_has_what_is_left_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = []

    def seconds_to(path: Any, command: list[str], folder: Path) -> float:
        commands.append(command)
        return 12.3 if "--trainer.max_steps=1" in command else 99.0

    monkeypatch.setattr(nanogpt, "seconds_to", seconds_to)
    spent, folder = nanogpt.train_ours(
        "configs/shakespeare.yaml", ["--model.dropout=0.5"], tmp_path / "book.txt", 100.0, 7, tmp_path
    )
    assert spent == 99.0 and folder == tmp_path / "whole_7" / "shakespeare"
    assert commands[1][-2:] == ["--trainer.max_time=00:00:01:27", "--trainer.max_steps=-1"]
    assert all(
        words[:5] == ["cli.py", "fit", "--config", "configs/shakespeare.yaml", "--model.dropout=0.5"]
        for words in commands
    )
    assert all({"--seed_everything=7", f"--data.book={tmp_path / 'book.txt'}"} <= set(words) for words in commands)
    with pytest.raises(SystemExit, match="13 seconds are too few: 12 go before the first step"):
        nanogpt.train_ours("configs/shakespeare.yaml", [], tmp_path / "book.txt", 13.0, 7, tmp_path)


def test_seconds_end_with_the_last_checkpoint(tmp_path: Path) -> None:
    written = tmp_path / "last.ckpt"
    script = f"import os, time; open({str(written)!r}, 'w'); os.utime({str(written)!r}, (time.time() + 100,) * 2)"
    assert 100 <= nanogpt.seconds_to(lambda: written, ["-c", script], tmp_path) < 200
    with pytest.raises(SystemExit, match="ended with status 3"):
        nanogpt.seconds_to(lambda: written, ["-c", "raise SystemExit(3)"], tmp_path)


def test_a_row_for_each(
    checkout: Path,
    text_run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (tmp_path / "book.txt").read_text(encoding="utf-8")
    given = []

    def train_ours(
        config: str, settings: list[str], book: Path, seconds: float, seed: int, root: Path
    ) -> tuple[float, Path]:
        given.append(settings)
        return 100.0 + seed, text_run_dir

    monkeypatch.setattr(nanogpt, "train_ours", train_ours)
    monkeypatch.setattr(nanogpt, "NUM_FOR_COPIES", 100)
    monkeypatch.delitem(sys.modules, "model", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["nanogpt", "--nanogpt", str(checkout), "--book", str(tmp_path / "book.txt"), "--seeds", "1", "2"]
    words += ["--model.dropout", "0.5"]
    monkeypatch.setattr(sys, "argv", words)
    nanogpt.main()
    lines = capsys.readouterr().out.splitlines()
    _, _, theirs, *ours, mean, least, greatest, _, last = lines
    cells = theirs.split()
    assert cells[0] == "nanoGPT" and cells[2] == f"{math.log(len(text) // 100):.4f}" and cells[3:5] == ["-", "-"]
    assert [line.split()[:3] for line in ours] == [["ours,", "seed", "1"], ["ours,", "seed", "2"]]
    assert given == [["--model.dropout", "0.5"]] * 2
    losses = ours[0].split()[4:7]
    assert all(float(loss) > 0 for loss in losses)
    assert [line.split()[1:3] for line in (mean, least, greatest)] == [
        ["mean", "101.5"],
        ["least", "101.0"],
        ["greatest", "102.0"],
    ]
    assert mean.split()[3:6] == least.split()[3:6] == greatest.split()[3:6] == losses
    assert last.endswith("characters") and "ours, seed 2: of the substrings of 100 characters written, copied:" in last


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nanogpt", "nowhere"], "--nanogpt is nowhere, which holds no train.py"),
        (["--nanogpt", "nanoGPT", "--book", "nothing.txt"], "nothing.txt"),
        (["--nanogpt", "nanoGPT", "--book", "short.txt"], "--book has 1,000 characters; a tenth of them must be more"),
        (["--nanogpt", "nanoGPT", "--secs", "9"], "there is no --secs; what goes to fit begins with --model., --data."),
        (["--nanogpt", "nanoGPT", "--seconds", "nan"], "--seconds is nan; it must be above 0"),
    ],
)
def test_wrong_arguments_are_named(
    words: list[str],
    message: str,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkout.parent)
    Path("short.txt").write_text("ten words. " * 90 + "ten words.")
    monkeypatch.setattr(sys, "argv", ["nanogpt", *words])
    with pytest.raises(SystemExit) as stopped:
        nanogpt.main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err
