"""The GCN and LSTM against their equations written out, node by node and step by step."""

from typing import Any

import networkx
import pytest
import torch
from torch import Tensor, nn

from models.networks import GCNLSTM
from models.networks.gcn import normalize_adjacency

B, T, N, d = 3, 6, 7, 2
HALVES = [(True, True), (True, False), (False, True), (False, False)]


def graphs(num: int = B) -> Tensor:
    """Adjacency matrices of random graphs; they need not be connected."""
    drawn = (networkx.gnp_random_graph(N, 0.4, seed=seed) for seed in range(num))
    return torch.stack([torch.from_numpy(networkx.to_numpy_array(graph)) for graph in drawn])


def network_of(neighbours: bool, memory: bool, **options: Any) -> GCNLSTM:
    return GCNLSTM(d, 4, 5, 3, neighbours, memory, **options).double()


def written_out(network: GCNLSTM, A: Tensor, X: Tensor) -> Tensor:
    """The logits of one graph, (N, N) and (T, N, d) -> (T, N, K)."""
    degree = A.sum(1) + 1
    logits = torch.zeros(T, N, 3, dtype=torch.float64)
    for i in range(N):
        h = c = torch.zeros(5, dtype=torch.float64)
        for t in range(T):
            u = X[t, i]
            if network.convolution is not None:
                z = X[t, i] / degree[i]
                for j in range(N):
                    z = z + A[i, j] * X[t, j] / (degree[i] * degree[j]).sqrt()
                u = torch.cat([u, (z @ network.convolution.W).clamp(min=0)])
            if network.layer is not None:
                hidden = (network.layer.W_1 @ u + network.layer.b_1).clamp(min=0)
                logits[t, i] = network.layer.W_2 @ hidden + network.layer.b_2
                continue
            lstm = network.lstm
            assert lstm is not None
            g = torch.tanh(lstm.W_gx @ u + lstm.W_gh @ h + lstm.b_g)
            i_gate = torch.sigmoid(lstm.W_ix @ u + lstm.W_ih @ h + lstm.b_i)
            f = torch.sigmoid(lstm.W_fx @ u + lstm.W_fh @ h + lstm.b_f)
            o = torch.sigmoid(lstm.W_ox @ u + lstm.W_oh @ h + lstm.b_o)
            c = g * i_gate + c * f
            h = torch.tanh(c) * o
            logits[t, i] = lstm.W_ph @ h + lstm.b_p
    return logits


@pytest.mark.parametrize(("neighbours", "memory"), HALVES)
def test_logits_and_gradients_are_those_of_the_equations(neighbours: bool, memory: bool) -> None:
    network, A, X = network_of(neighbours, memory), graphs(), torch.randn(B, T, N, d, dtype=torch.float64)
    logits = network(normalize_adjacency(A), X)
    expected = torch.stack([written_out(network, a, x) for a, x in zip(A, X, strict=True)])
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-12)
    weight, parameters = torch.randn_like(logits), list(network.parameters())
    ours, theirs = (torch.autograd.grad((some * weight).sum(), parameters) for some in (logits, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_both_backward_passes_give_the_same() -> None:
    one, two = network_of(True, True), network_of(True, True, backward="autograd")
    two.load_state_dict(one.state_dict())
    adj_norm, X = normalize_adjacency(graphs()), torch.randn(B, T, N, d, dtype=torch.float64)
    gradients = [torch.autograd.grad(some(adj_norm, X).square().sum(), list(some.parameters())) for some in (one, two)]
    torch.testing.assert_close(gradients[0], gradients[1])
    assert one.lstm is not None and two.lstm is not None
    assert (one.lstm.backward, two.lstm.backward) == ("bptt", "autograd")


@pytest.mark.parametrize(("neighbours", "memory"), HALVES)
def test_nodes_relabelled_are_logits_relabelled(neighbours: bool, memory: bool) -> None:
    network, A, X = network_of(neighbours, memory), graphs(), torch.randn(B, T, N, d, dtype=torch.float64)
    label = torch.randperm(N)
    relabelled = network(normalize_adjacency(A[:, label][:, :, label]), X[:, :, label])
    torch.testing.assert_close(relabelled, network(normalize_adjacency(A), X)[:, :, label])


@pytest.mark.parametrize(("neighbours", "memory"), HALVES)
def test_a_node_depends_only_on_its_neighbours_and_its_past(neighbours: bool, memory: bool) -> None:
    network, A = GCNLSTM(d, 20, 40, 3, neighbours, memory).double(), graphs(1)  # so wide that some unit is active
    X = torch.randn(1, T, N, d, dtype=torch.float64, requires_grad=True)
    step, node = 3, int(A[0].sum(1).argmax())
    (gradient,) = torch.autograd.grad(network(normalize_adjacency(A), X)[0, step, node].sum(), X)
    heard = gradient[0].abs().sum(-1) > 0
    near = A[0, node] > 0 if neighbours else torch.zeros(N, dtype=torch.bool)
    near[node] = True
    steps = torch.arange(T) <= step if memory else torch.arange(T) == step
    assert not near.all()
    assert torch.equal(heard, steps[:, None] & near)


def test_a_part_that_is_left_out_has_no_parameters() -> None:
    H, K, z = 5, 3, 4
    lstm = {u: 4 * H * (u + H + 1) + K * (H + 1) for u in (d, d + z)}
    layer = {u: H * (u + 1) + K * (H + 1) for u in (d, d + z)}
    expected = [d * z + lstm[d + z], d * z + layer[d + z], lstm[d], layer[d]]
    assert [sum(p.numel() for p in network_of(*half).parameters()) for half in HALVES] == expected


def test_networks_use_no_ready_made_modules() -> None:
    for half in HALVES:
        assert not [m for m in network_of(*half).modules() if isinstance(m, nn.Linear | nn.RNNBase | nn.RNNCellBase)]


@pytest.mark.parametrize("sizes", [(0, 4, 5, 3), (2, 0, 5, 3), (2, 4, 0, 3), (2, 4, 5, 0)])
@pytest.mark.parametrize("memory", [True, False])
def test_sizes_below_one_are_refused(sizes: tuple[int, int, int, int], memory: bool) -> None:
    name = "neighbourhood_size" if sizes[1] == 0 else ""
    with pytest.raises(ValueError, match=f"{name} is 0; it must be at least 1"):
        GCNLSTM(*sizes, memory=memory)


@pytest.mark.parametrize(
    ("adj_norm", "X"),
    [((3, 7, 7), (3, 6, 7)), ((3, 7, 7), (3, 6, 7, 1)), ((3, 6, 6), (3, 6, 7, 2)), ((7, 7), (3, 6, 7, 2))],
)
@pytest.mark.parametrize(("neighbours", "memory"), HALVES)
def test_shapes_that_do_not_fit_are_refused(adj_norm: Any, X: Any, neighbours: bool, memory: bool) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, N, N\) and \(B, T, N, 2\)"):
        network_of(neighbours, memory)(torch.ones(adj_norm).double(), torch.ones(X).double())
