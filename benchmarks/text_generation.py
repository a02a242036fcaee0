"""How fast a text model writes.

Side by side, in turns, in one process, on a model of the config's sizes that has learned nothing:

- bare: ``torch.nn.LSTM`` called with one character at a time, the output layer, the most probable character;
- one: a single text, greedily and at random, as ``generate --stream`` writes it;
- many: 64 texts at once;
- beam: a beam search, for each character of the text that it gives;

and how much longer ``python cli.py generate`` takes to start than ``python -c "import torch"``.

    python -m benchmarks.text_generation [--length 1000] [--rounds 5]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from models.decoding import beam_search, greedy, read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM

VOCAB_SIZE = 80
NUM_TEXTS = 64
TEXT = "The king\u2019s daughter went into the wood, and the wood was dark and deep.\n" * 100


def bare_loop(network: StackedLSTM, length: int) -> None:
    assert network.embedding is not None
    with torch.inference_mode():
        ids, state = torch.tensor([[0]]), None
        for _ in range(length):
            hidden, state = network.lstm(network.embedding(ids), state)
            ids = network.output(hidden[:, -1]).argmax(dim=1, keepdim=True)
            ids[0, 0].item()


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(length: int, rounds: int) -> None:
    """Print characters per second of each, medians over the rounds."""
    torch.manual_seed(0)
    network = StackedLSTM(VOCAB_SIZE, embedding_size=64).eval()
    steps = CharacterSteps(network)

    def written(num: int, draws: bool) -> None:
        logits, state = read(steps, torch.zeros(num, 1, dtype=torch.int64), steps.start(num))
        choose = sampling(range(num), length) if draws else greedy
        for ids in write(steps, logits, state, choose, length):
            ids.tolist()

    def searched(beam_size: int) -> None:
        logits, state = read(steps, torch.zeros(1, 1, dtype=torch.int64), steps.start(1))
        beam_search(steps, logits, state, length, beam_size)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "bare nn.LSTM, one": (lambda: bare_loop(network, length), 1),
        "one, greedy": (lambda: written(1, draws=False), 1),
        "one, drawn": (lambda: written(1, draws=True), 1),
        f"{NUM_TEXTS} at once, drawn": (lambda: written(NUM_TEXTS, draws=True), NUM_TEXTS),
        "beam 1": (lambda: searched(1), 1),
        "beam 5": (lambda: searched(5), 1),
        "beam 10": (lambda: searched(10), 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        for name, (function, _) in ways.items():
            if round_number > 0:  # the first one warms up
                seconds[name].append(timed(function))
            else:
                function()
    rates = {name: num * length / statistics.median(seconds[name]) for name, (_, num) in ways.items()}
    bare = rates["bare nn.LSTM, one"]
    print(f"{length} characters, medians of {rounds} rounds")
    print(f"{'':22} {'characters/s':>13} {'to bare':>8}")
    for name, rate in rates.items():
        print(f"{name:22} {rate:13,.0f} {rate / bare:8.2f}")
    print(f"beam 10 takes {rates['beam 1'] / rates['beam 10']:.2f} times as long for a character as beam 1", flush=True)


def compare_starts(rounds: int) -> None:
    """Print seconds of ``import torch`` and of ``generate`` for one character, medians over the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "book.txt"
        book.write_text(TEXT, encoding="utf-8")
        small = ["--config", "configs/text_grimm.yaml", f"--data.book={book}", "--trainer.max_steps=1"]
        subprocess.run(
            [sys.executable, "cli.py", "fit", *small, f"--trainer.default_root_dir={folder}/runs"],
            check=True,
            capture_output=True,
        )
        run = f"{folder}/runs/text_grimm"
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "generate": [sys.executable, "cli.py", "generate", f"--ckpt_path={run}", "--length=1"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for round_number in range(rounds + 1):
            for name, command in commands.items():
                taken = timed(partial(subprocess.run, command, check=True, capture_output=True))
                if round_number > 0:
                    seconds[name].append(taken)
    torch_alone, generate = (statistics.median(values) for values in seconds.values())
    print(f"import torch {torch_alone:.2f} s, generate {generate:.2f} s: {generate - torch_alone:.2f} s more")


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a text model writes.")
    parser.add_argument("--length", type=int, default=1000, help="characters of a text (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, of which medians are taken (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1, as generate has for this size)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{torch.get_num_threads()} threads, two layers of 128, {VOCAB_SIZE} different characters")
    compare(arguments.length, arguments.rounds)
    compare_starts(arguments.rounds)


if __name__ == "__main__":
    main()
