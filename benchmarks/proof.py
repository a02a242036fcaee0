"""Trains configs/rnn_proved.yaml with several seeds, proves what the networks remember, and checks the proofs.

python -m benchmarks.proof [--seeds 1 2 3 4 5] [--weight 10]

"ordinary" is the same training without the loss over all sequences. Seconds are those of training, of the search for a
certificate, and of its check.
"""

from collections.abc import Iterator

from benchmarks.command import at_least, fit, option_parser, prepare_run, print_table
from benchmarks.rounds import seconds_of
from experiments.certificate import WEIGHTS
from experiments.certificate_check import Checked, check
from experiments.certify import prove
from models.networks import VanillaRNN

ORDINARY = "--model.worst_case_weight=0"


def main() -> None:
    parser = option_parser(__doc__)
    parser.add_argument("--seeds", nargs="+", type=at_least(0), default=[1, 2, 3, 4, 5], help="of the trainings")
    parser.add_argument("--weight", type=float, help="of the loss over all sequences; by default that of the config")
    args = parser.parse_args()
    columns = {
        **{"seed": "d", "fit": ".1f", "ordinary": ".1f", "test accuracy": ".4f", "boxes": "d", "first length": "d"},
        **{"margin": ".2f", "search": ".2f", "check": ".2f", "inequalities": "d"},
    }
    print_table(columns, rows(args.seeds, args.weight), args.output_dir, "proof")


def rows(seeds: list[int], weight: float | None) -> Iterator[tuple[float | None, ...]]:
    """A row for each seed; without a proof, or if it is refused, its numbers are missing."""
    weights = [] if weight is None else [f"--model.worst_case_weight={weight}"]
    for seed in seeds:
        ordinary = fit(prepare_run("configs/rnn_proved.yaml", f"--seed_everything={seed}", ORDINARY))
        run = prepare_run("configs/rnn_proved.yaml", f"--seed_everything={seed}", *weights)
        summary = fit(run)
        trained = seed, summary["seconds"], ordinary["seconds"], summary["metrics"]["test/accuracy"]
        network = run.model.network
        assert isinstance(network, VanillaRNN)
        found = []
        search = seconds_of(lambda network=network, found=found: found.append(prove(network)))
        (proof,) = found
        if isinstance(proof, str):
            yield *trained, *[None] * 6
            continue
        arrays = {name: getattr(network, name).detach().numpy() for name in WEIGHTS}
        certificate = proof.certificate
        results = []
        seconds = seconds_of(lambda c=certificate, w=arrays, found=results: found.append(check(c, w)))
        (result,) = results
        if isinstance(result, Checked):
            proved = len(certificate.lower), certificate.first_length, result.margin
            yield *trained, *proved, search, seconds, result.num_inequalities
        else:
            yield *trained, *[None] * 6


if __name__ == "__main__":
    main()
