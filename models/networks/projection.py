"""``W_x x_t + b``: how inputs enter the handwritten networks, and the gradients of this projection.

A digit represents a one-hot vector, so its product with ``W_x`` is a column of ``W_x``: a lookup, no product.

Legend: B batch, T time steps, m steps of a chunk, I input features, G gates times H.
"""

import torch
from torch import Tensor
from torch.nn import functional

from models.networks.steps import add_product, product


def project_inputs(inputs: Tensor, W_x: Tensor, b: Tensor) -> Tensor:
    """``W_x x_t + b`` for all time steps at once, time first, for the readable loop.

    Shape:
        digits (B, T) int64 in [0, I), or floats (B, T, I); W_x (G, I); b (G,) -> (T, B, G).
    """
    if inputs.is_floating_point():
        B, T = inputs.shape[:2]
        return torch.addmm(b, inputs.transpose(0, 1).flatten(0, 1), W_x.t()).unflatten(0, (T, B))
    return functional.embedding(inputs.t(), W_x.t().contiguous() + b)


class DigitProjection:
    """The projection of digits (B, T) int64, chunk by chunk: each digit is a row of a table.

    Args:
        inputs, W_x, b: as for ``project_inputs``.
        dtype: of matrix products; digits need none.
    """

    def __init__(self, inputs: Tensor, W_x: Tensor, b: Tensor, dtype: torch.dtype) -> None:
        self.ids = inputs.t().contiguous()
        self.W_x, self.b = W_x, b
        self.d_table: Tensor | None = None

    def prepare(self) -> None:
        self.table = torch.add(self.W_x.t(), self.b, out=self.W_x.new_empty(self.W_x.shape[::-1]))

    def project(self, start: int, end: int, a: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Table and ids of the steps from ``start`` to ``end``, with which ``look_up`` fills ``a`` (m, B, G)."""
        return self.table, self.ids[start:end]

    def prepare_gradients(self, needs_inputs: bool, needs_W_x: bool, needs_b: bool) -> None:
        if needs_W_x or needs_b:
            self.d_table = self.W_x.new_zeros(self.W_x.shape[::-1])

    def add_gradients(self, start: int, end: int, delta: Tensor, factor: Tensor) -> None:
        """Add the gradients of the steps from ``start`` to ``end``.

        Args:
            start: first step of the chunk.
            end: step after its last.
            delta: dL/da, (m * B, G).
            factor: ``delta`` in the dtype of the matrix products.
        """
        if self.d_table is not None:
            self.d_table.index_add_(0, self.ids[start:end].view(-1), delta)

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """dL/dinputs (None), dL/dW_x, dL/db; each row of the table is a column of W_x plus b."""
        if self.d_table is None:
            return None, None, None
        return None, self.d_table.t(), self.d_table.sum(0)


class FloatProjection:
    """The projection of floats (B, T, I), one product for each chunk. Arguments and methods as for digits."""

    def __init__(self, inputs: Tensor, W_x: Tensor, b: Tensor, dtype: torch.dtype) -> None:
        self.x = inputs.transpose(0, 1)
        self.W_x, self.b, self.dtype = W_x, b, dtype
        self.d_x: Tensor | None = None
        self.d_W_x: Tensor | None = None
        self.d_b: Tensor | None = None

    def chunk(self, start: int, end: int) -> Tensor:
        return self.x[start:end].reshape(-1, self.x.shape[2])

    def prepare(self) -> None:
        self.W_x_t = self.W_x.t().to(self.dtype)

    def project(self, start: int, end: int, a: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Fill ``a`` (m, B, G) with the contributions of the steps; there is no table."""
        a.copy_(self.b)
        add_product(a.view(-1, a.shape[2]), self.chunk(start, end), self.W_x_t)
        return None, None

    def prepare_gradients(self, needs_inputs: bool, needs_W_x: bool, needs_b: bool) -> None:
        self.d_x = self.W_x.new_empty(self.x.shape) if needs_inputs else None
        self.d_W_x = torch.zeros_like(self.W_x) if needs_W_x else None
        self.d_b = torch.zeros_like(self.b) if needs_b else None

    def add_gradients(self, start: int, end: int, delta: Tensor, factor: Tensor) -> None:
        if self.d_x is not None:
            product(self.d_x[start:end].view(-1, self.x.shape[2]), factor, self.W_x.to(self.dtype))
        if self.d_W_x is not None:
            add_product(self.d_W_x, factor.t(), self.chunk(start, end).to(self.dtype))
        if self.d_b is not None:
            self.d_b.add_(delta.sum(0))

    def gradients(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return None if self.d_x is None else self.d_x.transpose(0, 1), self.d_W_x, self.d_b


def projection(inputs: Tensor, W_x: Tensor, b: Tensor, dtype: torch.dtype) -> DigitProjection | FloatProjection:
    return (FloatProjection if inputs.is_floating_point() else DigitProjection)(inputs, W_x, b, dtype)
