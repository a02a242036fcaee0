"""Trains networks that write strings in reverse with several seeds, or measures their training step.

python -m benchmarks.strings train [--config reverse] [--seeds 1 2 3 4 5] [--lengths 50 100 200 ...]
python -m benchmarks.strings step [--rounds 9]

"train": seconds of training; for each test length and kind of actions, the share of correct symbols and of strings
without a mistake; and, with a second loss over all strings, what is proved. "step": a training step of the stack RNN
with the hand-derived backward pass ("bptt") against torch's own over the same equations ("autograd"); ratios of speed.
"""

from collections.abc import Iterator

import torch

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.networks import Step, seconds_per_step, training_step
from experiments.certificate_check import Refusal
from experiments.certify_reversal import check_certificate, find
from models.networks import StackRNN
from models.networks.recurrent import Backward

LENGTHS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000)
STEP_LENGTHS = (10, 40, 100)
BATCH_SIZE, NUM_SYMBOLS, HIDDEN_SIZE = 128, 10, 32


def main() -> None:
    parser = option_parser(__doc__, rounds=9)
    parser.add_argument("part", choices=("train", "step"), help="what to measure")
    parser.add_argument("--config", default="reverse", choices=("reverse", "reverse_proved"), help="to train")
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3, 4, 5], help="of the trainings")
    parser.add_argument("--lengths", nargs="+", type=at_least(1), default=LENGTHS, help="of the strings in the test")
    args = parser.parse_args()
    if args.part == "step":
        columns = {"n": "d", "autograd ms": ".2f", "bptt": ".2f"}
        print_table(columns, steps(args.rounds), args.output_dir, "step")
    else:
        columns = {"seed": "d", "fit": ".1f", "length": "d", "actions": "", "accuracy": ".6f", "exact match": ".4f"}
        columns |= {"margin": ".2f", "action margin": ".2f", "inequalities": "d"}
        print_table(columns, trained(args.config, args.seeds, args.lengths), args.output_dir, args.config)


def trained(config: str, seeds: list[int], lengths: list[int]) -> Iterator[tuple[float | str | None, ...]]:
    """A row for each seed, length and kind of actions; without a proof its numbers are missing."""
    path, tested = f"configs/{config}.yaml", f"--data.test_lengths=[{','.join(map(str, lengths))}]"
    for seed in seeds:
        run = prepare_run(path, f"--seed_everything={seed}", tested)
        seconds = fit(run)["seconds"]
        proved = proof_of(run.model.network)
        for result in run.model.test_results:
            actions = "hardened" if result["is_hardened"] else "soft"
            yield seed, seconds, result["length"], actions, result["accuracy"], result["exact_match"], *proved


def proof_of(network: StackRNN) -> tuple[float | None, ...]:
    """Margins of symbols and of actions, and the number of inequalities, if a proof is found and holds."""
    found = find(network)
    checked = found if isinstance(found, Refusal) else check_certificate(found, network)
    if isinstance(checked, Refusal):
        return None, None, None
    return checked.margin, checked.action_margin, checked.num_inequalities


def steps(rounds: int) -> Iterator[tuple[float, ...]]:
    """A row for each number of symbols: milliseconds with autograd, and how many times as fast bptt is."""
    for n in STEP_LENGTHS:
        names: tuple[Backward, ...] = ("autograd", "bptt")
        seconds = seconds_per_step({name: contender(name, n) for name in names}, rounds)
        yield n, 1000 * seconds["autograd"], seconds["autograd"] / seconds["bptt"]


def contender(backward: Backward, n: int) -> Step:
    """A training step on strings of n symbols."""
    torch.manual_seed(0)
    network = StackRNN(NUM_SYMBOLS + 2, HIDDEN_SIZE, NUM_SYMBOLS, backward=backward)
    symbols = torch.randint(NUM_SYMBOLS + 2, (BATCH_SIZE, 2 * n + 1))
    target = torch.randint(NUM_SYMBOLS, (BATCH_SIZE * n,))
    return training_step(lambda: network.logits(symbols, n).flatten(0, 1), target, list(network.parameters()))


if __name__ == "__main__":
    main()
