"""Attacks a proof: looks for sequences that leave the certified boxes, or have a smaller margin than the proved one.

python -m tests.stress.attack --ckpt-path runs/rnn_proved [--random 10000000] [--greedy 100000] [--length 50]

The random sequences have random digits. The greedy ones begin with 1 to 5 random digits, and each further digit is the
one after which the logit of the first digit is ahead by least. All prefixes of a sequence are checked. The exit status
is 1 if the attack succeeds.
"""

import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.command import at_least, option_parser, print_table
from experiments.adversaries import greedy, margins
from experiments.certificate import Certificate, read_certificate
from experiments.certificate_check import Refusal
from experiments.certify import check_certificate
from experiments.trained_model import Network, as_vector, load
from training.errors import UserError

BATCH_SIZE = 10_000


def main() -> int:
    parser = option_parser(__doc__)
    parser.add_argument("--ckpt-path", required=True, help="run folder with a certificate, made by certify")
    parser.add_argument("--random", type=at_least(0), default=10_000_000, help="random sequences")
    parser.add_argument("--greedy", type=at_least(0), default=100_000, help="greedy sequences")
    parser.add_argument("--length", type=at_least(6), default=50, help="digits of a sequence")
    args = parser.parse_args()
    try:
        trained = load(args.ckpt_path, "last_digit")
        certificate = read_certificate(trained.folder / "certificate" / "certificate.npz")
    except UserError as error:
        parser.error(str(error))
    checked = check_certificate(certificate, trained.network)
    if isinstance(checked, Refusal):
        print(f"There is no proof to attack: {checked.reason}")
        return 1
    generator = torch.Generator().manual_seed(trained.seed)
    rows = []
    for kind, num, draw in (("random", args.random, random_digits), ("greedy", args.greedy, greedy_digits)):
        results = [
            attack(trained.network, certificate, draw(trained.network, size, args.length, generator))
            for size in sizes(num)
        ]
        smallest = min((margin for _, margin in results), default=float("inf"))
        rows.append((kind, num, args.length, sum(left for left, _ in results), smallest, checked.margin))
    columns = {"kind": "s", "sequences": "d", "digits": "d", "left": "d", "smallest margin": ".4f", "proved": ".4f"}
    print_table(columns, rows, args.output_dir, "attack")
    return int(any(left or smallest < proved for _, _, _, left, smallest, proved in rows))


def sizes(num: int) -> Iterator[int]:
    """The sizes of batches of ``num`` sequences."""
    for start in range(0, num, BATCH_SIZE):
        yield min(BATCH_SIZE, num - start)


def random_digits(network: Network, num: int, length: int, generator: torch.Generator) -> Tensor:
    return torch.randint(network.input_size, (num, length), generator=generator)


def greedy_digits(network: Network, num: int, length: int, generator: torch.Generator) -> Tensor:
    """Sequences (num, length) of random beginnings and greedy digits."""
    begun = int(torch.randint(1, 6, (), generator=generator))
    return greedy(network, random_digits(network, num, begun, generator), length - begun)


@torch.no_grad()
def attack(network: Network, certificate: Certificate, digits: Tensor) -> tuple[int, float]:
    """How many sequences (B, T) leave the boxes, and the smallest margin of the first digit after any of their digits.

    Margins count from ``first_length - 1`` digits on.
    """
    lower, upper, first_box, successor = (
        torch.from_numpy(array)
        for array in (certificate.lower, certificate.upper, certificate.first_box, certificate.successor)
    )
    box = first_box[digits[:, 0]]
    left = torch.zeros(len(digits), dtype=torch.bool)
    smallest, state = float("inf"), None
    for t in range(digits.shape[1]):
        logits, state = network(digits[:, t : t + 1], state)
        if t > 0:
            box = successor[box, digits[:, t]]
        numbers = as_vector(state)
        left |= ((numbers < lower[box]) | (numbers > upper[box])).any(dim=1)
        if t + 2 >= certificate.first_length:
            smallest = min(smallest, margins(logits[:, 0], digits[:, 0]).min().item())
    return int(left.sum()), smallest


if __name__ == "__main__":
    sys.exit(main())
