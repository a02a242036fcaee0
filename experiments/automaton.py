"""Reads a stack RNN that writes strings in reverse as an automaton with a stack, and shows what it does with a string.

Legend: B strings, n symbols of a string, T = 2n + 1 time steps, K different symbols, M features of a cell.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from datamodules.string_tasks import reversed_strings
from experiments.plotting import COLOURS, PAGE_WIDTH, new_figure, save_figure
from experiments.provenance import record
from experiments.tables import Rows, cannot_write, column, make_folder, print_table, save, write_table
from experiments.trained_model import load_stack_rnn
from models.networks import StackRNN
from models.networks.stack_rnn import ACTIONS
from training.errors import UserError
from training.seeds import check_seed

EXAMPLE = "python cli.py automaton --ckpt_path runs/reverse"

STRINGS_MAX = 1 << 21
"""Most strings of all lengths together that are tried."""

PIECE = 1 << 14
"""Strings that are tried at a time."""

LONGEST_SHOWN = 40
"""The most symbols of the string in the figure."""


class Steps(NamedTuple):
    """What a network with hardened actions does with strings of one length.

    Args:
        actions: which of ``ACTIONS``, (B, T) int64.
        certainty: the probability of that action before it is hardened, (B, T).
        wrong: whether one of the n symbols is written wrongly, (B,) bool.
        margin: the smallest difference between the logit of the right symbol and any other, (B,).
    """

    actions: Tensor
    certainty: Tensor
    wrong: Tensor
    margin: Tensor


def automaton(
    ckpt_path: str, output_dir: str | None = None, max_length: int = 6, num_symbols_shown: int = 12, seed: int = 0
) -> int:
    """Read a stack RNN as an automaton with two modes, and try it on all short strings.

    The automaton reads (before the marker) and writes (from the marker on). The network behaves like one if, in all
    strings, each kind of input has one action in each mode. Prints and writes these actions to automaton.csv. Writes
    what the network does with a random string to stack.csv and stack.png. The exit status is 1 if an action is not
    always the same, or a string is not written in reverse.

    Args:
        ckpt_path: checkpoint, run folder or experiment folder of a Transducer with a stack, trained on reverse.
        output_dir: folder for the files; by default automaton in the run's folder.
        max_length: all strings of one to so many symbols are tried.
        num_symbols_shown: symbols of the string in the figure.
        seed: random seed of this string.
    """
    check_seed(seed)
    trained = load_stack_rnn(ckpt_path, "reverse")
    K = trained.num_symbols
    if max_length < 1 or sum(K**n for n in range(1, max_length + 1)) > STRINGS_MAX:
        longest = max((n for n in range(1, 22) if sum(K**m for m in range(1, n + 1)) <= STRINGS_MAX), default=0)
        if longest == 0:
            raise UserError(
                f"the network reads {K} symbols; at most {STRINGS_MAX:,} strings can be tried, so train on fewer"
            )
        raise UserError(
            f"max_length is {max_length}; it must be from 1 to {longest}: at most {STRINGS_MAX:,} strings can be tried"
        )
    if not 1 <= num_symbols_shown <= LONGEST_SHOWN:
        raise UserError(f"num_symbols_shown is {num_symbols_shown}; it must be from 1 to {LONGEST_SHOWN}")
    folder = trained.folder / "automaton" if output_dir is None else Path(output_dir)
    make_folder(folder)  # before the measurement
    table, num_strings, num_wrong, margin = transitions(trained.network, K, max_length)
    print_table(table)
    try:
        write_table(table, folder / "automaton.csv")
        record(folder, ["automaton.csv"])
    except OSError as error:
        raise cannot_write(folder, error) from error
    string = torch.randint(K, (1, num_symbols_shown), generator=torch.Generator().manual_seed(seed))
    save(rows_of(trained.network, string, K), draw, folder, "stack")
    has_one_action = len(table) == len({(row["mode"], row["input"]) for row in table})
    deterministic = "one action for each mode and kind of input" if has_one_action else "several actions for one input"
    written = "all are written in reverse" if num_wrong == 0 else f"{num_wrong:,} are not written in reverse"
    print(
        f"All {num_strings:,} strings of 1 to {max_length} symbols were tried: {written}, {deterministic}. "
        f"The smallest margin of the right symbol is {margin:.3g}; with a mistake it is at most 0."
    )
    return 0 if has_one_action and num_wrong == 0 else 1


def transitions(network: StackRNN, K: int, max_length: int) -> tuple[Rows, int, int, float]:
    """A row for each mode, kind of input and action that occurred; numbers of strings and mistakes; the margin."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    num_strings, num_wrong, margin = 0, 0, float("inf")
    for n in range(1, max_length + 1):
        kinds = [("read", "symbol")] * n + [("read", "marker")] + [("write", "blank")] * n
        for strings in all_strings(K, n):
            steps = run_hardened(network, strings, K)
            num_strings, num_wrong = num_strings + len(strings), num_wrong + int(steps.wrong.sum())
            margin = float(torch.cat([steps.margin, torch.tensor([margin])]).min())  # NaN stays NaN
            for t, (mode, kind) in enumerate(kinds):
                for k, action in enumerate(ACTIONS):
                    certain = steps.certainty[:, t][steps.actions[:, t] == k]
                    if len(certain):
                        entry = found.setdefault((mode, kind, action), [0, 1.0])
                        entry[0] += len(certain)
                        entry[1] = min(entry[1], float(certain.min()))
    rows: Rows = [
        {"mode": mode, "input": kind, "action": action, "next_mode": "read" if kind == "symbol" else "write"}
        | {"steps": num, "smallest_probability": smallest}
        for (mode, kind, action), (num, smallest) in found.items()
    ]
    return rows, num_strings, num_wrong, margin


def all_strings(K: int, n: int) -> Iterator[Tensor]:
    """All strings of n symbols, some (B, n) int64 at a time."""
    place_values = K ** torch.arange(n - 1, -1, -1)
    for numbers in torch.arange(K**n).split(PIECE):
        yield numbers[:, None] // place_values % K


def run_hardened(network: StackRNN, strings: Tensor, K: int) -> Steps:
    """What the network does with strings (B, n) if it takes the most likely action at each step."""
    symbols, target = reversed_strings(strings, K)
    trace = network.trace(symbols, hardened=True)
    hidden = trace.hidden_states
    actions = trace.actions.max(dim=2).indices
    probabilities = torch.softmax(hidden @ network.W_ah.t() + network.b_a, dim=2)
    certainty = probabilities.gather(2, actions[:, :, None])[:, :, 0]
    logits = network.readout(hidden[:, -target.shape[1] :])
    right = logits.gather(2, target[:, :, None])[:, :, 0]
    others = logits.scatter(2, target[:, :, None], float("-inf")).max(dim=2).values
    margin = (right - others).min(dim=1).values
    return Steps(actions, certainty.detach(), ~(margin > 0), margin.detach())


def rows_of(network: StackRNN, string: Tensor, K: int) -> Rows:
    """A row for each time step of a string (1, n): the input, the probabilities of the actions, and the stack.

    The stack is that of hardened actions, from the bottom. A cell is shown as the symbol that the network would write
    if it read a blank with this cell at the top, and a hidden state of zeros.
    """
    symbols, target = reversed_strings(string, K)
    soft, hard = network.trace(symbols), network.trace(symbols, hardened=True)
    with torch.no_grad():
        blank = network.W_hx[:, K + 1] + network.b_h
        cells = hard.stacks[0]  # (T, D, M)
        h, *_ = network.step(blank.expand(cells.shape[0] * cells.shape[1], -1), *empty_state(network, cells))
        names = network.readout(h).argmax(dim=1).view(cells.shape[:2])
        written = network.readout(hard.hidden_states[0]).argmax(dim=1)
    rows: Rows = []
    first = symbols.shape[1] - target.shape[1]
    for t, symbol in enumerate(symbols[0].tolist()):
        depth = int((cells[t].abs().sum(dim=1) > 0).sum())
        shown = ["#", "_"][symbol - K] if symbol >= K else str(symbol)
        probabilities = {name: float(p) for name, p in zip(ACTIONS, soft.actions[0, t], strict=True)}
        stack = " ".join(str(int(name)) for name in names[t, :depth].flip(0))
        rows.append(
            {"step": t + 1, "input": shown, "written": int(written[t]) if t >= first else ""}
            | probabilities
            | {"stack": stack}
        )
    return rows


def empty_state(network: StackRNN, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Zeros for h, and for each of the cells (T, D, M) a stack with this cell alone."""
    tops = cells.reshape(-1, 1, cells.shape[2])
    return tops.new_zeros(len(tops), network.hidden_size), tops


def draw(rows: Rows, path: Path) -> None:
    """Above the probabilities of the actions, below the stack; the input and what is written at the axes."""
    stacks = [str(row["stack"]).split() for row in rows]
    deepest = max(map(len, stacks))
    size = (PAGE_WIDTH, 1.9 + 0.14 * deepest)
    figure, (above, below) = new_figure(2, 1, *size, sharex=True, height_ratios=[1.2, 0.14 * deepest + 0.3])
    steps = column(rows, "step")
    bottom = [0.0] * len(rows)
    for k, action in enumerate(ACTIONS):
        values = column(rows, action)
        above.bar(steps, values, 1.0, bottom, color=COLOURS[k], edgecolor="white", linewidth=0.4, label=action)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    above.set(ylabel="probability", ylim=(0, 1), xlim=(0.5, len(rows) + 0.5))
    above.tick_params(labelbottom=False)
    size_of_text = 7 if len(rows) <= 30 else 4
    for step, stack in zip(steps, stacks, strict=True):
        for height, symbol in enumerate(stack):
            below.text(step, height, symbol, ha="center", va="center", fontsize=size_of_text)
    below.set(ylim=(-0.7, deepest - 0.3), ylabel="stack, from the bottom", yticks=[])
    inputs = [f"{row['input']}\n{row['written']}" for row in rows]
    below.set_xticks(steps, inputs, fontsize=size_of_text)
    below.set_xlabel("first line: input (# marker, _ blank); second line: what the network writes")
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    save_figure(figure, path)
