"""Beam searches of several sizes after the same prompts: how probable their texts are, and how repetitive."""

from itertools import pairwise
from pathlib import Path

import torch

from experiments.plotting import PAGE_WIDTH, mean_and_interval, means_by, new_figure, plot_means, save_figure
from experiments.tables import Rows, column, filter_rows, values_of
from experiments.text_model import MeasuredModel, TextSplits, distinct_share, n_grams, prompts, starts
from experiments.text_writing import REPEAT_LENGTH, words_of
from models.decoding import beam_search, read
from models.networks.stacked_lstm import CharacterSteps

ROWS_AT_ONCE = 1000
"""Hypotheses that are extended together."""

MEASURES = {
    "log_prob": "log probability (nats)",
    "repeated": f"share of repeated {REPEAT_LENGTH}-grams",
    "distinct_words": "share of distinct words",
}


def measure(models: list[MeasuredModel], texts: TextSplits, beams: list[int], num_prompts: int, length: int) -> Rows:
    """A row for each model, size of the beam and prompt."""
    places = starts(texts, num_prompts, length)
    rows: Rows = []
    for model in models:
        network = CharacterSteps(model.network)
        for beam in beams:
            ids = torch.from_numpy(prompts(texts, places))
            found = []
            for part in ids.split(max(1, ROWS_AT_ONCE // beam)):
                logits, state = read(network, part, network.start(len(part)))
                found += beam_search(network, logits, state, length, beam)
            for k, (best,) in enumerate(found):
                text = texts.vocabulary.decode(best.ids)
                measured = {
                    "log_prob": best.log_prob,
                    "repeated": 1 - distinct_share(n_grams(text, REPEAT_LENGTH)),
                    "distinct_words": distinct_share(words_of(text)),
                }
                rows.append(model.settings | {"beam": beam, "prompt": k} | measured)
    return rows


def summarize(rows: Rows) -> Rows:
    """The means over prompts for each model and beam, with 95 % intervals.

    ``less_probable`` is the share of prompts for which the beam finds a less probable text than the next smaller beam.
    """
    table = []
    for step in values_of(rows, "step"):
        of_model = filter_rows(rows, step=step)
        beams = values_of(of_model, "beam")
        smaller = {wider: narrower for narrower, wider in pairwise(beams)}
        for beam in beams:
            group = filter_rows(of_model, beam=beam)
            row = {"step": step, "beam": beam, "prompts": len(group)}
            for key in MEASURES:
                mean, low, high = mean_and_interval(column(group, key))
                row |= {key: mean, f"{key}_low": low, f"{key}_high": high}
            before = filter_rows(of_model, beam=smaller.get(beam, beam))
            pairs = zip(column(group, "log_prob"), column(before, "log_prob"), strict=True)
            table.append(row | {"less_probable": sum(ours < theirs for ours, theirs in pairs) / len(group)})
    return table


def draw(rows: Rows, path: Path) -> None:
    """A panel for each measure: its mean and 95 % interval against the size of the beam."""
    figure, panels = new_figure(1, len(MEASURES), PAGE_WIDTH, 2.4)
    beams = values_of(rows, "beam")
    for axes, (key, label) in zip(panels, MEASURES.items(), strict=True):
        for k, step in enumerate(values_of(rows, "step")):
            plot_means(axes, f"step {step:,}", means_by(filter_rows(rows, step=step), "beam", key), k, marker="o")
        axes.set(xscale="log", xlabel="size of the beam, K", ylabel=label)
        axes.set_xticks(beams, [str(beam) for beam in beams])
        axes.minorticks_off()
    if len(values_of(rows, "step")) > 1:
        panels[0].legend(frameon=False)
    save_figure(figure, path)
