"""Each decoding method, against all possible texts, on models small enough to list them."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding import ENDED, beam_search, greedy, probabilities, read, sampling, write

V = 3


class TwoLetters:
    """What comes next depends on the two letters before it, by a table of random logits (V, V, V)."""

    def __init__(self, seed: int, num: int = V, scale: float = 2.0) -> None:
        self.num = num
        self.table = scale * torch.randn(num, num, num, generator=torch.Generator().manual_seed(seed))

    def start(self, B: int) -> tuple[Tensor, ...]:
        return (torch.zeros(B, 1),)

    def __call__(self, ids: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (before,) = state
        return self.table[before[:, 0].long(), ids], (ids[:, None].float(),)


def begin(network: TwoLetters, *prompts: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
    return read(network, torch.tensor(prompts), network.start(len(prompts)))


def log_prob(network: TwoLetters, prompt: Sequence[int], ids: Sequence[int]) -> float:
    """Of ``ids`` after ``prompt``, by the table, one letter at a time."""
    total, letters = 0.0, [0, *prompt]
    for i in ids:
        logits = network.table[letters[-2], letters[-1]].double()
        total += float(logits[i] - logits.logsumexp(0))
        letters.append(i)
    return total


def complete_texts(num: int, length: int, stop: Sequence[int]) -> list[tuple[int, ...]]:
    """All texts of that length, and all that end earlier, with the first ``stop`` in them."""
    texts = set()
    for ids in itertools.product(range(num), repeat=length):
        ends = [n for n in range(len(stop), length) if ids[n - len(stop) : n] == tuple(stop)] if stop else []
        texts.add(ids[: ends[0]] if ends else ids)
    return sorted(texts)


def written(
    network: Any, logits: Tensor, state: Any, choose: Any, length: int, stop: Sequence[int] = ()
) -> list[list[int]]:
    ids = torch.stack(list(write(network, logits, state, choose, length, stop)), dim=1)
    return [[i for i in row if i != ENDED] for row in ids.tolist()]


@pytest.mark.parametrize("stop", [(), (1,), (2, 1), (0, 0)])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_full_width_beam_finds_the_best_of_all_texts(seed: int, length_penalty: float, stop: tuple[int, ...]) -> None:
    network, prompts, length = TwoLetters(seed), [[1, 2], [0, 1]], 5
    found = beam_search(network, *begin(network, *prompts), length, V**length, stop, length_penalty, num_best=4)
    for prompt, best in zip(prompts, found, strict=True):
        penalty = length_penalty if stop else 0.0
        texts = complete_texts(V, length, stop)
        scores = sorted((log_prob(network, prompt, ids) / len(ids) ** penalty for ids in texts), reverse=True)
        # Two texts of the same steps in another order are equally probable.
        assert len({tuple(one.ids) for one in best}) == 4 and {tuple(one.ids) for one in best} <= set(texts)
        assert [one.score for one in best] == pytest.approx(scores[:4], abs=1e-9)
        for one in best:
            assert one.log_prob == pytest.approx(log_prob(network, prompt, one.ids), abs=1e-9)
            assert one.score == pytest.approx(one.log_prob / len(one.ids) ** penalty, abs=1e-9)


@pytest.mark.parametrize("beam_size", [1, 2, 3, 5])
@pytest.mark.parametrize("stop", [(), (2, 1)])
def test_a_beam_keeps_the_most_probable_beginnings(beam_size: int, stop: tuple[int, ...]) -> None:
    """Against a beam search with lists, which sorts all that can be written."""
    network, prompt, length = TwoLetters(3), [1, 2], 8
    beam: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    done: list[tuple[float, tuple[int, ...]]] = []
    for n in range(1, length + 1):
        extended = [(log_prob(network, prompt, (*ids, i)), (*ids, i)) for _, ids in beam for i in range(V)]
        beam = sorted(extended, reverse=True)[:beam_size]
        ended = [(p, ids) for p, ids in beam if n == length or (stop and ids[-len(stop) :] == stop)]
        done += [(p / len(ids) if stop else p, ids) for p, ids in ended]
        beam = [one for one in beam if one not in ended]
    (best,) = beam_search(network, *begin(network, prompt), length, beam_size, stop)
    score, ids = max(done)
    assert tuple(best[0].ids) == ids and best[0].score == pytest.approx(score, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), stop=st.sampled_from([(), (1,), (4, 2)]), scale=st.sampled_from([0.0, 1e-7, 1.0, 30.0])
)
def test_a_beam_of_one_is_greedy(seed: int, stop: tuple[int, ...], scale: float) -> None:
    network = TwoLetters(seed, num=6, scale=scale)
    logits, state = begin(network, [1, 2], [3, 4])
    found = beam_search(network, logits, state, 12, 1, stop)
    assert [best[0].ids for best in found] == written(network, logits, state, greedy, 12, stop)


def test_greedy_takes_the_most_probable() -> None:
    network = TwoLetters(5)
    (ids,) = written(network, *begin(network, [1, 2]), greedy, 10)
    letters = [1, 2]
    for i in ids:
        assert i == int(network.table[letters[-2], letters[-1]].argmax())
        letters.append(i)


LOGITS = torch.tensor([[1.0, 3.0, 2.0, -1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 5.0]])


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_tau_multiplies_the_logits(tau: float) -> None:
    expected = [[math.exp(tau * x) / sum(math.exp(tau * y) for y in row) for x in row] for row in LOGITS.tolist()]
    torch.testing.assert_close(probabilities(LOGITS, tau), torch.tensor(expected, dtype=torch.float64))


def test_the_ends_of_tau() -> None:
    torch.testing.assert_close(probabilities(LOGITS, 0.0), torch.full((2, 5), 0.2, dtype=torch.float64))
    torch.testing.assert_close(
        probabilities(LOGITS - torch.tensor([math.inf, 0, 0, 0, 0]), 0.0), torch.full((2, 5), 0.2, dtype=torch.float64)
    )
    most = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], dtype=torch.float64)
    for tau in (math.inf, 1e30, 1e308):
        torch.testing.assert_close(probabilities(LOGITS, tau), most)
    both = probabilities(LOGITS, torch.tensor([0.0, math.inf]))
    torch.testing.assert_close(both, torch.stack([torch.full((5,), 0.2, dtype=torch.float64), most[1]]))
    torch.testing.assert_close(probabilities(1000 * LOGITS, 1.0), most)


def brute_probabilities(logits: list[float], tau: float, top_k: int | None, top_p: float | None) -> list[float]:
    weights = [math.exp(tau * x) for x in logits]
    probs = {i: weight / sum(weights) for i, weight in enumerate(weights)}
    order = sorted(probs, key=lambda i: (-probs[i], i))[:top_k]
    if top_p is not None:
        total, kept, sum_kept = sum(probs[i] for i in order), [], 0.0
        for i in order:
            if kept and sum_kept >= top_p * total - 1e-12:
                break
            kept.append(i)
            sum_kept += probs[i]
        order = kept
    total = sum(probs[i] for i in order)
    return [probs[i] / total if i in order else 0.0 for i in range(len(logits))]


@settings(max_examples=300, deadline=None)
@given(
    logits=st.lists(st.integers(-40, 40).map(lambda i: i / 10), min_size=1, max_size=8),
    tau=st.sampled_from([0.25, 1.0, 3.0]),
    top_k=st.none() | st.integers(1, 9),
    top_p=st.none() | st.sampled_from([1e-9, 0.1, 0.31, 0.5, 0.77, 0.9, 1.0]),
)
def test_top_k_and_top_p_keep_the_most_probable(
    logits: list[float], tau: float, top_k: int | None, top_p: float | None
) -> None:
    ours = probabilities(torch.tensor([logits]), tau, top_k, top_p)[0]
    theirs = brute_probabilities(torch.tensor(logits).tolist(), tau, top_k, top_p)
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("tau", "top_k", "top_p"), [(1.0, None, None), (0.3, None, None), (1.0, 2, None), (0.5, None, 0.8)]
)
def test_texts_are_drawn_as_often_as_they_are_probable(tau: float, top_k: int | None, top_p: float | None) -> None:
    network, prompt, length, num = TwoLetters(2, scale=1.0), [1, 2], 3, 20_000
    logits, state = begin(network, *[prompt] * num)
    texts = written(network, logits, state, sampling(range(num), length, tau, top_k, top_p), length)
    for ids in itertools.product(range(V), repeat=length):
        letters, prob = list(prompt), 1.0
        for i in ids:
            prob *= brute_probabilities(network.table[letters[-2], letters[-1]].tolist(), tau, top_k, top_p)[i]
            letters.append(i)
        share = sum(text == list(ids) for text in texts) / num
        assert abs(share - prob) <= 5 * math.sqrt(prob * (1 - prob) / num) + (0 if prob == 0 else 1 / num)


def test_an_infinite_tau_is_greedy_and_none_is_uniform() -> None:
    network = TwoLetters(4)
    logits, state = begin(network, *[[1, 2]] * 3000)
    (most,) = {tuple(row) for row in written(network, logits, state, sampling(range(3000), 6, math.inf), 6)}
    assert list(most) == written(network, logits[:1], (state[0][:1],), greedy, 6)[0]
    counts = torch.tensor(written(network, logits, state, sampling(range(3000), 6, 0.0), 6)).flatten().bincount()
    assert (counts / 18000 - 1 / 3).abs().max() < 0.02


def test_a_drawn_text_depends_only_on_its_seed() -> None:
    network = TwoLetters(4)
    logits, state = begin(network, *[[1, 2]] * 4)
    together = written(network, logits, state, sampling([7, 8, 9, 7], 30), 30)
    assert together[0] == together[3] != together[1]
    for seed, text in zip([7, 8, 9], together, strict=False):
        assert written(network, logits[:1], (state[0][:1],), sampling([seed], 30), 30) == [text]


def test_each_text_ends_with_its_stop() -> None:
    network = TwoLetters(4)
    logits, state = begin(network, *[[1, 2]] * 50)
    whole = written(network, logits, state, sampling(range(50), 12), 12)
    stopped = written(network, logits, state, sampling(range(50), 12), 12, stop=(2, 1))
    for text, cut in zip(whole, stopped, strict=True):
        ends = [n for n in range(2, 13) if text[n - 2 : n] == [2, 1]]
        assert cut == (text[: ends[0]] if ends else text)
    assert len({len(text) for text in stopped}) > 3
    always = list(write(network, logits, state, lambda logits, t: torch.full((50,), 1), 12, stop=(1, 1)))
    assert len(always) == 2


def test_the_last_character_is_not_read() -> None:
    class Counting(TwoLetters):
        calls = 0

        def __call__(self, ids: Tensor, state: Any) -> Any:
            self.calls += 1
            return super().__call__(ids, state)

    network = Counting(1)
    logits, state = begin(network, [0, 1, 2])
    assert network.calls == 3
    list(write(network, logits, state, greedy, 5))
    assert network.calls == 3 + 4
    with pytest.raises(ValueError, match="the prompt is empty"):
        read(network, torch.empty(1, 0, dtype=torch.int64), network.start(1))


def test_a_network_that_has_diverged_still_generates() -> None:
    network = TwoLetters(1)
    network.table.fill_(math.nan)
    logits, state = begin(network, [0, 1])
    for choose in (greedy, sampling([1], 5), sampling([1], 5, math.inf), sampling([1], 5, 1.0, 2, 0.5)):
        assert all(0 <= i < V for i in written(network, logits, state, choose, 5)[0])


@pytest.mark.parametrize("exponential", [5e-324, 1e3])
def test_a_character_without_probability_is_never_drawn(exponential: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """At both ends of the random numbers."""
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda tensor, **_: tensor.fill_(exponential))
    logits = torch.tensor([[0.0, 2.0, 1.9, 0.0]])
    assert sampling([1], 1, 1.0, 2)(logits, 0).item() in (1, 2)


def test_a_text_longer_than_one_draw_continues_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.decoding.DRAWN_AT_ONCE", 20 * V + 1)
    network = TwoLetters(4)
    (text,) = written(network, *begin(network, [1, 2]), sampling([7], 90), 90)
    parts = [text[i : i + 20] for i in range(0, 90, 20)]
    assert len(text) == 90 and len({tuple(part) for part in parts}) == len(parts)


def test_there_may_be_more_characters_than_numbers_in_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.decoding.DRAWN_AT_ONCE", V - 1)
    network = TwoLetters(4)
    (text,) = written(network, *begin(network, [1, 2]), sampling([7], 90), 90)
    assert len(text) == 90 and set(text) == {0, 1, 2}
