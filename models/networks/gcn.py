"""The handwritten graph convolutional network of equations 14-17 (Kipf and Welling 2017).

Legend: N nodes, M edges, F features of a node in layer l, F' in layer l + 1, C classes, L layers.
"""

import math
from itertools import pairwise
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.weak import WeakTensorKeyDictionary

from models.networks.checks import check_choice, check_dropout, check_sizes

Connection = Literal["none", "residual", "initial_residual"]

INITIAL_FRACTION = 0.1
"""Weight of the first layer's output in the input of every later layer: alpha of GCNII."""

IDENTITY_DECAY = 0.5
"""How fast the weights of later layers approach the identity: lambda of GCNII."""


def adjacency_matrix(edges: Tensor, num_nodes: int) -> Tensor:
    """The adjacency matrix A of an undirected graph, (N, N) sparse (CSR), in torch's default floating point type.

    Args:
        edges: (2, M) int64, the two ends of each edge, in either order; an edge given twice counts once.
        num_nodes: N.
    Raises:
        ValueError: an end is no node, or an edge connects a node with itself: A-tilde (equation 16) has one
            self-connection for each node anyway.
    """
    if edges.dim() != 2 or len(edges) != 2:
        raise ValueError(f"edges have shape {tuple(edges.shape)}; expected (2, M)")
    outside = edges[(edges < 0) | (edges >= num_nodes)]
    if len(outside) > 0:
        raise ValueError(f"an edge ends at node {int(outside[0])}; nodes are 0 to {num_nodes - 1}")
    loops = edges[0][edges[0] == edges[1]]
    if len(loops) > 0:
        raise ValueError(f"an edge connects node {int(loops[0])} with itself; leave it out, equation 16 adds it")
    rows, columns = torch.cat([edges, edges.flip(0)], dim=1).long()  # int32 could overflow in the next line
    places = torch.unique(rows * num_nodes + columns)  # ten times as fast as unique pairs
    ends = torch.stack([places // max(1, num_nodes), places % max(1, num_nodes)])
    return csr(ends, torch.ones(len(places), dtype=torch.get_default_dtype(), device=edges.device), num_nodes)


def csr(ends: Tensor, values: Tensor, num_nodes: int) -> Tensor:
    """A sparse (N, N) matrix in CSR from the rows and columns of its entries (2, n), each pair at most once."""
    size = (num_nodes, num_nodes)
    coo = torch.sparse_coo_tensor(ends, values, size, check_invariants=True).coalesce()
    return coo.to_sparse_csr()


def normalize_adjacency(adj: Tensor) -> Tensor:
    """The adjacency matrix with self-connections, normalized by the degrees of the nodes.

        adj_norm = D~^(-1/2) A~ D~^(-1/2)    (15)
        A~       = A + I_N                   (16)
        D~_ii    = sum_j A~_ij               (17)

    Args:
        adj: A, (N, N) or (..., N, N) dense, (N, N) sparse; entries 0 or above, the diagonal 0. With directed edges row
            i has the edges that lead to node i, and equation 17 counts these. A node without edges is connected only
            with itself: its row of the result is that of I_N.
    Returns:
        of the same shape; dense for dense, CSR for any sparse layout.
    Raises:
        ValueError: A is not square, has an entry below 0 or one that is not finite, or has self-connections, which
            equation 16 would double.
    """
    if adj.dim() < 2 or adj.shape[-1] != adj.shape[-2]:
        raise ValueError(f"the adjacency matrix has shape {tuple(adj.shape)}; expected (N, N)")
    adj = adj if adj.is_floating_point() else adj.to(torch.get_default_dtype())
    N = adj.shape[-1]
    if adj.layout == torch.strided:
        check_entries(adj, adj.diagonal(dim1=-2, dim2=-1))
        A_tilde = adj + torch.eye(N, dtype=adj.dtype, device=adj.device)
        scale = A_tilde.sum(dim=-1).rsqrt()
        return scale.unsqueeze(-1) * A_tilde * scale.unsqueeze(-2)
    adj = adj.to_sparse_coo().coalesce()
    (rows, columns), values = adj.indices(), adj.values()
    check_entries(values, values[rows == columns])
    diagonal = torch.arange(N, device=adj.device)
    scale = (1 + torch.zeros(N, dtype=adj.dtype, device=adj.device).index_add(0, rows, values)).rsqrt()
    kept = rows != columns  # the diagonal may have stored zeros
    ends = torch.cat([adj.indices()[:, kept], diagonal.expand(2, N)], dim=1)
    values = torch.cat([scale[rows[kept]] * values[kept] * scale[columns[kept]], scale.square()])
    return csr(ends, values, N)


def check_entries(entries: Tensor, diagonal: Tensor) -> None:
    """Raise a ValueError if equations 15-17 are undefined, or would count a self-connection twice."""
    if entries.numel() > 0 and not (entries >= 0).all():
        raise ValueError("the adjacency matrix has an entry that is not 0 or above, so degrees are undefined")
    if entries.numel() > 0 and entries.isinf().any():
        raise ValueError("the adjacency matrix has an infinite entry, so degrees are undefined")
    if diagonal.any():
        raise ValueError(
            "the adjacency matrix has self-connections on its diagonal; leave them out, equation 16 adds them"
        )


class GraphConvolution(nn.Module):
    """Equation 14 without its sigma: ``adj_norm H W``, the sum of each node's neighbourhood, mapped by W.

    ``H W`` is computed first, so that the sum has F' features.

    Args:
        in_features: F, at least 1.
        out_features: F', at least 1.
    Parameters:
        W: (F, F'), drawn as by Glorot and Bengio (2010); there is no bias, as in equation 14.
    Raises:
        ValueError: a size is below 1.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        check_sizes(in_features=in_features, out_features=out_features)
        self.W = nn.Parameter(nn.init.xavier_uniform_(torch.empty(in_features, out_features)))

    def forward(self, adj_norm: Tensor, H: Tensor) -> Tensor:
        """The features of the next layer before sigma.

        Shape:
            adj_norm: (N, N), dense or CSR; dense also (..., N, N).
            H: (N, F), dense or CSR; with a dense adj_norm also (..., N, F).
            returns: (N, F'), or (..., N, F').
        Raises:
            ValueError: the shapes do not match.
        """
        if H.dim() < 2 or H.shape[-1] != len(self.W) or H.shape[-2] != adj_norm.shape[-1]:
            raise ValueError(
                f"H has shape {tuple(H.shape)}; expected ({adj_norm.shape[-1]}, {len(self.W)}), "
                "the graph's nodes and the layer's in_features"
            )
        return product(adj_norm, product(H, self.W))


def product(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product whose left factor may be sparse (CSR); a sparse factor gets no gradient."""
    if left.layout == torch.strided:
        return left @ right
    # Torch has no sparse products in bfloat16, and small products would gain little from it.
    with torch.autocast(right.device.type, enabled=False):
        result: Tensor = SparseProduct.apply(left, right.to(left.dtype))
        return result


class SparseProduct(torch.autograd.Function):
    """``left @ right`` for a left factor in CSR; the backward pass multiplies with its transpose, also in CSR.

    Torch's own backward pass takes the transpose as CSC, which on a large graph takes twenty times as long as the
    forward pass.
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
"""For each transposed CSR matrix: row pointers and columns of the transpose, and the places of its entries."""


def transposed(matrix: Tensor) -> Tensor:
    """The transpose of a CSR matrix, in CSR; the places of its entries are computed once for each matrix."""
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
    """A CSR matrix with the same places of entries, and other values."""
    # Rows and columns come from a valid tensor.
    return torch.sparse_csr_tensor(
        matrix.crow_indices(), matrix.col_indices(), values, matrix.shape, check_invariants=False
    )


class GCN(nn.Module):
    """Graph convolutions one after another, ``H^(l+1) = sigma(adj_norm H^(l) W^(l))`` (equation 14).

    sigma is ReLU; the last layer has none, because its outputs are logits. A node gets information from nodes that are
    up to L edges away.

    With depth the features of the nodes become alike (over-smoothing; Li, Han and Wu 2018). Two kinds of connections
    reduce this. They apply to the layers between the first and the last, whose inputs and outputs have the same size:

    - ``residual`` adds the layer's input: ``H^(l+1) = sigma(adj_norm H^(l) W^(l)) + H^(l)`` (Kipf and Welling 2017,
      appendix B);
    - ``initial_residual`` mixes in the first layer's output, and keeps the weights near the identity:
      ``H^(l+1) = sigma(((1 - a) adj_norm H^(l) + a H^(1)) ((1 - b_l) I + b_l W^(l)))`` with a = 0.1 and
      b_l = log(0.5 / l + 1) (GCNII; Chen et al. 2020).

    Args:
        in_features: features of a node, F.
        hidden_size: features in each of the layers between, at least 1.
        out_features: outputs of a node; classes, C.
        num_layers: L, at least 1.
        dropout: probability that an entry of a layer's input is set to zero in training, in all layers. Sparse features
            are drawn only for the stored entries; for the others it makes no difference.
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
        check_sizes(num_layers=num_layers, hidden_size=hidden_size)
        check_dropout(dropout=dropout)
        check_choice("connection", connection, get_args(Connection))
        self.dropout = dropout
        self.connection: Connection = connection
        sizes = [in_features, *[hidden_size] * (num_layers - 1), out_features]
        layers = nn.ModuleList(GraphConvolution(F_in, F_out) for F_in, F_out in pairwise(sizes))
        self.layers = cast(list[GraphConvolution], layers)  # the type of a ModuleList does not say what it holds

    def forward(self, adj_norm: Tensor, features: Tensor) -> Tensor:
        """Logits of each node.

        Shape:
            adj_norm: (N, N), dense or CSR, from ``normalize_adjacency``.
            features: of the nodes, (N, in_features), dense or CSR.
            returns: (N, out_features). With a dense adj_norm, all three may have more dimensions before these.
        """
        return self.activations(adj_norm, features)[-1]

    def activations(self, adj_norm: Tensor, features: Tensor) -> list[Tensor]:
        """``H^(0)``, the features, to ``H^(L)``, the logits."""
        history = [features]
        for layer in range(len(self.layers)):
            history.append(self._next(layer, adj_norm, history))
        return history

    def _next(self, layer: int, adj_norm: Tensor, history: list[Tensor]) -> Tensor:
        convolution, H = self.layers[layer], history[-1]
        is_between = 0 < layer < len(self.layers) - 1
        dropped = self._drop(H)
        if is_between and self.connection == "initial_residual":
            mixed = torch.lerp(product(adj_norm, dropped), history[1], INITIAL_FRACTION)
            return torch.lerp(mixed, mixed @ convolution.W, math.log(IDENTITY_DECAY / layer + 1)).relu()
        H_next: Tensor = convolution(adj_norm, dropped)
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
