"""What a text model writes, against tau and the training step: copying, spelling, repetition, quotations."""

import math
import re
from pathlib import Path
from typing import Any

import torch

from experiments.plotting import COLOURS, PAGE_WIDTH, mean_and_interval, means_by, new_figure, plot_means, save_figure
from experiments.tables import Rows, column, filter_rows, values_of
from experiments.text_model import MeasuredModel, TextSplits, distinct_share, n_grams, prompts, starts
from experiments.text_overlap import Searched
from models.decoding import read, sampling, write
from models.networks.stacked_lstm import CharacterSteps

COPY_LENGTH = 15
"""Characters of an n-gram that counts as copied if it occurs in the training text: about three words."""

REPEAT_LENGTH = 10
"""Characters of an n-gram that counts as repeated if it occurs earlier in the same sample."""

MEASURES = {
    "copied": f"{COPY_LENGTH}-grams in the training text",
    "unknown_words": "words not in the training text",
    "distinct_characters": f"distinct {REPEAT_LENGTH}-grams",
}
"""The measures in the figure, and their labels."""

HELD_OUT = "validation text"

WORD = re.compile(r"[^\W\d_]+")

CLOSING = {"\u2018": "\u2019", "\u201c": "\u201d", "\u00ab": "\u00bb"}


def measure(
    models: list[MeasuredModel], texts: TextSplits, taus: list[float], num_samples: int, length: int, seed: int
) -> Rows:
    """A row for each sample of each model with each tau, and for as many pieces of the validation text."""
    train = texts.vocabulary.decode(texts.train.tolist())
    searched = Searched(train, texts.train)
    words = set(words_of(train))
    places = starts(texts, num_samples, length)
    rows: Rows = []
    for model in models:
        samples = written(model, texts, places, taus, length, seed)
        for k, sample in enumerate(samples):
            described = {"tau": taus[k // num_samples], "sample": k % num_samples}
            rows.append(model.settings | described | measures_of(sample, searched, words))
    settings = dict.fromkeys(models[0].settings, "") | {"tau": HELD_OUT}
    for k, place in enumerate(places):
        piece = texts.vocabulary.decode(texts.val[place : place + length].tolist())
        rows.append(settings | {"sample": k} | measures_of(piece, searched, words))
    return rows


def written(
    model: MeasuredModel, texts: TextSplits, places: list[int], taus: list[float], length: int, seed: int
) -> list[str]:
    """Samples after the prompts that end at ``places``: those of the first tau, then those of the next."""
    network = CharacterSteps(model.network)
    prompt = torch.from_numpy(prompts(texts, places)).repeat(len(taus), 1)
    logits, state = read(network, prompt, network.start(len(prompt)))
    seeds = [seed + k for k in range(len(places))] * len(taus)
    tau = torch.tensor(taus, dtype=torch.float64).repeat_interleave(len(places))
    ids = torch.stack(list(write(network, logits, state, sampling(seeds, length, tau), length)), dim=1)
    return [texts.vocabulary.decode(row) for row in ids.tolist()]


def measures_of(sample: str, searched: Searched, known_words: set[str]) -> dict[str, Any]:
    """The measures of one text."""
    matches = list(searched.longest_matches(sample))
    complete = matches[: len(matches) - COPY_LENGTH + 1]  # the places at which an n-gram of the sample begins
    words = tuple(words_of(sample))
    opened, closed = quotations(sample)
    return {
        "copied": share(length >= COPY_LENGTH for length in complete),
        "longest_match": max(matches),
        "unknown_words": share(word not in known_words for word in words),
        "distinct_words": distinct_share(words),
        "distinct_word_pairs": distinct_share(n_grams(words, 2)),
        "distinct_characters": distinct_share(n_grams(sample, REPEAT_LENGTH)),
        "quotations": opened,
        "closed_quotations": closed,
    }


def share(flags: Any) -> float:
    """The share of true ones; NaN if there are none at all."""
    flags = list(flags)
    return sum(flags) / len(flags) if flags else math.nan


def words_of(text: str) -> list[str]:
    """Its sequences of letters, in lower case, without one that the end of the text may have cut."""
    matches = list(WORD.finditer(text))
    if matches and matches[-1].end() == len(text):
        matches.pop()
    return [match[0].lower() for match in matches]


def quotations(text: str) -> tuple[int, int]:
    """How many typographic quotations begin, and how many of them end before the next one of their kind begins.

    A closing mark between two letters is an apostrophe. The last quotation is left out if the text ends within it.
    """
    opened = closed = 0
    for opening, closing in CLOSING.items():
        for quotation in text.split(opening)[1:]:
            ends = re.search(rf"{closing}(?!\w)", quotation) is not None
            is_last = text.endswith(opening + quotation)
            opened += ends or not is_last
            closed += ends
    return opened, closed


def summarize(rows: Rows) -> Rows:
    """The means over samples for each model and tau; of the matches the longest, of quotations the share closed."""
    table = []
    for step, tau in dict.fromkeys((row["step"], row["tau"]) for row in rows):
        group = filter_rows(rows, step=step, tau=tau)
        means = {key: finite_mean(column(group, key)) for key in group[0] if key in MEASURES or "distinct" in key}
        opened = sum(column(group, "quotations"))
        closed = sum(column(group, "closed_quotations")) / opened if opened else math.nan
        longest = max(column(group, "longest_match"))
        _, low, high = mean_and_interval(column(group, "copied"))
        row = {"step": step, "tau": tau, "samples": len(group), "longest_match": longest}
        table.append(row | means | {"copied_low": low, "copied_high": high} | {"quotations": opened, "closed": closed})
    return table


def finite_mean(values: list[float]) -> float:
    """The mean without NaN, which a sample without words has."""
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan


def draw(rows: Rows, path: Path) -> None:
    """A panel for each measure: against tau a line with its 95 % interval for each training step; validation text."""
    figure, panels = new_figure(1, len(MEASURES), PAGE_WIDTH, 2.8)
    held_out = filter_rows(rows, tau=HELD_OUT)
    drawn = [row for row in rows if row["tau"] != HELD_OUT]
    taus = values_of(drawn, "tau")
    names = ["greedy" if math.isinf(tau) else f"{tau:g}" for tau in taus]
    for axes, (key, label) in zip(panels, MEASURES.items(), strict=True):
        for k, step in enumerate(values_of(drawn, "step")):
            line = [row | {"x": taus.index(row["tau"])} for row in filter_rows(drawn, step=step)]
            shown = [row for row in line if not math.isnan(row[key])]
            plot_means(axes, f"step {step:,}", means_by(shown, "x", key), k, (0.0, 1.0), marker="o")
        mean, low, high = mean_and_interval([row[key] for row in held_out if not math.isnan(row[key])])
        axes.axhline(mean, color=COLOURS[-1], linewidth=1, label=HELD_OUT)
        axes.axhspan(low, high, color=COLOURS[-1], alpha=0.1, linewidth=0)
        axes.set_xticks(range(len(taus)), names, rotation=60)
        axes.set(xlabel="tau", ylabel=f"share of\n{label}", ylim=(0, None))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=math.ceil(len(labels) / 2), frameon=False)
    save_figure(figure, path)
