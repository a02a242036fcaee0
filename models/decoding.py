"""From a network's predictions to text: greedy, sampling, beam search (questions 2.1c and 2.3 of the assignment).

All functions work on ids of characters, for several texts at once, with any network that predicts the next character.

Legend: B texts, P characters of a prompt, n generated characters, V different characters, K hypotheses of a beam.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

State = Any
"""A network's state after the characters so far: a tuple of tensors, each with B as its last dimension but one."""


class Network(Protocol):
    """Reads a character of each text: ids (B,) int64 and state -> logits of the next (B, V), and the new state."""

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]: ...


Choice = Callable[[Tensor, int], Tensor]
"""Chooses the next character of each text: logits (B, V) and the number of characters chosen before -> ids (B,)."""

ENDED = -1
"""Takes the place of an id if a text has ended before."""


def read(network: Network, prompt: Tensor, state: State) -> tuple[Tensor, State]:
    """Read a prompt (B, P), P at least 1 -> logits of the next character (B, V), and the state."""
    if prompt.shape[1] == 0:
        raise ValueError("the prompt is empty; it must have at least one character")
    for ids in prompt.unbind(dim=1):
        logits, state = network(ids, state)
    return logits, state


def write(
    network: Network, logits: Tensor, state: State, choose: Choice, length: int, stop: Sequence[int] = ()
) -> Iterator[Tensor]:
    """Generate text: choose a character, read it, choose the next.

    Args:
        network: reads the chosen characters.
        logits: of the first character, (B, V), from ``read``.
        state: of the network, from ``read``.
        choose: ``greedy``, or a result of ``sampling``.
        length: characters to generate, n.
        stop: a text ends as soon as its last characters are these.
    Yields:
        the next id of each text, (B,) int64, ``ENDED`` for texts that have ended; until all texts have ended.
    """
    stop_ids = torch.tensor(stop)
    last = torch.full((len(logits), len(stop)), ENDED)  # the last characters of each text
    ended = torch.zeros(len(logits), dtype=torch.bool)
    for t in range(length):
        ids = choose(logits, t).cpu()
        yield torch.where(ended, ENDED, ids) if stop else ids
        if stop:
            last = append(last, ids)
            ended = ended | (last == stop_ids).all(dim=-1)
            if ended.all():
                return
        if t + 1 < length:
            logits, state = network(ids.to(logits.device), state)


def greedy(logits: Tensor, num_chosen: int = 0) -> Tensor:
    """The most probable character of each text: (B, V) -> (B,)."""
    return logits.topk(1).indices[:, 0]


def sampling(
    seeds: Sequence[int], length: int, tau: float | Tensor = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Choice:
    """A random choice. Each text depends only on its own seed, not on the texts next to it.

    Independent Gumbel noise is added to the logits, and the largest is taken. This draws from their softmax without
    computing it (Maddison, Tarlow and Minka 2014).

    There is a seed for each of the B texts, and ``length`` is the largest number of characters that will be chosen, one
    after the other. The other arguments are those of ``probabilities``.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    filters = top_k is not None or top_p is not None
    # Logits plus noise / tau have the same maximum as logits * tau plus noise.
    factor = torch.ones(1, 1) if filters else as_column(tau).clamp_min(MIN_TAU)
    noise: Sequence[Tensor] = ()  # of the next characters, each (B, V) float64

    def choose(logits: Tensor, num_chosen: int) -> Tensor:
        nonlocal noise
        at_once = max(1, DRAWN_AT_ONCE // logits.shape[1])  # independent of B, so that a text is independent of others
        if num_chosen % at_once == 0:
            shape = min(at_once, length - num_chosen), logits.shape[1]
            drawn = [torch.empty(shape, dtype=torch.float64).exponential_(generator=g) for g in generators]
            noise = (-torch.stack(drawn, dim=1).log_() / factor).unbind()
        logits = probabilities(logits, tau, top_k, top_p).log() if filters else logits.cpu()
        return (logits + noise[num_chosen % at_once]).max(dim=1).indices

    return choose


DRAWN_AT_ONCE = 1 << 12
"""Random numbers of a text that are drawn together: V for each character to choose."""

MIN_TAU = 1e-250
"""Has the same effect as 0 on logits in float32, but can be a divisor."""


def as_column(tau: float | Tensor) -> Tensor:
    """One number or (B,) as a column, float64."""
    return torch.as_tensor(tau, dtype=torch.float64).reshape(-1, 1)


def probabilities(
    logits: Tensor, tau: float | Tensor = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The probabilities with which a character is drawn: logits (B, V) -> (B, V) float64.

    Args:
        logits: of the network.
        tau: factor of the logits, one number or (B,), at least 0 (equation of question 2.1c). With 0 all characters are
            equally probable, 1 gives the network's probabilities, infinity only the most probable character.
        top_k: keep only the k most probable characters (Fan, Lewis and Dauphin 2018).
        top_p: then keep only the fewest characters with at least this total probability (Holtzman et al. 2020).
    """
    # On the CPU, where the random numbers are. Relative to the largest logit: infinity times 0 is set to 0 there.
    differences = (logits - logits.amax(dim=1, keepdim=True)).double().cpu()
    factor = as_column(tau)
    scaled = torch.where(differences == 0, 0.0, differences * factor)
    probs = torch.where(factor == 0, torch.zeros_like(scaled), scaled).softmax(dim=1)
    ordered, order = probs.sort(dim=1, descending=True, stable=True)
    kept = torch.ones_like(ordered, dtype=torch.bool)
    if top_k is not None:
        kept[:, top_k:] = False
        ordered = ordered * kept
    if top_p is not None:
        ordered = ordered / ordered.sum(dim=1, keepdim=True)
        kept &= ordered.cumsum(dim=1) - ordered < top_p
    probs = probs * torch.zeros_like(kept).scatter(1, order, kept)
    return probs / probs.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class Hypothesis:
    """A text found by a beam search, the log of its probability given the prompt, and the score that orders texts."""

    ids: list[int]
    log_prob: float
    score: float


def beam_search(
    network: Network,
    logits: Tensor,
    state: State,
    length: int,
    beam_size: int,
    stop: Sequence[int] = (),
    length_penalty: float = 1.0,
    num_best: int = 1,
) -> list[list[Hypothesis]]:
    """Beam search: the most probable texts whose every prefix was one of the K most probable (Lowerre 1976).

    A text is complete when it has ``length`` characters, or earlier, when its last characters are ``stop``. Without
    ``stop`` all texts have the same length, and the score is ``log_prob``. With ``stop`` lengths differ, and longer
    texts are less probable; then the score is ``log_prob / n ** length_penalty`` (Wu et al. 2016, simplified), with a
    penalty of 1 the mean over the characters. ``beam_size`` is K, and 1 is greedy. ``network``, ``logits``, ``state``,
    ``length`` and ``stop`` are those of ``write``.

    Returns:
        for each of the B texts its ``num_best`` best hypotheses, the best first.
    """
    B, V = logits.shape
    penalty = length_penalty if stop else 0.0
    # Of each complete text: score, log_prob, last step, place in the beam.
    finished: list[list[tuple[float, float, int, int]]] = [[] for _ in range(B)]
    backpointers: list[tuple[Tensor, Tensor]] = []  # of each step: the extended hypothesis, and the new id, (B, K)
    stop_ids = torch.tensor(stop)
    last = torch.full((B, 1, len(stop)), ENDED)  # the last characters of each hypothesis
    log_probs = torch.zeros(B, 1, dtype=torch.float64)
    for t in range(length):
        # In float64: sums in float32 of close hypotheses could be equal, and a beam of 1 would not be greedy.
        steps = logits.double().log_softmax(dim=1).cpu().view(B, -1, V)
        extended = (log_probs[:, :, None] + steps).flatten(1)
        log_probs, places = extended.topk(min(beam_size, extended.shape[1]))
        num_before = steps.shape[1]
        origins, ids = places // V, places % V
        backpointers.append((origins, ids))
        complete = torch.full(ids.shape, t + 1 == length)
        if stop:
            last = append(last.take_along_dim(origins[:, :, None], dim=1), ids)
            complete |= (last == stop_ids).all(dim=-1)
        if complete.any():
            for b, k in complete.nonzero().tolist():
                log_prob = log_probs[b, k].item()
                if log_prob > -torch.inf:
                    finished[b].append((log_prob / (t + 1) ** penalty, log_prob, t, k))
            log_probs = log_probs.masked_fill(complete, -torch.inf)
            # Probabilities only decrease, so this bounds the scores of all texts that are not complete.
            bounds = (log_probs.amax(dim=1) / length**penalty).tolist()
            if all(is_decided(of_text, bound, num_best) for of_text, bound in zip(finished, bounds, strict=True)):
                break
        rows = (origins + num_before * torch.arange(B)[:, None]).flatten().to(logits.device)
        state = tuple(tensor.index_select(-2, rows) for tensor in state)
        logits, state = network(ids.flatten().to(logits.device), state)
    return [
        [
            Hypothesis(backtrack(backpointers, b, t, k), log_prob, score)
            for score, log_prob, t, k in sorted(of_text, key=lambda found: -found[0])[:num_best]
        ]
        for b, of_text in enumerate(finished)
    ]


def is_decided(finished: list[tuple[float, float, int, int]], bound: float, num_best: int) -> bool:
    """Whether no text with a score of at most ``bound`` can still be among the best."""
    if bound == -torch.inf:
        return True
    return len(finished) >= num_best and sorted(found[0] for found in finished)[-num_best] >= bound


def backtrack(backpointers: list[tuple[Tensor, Tensor]], b: int, t: int, k: int) -> list[int]:
    """The ids of hypothesis k of text b after step t."""
    ids = []
    for origins, chosen in reversed(backpointers[: t + 1]):
        ids.append(int(chosen[b, k]))
        k = int(origins[b, k])
    return ids[::-1]


def append(last: Tensor, ids: Tensor) -> Tensor:
    """Add a character to the last characters of each text, and drop the first of them."""
    return torch.cat([last[..., 1:], ids[..., None]], dim=-1)
