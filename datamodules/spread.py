"""Signals that spread over graphs: the excitable medium of Greenberg and Hastings (1978), generated batch by batch.

A node is at rest, then excited for one step, then refractory for some steps, then at rest again. A node at rest becomes
excited if a neighbour was excited at the previous step, and sometimes spontaneously. Only excitations are observed. So
a model has to remember which nodes are refractory, and to read the neighbours of those that are not.

Legend: B batch, N nodes of a graph, M edges, T time steps observed.
"""

from typing import Literal

import torch
from torch import Tensor

from datamodules.arguments import check_at_least
from datamodules.resumable_loader import FunctionLoader, HeldOutLoader
from datamodules.seeding import make_generator
from datamodules.sharding import DataModule

Split = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]

BLOCK = 100
"""Held-out sequences of a batch; the last may have fewer."""

ENTRIES_MAX = 1 << 27
"""Largest number of entries in a tensor of a batch: 512 MiB of float32."""


class SpreadDataModule(DataModule):
    """Sequences of excitations on graphs; at each step, predict for each node whether it is excited at the next.

    Each sequence has a connected graph of its own. It is a random tree, each node attached to an earlier one, and more
    edges, drawn uniformly, up to the mean degree. All nodes are at rest before t = 0, when the first are excited
    spontaneously. So the hidden states follow from the observed ones, and only spontaneous excitations cannot be
    predicted.

    Training batches are endless and generated when needed. Batch k depends on the arguments and k alone. Validation and
    test are always the same. Each split has a random generator of its own. Splits share a graph only by chance, which
    is negligible unless graphs are tiny.

    Args:
        num_nodes: nodes of a graph, N, at least 2.
        mean_degree: mean number of neighbours of a node; a graph has M = N * mean_degree / 2 edges, rounded, at least
            N-1 and at most N(N-1)/2.
        num_steps: time steps observed, T, at least 1.
        refractory: time steps after an excitation in which a node cannot be excited, at least 1.
        spontaneous: probability that a node at rest without an excited neighbour is excited, above 0 and below 1/2.
        batch_size: sequences per training batch, B.
        num_val: held-out sequences for validation.
        num_test: held-out sequences for test.
        seed: decides which sequences are drawn, of all splits.
    Batch:
        ``(adj, signals, target, probability)``: the adjacency matrices (B, N, N), float32, dense; the excitations at
        t = 0 ... T-1, (B, T, N) float32, 0 or 1; those at t = 1 ... T, (B, T, N) int64; and the probability of the
        latter given all before, (B, T, N) float32. It is for evaluation: it bounds what a model can reach.
    Raises:
        ValueError: an argument is out of its range; the message gives the value and the limit.
    """

    MAY_DIFFER_ON_RESUME = ("num_test",)

    def __init__(
        self,
        num_nodes: int = 30,
        mean_degree: float = 3.0,
        num_steps: int = 20,
        refractory: int = 5,
        spontaneous: float = 0.02,
        batch_size: int = 32,
        num_val: int = 200,
        num_test: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        check_at_least(2, num_nodes=num_nodes)
        check_at_least(1, num_steps=num_steps, refractory=refractory, batch_size=batch_size)
        check_at_least(1, num_val=num_val, num_test=num_test)
        check_at_least(0, seed=seed)
        if not 0 < spontaneous < 0.5:
            raise ValueError(f"spontaneous is {spontaneous}; it must be above 0 and below 0.5")
        lowest, highest = 2 * (num_nodes - 1) / num_nodes, num_nodes - 1
        # Up to half an edge beyond the limits is rounded away.
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
        self.num_held_out = {"val": num_val, "test": num_test}
        self.seed = seed

    def train_dataloader(self) -> FunctionLoader[Batch]:
        return FunctionLoader(lambda k: self.draw(self.batch_size, "train", k))

    def val_dataloader(self) -> HeldOutLoader[Batch]:
        return self._held_out_loader("val")

    def test_dataloader(self) -> HeldOutLoader[Batch]:
        return self._held_out_loader("test")

    predict_dataloader = test_dataloader

    def _held_out_loader(self, split: Split) -> HeldOutLoader[Batch]:
        """Blocks of which only the last is cut, so with another number of sequences the first are the same."""
        num = self.num_held_out[split]

        def batch(k: int) -> Batch:
            adj, signals, target, probability = self.draw(BLOCK, split, k)
            rest = num - k * BLOCK
            return adj[:rest], signals[:rest], target[:rest], probability[:rest]

        return HeldOutLoader(-(-num // BLOCK), batch)

    def draw(self, num: int, split: Split, k: int) -> Batch:
        """``num`` sequences of a split, always the same for the same arguments."""
        generator = make_generator(self.seed, split, k)
        adj = random_graphs(num, self.num_nodes, self.num_edges, generator)
        noise = torch.rand(num, self.num_steps + 1, self.num_nodes, generator=generator)
        excited, probability = spread(adj, noise < self.spontaneous, self.refractory, self.spontaneous)
        return adj, excited[:, :-1].float(), excited[:, 1:].long(), probability[:, 1:]


def random_graphs(num: int, num_nodes: int, num_edges: int, generator: torch.Generator) -> Tensor:
    """Adjacency matrices of connected graphs, (num, N, N) float32: random recursive trees, which have N-1 edges, and
    other edges drawn uniformly."""
    N = num_nodes
    # The entries below the diagonal are drawn, which are each node's edges to earlier nodes; then they are mirrored.
    earlier = torch.arange(1, N)
    # A number just below 1 may be rounded up, which would make a node its own neighbour.
    parent = torch.minimum((torch.rand(num, N - 1, generator=generator) * earlier).long(), earlier - 1)
    adj = torch.zeros(num, N, N)
    adj[:, 1:].scatter_(2, parent.unsqueeze(2), 1.0)
    rank = torch.rand(num, N, N, generator=generator)
    possible = torch.ones(N, N, dtype=torch.bool).tril(-1) & (adj == 0)
    chosen = rank.masked_fill(~possible, -1.0).flatten(1).topk(num_edges - (N - 1), dim=1).indices
    adj.view(num, N * N).scatter_(1, chosen, 1.0)
    return adj + adj.transpose(1, 2)


def spread(adj: Tensor, sparks: Tensor, refractory: int, spontaneous: float) -> tuple[Tensor, Tensor]:
    """The excitations at t = 0, 1, ..., and their probability given all before.

    Args:
        adj: adjacency matrices, (B, N, N) float32.
        sparks: which nodes are excited spontaneously if they are at rest, (B, T, N) bool.
        refractory: steps after an excitation in which a node cannot be excited.
        spontaneous: probability of a spark.
    Returns:
        (B, T, N) bool and (B, T, N) float32. The probability is 1 for a node at rest with an excited neighbour,
        ``spontaneous`` for one at rest without, 0 for others.
    """
    excited = torch.zeros_like(sparks)
    probability = torch.empty(sparks.shape)
    steps_to_rest = torch.zeros(sparks[:, 0].shape, dtype=torch.int64)
    now = excited[:, 0]
    for t in range(sparks.shape[1]):
        at_rest = steps_to_rest == 0
        is_reached = (adj @ now.float().unsqueeze(2)).squeeze(2) > 0
        now = at_rest & (is_reached | sparks[:, t])
        excited[:, t] = now
        probability[:, t] = at_rest * torch.where(is_reached, 1.0, spontaneous)
        steps_to_rest = torch.where(now, refractory, (steps_to_rest - 1).clamp(min=0))
    return excited, probability
