"""Equations 14-17 against the dense formula written out, and against torch-geometric's GCNConv."""

import math
import re
from typing import Any

import networkx
import pytest
import torch
from torch import Tensor

from models.networks import GCN
from models.networks.gcn import Connection, GraphConvolution, adjacency_matrix, normalize_adjacency, product

NUM_NODES = 30


def random_edges(num_nodes: int = NUM_NODES, num_edges: int = 80) -> Tensor:
    """Without self-connections; some twice, and some in both directions."""
    edges = torch.randint(num_nodes, (2, num_edges))
    return edges[:, edges[0] != edges[1]]


def dense_formula(A: Tensor) -> Tensor:
    """Equations 15-17, literally."""
    A_tilde = A + torch.eye(len(A), dtype=A.dtype)
    D_tilde = torch.diag(A_tilde.sum(1))
    root = torch.linalg.inv(torch.linalg.cholesky(D_tilde))
    return root @ A_tilde @ root


def dense_adjacency(edges: Tensor, num_nodes: int = NUM_NODES, dtype: torch.dtype = torch.float32) -> Tensor:
    graph = networkx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(edges.t().tolist())
    return torch.from_numpy(networkx.to_numpy_array(graph)).to(dtype)


@pytest.fixture(params=[(torch.float32, 1e-6), (torch.float64, 1e-12)], ids=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> tuple[torch.dtype, float]:
    torch.set_default_dtype(request.param[0])
    return request.param


def largest_difference(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def test_the_adjacency_matrix_has_each_edge_in_both_directions_once() -> None:
    edges = random_edges()
    A = adjacency_matrix(torch.cat([edges, edges.flip(0)], dim=1), NUM_NODES)
    assert A.layout == torch.sparse_csr and torch.equal(A.to_dense(), dense_adjacency(edges))


@pytest.mark.parametrize("layout", [torch.strided, torch.sparse_coo, torch.sparse_csr, torch.sparse_csc])
def test_normalization_is_equations_15_to_17(precision: tuple[torch.dtype, float], layout: torch.layout) -> None:
    A = dense_adjacency(random_edges(), dtype=precision[0])
    adj_norm = normalize_adjacency(A if layout == torch.strided else A.to_sparse(layout=layout))
    assert adj_norm.layout == (torch.strided if layout == torch.strided else torch.sparse_csr)
    assert adj_norm.dtype == precision[0]
    assert largest_difference(adj_norm.to_dense(), dense_formula(A)) < precision[1]


def test_edges_of_int32_do_not_overflow() -> None:
    N = 70_000  # N^2 > 2^31
    edges = torch.tensor([[N - 2, 3], [N - 1, 1]])
    ours, theirs = (adjacency_matrix(e, N).to_sparse_coo().indices() for e in (edges.int(), edges))
    assert torch.equal(ours, theirs) and ours.shape == (2, 4)


def test_weights_of_edges_count_as_degrees() -> None:
    A = dense_adjacency(random_edges(), dtype=torch.float64) * torch.rand(NUM_NODES, NUM_NODES, dtype=torch.float64)
    A = A + A.t()
    for form in (A, A.to_sparse_csr()):
        assert largest_difference(normalize_adjacency(form).to_dense(), dense_formula(A)) < 1e-12


def test_several_graphs_are_normalized_at_once() -> None:
    graphs = torch.stack([dense_adjacency(random_edges()) for _ in range(3)])
    assert torch.equal(normalize_adjacency(graphs), torch.stack([normalize_adjacency(A) for A in graphs]))
    gcn, X = GCN(4, 8, 3), torch.randn(3, NUM_NODES, 4)
    one_by_one = torch.stack([gcn(normalize_adjacency(A), x) for A, x in zip(graphs, X, strict=True)])
    assert largest_difference(gcn(normalize_adjacency(graphs), X), one_by_one) < 1e-5


@pytest.mark.parametrize("sparse", [False, True])
def test_a_layer_is_equation_14_and_gcnconv(precision: tuple[torch.dtype, float], sparse: bool) -> None:
    pytest.importorskip("torch_geometric", reason="the extra graphs is not installed")
    from torch_geometric.nn import GCNConv

    edges, X = random_edges(), torch.randn(NUM_NODES, 7)
    A = dense_adjacency(edges, dtype=precision[0])
    adj_norm = normalize_adjacency(A.to_sparse_csr() if sparse else A)
    layer, theirs = GraphConvolution(7, 5), GCNConv(7, 5, bias=False)
    with torch.no_grad():
        theirs.lin.weight.copy_(layer.W.t())
    Z = layer(adj_norm, X)
    assert largest_difference(Z, dense_formula(A) @ X @ layer.W) < precision[1]
    assert largest_difference(Z, theirs(X, torch.cat([edges, edges.flip(0)], dim=1).unique(dim=1))) < precision[1]
    assert largest_difference(layer(adj_norm, X.to_sparse_csr()), Z) < precision[1]
    weight = torch.randn_like(Z)
    (Z * weight).sum().backward()
    assert largest_difference(layer.W.grad, (dense_formula(A) @ X).t() @ weight) < 10 * precision[1]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("connection", ["none", "residual", "initial_residual"])
def test_gradients_are_those_of_finite_differences(sparse: bool, connection: Connection) -> None:
    A = dense_adjacency(random_edges(10, 20), 10, torch.float64)
    adj_norm = normalize_adjacency(A.to_sparse_csr() if sparse else A)
    gcn = GCN(4, 5, 3, num_layers=4, connection=connection).double()
    X = torch.randn(10, 4, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*gcn.named_parameters(), strict=True)

    def logits(X: Tensor, *weights: Tensor) -> Any:
        return torch.func.functional_call(gcn, dict(zip(names, weights, strict=True)), (adj_norm, X))

    assert torch.autograd.gradcheck(logits, (X, *weights))


def test_the_backward_pass_of_a_sparse_product_takes_the_transpose() -> None:
    """Of a matrix that is neither symmetric nor square, also after its values were changed, and twice."""
    dense = torch.randn(6, 9, dtype=torch.float64) * (torch.rand(6, 9) < 0.3)
    sparse = dense.to_sparse_csr()
    for factor in (1.0, 2.0):
        sparse.values().mul_(factor)
        dense *= factor
        right = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
        assert torch.allclose(product(sparse, right), dense @ right)
        assert torch.autograd.gradcheck(lambda right: product(sparse, right), right)
        assert torch.autograd.gradgradcheck(lambda right: product(sparse, right.square()), right)


def test_gradients_with_dropout_on_sparse_features() -> None:
    X = (torch.randn(10, 6, dtype=torch.float64) * (torch.rand(10, 6) < 0.4)).to_sparse_csr()
    adj_norm = normalize_adjacency(dense_adjacency(random_edges(10, 20), 10, torch.float64))
    gcn = GCN(6, 4, 3, dropout=0.5).double()
    W = gcn.layers[0].W

    def logits(weights: Tensor) -> Any:
        torch.manual_seed(3)  # the same entries are dropped each time
        return torch.func.functional_call(gcn, {"layers.0.W": weights}, (adj_norm, X))

    assert torch.autograd.gradcheck(logits, (W.detach().requires_grad_(),))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("connection", ["none", "residual", "initial_residual"])
def test_relabelling_nodes_permutes_the_output(sparse: bool, connection: Connection) -> None:
    edges, X = random_edges(), torch.randn(NUM_NODES, 4)
    gcn = GCN(4, 8, 3, num_layers=4, connection=connection)
    new_label = torch.randperm(NUM_NODES)

    def logits(edges: Tensor, X: Tensor) -> Any:
        A = adjacency_matrix(edges, NUM_NODES)
        return gcn(normalize_adjacency(A if sparse else A.to_dense()), X)

    relabelled = torch.empty_like(X)
    relabelled[new_label] = X
    assert largest_difference(logits(new_label[edges], relabelled)[new_label], logits(edges, X)) < 1e-5


@pytest.mark.parametrize("sparse", [False, True])
def test_an_isolated_node_depends_only_on_itself(sparse: bool) -> None:
    edges = torch.tensor([[0, 1], [1, 2]])
    A = adjacency_matrix(edges, 4)
    X = torch.randn(4, 3)
    layer = GraphConvolution(3, 2)
    Z = layer(normalize_adjacency(A if sparse else A.to_dense()), X)
    assert largest_difference(Z[3], X[3] @ layer.W) < 1e-6


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("num_nodes", [0, 1, 5])
def test_a_graph_without_edges_or_nodes(num_nodes: int, sparse: bool) -> None:
    A = adjacency_matrix(torch.empty(2, 0, dtype=torch.int64), num_nodes)
    X = torch.randn(num_nodes, 3)
    gcn = GCN(3, 4, 2)
    logits = gcn(normalize_adjacency(A if sparse else A.to_dense()), X)
    W_0, W_1 = (layer.W for layer in gcn.layers)
    assert torch.allclose(logits, (X @ W_0).relu() @ W_1)
    logits.sum().backward()
    assert gcn.layers[0].W.grad is not None


def test_connections_of_layers_are_those_of_the_papers() -> None:
    """Four layers: the equations of Kipf and Welling, their appendix B, and GCNII, written out."""
    adj_norm = dense_formula(dense_adjacency(random_edges(), dtype=torch.float64))
    X, identity = torch.randn(NUM_NODES, 4, dtype=torch.float64), torch.eye(8, dtype=torch.float64)
    for connection in ("none", "residual", "initial_residual"):
        gcn = GCN(4, 8, 3, num_layers=4, connection=connection).double()
        W = [layer.W for layer in gcn.layers]
        H = H_1 = (adj_norm @ X @ W[0]).relu()
        for layer in (1, 2):
            if connection == "initial_residual":
                beta = math.log(0.5 / layer + 1)
                H = ((0.9 * adj_norm @ H + 0.1 * H_1) @ ((1 - beta) * identity + beta * W[layer])).relu()
            else:
                H = (adj_norm @ H @ W[layer]).relu() + (H if connection == "residual" else 0)
        assert largest_difference(gcn(adj_norm, X), adj_norm @ H @ W[3]) < 1e-12


@pytest.mark.parametrize("sparse", [False, True])
def test_dropout_acts_on_every_layers_input_in_training_only(sparse: bool) -> None:
    """With the identity in place of the graph and of the weights, the output shows what dropout keeps of the input."""
    N = 200
    gcn = GCN(N, N, N, num_layers=2, dropout=0.4)
    X = torch.eye(N) if not sparse else torch.eye(N).to_sparse_csr()
    for layer in gcn.layers:
        layer.W.data = torch.eye(N)
    assert torch.equal(gcn.eval()(torch.eye(N), X), torch.eye(N))
    drawn = torch.stack([gcn.train()(torch.eye(N), X).diagonal() for _ in range(20)])
    assert drawn.unique().tolist() == pytest.approx([0, 1 / 0.6**2])
    assert (drawn > 0).float().mean().item() == pytest.approx(0.36, abs=0.03)
    assert not torch.equal(drawn[0], drawn[1])
    one_layer = GCN(N, N, N, num_layers=1, dropout=0.4)
    one_layer.layers[0].W.data = torch.eye(N)
    kept = torch.stack([one_layer(torch.eye(N), X).diagonal() > 0 for _ in range(20)])
    assert kept.float().mean().item() == pytest.approx(0.6, abs=0.03)


def test_a_sparse_graph_under_autocast() -> None:
    adj_norm, X = normalize_adjacency(adjacency_matrix(random_edges(), NUM_NODES)), torch.randn(NUM_NODES, 4)
    gcn = GCN(4, 8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        logits = gcn(adj_norm, X)
    assert largest_difference(logits.float(), gcn(adj_norm, X)) < 0.1


LOOP = torch.tensor([[1.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: normalize_adjacency(torch.zeros(2, 3)), "(2, 3); expected (N, N)"),
        (lambda: normalize_adjacency(LOOP), "self-connections"),
        (lambda: normalize_adjacency(LOOP.to_sparse_csr()), "self-connections"),
        (lambda: normalize_adjacency(-LOOP), "not 0 or above"),
        (lambda: normalize_adjacency((-LOOP).to_sparse_csr()), "not 0 or above"),
        (lambda: normalize_adjacency(LOOP / 0), "not 0 or above"),
        (lambda: normalize_adjacency(torch.tensor([[0, math.inf], [math.inf, 0]])), "infinite"),
        (lambda: adjacency_matrix(torch.tensor([[0], [2]]), 2), "node 2; nodes are 0 to 1"),
        (lambda: adjacency_matrix(torch.tensor([[-1], [1]]), 2), "node -1"),
        (lambda: adjacency_matrix(torch.tensor([[1], [1]]), 2), "node 1 with itself"),
        (lambda: adjacency_matrix(torch.tensor([1, 2]), 2), "expected (2, M)"),
        (lambda: GraphConvolution(0, 2), "in_features is 0"),
        (lambda: GraphConvolution(3, 2)(torch.eye(4), torch.zeros(4, 2)), "(4, 2); expected (4, 3)"),
        (lambda: GraphConvolution(3, 2)(torch.eye(4), torch.zeros(5, 3)), "(5, 3); expected (4, 3)"),
        (lambda: GCN(3, 4, 2, num_layers=0), "num_layers is 0"),
        (lambda: GCN(3, 0, 2), "hidden_size is 0"),
        (lambda: GCN(3, 4, 2, dropout=1.0), "dropout is 1.0"),
        (lambda: GCN(3, 4, 2, connection="dense"), "none, residual, initial_residual"),  # type: ignore[arg-type]
    ],
)
def test_wrong_values_are_named(wrong: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        wrong()
