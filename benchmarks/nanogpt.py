"""Loss and speed of a character model after a given time, relative to nanoGPT.

nanoGPT is not part of this project: ``--nanogpt`` is a checkout of github.com/karpathy/nanoGPT. It is copied to a
temporary folder and trained once, with the arguments that its README gives for a CPU. Then ``fit`` of a config trains
for the same time. Time runs from the start of a process to its last checkpoint, on the same number of threads. With
``--seconds`` nanoGPT is not trained, and ``fit`` has these seconds.

The text, the split (the first 90 % train, the last 10 % validate) and the windows are the same. On both sides the
checkpoint with the lowest validation loss is evaluated. Losses are means over all positions of all windows that do not
overlap, each read by itself; streaming reads the text from beginning to end. Several seeds also give means and ranges.

    python -m benchmarks.nanogpt --nanogpt ../nanoGPT [--book tinyshakespeare] [--seeds 1 2 3]
    python -m benchmarks.nanogpt --seconds 180 [--book tinyshakespeare] [--seeds 1 2 3]

Further arguments, such as ``--model.reset_probability 0``, are passed to ``fit``.
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
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.command import option_parser, print_table
from benchmarks.rounds import seconds_of
from benchmarks.text_training import time_limit
from datamodules.library import read_book
from datamodules.vocabulary import Vocabulary
from models.decoding import read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM
from training.errors import UserError
from training.loading import load_text_network

CPU_RECIPE = (
    *("config/train_shakespeare_char.py", "--device=cpu", "--compile=False", "--eval_iters=20", "--log_interval=1"),
    *("--block_size=64", "--batch_size=12", "--n_layer=4", "--n_head=4", "--n_embd=128", "--max_iters=2000"),
    *("--lr_decay_iters=2000", "--dropout=0.0"),
)
OF_FIT = ("--model.", "--data.", "--trainer.")
SET_HERE = (
    *("--data.book", "--data.val_fraction", "--data.test_fraction"),
    *("--trainer.max_time", "--trainer.max_steps", "--trainer.default_root_dir"),
)
BLOCKS = (64, 256)
NUM_WRITTEN = 2000
NUM_FOR_COPIES = 10_000
SUMMARIES: Mapping[str, Callable[[Iterable[float]], float]] = {"mean": statistics.mean, "least": min, "greatest": max}
AT_ONCE = 64
"""Windows that are read at once."""
COLUMNS = {"seconds": ".1f", "block 64": ".4f", "block 256": ".4f", "streaming": ".4f", "characters/s": ",.0f"}


def seconds_to(path: Path, command: list[str], folder: Path) -> float:
    """Run Python with a command in a folder; seconds from its start until it last wrote ``path``.

    A ``UserError`` says why a command has failed.
    """
    start = time.time()
    done = subprocess.run([sys.executable, *command], cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{' '.join(command[:4])} ended with status {done.returncode}: {last_line}")
    return path.stat().st_mtime - start


def train_nanogpt(checkout: Path, text: str, scratch: Path) -> tuple[float, Path]:
    """Seconds of nanoGPT's CPU recipe on a text, and the copy of the checkout in which it ran."""
    copy = scratch / "nanoGPT"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git"))
    data = copy / "data" / "shakespeare_char"
    (data / "input.txt").write_text(text, encoding="utf-8")
    seconds_to(data / "meta.pkl", ["prepare.py"], data)
    checkpoint = copy / "out-shakespeare-char" / "ckpt.pt"
    return seconds_to(checkpoint, ["train.py", *CPU_RECIPE], copy), copy


def evaluate_nanogpt(copy: Path, text: str, held_out: str) -> list[float | None]:
    """Figures of the model trained in this copy. It reads no more than the shortest of ``BLOCKS``."""
    sys.path.insert(0, str(copy))
    their = importlib.import_module("model")
    checkpoint = torch.load(copy / "out-shakespeare-char" / "ckpt.pt", weights_only=True)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its number of parameters
        model = their.GPT(their.GPTConfig(**checkpoint["model_args"]))
    model.load_state_dict(checkpoint["model"])
    model.eval()
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[character] for character in held_out])
    start = torch.zeros(1, 1, dtype=torch.int64)
    rate = NUM_WRITTEN / seconds_of(lambda: model.generate(start, NUM_WRITTEN))
    return [windows_loss(lambda x: model(x, x)[0], ids, BLOCKS[0]), None, None, rate]


def train_ours(
    config: str, settings: list[str], book: Path, limits: list[str], seed: int, root: Path
) -> tuple[float, Path]:
    """Seconds from the start of ``fit`` to its last checkpoint, and the experiment's folder, a new one under ``root``.

    ``settings`` and ``limits`` are arguments of ``fit``.
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


def windows_loss(read_window: Callable[[Tensor], Tensor], ids: Tensor, block: int) -> float:
    """Nats per character over all windows of ``block`` characters of a text (N,), each read by itself.

    ``read_window`` takes characters (B, T) and returns logits (B, T, V).
    """
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
    """The share of a text's substrings of this length that are in the source."""
    substrings = [written[i : i + length] for i in range(len(written) - length + 1)]
    known = {source[i : i + length] for i in range(len(source) - length + 1)}
    return sum(substring in known for substring in substrings) / len(substrings)


def evaluate_ours(folder: Path, text: str, held_out: str) -> tuple[list[float], str]:
    """Loss in each of ``BLOCKS`` and in streaming, and characters per second, of a run; and what it copied."""
    _, network, vocabulary = load_text_network(str(folder))
    steps, ids = CharacterSteps(network), torch.tensor(vocabulary.encode(held_out))
    losses = [windows_loss(lambda x: network(x)[0], ids, block) for block in BLOCKS]
    rate = NUM_WRITTEN / seconds_of(lambda: write_ours(steps, vocabulary, NUM_WRITTEN))
    written, source = write_ours(steps, vocabulary, NUM_FOR_COPIES), text[: -len(held_out)]
    shares = (f"{100 * copied_share(written, source, length):.2f} % of {length}" for length in (20, 40))
    return [*losses, streaming_loss(network, ids), rate], ", ".join(shares)


def compare(args: argparse.Namespace, settings: list[str], text: str, held_out: str, scratch: Path) -> None:
    """Train, evaluate and print a row for each run, and how much of its generated text is copied."""
    book = scratch / "book.txt"
    book.write_text(text, encoding="utf-8")
    train = partial(train_ours, args.config, settings, book)
    # trainer.max_time counts from the first step. A run of one step measures the time before and after, and finds wrong
    # settings before nanoGPT runs.
    around, _ = train(["--trainer.max_steps=1"], args.seeds[0], scratch)
    copies = []

    def rows() -> Iterator[tuple[float | str | None, ...]]:
        seconds = args.seconds
        if seconds is None:
            seconds, copy = train_nanogpt(args.nanogpt, text, scratch)
            yield "nanoGPT", seconds, *evaluate_nanogpt(copy, text, held_out)
        if (left := int(seconds - around)) < 1:
            raise UserError(
                f"{seconds:.0f} seconds are too few: the time before the first step and after the last is "
                f"{around:.0f}; use a larger --seconds"
            )
        figures = []
        for seed in args.seeds:
            spent, folder = train(time_limit(left), seed, args.root or scratch)
            measured, copied = evaluate_ours(folder, text, held_out)
            figures.append((spent, *measured))
            yield f"ours, seed {seed}", *figures[-1]
            copies.append(f"ours, seed {seed}: copied of {NUM_FOR_COPIES:,} generated characters: {copied} characters")
        for name, summary in SUMMARIES.items() if len(figures) > 1 else ():
            yield f"ours, {name}", *map(summary, zip(*figures, strict=True))

    print_table({f"{'model':>14}": "", **COLUMNS}, rows(), args.output_dir, "nanogpt")
    print("\n".join(copies))


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT; needed unless --seconds is given")
    parser.add_argument("--seconds", type=float, help="time of each run of ours; None takes the time of nanoGPT")
    parser.add_argument("--book", default="tinyshakespeare", help="a known book or a path")
    parser.add_argument("--config", default="configs/shakespeare.yaml", help="config that is trained here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="runs of ours")
    parser.add_argument("--root", type=Path, help="folder of our runs; None keeps no runs")
    args, settings = parser.parse_known_args()
    for name in (word.partition("=")[0] for k, word in enumerate(settings) if k == 0 or word.startswith("--")):
        if not name.startswith(OF_FIT):
            parser.error(f"there is no {name}; arguments of fit begin with {', '.join(OF_FIT)}")
        if name in SET_HERE:
            parser.error(f"{name} is set by the benchmark; leave it out")
    if args.seconds is None:
        if args.nanogpt is None:
            parser.error("neither --nanogpt nor --seconds is given; give one of them")
        for part in ("train.py", "data/shakespeare_char/prepare.py"):
            if not (args.nanogpt / part).is_file():
                parser.error(f"--nanogpt is {args.nanogpt}, which has no {part}; give a checkout of nanoGPT")
    elif not 0 < args.seconds < math.inf:
        parser.error(f"--seconds is {args.seconds}; it must be a number above 0")
    try:
        source = read_book(args.book)
    except ValueError as error:
        parser.error(str(error))
    text = source.vocabulary.decode(source.ids.tolist())
    held_out = text[int(len(text) * 0.9) :]
    if len(held_out) <= max(BLOCKS):
        parser.error(f"--book has {len(text):,} characters; a tenth of them must be more than {max(BLOCKS)}")
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))
    print(f"{os.environ['OMP_NUM_THREADS']} threads, {args.book}, {len(text):,} characters")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            compare(args, settings, text, held_out, Path(scratch))
        except UserError as error:
            parser.error(str(error))


if __name__ == "__main__":
    main()
