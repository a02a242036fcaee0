"""How often texts repeat a word: lexical cohesion (Halliday and Hasan 1976), against the distance between two words."""

import math
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.plotting import COLOURS, PAGE_WIDTH, new_figure, save_figure
from experiments.tables import Rows, filter_rows, values_of
from experiments.text_model import MeasuredModel, TextSplits, starts
from experiments.text_writing import HELD_OUT, written

DISTANCES = (1, 30, 100, 300, 1000)
"""Distances between the beginnings of two words, in characters: each from one of these up to the next."""

BIN_EDGES = [*DISTANCES[:-1], DISTANCES[-1] - 0.5]
"""The same for numpy, whose last bin contains its upper end."""

WORD = re.compile(r"[^\W\d_]{5,}")
"""A word that counts. Short words, such as "the", are frequent in every text, whatever it is about."""


class Pairs(NamedTuple):
    """Pairs of words in one text: all of them and the equal ones, at each range of distances; how often each word."""

    num: np.ndarray
    equal: np.ndarray
    words: Counter[str]


def measure(
    models: list[MeasuredModel], texts: TextSplits, taus: list[float], num_samples: int, length: int, seed: int
) -> Rows:
    """A row for each model, tau and range of distances, and for as many pieces of the validation text."""
    places = starts(texts, num_samples, length)
    rows: Rows = []
    for model in models:
        samples = written(model, texts, places, taus, length, seed)
        for k, tau in enumerate(taus):
            own = samples[k * num_samples : (k + 1) * num_samples]
            rows += [model.settings | {"tau": tau} | row for row in cohesion(own)]
    pieces = [texts.vocabulary.decode(texts.val[place : place + length].tolist()) for place in places]
    settings = dict.fromkeys(models[0].settings, "") | {"tau": HELD_OUT}
    return rows + [settings | row for row in cohesion(pieces)]


def cohesion(samples: list[str]) -> Rows:
    """A row for each range of distances; NaN where no text has two words at such a distance.

    ``ratio`` is the share of equal words among all pairs of words at this distance in one text, divided by ``chance``,
    the share among pairs of words of two different texts. A text about nothing has 1. ``low`` and ``high`` are the ends
    of a 95 % interval: the jackknife over texts, on the logarithm of the ratio.
    """
    pairs = [pairs_of(sample) for sample in samples]
    together: Counter[str] = Counter()
    for one in pairs:
        together.update(one.words)
    num, equal = np.sum([one.num for one in pairs], 0), np.sum([one.equal for one in pairs], 0)
    # Pairs of words of different texts: of all texts, and those of each text with a word of another one.
    lengths = np.array([one.words.total() for one in pairs])
    apart = lengths * (lengths.sum() - lengths)
    shared = [sum(n * (together[word] - n) for word, n in one.words.items()) for one in pairs]
    ratio, chance = ratios(equal, num, sum(shared), apart.sum())
    rest = [
        ratios(equal - one.equal, num - one.num, sum(shared) - 2 * shared[k], apart.sum() - 2 * apart[k])[0]
        for k, one in enumerate(pairs)
    ]
    rows: Rows = []
    for k, (first, end) in enumerate(pairwise(DISTANCES)):
        low, high = jackknife(float(ratio[k]), [float(other[k]) for other in rest])
        measured = {"pairs": int(num[k]), "ratio": float(ratio[k]), "low": low, "high": high, "chance": chance}
        rows.append({"from": first, "to": end, "samples": len(samples)} | measured)
    return rows


def pairs_of(text: str) -> Pairs:
    """The pairs of words of a text. A word that the end of the text may have cut is left out."""
    found = [(match.start(), match[0].lower()) for match in WORD.finditer(text) if match.end() < len(text)]
    places = np.array([place for place, _ in found])
    words = np.array([word for _, word in found])
    num, equal = np.zeros(len(DISTANCES) - 1, int), np.zeros(len(DISTANCES) - 1, int)
    for apart in range(1, len(found)):
        distances = places[apart:] - places[:-apart]
        if distances.min() >= DISTANCES[-1]:
            break
        num += np.histogram(distances, BIN_EDGES)[0]
        equal += np.histogram(distances[words[apart:] == words[:-apart]], BIN_EDGES)[0]
    return Pairs(num, equal, Counter(words.tolist()))


def ratios(equal: np.ndarray, num: np.ndarray, equal_apart: float, apart: float) -> tuple[np.ndarray, float]:
    """The ratio at each range of distances, and the share of equal words among pairs of words of different texts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        chance = np.divide(equal_apart, apart)
        return equal / num / chance, float(chance)


def jackknife(value: float, without_one: list[float]) -> tuple[float, float]:
    """The ends of a 95 % interval of a positive value, from its values without one text each; NaN where one is 0."""
    from scipy import stats  # slow to import, so only where it is used

    n = len(without_one)
    if n < 2 or not all(0 < other < math.inf for other in (value, *without_one)):
        return math.nan, math.nan
    logarithms = np.log(without_one)
    error = math.sqrt((n - 1) / n * float(((logarithms - logarithms.mean()) ** 2).sum()))
    margin = float(stats.t.ppf(0.975, n - 1)) * error
    return value * math.exp(-margin), value * math.exp(margin)


def draw(rows: Rows, path: Path) -> None:
    """A panel for each tau: the ratio against the distance, a line for each training step, and the validation text."""
    drawn = [row for row in rows if row["tau"] != HELD_OUT]
    taus = values_of(drawn, "tau")
    figure, panels = new_figure(1, len(taus), PAGE_WIDTH, 2.6, squeeze=False, sharey=True)
    for axes, tau in zip(panels[0], taus, strict=True):
        lines = [(f"step {step:,}", filter_rows(drawn, tau=tau, step=step)) for step in values_of(drawn, "step")]
        for k, (name, line) in enumerate([*lines, (HELD_OUT, filter_rows(rows, tau=HELD_OUT))]):
            colour = COLOURS[-1] if name == HELD_OUT else COLOURS[k]
            x = [row["from"] * 1.06**k for row in line]  # next to each other, so that no interval hides another
            y = [row["ratio"] for row in line]
            errors = [[abs(row["ratio"] - row[end]) for row in line] for end in ("low", "high")]
            axes.errorbar(x, y, errors, label=name, color=colour, marker="o", markersize=3, linewidth=1)
        axes.axhline(1, color="#888888", linewidth=0.6, linestyle=":")
        axes.set(xscale="log", xlabel="characters between two words, from")
        axes.set_xticks(DISTANCES[:-1], [str(distance) for distance in DISTANCES[:-1]])
        axes.minorticks_off()
        axes.set_title("greedy" if math.isinf(tau) else f"tau = {tau:g}", loc="left")
    panels[0, 0].set_ylabel("equal words,\nrelative to chance")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
    save_figure(figure, path)
