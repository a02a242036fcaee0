"""Excitations follow the rule of Greenberg and Hastings, on the graphs asked for, and are reproducible."""

from typing import Any

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from datamodules import SpreadDataModule
from datamodules.seeding import make_generator
from datamodules.spread import BLOCK, Batch, random_graphs


def expected(graph: networkx.Graph, observed: list[list[int]], refractory: int, spontaneous: float) -> list[Any]:
    """The probability of each excitation given the earlier ones, node by node."""
    chances = []
    for t in range(len(observed)):
        row = []
        for node in graph:
            recent = [observed[s][node] for s in range(max(0, t - refractory), t)]
            if any(recent):
                row.append(0.0)  # refractory
            elif t > 0 and any(observed[t - 1][neighbour] for neighbour in graph[node]):
                row.append(1.0)
            else:
                row.append(spontaneous)
        chances.append(row)
    return chances


def sequences(batch: Batch) -> list[tuple[networkx.Graph, list[list[int]], Tensor]]:
    """Of each sequence the graph, the excitations at t = 0 ... T, and their probability at t = 1 ... T."""
    A, signals, target, probability = batch
    observed = torch.cat([signals.long(), target[:, -1:]], dim=1)
    return [
        (networkx.from_numpy_array(a.numpy()), o.tolist(), p) for a, o, p in zip(A, observed, probability, strict=True)
    ]


@settings(deadline=None, max_examples=30)
@given(
    num_nodes=st.integers(2, 12),
    num_steps=st.integers(1, 15),
    refractory=st.integers(1, 6),
    spontaneous=st.sampled_from([0.02, 0.1, 0.4]),
    seed=st.integers(0, 2**32),
)
def test_excitations_follow_the_rule(
    num_nodes: int, num_steps: int, refractory: int, spontaneous: float, seed: int
) -> None:
    degree = 2 * (num_nodes - 1) / num_nodes
    data = SpreadDataModule(num_nodes, degree, num_steps, refractory, spontaneous, batch_size=3, seed=seed)
    for graph, observed, probability in sequences(data.train_dataloader().batch(0)):
        chances = torch.tensor(expected(graph, observed, refractory, spontaneous))
        torch.testing.assert_close(probability, chances[1:])
        excited = torch.tensor(observed)
        assert (excited[chances == 1] == 1).all() and (excited[chances == 0] == 0).all()


def test_spontaneous_excitations_are_as_frequent_as_asked_for() -> None:
    _, signals, target, probability = SpreadDataModule(spontaneous=0.03).draw(2000, "train", 0)
    spontaneously = target[probability == 0.03].double()
    assert (
        len(spontaneously) > 100_000
        and abs(spontaneously.mean().item() - 0.03) < 4 * (0.03 * 0.97 / len(spontaneously)) ** 0.5
    )
    first = signals[:, 0].double()  # all were at rest before
    assert abs(first.mean().item() - 0.03) < 4 * (0.03 * 0.97 / first.numel()) ** 0.5


def test_a_batch_has_the_documented_shapes_and_types() -> None:
    data = SpreadDataModule(num_nodes=7, mean_degree=2.0, num_steps=4, batch_size=5)
    A, signals, target, probability = data.train_dataloader().batch(3)
    assert A.shape == (5, 7, 7) and signals.shape == target.shape == probability.shape == (5, 4, 7)
    assert A.dtype == signals.dtype == probability.dtype == torch.float32 and target.dtype == torch.int64
    assert torch.equal(signals[:, 1:].long(), target[:, :-1])


@settings(deadline=None, max_examples=40)
@given(num_nodes=st.integers(2, 20), share=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_graphs_are_connected_and_have_the_edges_asked_for(num_nodes: int, share: float, seed: int) -> None:
    fewest, most = num_nodes - 1, num_nodes * (num_nodes - 1) // 2
    num_edges = fewest + round(share * (most - fewest))
    data = SpreadDataModule(num_nodes, 2 * num_edges / num_nodes, batch_size=4, seed=seed)
    A = data.train_dataloader().batch(0)[0]
    assert ((A == 0) | (A == 1)).all() and torch.equal(A, A.transpose(1, 2))
    for matrix in A:
        graph = networkx.from_numpy_array(matrix.numpy())
        assert networkx.is_connected(graph) and networkx.number_of_selfloops(graph) == 0
        assert graph.number_of_edges() == num_edges == data.num_edges


def test_trees_are_recursive_and_other_edges_uniform() -> None:
    A = random_graphs(30_000, 4, 4, make_generator(0))
    # Node 1 is attached to node 0 for certain, 2 and 3 evenly to those before; of the three other edges one is added.
    shares = {(1, 0): 1.0, (2, 0): 1 / 2 + 1 / 6, (2, 1): 1 / 2 + 1 / 6}
    shares |= {(3, j): 1 / 3 + 2 / 9 for j in range(3)}
    for edge, share in shares.items():
        assert abs(A[:, *edge].mean().item() - share) < 0.012  # four standard deviations


def test_every_sequence_has_a_graph_of_its_own() -> None:
    A = SpreadDataModule().train_dataloader().batch(0)[0]
    assert len(A.flatten(1).unique(dim=0)) == 32


def test_batch_k_depends_on_its_arguments_alone() -> None:
    loader = SpreadDataModule(seed=1).train_dataloader()
    in_order = [batch for batch, _ in zip(loader, range(6), strict=False)]
    fresh = SpreadDataModule(seed=1).train_dataloader()
    for k in (5, 0, 3):
        torch.testing.assert_close(fresh.batch(k), in_order[k], rtol=0, atol=0)
    assert not torch.equal(in_order[0][0], in_order[1][0]) and not torch.equal(in_order[0][1], in_order[1][1])
    assert not torch.equal(SpreadDataModule(seed=2).train_dataloader().batch(0)[0], in_order[0][0])


def test_splits_share_no_sequence_and_are_reproducible() -> None:
    data = SpreadDataModule(num_val=150, num_test=BLOCK)
    held_out = {"val": list(data.val_dataloader()), "test": list(data.test_dataloader())}
    assert [len(batch[0]) for batch in held_out["val"]] == [100, 50] and len(data.val_dataloader()) == 2
    assert [len(batch[0]) for batch in held_out["test"]] == [100] and len(data.test_dataloader()) == 1
    train = [data.train_dataloader().batch(k) for k in range(4)]
    for part in (0, 1):  # graphs, and signals
        everything = torch.cat([batch[part].flatten(1) for batch in (*train, *held_out["val"], *held_out["test"])])
        assert len(everything.unique(dim=0)) == 4 * 32 + 150 + 100
    for again in (data, SpreadDataModule(num_test=130, batch_size=3)):
        first = next(iter(again.test_dataloader()))
        torch.testing.assert_close(first, held_out["test"][0], rtol=0, atol=0)
    torch.testing.assert_close(list(data.predict_dataloader()), held_out["test"], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_nodes": 1}, "num_nodes is 1; it must be at least 2"),
        ({"num_steps": 0}, "num_steps is 0; it must be at least 1"),
        ({"refractory": 0}, "refractory is 0; it must be at least 1"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"num_val": 0}, "num_val is 0; it must be at least 1"),
        ({"num_test": 0}, "num_test is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"spontaneous": 0.0}, r"spontaneous is 0.0; it must be above 0 and below 0.5"),
        ({"spontaneous": 0.5}, r"spontaneous is 0.5; it must be above 0 and below 0.5"),
        ({"mean_degree": 1.8}, "mean_degree is 1.8; for a connected graph of 30 nodes it must be at least 1.933 and"),
        ({"mean_degree": 29.1}, "mean_degree is 29.1; .* at most 29"),
        ({"mean_degree": float("nan")}, "mean_degree is nan"),
        ({"num_nodes": 10_000}, "num_nodes is 10000: with num_steps 20 a batch of 100 has 10000000000 entries"),
        ({"batch_size": 10**7}, "a batch of 10000000 has"),
        ({"num_steps": 10**6}, "with num_steps 1000000 a batch of 100 has"),
    ],
)
def test_arguments_out_of_range_are_rejected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpreadDataModule(**arguments)


def test_the_datamodule_can_be_printed_without_touching_its_loaders() -> None:
    assert str(SpreadDataModule(num_nodes=7)).startswith(
        "SpreadDataModule(num_nodes=7, mean_degree=3.0, num_steps=20, "
    )
