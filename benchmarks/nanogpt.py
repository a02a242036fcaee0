"""How well a character model writes after so many seconds, beside nanoGPT's.

nanoGPT is not part of this project; ``--nanogpt`` is a checkout of github.com/karpathy/nanoGPT, which is copied to a
scratch folder and run there with the arguments that its README gives for a CPU. Then ``fit`` of a config here has
about as long: on both sides the clock runs from the start of the process to its last checkpoint (nanoGPT writes one
when its validation loss is lower than before), on the same number of threads. Text, split (the first 90 % train, the
last 10 % validate) and windows are the same. On both sides the checkpoint with the lowest loss on the validation text
is evaluated. Losses are means over all positions of all windows of that text that follow each other without overlap,
each read without what precedes it; streaming reads it from one end to the other. Both read the book as
``BookDataModule`` does: line ends, Unicode and Project Gutenberg's header are dealt with before.

    python -m benchmarks.nanogpt --nanogpt ../nanoGPT [--book tinyshakespeare] [--seeds 1 2 3]
    python -m benchmarks.nanogpt --seconds 180 [--book tinyshakespeare] [--seeds 1 2 3]

nanoGPT runs once. With ``--seconds`` it does not, and ours has these instead of as many as nanoGPT took. Of several
seeds the means and the ranges are printed, too. What else is given goes to ``fit``: with ``--model.reset_probability
0``, for instance, one sees what the resets do.
"""

import argparse
import contextlib
import importlib
import io
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.text_generation import timed
from benchmarks.text_training import time_limit
from datamodules.library import read_book
from datamodules.vocabulary import Vocabulary
from experiments.trained_text import load_network
from models.decoding import read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM
from training.errors import UserError

CPU_RECIPE = (
    *("config/train_shakespeare_char.py", "--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1"),
    *("--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=2000"),
    *("--lr_decay_iters=2000", "--dropout=0.0"),
)
CONFIG = "configs/shakespeare.yaml"
OF_FIT = ("--model.", "--data.", "--trainer.")
"""What the settings begin with that are passed on."""
SET_HERE = (
    *("--data.book", "--data.val_fraction", "--data.test_fraction"),
    *("--trainer.max_time", "--trainer.max_steps", "--trainer.default_root_dir"),
)
BLOCKS = (64, 256)
WRITTEN = 2000
COPIED = (20, 40)
NUM_FOR_COPIES = 10_000
AT_ONCE = 64
"""Windows that are read at once."""

Logits = Callable[[Tensor], Tensor]
"""(B, T) int64 -> (B, T, V), from the first of the T."""


def seconds_to(path: Path, command: list[str], folder: Path) -> float:
    """Run a command in a folder; seconds from its start until it last wrote ``path``.

    Raises:
        UserError: it failed.
    """
    start = time.time()
    done = subprocess.run([sys.executable, *command], cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"{' '.join(command[:4])} ended with status {done.returncode}: {last_line}")
    return path.stat().st_mtime - start


def train_nanogpt(checkout: Path, text: str, scratch: Path) -> tuple[float, Path]:
    """Seconds of its CPU recipe on this text, to its last checkpoint, and the copy of the checkout in which it ran."""
    copy = scratch / "nanoGPT"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    data = copy / "data" / "shakespeare_char"
    (data / "input.txt").write_text(text, encoding="utf-8")
    seconds_to(data / "meta.pkl", ["prepare.py"], data)
    checkpoint = copy / "out-shakespeare-char" / "ckpt.pt"
    return seconds_to(checkpoint, ["train.py", *CPU_RECIPE], copy), copy


def load_nanogpt(copy: Path) -> Any:
    """The model in the checkpoint that was trained in this copy."""
    sys.path.insert(0, str(copy))
    their = importlib.import_module("model")
    checkpoint = torch.load(copy / "out-shakespeare-char" / "ckpt.pt", weights_only=True)
    with contextlib.redirect_stdout(io.StringIO()):  # it says how many parameters it has
        model = their.GPT(their.GPTConfig(**checkpoint["model_args"]))
    model.load_state_dict(checkpoint["model"])
    return model.eval()


def train_ours(
    config: str, settings: list[str], book: Path, limits: list[str], seed: int, root: Path
) -> tuple[float, Path]:
    """Seconds from the start of ``fit`` to its last checkpoint, and the experiment's folder, a new one under ``root``.

    The settings are arguments of ``fit``, after the config, and the limits those that end it.
    """
    root.mkdir(parents=True, exist_ok=True)
    here = Path(tempfile.mkdtemp(prefix=f"seed_{seed}_", dir=root)).resolve()
    command = [
        *("cli.py", "fit", "--config", config, *settings, f"--data.book={book.resolve()}"),
        *("--data.val_fraction=0.1", "--data.test_fraction=0.0"),
        *(f"--seed_everything={seed}", f"--trainer.default_root_dir={here}", *limits),
    ]
    experiment = here / Path(config).stem
    return seconds_to(experiment / "version_0" / "checkpoints" / "last.ckpt", command, Path.cwd()), experiment


def logits_of(network: StackedLSTM) -> Logits:
    return lambda x: network(x)[0]


def windows_loss(read_window: Logits, ids: Tensor, block: int) -> float:
    """Nats per character over all windows of ``block`` characters of a text (N,), each read by itself."""
    num = (len(ids) - 1) // block
    x, y = (part[: num * block].view(num, block) for part in (ids[:-1], ids[1:]))
    total = 0.0
    with torch.inference_mode():
        for inputs, target in zip(x.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            logits = read_window(inputs).flatten(0, 1)
            total += functional.cross_entropy(logits, target.flatten(), reduction="sum").item()
    return total / (num * block)


def streaming_loss(network: StackedLSTM, ids: Tensor, num_at_once: int = 4096) -> float:
    """Nats per character of a text (N,), read from one end to the other."""
    total, state = 0.0, None
    with torch.inference_mode():
        for x, y in zip(ids[:-1].split(num_at_once), ids[1:].split(num_at_once), strict=True):
            logits, state = network(x[None], state)
            total += functional.cross_entropy(logits[0], y, reduction="sum").item()
    return total / (len(ids) - 1)


def write_ours(network: CharacterSteps, vocabulary: Vocabulary, length: int) -> str:
    """A text of ``length`` characters, drawn from the model's own distribution, after a line break."""
    logits, state = read(network, torch.tensor([vocabulary.encode("\n")]), network.start(1))
    written = write(network, logits, state, sampling([0], length), length)
    return vocabulary.decode([int(ids) for ids in written])


def copied_share(written: str, source: str, length: int) -> float:
    """Which share of all substrings of that length of a text occurs in the source."""
    substrings = [written[i : i + length] for i in range(len(written) - length + 1)]
    known = {source[i : i + length] for i in range(len(source) - length + 1)}
    return sum(substring in known for substring in substrings) / len(substrings)


COLUMNS = {"seconds": ".1f", "block 64": ".4f", "block 256": ".4f", "streaming": ".4f", "characters/s": ",.0f"}
"""What is measured of a model, and how it is written."""


def row(name: str, cells: Iterable[str]) -> str:
    return " ".join(
        [f"{name:14}", *(f"{cell:>{max(len(column), 9)}}" for cell, column in zip(cells, COLUMNS, strict=True))]
    )


def row_of(name: str, measured: Sequence[float | None]) -> str:
    formatted = zip(measured, COLUMNS.values(), strict=True)
    return row(name, ["-" if value is None else format(value, form) for value, form in formatted])


def main() -> None:
    parser = argparse.ArgumentParser(description="How well a character model writes, beside nanoGPT's.")
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT; needed unless --seconds is given")
    parser.add_argument("--book", default="tinyshakespeare", help="a known book or a path (default: %(default)s)")
    parser.add_argument("--config", default=CONFIG, help="what is trained here (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="wall time of ours (default: nanoGPT's)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="runs of ours (default: 1)")
    parser.add_argument("--root", type=Path, help="where our runs are kept (default: nowhere)")
    arguments, settings = parser.parse_known_args()
    for k, word in enumerate(settings):
        name = word.partition("=")[0]
        if (k == 0 or word.startswith("--")) and not word.startswith(OF_FIT):
            parser.error(f"there is no {name}; what goes to fit begins with {', '.join(OF_FIT)}")
        if name in SET_HERE:
            parser.error(f"{name} is set by the benchmark; leave it out")
    if arguments.seconds is None:
        if arguments.nanogpt is None:
            parser.error(
                "there is neither --nanogpt nor --seconds; give a checkout of nanoGPT, or how long ours may take"
            )
        for part in ("train.py", "data/shakespeare_char/prepare.py"):
            if not (arguments.nanogpt / part).is_file():
                parser.error(f"--nanogpt is {arguments.nanogpt}, which holds no {part}; give a checkout of nanoGPT")
    elif not 0 < arguments.seconds < math.inf:
        parser.error(f"--seconds is {arguments.seconds}; it must be a number above 0")
    try:
        source = read_book(arguments.book)
    except ValueError as error:
        parser.error(str(error))
    text = source.vocabulary.decode(source.ids.tolist())
    held_out = text[int(len(text) * 0.9) :]
    if len(held_out) <= max(BLOCKS):
        parser.error(f"--book has {len(text):,} characters; a tenth of them must be more than {max(BLOCKS)}")
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    print(f"{os.environ['OMP_NUM_THREADS']} threads, {arguments.book}, {len(text):,} characters")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            compare(arguments, settings, text, held_out, Path(scratch))
        except UserError as error:
            parser.error(str(error))


def compare(arguments: argparse.Namespace, settings: list[str], text: str, held_out: str, scratch: Path) -> None:
    """Train, evaluate and print a row for each run, and how much of what it writes is copied."""
    book = scratch / "book.txt"
    book.write_text(text, encoding="utf-8")
    train = partial(train_ours, arguments.config, settings, book)
    # The time limit of a run begins with its first step; what comes before that and after the last is found out by a
    # run of one step, now, so that what is wrong with the settings is known before nanoGPT runs.
    around, _ = train(["--trainer.max_steps=1"], arguments.seeds[0], scratch)
    print(row("", COLUMNS))
    seconds = arguments.seconds
    if seconds is None:
        seconds, copy = train_nanogpt(arguments.nanogpt, text, scratch)
        gpt = load_nanogpt(copy)
        number = {character: i for i, character in enumerate(sorted(set(text)))}
        ids = torch.tensor([number[character] for character in held_out])
        loss = windows_loss(lambda x: gpt(x, x)[0], ids, gpt.config.block_size)
        start = torch.zeros(1, 1, dtype=torch.int64)
        rate = WRITTEN / timed(lambda: gpt.generate(start, WRITTEN))
        losses = [loss if block == gpt.config.block_size else None for block in BLOCKS]
        print(row_of("nanoGPT", [seconds, *losses, None, rate]), flush=True)
    left = int(seconds - around)
    if left < 1:
        raise UserError(f"{seconds:.0f} seconds are too few: {around:.0f} go before the first step and after the last")
    rows, copied = [], []
    for seed in arguments.seeds:
        spent, folder = train(time_limit(left), seed, arguments.root or scratch)
        _, network, vocabulary = load_network(str(folder))
        steps, ids = CharacterSteps(network), torch.tensor(vocabulary.encode(held_out))
        losses = [windows_loss(logits_of(network), ids, block) for block in BLOCKS]
        rate = WRITTEN / timed(partial(write_ours, steps, vocabulary, WRITTEN))
        rows.append([spent, *losses, streaming_loss(network, ids), rate])
        print(row_of(f"ours, seed {seed}", rows[-1]), flush=True)
        written, source = write_ours(steps, vocabulary, NUM_FOR_COPIES), text[: -len(held_out)]
        copied.append([copied_share(written, source, length) for length in COPIED])
    if len(rows) > 1:
        of_all: dict[str, Callable[[Sequence[float]], float]] = {"mean": statistics.mean, "least": min, "greatest": max}
        for name, function in of_all.items():
            print(row_of(f"ours, {name}", [function(column) for column in zip(*rows, strict=True)]))
    for seed, shares in zip(arguments.seeds, copied, strict=True):
        what = ", ".join(f"{100 * share:.2f} % of {length}" for share, length in zip(shares, COPIED, strict=True))
        print(
            f"ours, seed {seed}: of the substrings of {NUM_FOR_COPIES:,} characters written, copied: {what} characters"
        )


if __name__ == "__main__":
    main()
