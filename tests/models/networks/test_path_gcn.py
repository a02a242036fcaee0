"""A sequence as a path graph: the reach of a position, and equality with the GCN of that graph."""

import networkx
import pytest
import torch
from torch.nn import functional

from models.networks.gcn import adjacency_matrix, normalize_adjacency
from models.networks.path_gcn import PathGCN


@pytest.mark.parametrize("length", [1, 2, 7])
def test_it_is_the_gcn_of_the_path(length: int) -> None:
    network = PathGCN(10, 8, 3)
    digits = torch.randint(10, (4, length))
    edges = torch.tensor(list(networkx.path_graph(length).edges), dtype=torch.int64).view(-1, 2).t()
    A_hat = normalize_adjacency(adjacency_matrix(edges, length))
    for row, logits in zip(digits, network(digits), strict=True):
        assert torch.allclose(network.gcn(A_hat, functional.one_hot(row, 10).float()), logits, atol=1e-6)
    assert torch.equal(network(digits, 1), network(digits)[:, -1:])


def test_with_directed_edges_a_position_hears_itself_and_the_one_before() -> None:
    network = PathGCN(10, 8, 1, directed=True)
    digits = torch.randint(10, (4, 3))
    root = 0.5**0.5  # equation 15 by hand: the first node hears one node, itself; the others hear two
    A_hat = torch.tensor([[1.0, 0.0, 0.0], [root, 0.5, 0.0], [0.0, 0.5, 0.5]])
    expected = A_hat @ functional.one_hot(digits, 10).float() @ network.gcn.layers[0].W
    assert torch.allclose(network(digits), expected, atol=1e-6)
    assert network(digits[:, :1]).shape == (4, 1, 10)


def test_with_directed_edges_nothing_comes_from_later_positions() -> None:
    network = PathGCN(10, 32, 6, "initial_residual", directed=True)
    digits = torch.zeros(1, 9, dtype=torch.int64)
    changed = digits.clone()
    changed[0, 4] = 5
    differs = (network(changed) != network(digits)).any(dim=2)[0]
    assert differs.tolist() == [False] * 4 + [True] * 5


@pytest.mark.parametrize("num_layers", [1, 2, 5])
def test_it_is_reached_from_as_far_as_it_has_layers(num_layers: int) -> None:
    network = PathGCN(10, 32, num_layers)
    digits = torch.zeros(1, 9, dtype=torch.int64)
    for position in range(9):
        changed = digits.clone()
        changed[0, position] = 5
        is_reached = not torch.equal(network(changed, 1), network(digits, 1))
        assert is_reached is (8 - position <= num_layers)
