"""The loss of a text model against the number of characters that it has read.

Legend: B positions, T characters of context.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from experiments.plotting import PAGE_WIDTH, mean_and_interval, new_figure, plot_means, save_figure
from experiments.tables import Rows, values_of
from experiments.text_model import MeasuredModel, TextSplits
from models.networks.stacked_lstm import StackedLSTM
from training.errors import UserError

NUM_BLOCKS = 50
"""Consecutive parts of the text. The interval is over their means: losses next to each other are not independent."""

SHOWN_FROM = 10
"""Characters of context from which on the figure compares the loss with that after the longest context."""

CHARACTERS_AT_ONCE = 1 << 16
"""Characters that are read together: the hidden states and logits of all of them are in memory."""


def measure(models: list[MeasuredModel], texts: TextSplits, contexts: list[int], num_positions: int) -> Rows:
    """A row for each model and each number of characters of context, in ascending order.

    The positions are the same for all, so ``excess``, the loss minus that with the longest context, compares like with
    like. ``low`` and ``high`` are the ends of a 95 % interval over consecutive blocks of the text.
    """
    num_possible = len(texts.val) - contexts[-1]
    if num_possible < 2 * NUM_BLOCKS:
        raise UserError(
            f"contexts has {contexts[-1]}, but the validation text has {len(texts.val)} characters; it must have at "
            f"least {2 * NUM_BLOCKS} more, so use shorter contexts or a longer book"
        )
    positions = contexts[-1] + np.unique(np.linspace(0, num_possible - 1, min(num_positions, num_possible), dtype=int))
    rows: Rows = []
    for model in models:
        losses = {T: losses_after(model.network, texts, positions, T) for T in contexts}
        for T in contexts:
            row = model.settings | {"context": T, "num_positions": len(positions)}
            for name, values in (("loss", losses[T]), ("excess", losses[T] - losses[contexts[-1]])):
                mean, low, high = mean_and_interval([part.mean() for part in np.array_split(values, NUM_BLOCKS)])
                row |= {name: float(mean), f"{name}_low": float(low), f"{name}_high": float(high)}
            rows.append(row)
    return rows


@torch.no_grad()
def losses_after(network: StackedLSTM, texts: TextSplits, positions: np.ndarray, context: int) -> np.ndarray:
    """The loss, in nats, of the character at each position after the ``context`` characters before it, (B,)."""
    windows = np.lib.stride_tricks.sliding_window_view(texts.val, context + 1)[positions - context]
    losses = []
    for part in np.array_split(windows, -(-windows.size // CHARACTERS_AT_ONCE)):
        ids = torch.from_numpy(part.astype(np.int64))
        logits, _ = network(ids[:, :-1])
        losses.append(functional.cross_entropy(logits[:, -1], ids[:, -1], reduction="none").numpy())
    return np.concatenate(losses).astype(np.float64)


def draw(rows: Rows, path: Path) -> None:
    """Left the loss against the context; right, from ten characters on, how far it is above that of the longest."""
    figure, panels = new_figure(1, 2, PAGE_WIDTH, 2.8)
    lines = list(dict.fromkeys((row["seq_len"], str(row["carry_state"]), row["seed"], row["step"]) for row in rows))
    for axes, key in zip(panels, ("loss", "excess"), strict=True):
        for k, line in enumerate(lines):
            shown = [
                row
                for row in rows
                if (row["seq_len"], str(row["carry_state"]), row["seed"], row["step"]) == line
                and (key == "loss" or row["context"] >= SHOWN_FROM)
            ]
            points = {row["context"]: (row[key], row[f"{key}_low"], row[f"{key}_high"]) for row in shown}
            state = "carried" if line[1] == "True" else "reset"
            plot_means(axes, f"T = {line[0]}, state {state}, step {line[3]:,}", points, k, marker="o")
        axes.set(xscale="log", xlabel="characters read before")
        ticks = values_of(shown, "context")
        axes.set_xticks(ticks, [str(tick) for tick in ticks], rotation=45)
        axes.minorticks_off()
    panels[0].set_ylabel("validation loss (nats per character)")
    panels[1].set_ylabel(f"loss minus that after {rows[-1]['context']}")
    panels[1].axhline(0, color="#999999", linewidth=0.8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(lines), frameon=False)
    save_figure(figure, path)
