"""How long the networks remember, and how long training them for it takes.

For each seed: ``python cli.py fit`` of the config, which tests the best checkpoint at each length.
Next to it, in the same run, is the time of a training step of ``torch.nn.RNN`` or ``torch.nn.LSTM`` at T = 100
(B = H = 128), which shows how fast the machine is.

    python -m benchmarks.memory [--networks rnn lstm] [--seeds 1 2 3 4 5] [--lengths 5 6 ... 10000] [--num-test 10000]
"""

import statistics
from collections.abc import Iterator

import torch

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.networks import contender, seconds_per_step
from models.tables import percent

CONFIG = "configs/{network}_T1000.yaml"
LENGTHS = [5, 6, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000]


def vendor_milliseconds(network: str, rounds: int = 5) -> float:
    return 1000 * seconds_per_step({"vendor": contender("vendor", network, 128, 128, 100)}, rounds)["vendor"]


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--networks", nargs="+", choices=["rnn", "lstm"], default=["rnn", "lstm"], help="to train")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="one run each")
    parser.add_argument("--lengths", type=at_least(2), nargs="+", default=LENGTHS, help="lengths T to test")
    parser.add_argument("--num-test", type=at_least(1), default=10_000, help="palindromes of each length")
    args = parser.parse_args()
    test = f"--data.test_lengths={args.lengths}", f"--data.num_test={args.num_test}"

    def rows() -> Iterator[tuple[float | str | None, ...]]:
        for network in args.networks:
            seconds = []
            for seed in args.seeds:
                milliseconds = vendor_milliseconds(network)
                run = prepare_run(CONFIG.format(network=network), f"--seed_everything={seed}", *test)
                seconds.append(fit(run)["seconds"])
                shares = (percent(result["accuracy"]) for result in run.model.test_results)
                yield network, seed, seconds[-1], milliseconds, *shares
            for name, value in (("median", statistics.median(seconds)), ("longest", max(seconds))):
                yield network, name, value, *[None] * (1 + len(args.lengths))

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; accuracy at each T")
    lengths = {f"{length:,}": "" for length in args.lengths}
    print_table(
        {"network": "", "seed": "d", "fit, s": ".1f", "vendor, ms": ".1f", **lengths}, rows(), args.output_dir, "memory"
    )


if __name__ == "__main__":
    main()
