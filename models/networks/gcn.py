"""The graph convolutional network of equations 14-17 (Kipf and Welling 2017), written by hand.

Legend: N nodes, E edges, d features of a node in layer l, d' in layer l + 1, L layers.
"""

import math
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

Connection = Literal["none", "residual", "initial_residual"]

INITIAL_SHARE = 0.1
"""The share of the first layer's activations in what every later one is given: alpha of GCNII."""

IDENTITY_DECAY = 0.5
"""How slowly, with the layer, its weights give way to the identity: lambda of GCNII."""


def adjacency_matrix(edges: Tensor, num_nodes: int) -> Tensor:
    """A of an undirected graph, (N, N) sparse (CSR), in torch's default floating point type.

    Args:
        edges: (2, E) int64, the two ends of each edge, in either order; an edge given twice is one edge.
        num_nodes: N.
    Raises:
        ValueError: an end is no node, or both ends of an edge are the same node: A-tilde (equation 16) connects every
            node with itself once, in any case.
    """
    if edges.dim() != 2 or len(edges) != 2:
        raise ValueError(f"edges have shape {tuple(edges.shape)}; expected (2, E)")
    outside = edges[(edges < 0) | (edges >= num_nodes)]
    if len(outside) > 0:
        raise ValueError(f"an edge ends at node {int(outside[0])}; nodes are 0 to {num_nodes - 1}")
    loops = edges[0][edges[0] == edges[1]]
    if len(loops) > 0:
        raise ValueError(f"an edge connects node {int(loops[0])} with itself; leave it out, equation 16 adds it")
    rows, columns = torch.cat([edges, edges.flip(0)], dim=1).long()  # of int32 the products below might overflow
    places = torch.unique(rows * num_nodes + columns)  # pairs of numbers would take ten times as long
    ends = torch.stack([places // max(1, num_nodes), places % max(1, num_nodes)])
    return csr(ends, torch.ones(len(places), dtype=torch.get_default_dtype(), device=edges.device), num_nodes)


def csr(ends: Tensor, values: Tensor, num_nodes: int) -> Tensor:
    """A sparse (N, N) matrix in CSR from its entries' rows and columns (2, n), each pair at most once."""
    size = (num_nodes, num_nodes)
    coo = torch.sparse_coo_tensor(ends, values, size, check_invariants=True).coalesce()
    return coo.to_sparse_csr()


def normalize_adjacency(A: Tensor) -> Tensor:
    """A-hat, the adjacency matrix with self-connections, normalized by the nodes' degrees.

        A_hat = D~^(-1/2) A~ D~^(-1/2)    (15)
        A~    = A + I_N                   (16)
        D~_ii = sum_j A~_ij               (17)

    Args:
        A: (N, N) or (..., N, N) dense, (N, N) sparse; symmetric (which is not looked into), entries 0 or above, the
            diagonal 0. A node without edges is connected with itself alone: its row of A-hat is that of I_N.
    Returns:
        of the same shape; dense for dense, CSR for any sparse layout.
    Raises:
        ValueError: A is not square, has an entry below 0 or one that is not finite, or has self-connections already,
            which equation 16 would double.
    """
    if A.dim() < 2 or A.shape[-1] != A.shape[-2]:
        raise ValueError(f"the adjacency matrix has shape {tuple(A.shape)}; expected (N, N)")
    A = A if A.is_floating_point() else A.to(torch.get_default_dtype())
    N = A.shape[-1]
    if A.layout == torch.strided:
        check_entries(A, A.diagonal(dim1=-2, dim2=-1))
        A_tilde = A + torch.eye(N, dtype=A.dtype, device=A.device)
        scale = A_tilde.sum(dim=-1).rsqrt()
        return scale.unsqueeze(-1) * A_tilde * scale.unsqueeze(-2)
    A = A.to_sparse_coo().coalesce()
    (rows, columns), values = A.indices(), A.values()
    check_entries(values, values[rows == columns])
    diagonal = torch.arange(N, device=A.device)
    scale = (1 + torch.zeros(N, dtype=A.dtype, device=A.device).index_add(0, rows, values)).rsqrt()
    kept = rows != columns  # a stored zero may lie there
    ends = torch.cat([A.indices()[:, kept], diagonal.expand(2, N)], dim=1)
    values = torch.cat([scale[rows[kept]] * values[kept] * scale[columns[kept]], scale.square()])
    return csr(ends, values, N)


def check_entries(entries: Tensor, diagonal: Tensor) -> None:
    """Raise a ValueError where equations 15-17 make no sense, or would count a self-connection twice."""
    if entries.numel() > 0 and not (entries >= 0).all():
        raise ValueError("the adjacency matrix has an entry that is not 0 or above; no degree can be taken from it")
    if entries.numel() > 0 and entries.isinf().any():
        raise ValueError("the adjacency matrix has an infinite entry; no degree can be taken from it")
    if diagonal.any():
        raise ValueError(
            "the adjacency matrix has self-connections on its diagonal; give A, to which equation 16 adds them"
        )


class GraphConvolution(nn.Module):
    """Equation 14 without its sigma: ``A_hat H W``, each node's features summed over its neighbourhood, then mapped.

    The product is taken from the right, so that the neighbours are summed in as many dimensions as come out.

    Args:
        in_features: d, at least 1.
        out_features: d', at least 1.
    Parameters:
        W: (d, d'), drawn as by Glorot and Bengio (2010); there is no bias, as in equation 14.
    Raises:
        ValueError: a size is below 1.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        for name, size in (("in_features", in_features), ("out_features", out_features)):
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))

    def forward(self, A_hat: Tensor, H: Tensor) -> Tensor:
        """The next layer's features before sigma.

        Shape:
            A_hat: (N, N), dense or CSR; dense also (..., N, N).
            H: (N, d), dense or CSR; where A_hat is dense also (..., N, d).
            returns: (N, d'), or (..., N, d').
        Raises:
            ValueError: the shapes do not fit.
        """
        if H.dim() < 2 or H.shape[-1] != len(self.W) or H.shape[-2] != A_hat.shape[-1]:
            raise ValueError(
                f"H has shape {tuple(H.shape)}; expected ({A_hat.shape[-1]}, {len(self.W)}), "
                "the graph's nodes and the layer's in_features"
            )
        return product(A_hat, product(H, self.W))


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product whose left side may be sparse (CSR); that side then gets no gradient."""
    if left.layout == torch.strided:
        return left @ right
    # Sparse products know no bfloat16; where there is little to multiply, little would be gained.
    with torch.autocast(right.device.type, enabled=False):
        result: Tensor = SparseProduct.apply(left, right.to(left.dtype))
        return result


class SparseProduct(torch.autograd.Function):
    """``left @ right`` for a left side in CSR, whose backward pass multiplies with its transpose in CSR, too.

    torch's own takes the transpose as CSC: twenty times the time of the forward pass on a large graph.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.left = left
        return left @ right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        grad: Tensor = SparseProduct.apply(transposed(ctx.left), grads[0])
        return None, grad


Pattern = tuple[Tensor, Tensor, Tensor]

PATTERNS = WeakTensorKeyDictionary()
"""Of matrices in CSR that were transposed: where the transpose has entries, and which of the matrix' they are."""


def transposed(matrix: Tensor) -> Tensor:
    """The transpose of a matrix in CSR, in CSR; where its entries lie is worked out once for each matrix."""
    crow, columns, order = pattern_of_transpose(matrix)
    return torch.sparse_csr_tensor(
        crow, columns, matrix.values()[order], (matrix.shape[1], matrix.shape[0]), check_invariants=False
    )


def pattern_of_transpose(matrix: Tensor) -> Pattern:
    if matrix not in PATTERNS:
        numbered = with_values(matrix, torch.arange(len(matrix.values()), device=matrix.device))
        numbered = numbered.t().to_sparse_csr()
        PATTERNS[matrix] = (numbered.crow_indices(), numbered.col_indices(), numbered.values())
    pattern: Pattern = PATTERNS[matrix]
    return pattern


def with_values(matrix: Tensor, values: Tensor) -> Tensor:
    """Other values where a matrix in CSR has its own."""
    # Rows and columns are those of a valid tensor.
    return torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), values, matrix.shape, check_invariants=False
    )


class GCN(nn.Module):
    """Graph convolutions one after another, ``H^(l+1) = sigma(A_hat H^(l) W^(l))`` (equation 14).

    sigma is ReLU; the last layer has none, as its outcome are logits. A node hears from nodes that are up to L edges
    away.

    With depth the nodes' features become alike (over-smoothing; Li, Han and Wu 2018). Two ways to connect the layers
    work against it, between the first and the last, where what comes in and what goes out have one size:

    - ``residual`` adds the layer's input: ``H^(l+1) = sigma(A_hat H^(l) W^(l)) + H^(l)`` (Kipf and Welling 2017,
      appendix B);
    - ``initial_residual`` goes back to the first layer's outcome each time, and keeps the weights near the identity:
      ``H^(l+1) = sigma(((1 - a) A_hat H^(l) + a H^(1)) ((1 - b_l) I + b_l W^(l)))`` with a = 0.1 and
      b_l = log(0.5 / l + 1) (GCNII; Chen et al. 2020).

    Args:
        in_features: features of a node, d.
        hidden_size: features in each of the layers between, at least 1.
        out_features: what comes out for a node; classes.
        num_layers: L, at least 1.
        dropout: the probability with which each entry of a layer's input is set to zero in training, of all layers.
            Of sparse features, only entries that are not zero are drawn for: for the others it makes no difference.
        connection: ``none``, ``residual`` or ``initial_residual``.
    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        out_features: int,
        num_layers: int = 2,
        dropout: float = 0.0,
        connection: Connection = "none",
    ) -> None:
        super().__init__()
        for name, size in (("num_layers", num_layers), ("hidden_size", hidden_size)):
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; it must be from 0 up to, not including, 1")
        if connection not in get_args(Connection):
            raise ValueError(f"connection is {connection!r}; it is one of {', '.join(get_args(Connection))}")
        self.dropout = dropout
        self.connection: Connection = connection
        sizes = [in_features, *[hidden_size] * (num_layers - 1), out_features]
        layers = nn.ModuleList(GraphConvolution(d, d_next) for d, d_next in pairwise(sizes))
        self.layers = cast(list[GraphConvolution], layers)  # its type forgets what it holds

    def forward(self, A_hat: Tensor, X: Tensor) -> Tensor:
        """Logits of each node.

        Shape:
            A_hat: (N, N), dense or CSR, from ``normalize_adjacency``.
            X: the nodes' features, (N, in_features), dense or CSR.
            returns: (N, out_features). Where A_hat is dense, all three may have more dimensions before these.
        """
        return self.activations(A_hat, X)[-1]

    def activations(self, A_hat: Tensor, X: Tensor) -> list[Tensor]:
        """``H^(0)``, which is X, to ``H^(L)``, the logits."""
        history = [X]
        for layer in range(len(self.layers)):
            history.append(self._next(layer, A_hat, history))
        return history

    def _next(self, layer: int, A_hat: Tensor, history: list[Tensor]) -> Tensor:
        convolution, H = self.layers[layer], history[-1]
        is_between = 0 < layer < len(self.layers) - 1
        dropped = self._drop(H)
        if is_between and self.connection == "initial_residual":
            mixed = torch.lerp(product(A_hat, dropped), history[1], INITIAL_SHARE)
            return torch.lerp(mixed, mixed @ convolution.W, math.log(IDENTITY_DECAY / layer + 1)).relu()
        H_next: Tensor = convolution(A_hat, dropped)
        if layer < len(self.layers) - 1:
            H_next = H_next.relu()
        return H_next + H if is_between and self.connection == "residual" else H_next

    def _drop(self, H: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return H
        if H.layout == torch.strided:
            return functional.dropout(H, self.dropout)
        dropped = with_values(H, functional.dropout(H.values(), self.dropout))
        PATTERNS[dropped] = pattern_of_transpose(H)
        return dropped
