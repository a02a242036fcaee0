"""Speed of generating text. In turns, in one process, with an untrained model of the config's sizes:

- bare: ``torch.nn.LSTM`` called with one character at a time, the output layer, the most probable character;
- one: a single text, greedily and sampled, as ``generate --stream`` writes it;
- 64 at once: 64 texts, sampled;
- beam: a beam search, for each character of its text.

Then: how much longer ``python cli.py generate`` takes to start than ``python -c "import torch"``.

    python -m benchmarks.text_generation [--length 1000] [--rounds 5]
"""

import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table, scratch
from benchmarks.rounds import seconds_of, take_turns
from models.decoding import beam_search, greedy, read, sampling, write
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM

VOCAB_SIZE = 80
BARE = "bare nn.LSTM, one"
A_STEP = ("--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=0")


def bare_loop(network: StackedLSTM, length: int) -> None:
    assert network.embedding is not None
    with torch.inference_mode():
        ids, state = torch.tensor([[0]]), None
        for _ in range(length):
            hidden, state = network.lstm(network.embedding(ids), state)
            ids = network.output(hidden[:, -1]).argmax(dim=1, keepdim=True)
            ids[0, 0].item()


def compare(length: int, rounds: int, folder: Path | None = None) -> None:
    """Print characters per second of each, medians over the rounds."""
    torch.manual_seed(0)
    network = StackedLSTM(VOCAB_SIZE, embedding_size=64).eval()
    steps = CharacterSteps(network)

    def write_texts(num: int, is_greedy: bool) -> None:
        logits, state = read(steps, torch.zeros(num, 1, dtype=torch.int64), steps.start(num))
        choose = greedy if is_greedy else sampling(range(num), length)
        for ids in write(steps, logits, state, choose, length):
            ids.tolist()

    def search(beam_size: int) -> None:
        logits, state = read(steps, torch.zeros(1, 1, dtype=torch.int64), steps.start(1))
        beam_search(steps, logits, state, length, beam_size)

    def rate_of(num_texts: int, function: Callable[..., None], *args: object) -> Callable[[], float]:
        return lambda: num_texts * length / seconds_of(partial(function, *args))

    contenders = {
        BARE: rate_of(1, bare_loop, network, length),
        "one, greedy": rate_of(1, write_texts, 1, True),
        "one, sampled": rate_of(1, write_texts, 1, False),
        "64 at once, sampled": rate_of(64, write_texts, 64, False),
        **{f"beam {beam_size}": rate_of(1, search, beam_size) for beam_size in (1, 5, 10)},
    }
    rates = {name: statistics.median(values) for name, values in take_turns(contenders, rounds).items()}
    print(f"{length} characters, medians of {rounds} rounds")
    rows = ((name, rate, rate / rates[BARE]) for name, rate in rates.items())
    print_table({f"{'contender':>19}": "", "characters/s": ",.0f", "to bare": ".2f"}, rows, folder, "text_generation")
    print(f"A character of beam 10 takes {rates['beam 1'] / rates['beam 10']:.2f} times as long as one of beam 1.")


def compare_starts(rounds: int, folder: Path | None = None) -> None:
    """Print seconds of ``import torch`` and of ``generate`` for one character, medians over the rounds."""
    fit(prepare_run("configs/text_grimm.yaml", "--data.book=python_reference", *A_STEP))
    commands = {
        "import torch": ["-c", "import torch"],
        "generate": ["cli.py", "generate", f"--ckpt_path={scratch().name}/text_grimm", "--length=1"],
    }

    def seconds(*words: str) -> float:
        return seconds_of(lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True))

    turns = take_turns({name: partial(seconds, *words) for name, words in commands.items()}, rounds)
    medians = ((name, statistics.median(values)) for name, values in turns.items())
    print_table({f"{'command':>12}": "", "seconds": ".2f"}, medians, folder, "text_starts")


def main() -> None:
    parser = option_parser(__doc__, rounds=5)
    parser.add_argument("--length", type=at_least(1), default=1000, help="characters of a text")
    args = parser.parse_args()
    torch.set_num_threads(1)  # as many as generate takes for this size
    print(f"1 thread, two layers of 128, {VOCAB_SIZE} different characters")
    compare(args.length, args.rounds, args.output_dir)
    compare_starts(args.rounds, args.output_dir)


if __name__ == "__main__":
    main()
