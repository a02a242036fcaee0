"""From a network's predictions to text: greedy, sampling, beam search (questions 2.1c and 2.3 of the assignment).

All of it works on numbers, for several texts at once, with any network that can be asked for the next character.

Legend: B texts, P characters of a prompt, n characters written, V different characters, K hypotheses of a beam.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

State = Any
"""What a network keeps of the characters so far, a tuple of tensors; of each the last but one dimension is B."""


class Network(Protocol):
    """Reads a character of each text: ids (B,) int64 and state -> logits of the next (B, V), and the new state."""

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]: ...


Choice = Callable[[Tensor, int], Tensor]
"""Logits (B, V) and the number of characters chosen before -> the ids chosen, (B,)."""

ENDED = -1
"""Stands in the place of an id where a text has ended already."""


def read(network: Network, prompt: Tensor, state: State) -> tuple[Tensor, State]:
    """Read a prompt (B, P) with P at least 1 -> logits of the character that follows (B, V), and the state."""
    if prompt.shape[1] == 0:
        raise ValueError("the prompt is empty; it must have at least one character")
    for ids in prompt.unbind(dim=1):
        logits, state = network(ids, state)
    return logits, state


def write(
    network: Network, logits: Tensor, state: State, choose: Choice, length: int, stop: Sequence[int] = ()
) -> Iterator[Tensor]:
    """Choose a character, read it, choose the next.

    Args:
        network: reads what was chosen.
        logits: of the first character, (B, V), as ``read`` gives them.
        state: the network's, as ``read`` gives it.
        choose: how, ``greedy`` or what ``sampling`` gives.
        length: characters to be written, n.
        stop: a text ends when it ends with these.
    Yields:
        the next id of each text, (B,) int64; ``ENDED`` for those that have ended. No more when all have.
    """
    B = len(logits)
    endings = Endings(stop, (B,))
    ended = torch.zeros(B, dtype=torch.bool)
    for t in range(length):
        ids = choose(logits, t).cpu()
        yield torch.where(ended, ENDED, ids) if stop else ids
        if stop:
            ended = ended | endings.append(ids)
            if ended.all():
                return
        if t + 1 < length:
            logits, state = network(ids.to(logits.device), state)


def greedy(logits: Tensor, num_chosen: int = 0) -> Tensor:
    """The most probable character of each text: (B, V) -> (B,)."""
    return logits.topk(1).indices[:, 0]


def sampling(
    seeds: Sequence[int],
    length: int,
    tau: float | Tensor = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Choice:
    """A choice at random; what a text becomes depends on its own seed alone, not on those beside it.

    The most probable is taken after independent noise with a Gumbel distribution was added to each logarithm of a
    probability; that draws from the distribution (Maddison, Tarlow and Minka 2014) without having to compute it.

    Args:
        seeds: of each text, B of them.
        length: characters that will be chosen at most; they are chosen one after the other.
        tau: what the logits are multiplied by, one number or (B,); this and the next as for ``probabilities``.
        top_k: only the k most probable are kept.
        top_p: only the fewest that together have this probability are kept.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    filters = top_k is not None or top_p is not None
    # Noise divided by tau does for logits what noise does for logits multiplied by it.
    factor = torch.ones(1, 1) if filters else as_column(tau).clamp_min(LEAST_TAU)
    noise: Sequence[Tensor] = ()  # of the next characters, each (B, V) float64

    def choose(logits: Tensor, num_chosen: int) -> Tensor:
        nonlocal noise
        at_once = max(1, DRAWN_AT_ONCE // logits.shape[1])  # whatever is beside it, or a text would depend on that
        if num_chosen % at_once == 0:
            shape = min(at_once, length - num_chosen), logits.shape[1]
            drawn = [torch.empty(shape, dtype=torch.float64).exponential_(generator=g) for g in generators]
            noise = (-torch.stack(drawn, dim=1).log_() / factor).unbind()
        logits = probabilities(logits, tau, top_k, top_p).log() if filters else logits.cpu()
        return (logits + noise[num_chosen % at_once]).max(dim=1).indices

    return choose


DRAWN_AT_ONCE = 1 << 12
"""Random numbers of a text that are drawn together, one for each character that might be chosen."""

LEAST_TAU = 1e-250
"""As good as 0 for logits in float32, and one can divide by it."""


def as_column(tau: float | Tensor) -> Tensor:
    return torch.as_tensor(tau, dtype=torch.float64).reshape(-1, 1)


def probabilities(
    logits: Tensor, tau: float | Tensor = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """The probabilities from which a character is drawn: logits (B, V) -> (B, V) float64.

    Args:
        logits: of the network.
        tau: what they are multiplied by, one number or (B,), at least 0: 0 makes all characters equally probable, 1
            leaves the network's probabilities, infinity leaves only the most probable (equation of question 2.1c).
        top_k: only the k most probable are kept (Fan, Lewis and Dauphin 2018).
        top_p: then only the fewest most probable that together have at least this probability (Holtzman et al. 2020).
    """
    # On the CPU, where the random numbers are; relative to the largest, so that an infinite tau leaves 0 there.
    differences = (logits - logits.amax(dim=1, keepdim=True)).double().cpu()
    factor = as_column(tau)
    scaled = torch.where(differences == 0, 0.0, differences * factor)
    probs = torch.where(factor == 0, torch.zeros_like(scaled), scaled).softmax(dim=1)
    if top_k is None and top_p is None:
        return probs
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
    """A text that a beam search has found.

    Args:
        ids: its characters.
        log_prob: the logarithm of its probability, after the prompt.
        score: what it was judged by.
    """

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
    """The most probable texts, among those whose every beginning was one of the K most probable (Lowerre 1976).

    A text is complete when it has ``length`` characters, or earlier, when it ends with ``stop``. Without ``stop`` all
    have the same length, and the score is ``log_prob``. With ``stop`` they have not, and a longer one is the less
    probable the longer it is; then the score is ``log_prob / n ** length_penalty`` (Wu et al. 2016, simplified).

    Args:
        network: reads what is written.
        logits: of the first character, (B, V), as ``read`` gives them.
        state: the network's, as ``read`` gives it.
        length: characters of a text at most, n.
        beam_size: hypotheses kept from one character to the next, K; 1 is greedy.
        stop: a text ends when it ends with these.
        length_penalty: 0 to judge by the probability alone, 1 by its mean for each character.
        num_best: how many of each beam are wanted.
    Returns:
        for each of the B texts its best hypotheses, the best first.
    """
    B, V = logits.shape
    penalty = length_penalty if stop else 0.0
    finished: list[list[tuple[float, float, int, int]]] = [[] for _ in range(B)]  # score, log_prob, last step, place
    links: list[tuple[Tensor, Tensor]] = []  # for each step: the hypothesis gone on with, and the id added, (B, K)
    endings = Endings(stop, (B, 1))
    log_probs = torch.zeros(B, 1, dtype=torch.float64)
    for t in range(length):
        # In float64: adding up in float32, close ones would become equal, and a beam of 1 no longer greedy.
        steps = logits.double().log_softmax(dim=1).cpu().view(B, -1, V)
        extended = (log_probs[:, :, None] + steps).flatten(1)
        log_probs, places = extended.topk(min(beam_size, extended.shape[1]))
        num_before = steps.shape[1]
        origins, ids = places // V, places % V
        links.append((origins, ids))
        complete = torch.full(ids.shape, t + 1 == length)
        if stop:
            complete |= endings.gone_on_with(origins).append(ids)
        if complete.any():
            for b, k in complete.nonzero().tolist():
                log_prob = log_probs[b, k].item()
                if log_prob > -torch.inf:
                    finished[b].append((log_prob / (t + 1) ** penalty, log_prob, t, k))
            log_probs = log_probs.masked_fill(complete, -torch.inf)
            # A probability only falls, so this is the best that any of those going on can come to.
            hopes = (log_probs.amax(dim=1) / length**penalty).tolist()
            if all(is_decided(of_text, hope, num_best) for of_text, hope in zip(finished, hopes, strict=True)):
                break
        rows = (origins + num_before * torch.arange(B)[:, None]).flatten().to(logits.device)
        state = tuple(tensor.index_select(-2, rows) for tensor in state)
        logits, state = network(ids.flatten().to(logits.device), state)
    return [
        [
            Hypothesis(traced(links, b, t, k), log_prob, score)
            for score, log_prob, t, k in sorted(of_text, key=lambda found: -found[0])[:num_best]
        ]
        for b, of_text in enumerate(finished)
    ]


def is_decided(finished: list[tuple[float, float, int, int]], hope: float, num_best: int) -> bool:
    """Whether nothing with a score of at most ``hope`` can be among the best any more."""
    if hope == -torch.inf:
        return True
    return len(finished) >= num_best and sorted(found[0] for found in finished)[-num_best] >= hope


def traced(links: list[tuple[Tensor, Tensor]], b: int, t: int, k: int) -> list[int]:
    """The ids of a hypothesis, from its last one back."""
    ids = []
    for origins, chosen in reversed(links[: t + 1]):
        ids.append(int(chosen[b, k]))
        k = int(origins[b, k])
    return ids[::-1]


class Endings:
    """The last characters of many texts, to see which of them end with ``stop``.

    Args:
        stop: what to look for.
        shape: of the texts.
    """

    def __init__(self, stop: Sequence[int], shape: tuple[int, ...]) -> None:
        self.stop = torch.tensor(stop, dtype=torch.int64)
        self.last = torch.full((*shape, len(stop)), ENDED)

    def append(self, ids: Tensor) -> Tensor:
        """Add a character to each; which of them now end with ``stop``, bool."""
        self.last = torch.cat([self.last[..., 1:], ids.cpu()[..., None]], dim=-1)
        return (self.last == self.stop).all(dim=-1)

    def gone_on_with(self, origins: Tensor) -> "Endings":
        """Take the texts ``origins`` (B, K) of each row in the place of those there were."""
        self.last = self.last.gather(1, origins[..., None].expand(-1, -1, len(self.stop)))
        return self
