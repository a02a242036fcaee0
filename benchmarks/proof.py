"""Trains networks that can be proved with several seeds, proves what they remember, and checks the proofs.

python -m benchmarks.proof [--config rnn_proved] [--seeds 1 2 3 4 5] [--weight 10]
python -m benchmarks.proof --ckpt-paths runs/rnn_T1000 runs/lstm_T1000

"ordinary" is the same training without the loss over all sequences. Seconds are those of training, of the search for a
certificate, and of its check. With --ckpt-paths nothing is trained: what is proved of these networks, or why nothing
is.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from experiments.certificate_check import Refusal
from experiments.certify import check_certificate, find
from experiments.trained_model import load
from models.networks import LSTM, VanillaRNN

Result = TypeVar("Result")

ORDINARY = "--model.worst_case_weight=0"


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument(
        "--config",
        default="rnn_proved",
        choices=("rnn_proved", "rnn_T1000", "lstm_proved", "lstm_T1000"),
        help="to train",
    )
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3, 4, 5], help="of the trainings")
    parser.add_argument("--weight", type=float, help="of the loss over all sequences; by default that of the config")
    parser.add_argument("--ckpt-paths", nargs="+", help="checkpoints, run folders or experiment folders to prove")
    args = parser.parse_args()
    if args.ckpt_paths is not None:
        columns = {"seed": "d", "margin": ".2f", "reason": ""}
        print_table(columns, map(of_checkpoint, args.ckpt_paths), args.output_dir, "after_training")
        return
    columns = {
        **{"seed": "d", "fit": ".1f", "ordinary": ".1f", "test accuracy": ".4f", "boxes": "d", "first length": "d"},
        **{"margin": ".2f", "search": ".2f", "check": ".2f", "inequalities": "d"},
    }
    print_table(columns, rows(args.config, args.seeds, args.weight), args.output_dir, args.config)


def rows(config: str, seeds: list[int], weight: float | None) -> Iterator[tuple[float | None, ...]]:
    """A row for each seed; without a proof, or if it is refused, its numbers are missing."""
    path = f"configs/{config}.yaml"
    weights = [] if weight is None else [f"--model.worst_case_weight={weight}"]
    for seed in seeds:
        ordinary = fit(prepare_run(path, f"--seed_everything={seed}", ORDINARY))
        run = prepare_run(path, f"--seed_everything={seed}", *weights)
        summary = fit(run)
        trained = seed, summary["seconds"], ordinary["seconds"], summary["metrics"]["test/accuracy"]
        network = run.model.network
        assert isinstance(network, LSTM | VanillaRNN)
        found, search = timed(find, network)
        if isinstance(found, str):
            yield *trained, *[None] * 6
            continue
        result, seconds = timed(check_certificate, found.certificate, network)
        if isinstance(result, Refusal):
            yield *trained, *[None] * 6
            continue
        proved = len(found.certificate.lower), found.certificate.first_length, result.margin
        yield *trained, *proved, search, seconds, result.num_inequalities


def of_checkpoint(ckpt_path: str) -> tuple[float | str | None, ...]:
    """The seed of a trained network, the proved margin, or the reason why nothing is proved."""
    trained = load(ckpt_path, "last_digit")
    found = find(trained.network)
    if isinstance(found, str):
        return trained.seed, None, found
    result = check_certificate(found.certificate, trained.network)
    if isinstance(result, Refusal):
        return trained.seed, None, result.reason
    return trained.seed, result.margin, ""


def timed(function: Callable[..., Result], *args: Any) -> tuple[Result, float]:
    """What a function returns, and its seconds."""
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


if __name__ == "__main__":
    main()
