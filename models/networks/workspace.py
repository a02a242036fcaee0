"""Memory for the passes through time that the next step reuses.

New memory costs time, because the system zeroes each page at the first access. A training step at T = 100 needs
40 MB. Allocating them at every step made it a tenth slower, and a fifth slower at T = 300 (two cores, Linux). On a GPU
torch's own allocator reuses memory.
"""

import math
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

_free: dict[tuple[int, int], Tensor] = {}
"""Unused blocks, by size and address. Each operation on the dictionary is atomic, so threads may share it."""
MAX_FREE = 2
"""One for activations, one for a backward pass."""
_lent: dict[tuple[int, int], weakref.ref[memoryview]] = {}
"""For each block in use, a reference that returns it to ``_free`` at the end."""


def allocate(shapes: Sequence[Sequence[int]], like: Tensor) -> list[Tensor]:
    """Contiguous, uninitialized tensors of these shapes, of the dtype and device of ``like``.

    On a CPU they share a block of memory, which is reused when the last tensor in it is gone.
    """
    offsets = [0]
    for shape in shapes:  # each begins at a cache line, for every dtype
        offsets.append(offsets[-1] - (-math.prod(shape) // 64) * 64)
    flat = _lease(offsets[-1], like.dtype) if like.device.type == "cpu" else like.new_empty(offsets[-1])
    strides = [[math.prod(shape[k + 1 :]) for k in range(len(shape))] for shape in shapes]
    return [flat.as_strided(*where) for where in zip(shapes, strides, offsets[:-1], strict=True)]


def _lease(numel: int, dtype: torch.dtype) -> Tensor:
    num_bytes = max(1, numel) * dtype.itemsize
    block = None
    sizes = sorted(_free)
    for key in sizes:
        if key[0] >= num_bytes:
            block = _free.pop(key, None)  # None if another thread was faster
            if block is not None:
                break
    if block is None:
        if sizes:
            _free.pop(sizes[-1], None)  # it is too small now, and the new block replaces it
        block = torch.empty(num_bytes, dtype=torch.uint8)
    kept, key = block, (block.numel(), block.data_ptr())
    # torch holds the memoryview for as long as any tensor uses the storage; then the block is free again.
    lease = block.numpy().data

    def give_back(_: weakref.ref[memoryview]) -> None:
        del _lent[key]
        _free[key] = kept
        if len(_free) > MAX_FREE:
            _free.pop(min(tuple(_free)), None)

    _lent[key] = weakref.ref(lease, give_back)
    return torch.frombuffer(lease, dtype=dtype, count=numel) if numel else torch.empty(0, dtype=dtype)
