"""Speed and memory of the handwritten networks, relative to torch's own.

A training step reads T - 1 digits and predicts the last one: forward pass, cross-entropy, backward pass. In turns, in
one process, with the same weights and the same batch:

- naive: one product for each weight matrix at each time step (8 for an LSTM), autograd;
- autograd, bptt, fused: our readable loop, our derived backward pass, and that with compiled steps;
- vendor: ``torch.nn.LSTM`` (oneDNN) or ``torch.nn.RNN`` on one-hot vectors made beforehand;
- floor: the matrix products of both passes alone.

Numbers are throughput relative to the vendor's: 2.0 is twice as fast. Then follow the time per time step at T = 1,000
against T = 100, and the peak memory of a step at T = 1,000, measured in a new process for each network.

    python -m benchmarks.networks [--networks lstm rnn] [--lengths 5 20 100 300] [--rounds 9]
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.command import at_least, option_parser, print_table
from benchmarks.rounds import in_new_process, mean_seconds, take_turns, with_peak_bytes
from models.networks import LSTM, VanillaRNN, fused
from models.networks.lstm import GATES
from models.networks.recurrent import Backward

NETWORKS = {"lstm": LSTM, "rnn": VanillaRNN}
CONTENDERS = ("naive", "autograd", "bptt", "fused", "vendor", "floor")
NUM_CLASSES = 10
OTHER_SIZES = [(128, 256, 20), (128, 256, 100), (512, 128, 20), (512, 128, 100)]
"""Batch size, hidden size and length beside the default batch and hidden size of 128."""
SECONDS_PER_TURN = 0.15

TORCH_ORDER = "ifgo"
"""The order of the gates in ``torch.nn.LSTM``'s weights; ours is that of the equations."""

Step = Callable[[], None]


def vendor(ours: LSTM | VanillaRNN) -> nn.LSTM | nn.RNN:
    """``torch.nn.LSTM`` or ``torch.nn.RNN`` with the weights of ``ours``; it has two biases, of which one is zero."""
    kind = nn.LSTM if isinstance(ours, LSTM) else nn.RNN
    theirs = kind(ours.input_size, ours.hidden_size, batch_first=True, dtype=ours.W_ph.dtype)
    W_x, W_h, b = ours.recurrent_weights()
    if isinstance(ours, LSTM):
        W_x, W_h, b = (torch.cat([w.chunk(4)[GATES.index(gate)] for gate in TORCH_ORDER]) for w in (W_x, W_h, b))
    weights = {"weight_ih_l0": W_x, "weight_hh_l0": W_h, "bias_ih_l0": b, "bias_hh_l0": torch.zeros_like(b)}
    theirs.load_state_dict(weights)
    return theirs


def naive_logits(network: LSTM | VanillaRNN, x: Tensor) -> Tensor:
    """Equations 4-10 or 1-2 as they are often written down: x (B, T, I) one-hot."""
    h = c = x.new_zeros(len(x), network.hidden_size)
    for x_t in x.unbind(1):
        if isinstance(network, LSTM):
            g = torch.tanh(x_t @ network.W_gx.t() + h @ network.W_gh.t() + network.b_g)
            i = torch.sigmoid(x_t @ network.W_ix.t() + h @ network.W_ih.t() + network.b_i)
            f = torch.sigmoid(x_t @ network.W_fx.t() + h @ network.W_fh.t() + network.b_f)
            o = torch.sigmoid(x_t @ network.W_ox.t() + h @ network.W_oh.t() + network.b_o)
            c = g * i + c * f
            h = torch.tanh(c) * o
        else:
            h = torch.tanh(x_t @ network.W_hx.t() + h @ network.W_hh.t() + network.b_h)
    return network.readout(h)


def training_step(logits: Callable[[], Tensor], target: Tensor, parameters: list[nn.Parameter]) -> Step:
    def step() -> None:
        functional.cross_entropy(logits(), target).backward()
        for parameter in parameters:
            parameter.grad = None

    return step


def products_alone(network: LSTM | VanillaRNN, batch_size: int, num_steps: int) -> Step:
    """The recurrent products of both passes, and the large one for the recurrent weights."""
    W = network.recurrent_weights()[1].detach()
    G, H = W.shape
    h, delta = torch.randn(batch_size, H), torch.randn(batch_size, G)
    a, dh = torch.empty_like(delta), torch.empty_like(h)
    all_h, all_delta, dW = torch.randn(num_steps * batch_size, H), torch.randn(num_steps * batch_size, G), W.clone()

    def step() -> None:
        for _ in range(num_steps):
            torch.mm(h, W.t(), out=a)
        for _ in range(num_steps):
            torch.mm(delta, W, out=dh)
        torch.mm(all_delta.t(), all_h, out=dW)

    return step


def contender(name: str, network: str, batch_size: int, hidden_size: int, length: int) -> Step:
    """A training step of one of ``CONTENDERS``."""
    torch.manual_seed(0)
    backward: Backward = "autograd" if name == "autograd" else "bptt"
    ours = NETWORKS[network](NUM_CLASSES, hidden_size, NUM_CLASSES, backward=backward, fused=name == "fused")
    digits, target = torch.randint(NUM_CLASSES, (batch_size, length - 1)), torch.randint(NUM_CLASSES, (batch_size,))
    parameters = list(ours.parameters())
    if name == "floor":
        return products_alone(ours, batch_size, length - 1)
    if name in ("autograd", "bptt", "fused"):
        return training_step(lambda: ours(digits, num_last_steps=1)[0][:, -1], target, parameters)
    x = functional.one_hot(digits, NUM_CLASSES).float()
    if name == "naive":
        return training_step(lambda: naive_logits(ours, x), target, parameters)
    theirs = vendor(ours)
    return training_step(lambda: ours.readout(theirs(x)[0][:, -1]), target, parameters + list(theirs.parameters()))


def seconds_per_step(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Medians over ``rounds`` rounds, in each of which every contender has its turn."""
    turns = {name: partial(mean_seconds, step, SECONDS_PER_TURN) for name, step in steps.items()}
    return {name: statistics.median(seconds) for name, seconds in take_turns(turns, rounds).items()}


def throughput(names: list[str], sizes: tuple[str, int, int, int], rounds: int) -> list[float | str | None]:
    """Throughput of each of ``CONTENDERS`` relative to the vendor's, of which the time is given instead."""
    seconds = seconds_per_step({name: contender(name, *sizes) for name in names}, rounds)
    ratios = {name: seconds["vendor"] / value for name, value in seconds.items()}
    return [1000 * seconds[name] if name == "vendor" else ratios.get(name) for name in CONTENDERS]


def growth(names: list[str], network: str, rounds: int) -> list[float]:
    """Seconds per time step at T = 1,000, relative to T = 100."""
    steps = {f"{name} {T}": contender(name, network, 128, 128, T + 1) for T in (100, 1000) for name in names}
    seconds = seconds_per_step(steps, rounds)
    return [seconds[f"{name} 1000"] / seconds[f"{name} 100"] / 10 for name in names]


def peak_mebibytes(name: str, network: str) -> float | None:
    """Peak memory of training in a new process; ``None`` if that fails, for example for lack of memory."""
    try:
        return float(in_new_process(peak_of_training, name, network)) / 2**20
    except RuntimeError:
        return None


def peak_of_training(name: str, network: str) -> int:
    """Bytes that three steps at T = 1,000 need, after a small step."""
    contender(name, network, 4, 128, 5)()

    def train() -> None:
        step = contender(name, network, 128, 128, 1001)
        for _ in range(3):
            step()

    return with_peak_bytes(train)[1]


def main() -> None:
    parser = option_parser(__doc__, rounds=9)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="networks to measure")
    parser.add_argument("--lengths", type=at_least(2), nargs="+", default=[5, 20, 100, 300], help="lengths T")
    args = parser.parse_args()
    names = list(CONTENDERS)
    try:
        fused.load()
    except ValueError as reason:  # nothing can be compiled here
        print(reason, file=sys.stderr)
        names.remove("fused")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {args.rounds} turns")
    print("Throughput relative to the vendor's; the column of the vendor is its time per training step.")
    sizes = [*((128, 128, length) for length in args.lengths), *OTHER_SIZES]
    cases = [(network, *size) for network in args.networks for size in sizes]
    columns = {"network": "", "B": "d", "H": "d", "T": "d", **dict.fromkeys(CONTENDERS, ".2f")}
    columns = {"vendor, ms" if name == "vendor" else name: form for name, form in columns.items()}
    rows = ((*case, *throughput(names, case, args.rounds)) for case in cases)
    print_table(columns, rows, args.output_dir, "networks")
    print("\nTime per time step at T = 1,000, relative to T = 100 (B = H = 128)")
    timed = [name for name in names if name in ("bptt", "fused", "vendor")]
    growths = ((network, *growth(timed, network, args.rounds)) for network in args.networks)
    print_table({"network": "", **dict.fromkeys(timed, ".2f")}, growths, args.output_dir, "growth")
    print("\nPeak memory of a training step at T = 1,000 in MiB (B = H = 128)")
    peaks = ((network, *(peak_mebibytes(name, network) for name in names[:-1])) for network in args.networks)
    print_table({"network": "", **dict.fromkeys(names[:-1], ".0f")}, peaks, args.output_dir, "peaks")


if __name__ == "__main__":
    main()
