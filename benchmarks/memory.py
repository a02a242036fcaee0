"""How long do the networks remember, and how long does it take to teach them?

For each seed: ``python cli.py fit`` of the config, everything on, and ``python cli.py test`` of its best checkpoint at
a list of lengths. Beside it, in the same run, a training step of ``torch.nn.RNN`` or ``torch.nn.LSTM`` at T = 100
(B = H = 128), so that the speed of the machine can be allowed for.

    python -m benchmarks.memory [--networks rnn lstm] [--seeds 1 2 3 4 5] [--lengths 5 6 ... 10000] [--num-test 10000]
"""

import argparse
import contextlib
import io
import json
import logging
import statistics
import tempfile
import warnings
from pathlib import Path

import torch

from benchmarks.networks import contender, seconds_per_step
from models.tables import percent
from training.launch import prepare

CONFIG = "configs/{network}_T1000.yaml"
LENGTHS = [5, 6, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]
ROUNDS = 5


def train(network: str, seed: int, root: str) -> float:
    """Seconds of training, validation and checkpoints included; the run is under ``root``."""
    with contextlib.redirect_stdout(io.StringIO()):
        prepare(["fit", *arguments_of(network, seed, root)]).fit()
    (summary,) = Path(root).glob("*/version_0/summary.json")
    return float(json.loads(summary.read_text())["seconds"])


def test(network: str, seed: int, root: str, lengths: list[int], num_test: int) -> list[str]:
    """Accuracy of the best checkpoint at each length, in per cent."""
    args = [f"--data.test_lengths={lengths}", f"--data.num_test={num_test}"]
    with contextlib.redirect_stdout(io.StringIO()):
        command = prepare(["test", *arguments_of(network, seed, root), *args])
        command.test()
    return [percent(result["accuracy"]) for result in command.model.test_results]


def arguments_of(network: str, seed: int, root: str) -> list[str]:
    config = CONFIG.format(network=network)
    return ["--config", config, f"--seed_everything={seed}", f"--trainer.default_root_dir={root}"]


def vendor_milliseconds(network: str) -> float:
    return 1000 * seconds_per_step({"vendor": contender("vendor", network, 128, 128, 100)}, ROUNDS)["vendor"]


def main() -> None:
    parser = argparse.ArgumentParser(description="How long the networks remember.")
    parser.add_argument("--networks", nargs="+", choices=["rnn", "lstm"], default=["rnn", "lstm"], help="default: both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: 1 to 5")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="T (default: 5 to 10,000)")
    parser.add_argument(
        "--num-test", type=int, default=10_000, help="palindromes of each length (default: %(default)s)"
    )
    arguments = parser.parse_args()
    if min(arguments.lengths) < 2:
        parser.error(f"--lengths has {min(arguments.lengths)}; a palindrome needs at least 2 digits, one to read")
    warnings.simplefilter("ignore")
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(package).setLevel(logging.ERROR)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; accuracy in % at each T")
    print(f"{'':>4} seed  fit, s  vendor, ms", *(f"{length:>9,}" for length in arguments.lengths))
    for network in arguments.networks:
        seconds: list[float] = []
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as root:
                milliseconds = vendor_milliseconds(network)
                seconds.append(train(network, seed, root))
                print(f"{network:>4} {seed:4} {seconds[-1]:7.1f} {milliseconds:11.1f}", end=" ", flush=True)
                shares = test(network, seed, root, arguments.lengths, arguments.num_test)
            print(*(f"{share:>9}" for share in shares), flush=True)
        print(
            f"{network:>4}: {statistics.median(seconds):.0f} s in the median, {max(seconds):.0f} s at most", flush=True
        )


if __name__ == "__main__":
    main()
