"""Graph convolution in space and long short-term memory in time, both written by hand, in one network.

Legend: B batch, T time steps, N nodes, d features of a node's signal, d' of its neighbourhood, H hidden units,
K classes.
"""

import torch
from torch import Tensor, nn

from models.networks.gcn import GraphConvolution
from models.networks.initialization import uniform_
from models.networks.lstm import LSTM
from models.networks.recurrent import Backward


class GCNLSTM(nn.Module):
    """At each time step a graph convolution (equation 14), then an LSTM (equations 4-10) for each node over time.

        Z_t = ReLU(A_hat X_t W)             (14)  what is in a node's neighbourhood
        u_t = [x_t, z_t]                          the node's own signal beside it: A_hat sums both into one
        p_t = LSTM(u_1, ..., u_t)           (4-10)

    All nodes share all weights, so a trained network can be given any graph, and where nodes are relabelled, so are the
    logits. Either half can be left out, to see what it is good for. Without neighbours ``u_t = x_t``, and each node is
    read by itself. Without memory ``p_t = W_2 ReLU(W_1 u_t + b_1) + b_2``, and each time step is.

    Args:
        in_features: d, at least 1.
        neighbourhood_size: d', at least 1.
        hidden_size: units of the LSTM or, without memory, of the hidden layer, H.
        out_features: classes, K.
        neighbours: whether there is the graph convolution.
        memory: whether there is the LSTM.
        backward: ``bptt`` or ``autograd``, how the LSTM's gradients are computed; see ``HandwrittenNetwork``.
    Raises:
        ValueError: a size is below 1; from ``forward``, the shapes do not fit.
    """

    def __init__(
        self,
        in_features: int,
        neighbourhood_size: int,
        hidden_size: int,
        out_features: int,
        neighbours: bool = True,
        memory: bool = True,
        backward: Backward = "bptt",
    ) -> None:
        super().__init__()
        if neighbours and neighbourhood_size < 1:
            raise ValueError(f"neighbourhood_size is {neighbourhood_size}; it must be at least 1")
        self.in_features = in_features
        self.convolution = GraphConvolution(in_features, neighbourhood_size) if neighbours else None
        num_features = in_features + neighbourhood_size if neighbours else in_features
        self.lstm: LSTM | None = None
        self.layer: HiddenLayer | None = None
        if memory:
            self.lstm = LSTM(num_features, hidden_size, out_features, initialization="uniform", backward=backward)
        else:
            self.layer = HiddenLayer(num_features, hidden_size, out_features)

    def forward(self, A_hat: Tensor, X: Tensor) -> Tensor:
        """Logits of each node at each time step.

        Shape:
            A_hat: (B, N, N), dense, from ``normalize_adjacency``; the graph stays the same over time.
            X: the nodes' signals, (B, T, N, d).
            returns: (B, T, N, K).
        """
        if X.dim() != 4 or X.shape[3] != self.in_features or A_hat.shape != (X.shape[0], X.shape[2], X.shape[2]):
            raise ValueError(
                f"A_hat has shape {tuple(A_hat.shape)} and X {tuple(X.shape)}; "
                f"expected (B, N, N) and (B, T, N, {self.in_features})"
            )
        if self.convolution is not None:
            Z = self.convolution(A_hat.unsqueeze(1), X).relu()
            X = torch.cat([X, Z], dim=3)
        if self.layer is not None:
            logits: Tensor = self.layer(X)
            return logits
        assert self.lstm is not None
        B, _, N, _ = X.shape
        of_nodes, _ = self.lstm(X.transpose(1, 2).flatten(0, 1))  # each node of each graph is a sequence
        return of_nodes.unflatten(0, (B, N)).transpose(1, 2)


class HiddenLayer(nn.Module):
    """``W_2 ReLU(W_1 u + b_1) + b_2``.

    Args:
        in_features: of ``u``.
        hidden_size: units between, at least 1.
        out_features: classes.
    Parameters:
        W_1 (H, in_features), b_1 (H,), W_2 (K, H), b_2 (K,), drawn as by ``torch.nn.Linear``.
    Raises:
        ValueError: a size is below 1.
    """

    def __init__(self, in_features: int, hidden_size: int, out_features: int) -> None:
        super().__init__()
        sizes = {"in_features": in_features, "hidden_size": hidden_size, "out_features": out_features}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        self.W_1 = nn.Parameter(torch.empty(hidden_size, in_features))
        self.b_1 = nn.Parameter(torch.empty(hidden_size))
        self.W_2 = nn.Parameter(torch.empty(out_features, hidden_size))
        self.b_2 = nn.Parameter(torch.empty(out_features))
        uniform_([self.W_1, self.b_1], in_features)
        uniform_([self.W_2, self.b_2], hidden_size)

    def forward(self, u: Tensor) -> Tensor:
        """(..., in_features) -> logits (..., K)."""
        return (u @ self.W_1.t() + self.b_1).relu() @ self.W_2.t() + self.b_2
