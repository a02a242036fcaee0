"""Graph convolution in space and long short-term memory in time, both handwritten, in one network.

Legend: B batch, T time steps, N nodes, F features of a node's signal, F' of its neighbourhood, H hidden units,
C classes.
"""

import torch
from torch import Tensor, nn

from models.networks.checks import check_sizes
from models.networks.gcn import GraphConvolution
from models.networks.initialization import uniform_
from models.networks.lstm import LSTM
from models.networks.recurrent import Backward


class GCNLSTM(nn.Module):
    """At each time step a graph convolution (equation 14), then an LSTM (equations 4-10) for each node over time.

        z_t = ReLU(adj_norm x_t W)          (14)    the node's neighbourhood
        u_t = [x_t, z_t]                            its own signal next to it: adj_norm sums both
        p_t = LSTM(u_1, ..., u_t)           (4-10)

    All nodes share all weights, so a trained network can be used on any graph. If nodes are relabelled, the logits are
    relabelled in the same way. Either part can be left out, to measure what it contributes. Without neighbours
    ``u_t = x_t``: each node is read by itself. Without memory ``p_t = W_2 ReLU(W_1 u_t + b_1) + b_2``: each time step
    is read by itself.

    Args:
        in_features: F, at least 1.
        neighbourhood_size: F', at least 1.
        hidden_size: units of the LSTM or, without memory, of the hidden layer, H.
        out_features: classes, C.
        neighbours: whether there is a graph convolution.
        memory: whether there is an LSTM.
        backward: ``bptt`` or ``autograd``, for the LSTM's gradients; see ``HandwrittenNetwork``.
    Raises:
        ValueError: a size is below 1; from ``forward``, the shapes do not match.
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
        if neighbours:
            check_sizes(neighbourhood_size=neighbourhood_size)
        self.in_features = in_features
        self.convolution = GraphConvolution(in_features, neighbourhood_size) if neighbours else None
        num_features = in_features + neighbourhood_size if neighbours else in_features
        self.lstm: LSTM | None = None
        self.layer: HiddenLayer | None = None
        if memory:
            self.lstm = LSTM(num_features, hidden_size, out_features, initialization="uniform", backward=backward)
        else:
            self.layer = HiddenLayer(num_features, hidden_size, out_features)

    def forward(self, adj_norm: Tensor, signals: Tensor) -> Tensor:
        """Logits of each node at each time step.

        Shape:
            adj_norm: (B, N, N), dense, from ``normalize_adjacency``; the graph is the same at all time steps.
            signals: (B, T, N, F).
            returns: (B, T, N, C).
        """
        B, _, N, F = signals.shape if signals.dim() == 4 else (0, 0, 0, 0)
        if self.in_features != F or adj_norm.shape != (B, N, N):
            raise ValueError(
                f"adj_norm has shape {tuple(adj_norm.shape)} and signals {tuple(signals.shape)}; "
                f"expected (B, N, N) and (B, T, N, {self.in_features})"
            )
        u = signals
        if self.convolution is not None:
            u = torch.cat([signals, self.convolution(adj_norm.unsqueeze(1), signals).relu()], dim=3)
        if self.layer is not None:
            logits: Tensor = self.layer(u)
            return logits
        assert self.lstm is not None
        of_nodes, _ = self.lstm(u.transpose(1, 2).flatten(0, 1))  # each node of each graph is a sequence
        return of_nodes.unflatten(0, (B, N)).transpose(1, 2)


class HiddenLayer(nn.Module):
    """``W_2 ReLU(W_1 u + b_1) + b_2``.

    Args:
        in_features: of ``u``.
        hidden_size: hidden units, at least 1.
        out_features: classes.
    Parameters:
        W_1 (H, in_features), b_1 (H,), W_2 (C, H), b_2 (C,), drawn as by ``torch.nn.Linear``.
    Raises:
        ValueError: a size is below 1.
    """

    def __init__(self, in_features: int, hidden_size: int, out_features: int) -> None:
        super().__init__()
        check_sizes(in_features=in_features, hidden_size=hidden_size, out_features=out_features)
        self.W_1 = nn.Parameter(torch.empty(hidden_size, in_features))
        self.b_1 = nn.Parameter(torch.empty(hidden_size))
        self.W_2 = nn.Parameter(torch.empty(out_features, hidden_size))
        self.b_2 = nn.Parameter(torch.empty(out_features))
        uniform_([self.W_1, self.b_1], in_features)
        uniform_([self.W_2, self.b_2], hidden_size)

    def forward(self, u: Tensor) -> Tensor:
        """(..., in_features) -> logits (..., C)."""
        return (u @ self.W_1.t() + self.b_1).relu() @ self.W_2.t() + self.b_2
