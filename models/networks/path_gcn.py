"""A sequence as a path graph, read by the handwritten GCN (question 3.4a of the assignment).

Legend: B batch, N positions of the sequence, K different digits, L layers, n last positions with outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.networks.gcn import GCN, Connection, normalize_adjacency


class PathGCN(nn.Module):
    """The GCN of equations 14-17 on a path: each position of a sequence is a node, connected with its two neighbours.

    A position gets information from positions that are up to L away. With ``directed`` edges each position hears only
    itself and the position before it, and equation 17 counts the edges that lead to a node.

    Args:
        num_classes: different digits, K; the network reads them one-hot, and predicts them.
        hidden_size: features of a position between two layers.
        num_layers: graph convolutions, L.
        connection: ``none``, ``residual`` or ``initial_residual``; see ``GCN``.
        directed: whether edges lead only from a position to the next one.
    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        hidden_size: int,
        num_layers: int,
        connection: Connection = "none",
        directed: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.directed = directed
        self.gcn = GCN(num_classes, hidden_size, num_classes, num_layers, connection=connection)

    def forward(self, digits: Tensor, num_last_steps: int | None = None) -> Tensor:
        """Logits at the last n positions, all by default: (B, N) int64 -> (B, n, K)."""
        N = digits.shape[1]
        features = functional.one_hot(digits, self.num_classes).to(self.gcn.layers[0].W.dtype)
        logits: Tensor = self.gcn(path(N, features, self.directed), features)
        return logits if num_last_steps is None else logits[:, N - num_last_steps :]


def path(num_nodes: int, like: Tensor, directed: bool = False) -> Tensor:
    """The normalized adjacency matrix of a path graph, (N, N), of the dtype and on the device of ``like``.

    With ``directed`` edges row i has entries only for the nodes i and i - 1.
    """
    ones = torch.ones(max(0, num_nodes - 1), dtype=like.dtype, device=like.device)
    if num_nodes < 2:
        return normalize_adjacency(like.new_zeros(1, 1))
    to_the_next = torch.diag(ones, -1)
    return normalize_adjacency(to_the_next if directed else to_the_next + to_the_next.t())
