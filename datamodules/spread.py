"""Signals that spread over graphs: the excitable medium of Greenberg and Hastings (1978), made whole batches at a time.

A node is at rest, excited for one step, refractory for some steps, and then at rest again. At rest it becomes excited
where a neighbour was excited the step before, and now and then by itself. Only excitations are observed: whether
a node that is not excited could be has to be remembered, and what will excite it comes from its neighbours.

Legend: B batch, N nodes of a graph, E edges, T time steps observed.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from datamodules.endless import EndlessLoader, make_generator

Split = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]

BLOCK = 100
"""Held-out sequences drawn and scored in one go; the last batch may have fewer."""

ENTRIES_MAX = 1 << 27
"""Entries of a batch's largest tensor: 512 MiB of float32."""


class SpreadDataModule(LightningDataModule):
    """Sequences of excitations on graphs; at each step, for each node: will it be excited at the next?

    Each sequence has a connected graph of its own: a random tree, whose nodes are attached one after another to one of
    those before, and as many other edges, drawn evenly, as make up the mean degree. All nodes are at rest until, at
    t = 0, the first are excited by themselves. So what is hidden follows from what was observed, and all that cannot be
    foretold is which nodes will be excited by themselves.

    Training batches are endless and generated as needed: batch k is a function of the arguments and k alone. Validation
    and test are always the same; the splits are drawn from generators of their own, and share no graph but by a chance
    that is negligible unless graphs are tiny.

    Args:
        num_nodes: nodes of a graph, N, at least 2.
        mean_degree: neighbours of a node, the mean over a graph, which has E = N * mean_degree / 2 edges, rounded;
            a connected graph has at least N-1, and at most N(N-1)/2 are possible.
        num_steps: time steps observed, T, at least 1.
        refractory: time steps that a node cannot be excited for after one in which it was, at least 1.
        spontaneous: the probability with which a node at rest that no neighbour excites is excited by itself, above 0
            and below 1/2.
        batch_size: sequences per training batch, B.
        steps_per_epoch: batches after which an epoch is said to end; nothing else depends on it.
        num_val: held-out sequences for validation.
        num_test: held-out sequences for test.
        seed: decides which sequences are drawn, of all splits.
    Batch:
        ``(A, signals, target, probability)``: the adjacency matrices (B, N, N), float32, dense; who is excited at
        t = 0 ... T-1, (B, T, N) float32, 0 or 1; who is at t = 1 ... T, (B, T, N) int64; and with which probability one
        who knew everything before would have expected it, (B, T, N) float32, by which models are measured, not taught.
    Raises:
        ValueError: an argument is out of its range; the message names the value and the limit.
    """

    def __init__(
        self,
        num_nodes: int = 30,
        mean_degree: float = 3.0,
        num_steps: int = 20,
        refractory: int = 5,
        spontaneous: float = 0.02,
        batch_size: int = 32,
        steps_per_epoch: int = 1000,
        num_val: int = 200,
        num_test: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        limits = {"num_nodes": 2, "num_steps": 1, "refractory": 1, "batch_size": 1, "steps_per_epoch": 1}
        limits |= {"num_val": 1, "num_test": 1, "seed": 0}
        arguments = locals()
        for name, limit in limits.items():
            if arguments[name] < limit:
                raise ValueError(f"{name} is {arguments[name]}; it must be at least {limit}")
        if not 0 < spontaneous < 0.5:
            raise ValueError(f"spontaneous is {spontaneous}; it must be above 0 and below 0.5")
        lowest, highest = 2 * (num_nodes - 1) / num_nodes, num_nodes - 1
        # Half an edge more or less is rounded away.
        if not num_nodes - 1.5 < num_nodes * mean_degree / 2 < num_nodes * highest / 2 + 0.5:
            raise ValueError(
                f"mean_degree is {mean_degree}; for a connected graph of {num_nodes} nodes it must be at least "
                f"{lowest:.4g} and at most {highest}"
            )
        entries = max(batch_size, BLOCK) * num_nodes * max(num_nodes, num_steps + 1)
        if entries > ENTRIES_MAX:
            raise ValueError(
                f"num_nodes is {num_nodes}: with num_steps {num_steps} a batch of {max(batch_size, BLOCK)} has "
                f"{entries} entries; it must have at most {ENTRIES_MAX}, so lower one of them"
            )
        self.num_nodes = num_nodes
        self.num_edges = round(num_nodes * mean_degree / 2)
        self.num_steps = num_steps
        self.refractory = refractory
        self.spontaneous = spontaneous
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.num_held_out = {"val": num_val, "test": num_test}
        self.seed = seed

    def train_dataloader(self) -> "SpreadLoader":
        return SpreadLoader(self)

    def val_dataloader(self) -> "HeldOutLoader":
        return HeldOutLoader(self, "val")

    def test_dataloader(self) -> "HeldOutLoader":
        return HeldOutLoader(self, "test")

    predict_dataloader = test_dataloader

    def draw(self, num: int, split: Split, k: int) -> Batch:
        """``num`` sequences of a split, always the same for the same arguments."""
        generator = make_generator(self.seed, split, k)
        A = random_graphs(num, self.num_nodes, self.num_edges, generator)
        noise = torch.rand(num, self.num_steps + 1, self.num_nodes, generator=generator)
        excited, probability = spread(A, noise < self.spontaneous, self.refractory, self.spontaneous)
        return A, excited[:, :-1].float(), excited[:, 1:].long(), probability[:, 1:]

    def __str__(self) -> str:
        # Lightning's own iterates over the loaders.
        return (
            f"{type(self).__name__}(num_nodes={self.num_nodes}, num_edges={self.num_edges}, "
            f"num_steps={self.num_steps}, refractory={self.refractory}, spontaneous={self.spontaneous}, "
            f"batch_size={self.batch_size})"
        )


class SpreadLoader(EndlessLoader[Batch]):
    """Endless training batches; batch k depends on the data's arguments and k alone."""

    def __init__(self, data: SpreadDataModule) -> None:
        super().__init__(data.steps_per_epoch)
        self.data = data

    def batch(self, k: int) -> Batch:
        return self.data.draw(self.data.batch_size, "train", k)


class HeldOutLoader:
    """The sequences of a held-out split; whatever their number, the first are the same."""

    def __init__(self, data: SpreadDataModule, split: Split) -> None:
        self.data = data
        self.split: Split = split
        self.num = data.num_held_out[split]

    def __len__(self) -> int:
        return -(-self.num // BLOCK)

    def __iter__(self) -> Iterator[Batch]:
        for k in range(len(self)):
            A, signals, target, probability = self.data.draw(BLOCK, self.split, k)
            rest = self.num - k * BLOCK
            yield A[:rest], signals[:rest], target[:rest], probability[:rest]


def random_graphs(num: int, num_nodes: int, num_edges: int, generator: torch.Generator) -> Tensor:
    """Adjacency matrices of connected graphs, (num, N, N) float32: random recursive trees and, beyond their N-1 edges,
    others drawn evenly from those that are left."""
    N = num_nodes
    # Drawn below the diagonal, each node's edges to those before it; mirrored in the end.
    earlier = torch.arange(1, N)
    # Rounded up, a number just below 1 would make a node its own neighbour.
    parent = torch.minimum((torch.rand(num, N - 1, generator=generator) * earlier).long(), earlier - 1)
    A = torch.zeros(num, N, N)
    A[:, 1:].scatter_(2, parent.unsqueeze(2), 1.0)
    rank = torch.rand(num, N, N, generator=generator)
    possible = torch.ones(N, N, dtype=torch.bool).tril(-1) & (A == 0)
    chosen = rank.masked_fill(~possible, -1.0).flatten(1).topk(num_edges - (N - 1), dim=1).indices
    A.view(num, N * N).scatter_(1, chosen, 1.0)
    return A + A.transpose(1, 2)


def spread(A: Tensor, sparks: Tensor, refractory: int, spontaneous: float) -> tuple[Tensor, Tensor]:
    """Who is excited at t = 0, 1, ..., and with which probability that was to be expected.

    Args:
        A: adjacency matrices, (B, N, N) float32.
        sparks: which nodes are excited by themselves if they are at rest then, (B, T, N) bool.
        refractory: steps for which a node cannot be excited after one in which it was.
        spontaneous: the probability of a spark.
    Returns:
        (B, T, N) bool and (B, T, N) float32: 1 for a node at rest with an excited neighbour, ``spontaneous`` for one
        at rest without, 0 for others.
    """
    excited = torch.zeros_like(sparks)
    probability = torch.empty(sparks.shape)
    steps_to_rest = torch.zeros(sparks[:, 0].shape, dtype=torch.int64)
    now = excited[:, 0]
    for t in range(sparks.shape[1]):
        at_rest = steps_to_rest == 0
        is_reached = (A @ now.float().unsqueeze(2)).squeeze(2) > 0
        now = at_rest & (is_reached | sparks[:, t])
        excited[:, t] = now
        probability[:, t] = at_rest * torch.where(is_reached, 1.0, spontaneous)
        steps_to_rest = torch.where(now, refractory, (steps_to_rest - 1).clamp(min=0))
    return excited, probability
