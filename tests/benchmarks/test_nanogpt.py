"""Both sides are evaluated alike. A checkout that learns nothing takes the place of nanoGPT."""

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from benchmarks import nanogpt
from models.networks.stacked_lstm import StackedLSTM
from training.errors import UserError
from training.loading import load_text_network

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
    loss = nanogpt.windows_loss(lambda x: network(x)[0], ids, 5)
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


def test_our_run_is_fit_in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    commands = []

    def seconds_to(path: Path, command: list[str], folder: Path) -> float:
        commands.append(command)
        (root,) = (Path(word.partition("=")[2]) for word in command if word.startswith("--trainer.default_root_dir"))
        assert path == root / "shakespeare" / "version_0" / "checkpoints" / "last.ckpt" and not any(root.iterdir())
        return 99.0

    monkeypatch.setattr(nanogpt, "seconds_to", seconds_to)
    book, root, limits = tmp_path / "book.txt", tmp_path / "kept", ["--trainer.max_steps=1"]
    arguments = "configs/shakespeare.yaml", ["--model.dropout=0.5"], book, limits, 7, root
    (spent, folder), (_, other) = nanogpt.train_ours(*arguments), nanogpt.train_ours(*arguments)
    assert spent == 99.0 and folder.name == "shakespeare" and folder.parent.parent == root and folder != other
    for words in commands:
        assert words[:5] == ["cli.py", "fit", "--config", "configs/shakespeare.yaml", "--model.dropout=0.5"]
        split = {"--data.val_fraction=0.1", "--data.test_fraction=0.0"}
        assert {"--seed_everything=7", f"--data.book={book}", *limits, *split} <= set(words[5:])


def test_seconds_end_with_the_last_checkpoint(tmp_path: Path) -> None:
    written = tmp_path / "last.ckpt"
    script = f"import os, time; open({str(written)!r}, 'w'); os.utime({str(written)!r}, (time.time() + 100,) * 2)"
    assert 100 <= nanogpt.seconds_to(written, ["-c", script], tmp_path) < 200
    with pytest.raises(UserError, match=r"ended with status 1: what is wrong"):
        nanogpt.seconds_to(written, ["-c", "raise SystemExit('much to say\\nwhat is wrong')"], tmp_path)


def test_a_row_for_each(
    checkout: Path,
    text_run_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (tmp_path / "book.txt").read_text(encoding="utf-8")
    given, read = [], []

    def train_ours(
        config: str, settings: list[str], book: Path, limits: list[str], seed: int, root: Path
    ) -> tuple[float, Path]:
        given.append((settings, limits, seed))
        return (12.3 if "--trainer.max_steps=1" in limits else 100.0 + seed), text_run_dir

    def streaming_loss(network: StackedLSTM, ids: torch.Tensor) -> float:
        read.append(ids)
        return 1.0

    monkeypatch.setattr(nanogpt, "train_nanogpt", with_seconds(100.0))
    monkeypatch.setattr(nanogpt, "streaming_loss", streaming_loss)
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
    settings, limits = ["--model.dropout", "0.5"], ["--trainer.max_time=00:00:01:27", "--trainer.max_steps=-1"]
    assert given == [(settings, ["--trainer.max_steps=1"], 1), (settings, limits, 1), (settings, limits, 2)]
    _, _, vocabulary = load_text_network(str(text_run_dir))
    assert [vocabulary.decode(ids.tolist()) for ids in read] == [text[int(len(text) * 0.9) :]] * 2
    losses = ours[0].split()[4:7]
    assert all(float(loss) > 0 for loss in losses)
    assert [line.split()[1:3] for line in (mean, least, greatest)] == [
        ["mean", "101.5"],
        ["least", "101.0"],
        ["greatest", "102.0"],
    ]
    assert mean.split()[3:6] == least.split()[3:6] == greatest.split()[3:6] == losses
    assert last.endswith("characters") and "ours, seed 2: copied of 100 generated characters:" in last


def with_seconds(seconds: float) -> Callable[..., tuple[float, Path]]:
    """``train_nanogpt``, which takes so long."""
    really = nanogpt.train_nanogpt
    return lambda *args: (seconds, really(*args)[1])


def test_too_little_time_is_refused(
    text_run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nanogpt, "train_ours", lambda *args: (12.3, text_run_dir))
    monkeypatch.setattr(sys, "argv", ["nanogpt", "--seconds", "13", "--book", str(tmp_path / "book.txt")])
    with pytest.raises(SystemExit) as stopped:
        nanogpt.main()
    assert stopped.value.code == 2
    assert re.search("error: 13 seconds are too few: .* 12; use a larger --seconds", capsys.readouterr().err)


def test_errors_of_fit_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "book.txt").write_text("The king went into the wood.\n" * 200)
    words = ["nanogpt", "--seconds", "60", "--book", str(tmp_path / "book.txt"), "--config", "configs/shakespear.yaml"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stopped:
        nanogpt.main()
    (line,) = (line for line in capsys.readouterr().err.splitlines() if ": error: " in line)
    assert stopped.value.code == 2 and "ended with status 2: error: " in line and "shakespear.yaml" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "neither --nanogpt nor --seconds is given"),
        (["--nanogpt", "empty"], "--nanogpt is empty, which has no data/shakespeare_char/prepare.py"),
        (["--seconds", "9", "--model.dropout", "0.5", "--secs", "9"], "there is no --secs; arguments of fit begin"),
        (["--seconds", "9", "--data.val_fraction=0.5"], "--data.val_fraction is set by the benchmark; leave it out"),
        (["--seconds", "9", "--trainer.max_steps", "5"], "--trainer.max_steps is set by the benchmark; leave it out"),
        (["--nanogpt", "nowhere"], "--nanogpt is nowhere, which has no train.py"),
        (["--nanogpt", "nanoGPT", "--book", "nothing.txt"], "nothing.txt"),
        (["--nanogpt", "nanoGPT", "--book", "short.txt"], "--book has 1,000 characters; a tenth of them must be more"),
        (["--nanogpt", "nanoGPT", "--secs", "9"], "there is no --secs; arguments of fit begin with --model., --data."),
        (["--nanogpt", "nanoGPT", "--seconds", "nan"], "--seconds is nan; it must be a number above 0"),
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
    Path("empty").mkdir()
    Path("empty", "train.py").touch()
    Path("short.txt").write_text("ten words. " * 90 + "ten words.")
    monkeypatch.setattr(sys, "argv", ["nanogpt", *words])
    with pytest.raises(SystemExit) as stopped:
        nanogpt.main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err
