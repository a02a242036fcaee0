"""How fast are the handwritten networks?

Forward and backward pass of a last-digit step: T - 1 digits are read, the last one is named, cross-entropy. In turns,
in one process, all with the same weights and the same batch:

- naive: what a course solution does: a product for each of the weight matrices at each step (8 for an LSTM), autograd;
- autograd: our readable loop (``backward: autograd``);
- bptt: our backward pass by hand (the default);
- fused: the same with compiled steps (``fused: true``), if there is a C++ compiler;
- vendor: ``torch.nn.LSTM`` (oneDNN) or ``torch.nn.RNN``, given one-hot vectors that were made beforehand;
- floor: the matrix products of one pass alone, at the rate at which this machine multiplies matrices.

Numbers are throughput relative to the vendor's: 2.0 is twice as fast. Then the time per time step at T = 1,000 against
T = 100, and the peak memory of a step at T = 1,000, each network in a process of its own.

    python -m benchmarks.networks [--networks lstm rnn] [--lengths 5 20 100 300] [--rounds 9]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.vendor import vendor
from models.networks import LSTM, VanillaRNN, fused

NETWORKS = {"lstm": LSTM, "rnn": VanillaRNN}
CONTENDERS = ("naive", "autograd", "bptt", "fused", "vendor", "floor")
NUM_CLASSES = 10
OTHER_SIZES = [(128, 256, 20), (128, 256, 100), (512, 128, 20), (512, 128, 100)]
"""Batch size, hidden size and length beside the default batch and hidden size of 128."""
SECONDS_PER_TURN = 0.15

Step = Callable[[], None]


def naive_logits(network: LSTM | VanillaRNN, x: Tensor) -> Tensor:
    """Equations 4-10 or 1-2 as they are often written down: x (B, T, I) one-hot."""
    h = c = x.new_zeros(len(x), network.hidden_size)
    for t in range(x.shape[1]):
        x_t = x[:, t]
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
    every_option: dict[str, dict[str, Any]] = {"autograd": {"backward": "autograd"}, "fused": {"fused": True}}
    options = every_option.get(name, {})
    ours = NETWORKS[network](NUM_CLASSES, hidden_size, NUM_CLASSES, **options)
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
    repeats = {}
    for name, step in steps.items():
        step()
        start = time.perf_counter()
        step()
        repeats[name] = max(1, round(SECONDS_PER_TURN / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()  # the turn before it left the caches to another
            start = time.perf_counter()
            for _ in range(repeats[name]):
                step()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def runnable() -> tuple[str, ...]:
    """``CONTENDERS``, without ``fused`` where nothing can be compiled."""
    try:
        fused.load()
    except ValueError as reason:
        print(reason, file=sys.stderr)
        return tuple(name for name in CONTENDERS if name != "fused")
    return CONTENDERS


def print_throughput(
    names: tuple[str, ...], network: str, batch_size: int, hidden_size: int, length: int, rounds: int
) -> None:
    steps = {name: contender(name, network, batch_size, hidden_size, length) for name in names}
    seconds = seconds_per_step(steps, rounds)
    ratios = [f"{seconds['vendor'] / seconds[name]:9.2f}" if name in seconds else f"{'-':>9}" for name in CONTENDERS]
    ratios[CONTENDERS.index("vendor")] = f"{1000 * seconds['vendor']:7.2f}ms"
    print(f"{network:>4} {batch_size:4} {hidden_size:4} {length:4}", *ratios, flush=True)


def print_linearity(names: tuple[str, ...], network: str, rounds: int) -> None:
    names = tuple(name for name in names if name in ("bptt", "fused", "vendor"))
    steps = {f"{name} {T}": contender(name, network, 128, 128, T + 1) for T in (100, 1000) for name in names}
    seconds = seconds_per_step(steps, rounds)
    ratios = (f"{name} {seconds[f'{name} 1000'] / seconds[f'{name} 100'] / 10:.2f}" for name in names)
    print(f"{network:>4}", *ratios, flush=True)


def print_memory(names: tuple[str, ...], network: str) -> None:
    """Peak memory of three steps at T = 1,000 beyond that of a small one, in MiB."""
    columns = []
    for name in names[:-1]:
        command = [sys.executable, "-m", "benchmarks.networks", "--memory-of", network, name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        columns.append(f"{name} {json.loads(done.stdout):.0f}" if done.returncode == 0 else f"{name} -")
    print(f"{network:>4}", *columns, flush=True)


def mebibytes_of(network: str, name: str) -> float:
    contender(name, network, 4, 128, 5)()
    before = peak_mebibytes()
    step = contender(name, network, 128, 128, 1001)
    for _ in range(3):
        step()
    return peak_mebibytes() - before


def peak_mebibytes() -> float:
    """Of this process; ``resource`` would count in the process that started it. Linux only."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the handwritten networks are.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: both")
    parser.add_argument("--lengths", type=int, nargs="+", default=[5, 20, 100, 300], help="T (default: 5 20 100 300)")
    parser.add_argument(
        "--rounds", type=int, default=9, help="turns, of which medians are taken (default: %(default)s)"
    )
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        print(mebibytes_of(*arguments.memory_of))
        return
    if min(arguments.lengths) < 2:
        parser.error(f"--lengths has {min(arguments.lengths)}; a palindrome needs at least 2 digits, one to read")
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; at least 1 is needed")
    names = runnable()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {arguments.rounds} turns")
    print("Throughput relative to the vendor's; the vendor's own column is its time per training step.")
    print(f"{'':>4} {'B':>4} {'H':>4} {'T':>4}", *(f"{name:>9}" for name in CONTENDERS))
    for network in arguments.networks:
        for sizes in (*((128, 128, length) for length in arguments.lengths), *OTHER_SIZES):
            print_throughput(names, network, *sizes, arguments.rounds)
    print("\nTime per time step at T = 1,000, relative to T = 100 (B = H = 128)")
    for network in arguments.networks:
        print_linearity(names, network, arguments.rounds)
    print("\nPeak memory of a training step at T = 1,000 in MiB (B = H = 128)")
    for network in arguments.networks:
        print_memory(names, network)


if __name__ == "__main__":
    main()
