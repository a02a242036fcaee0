"""Memory for the passes through time, used again by the next step.

Fresh memory costs time: the system hands it out page by page, each page zeroed at the first touch. A training step
at T = 100 needs 40 MB; asking anew for them at every step made it a tenth slower, at T = 300 a fifth (two cores,
Linux). On a GPU torch's own allocator does the same already.
"""

import bisect
import math
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

_free: list[torch.UntypedStorage] = []
"""Blocks that were given back and not taken again, the smallest first: one for activations, one for a backward pass."""
MOST_FREE = 2
_lent: set[weakref.ref[Tensor]] = set()
"""What watches over the tensors that blocks were lent to."""


def take(shapes: Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """A flat, uninitialized tensor with room for ``shapes``, of the dtype and device of ``like``.

    Its memory is taken again as soon as the tensor itself is gone: whoever needs the memory has to hold the tensor, not
    only what ``carve`` made of it.
    """
    numel = sum(_room(shape) for shape in shapes)
    if like.device.type != "cpu":
        return like.new_empty(numel)
    num_bytes = numel * like.element_size()
    fitting = next((k for k, block in enumerate(_free) if block.nbytes() >= num_bytes), None)
    if fitting is not None:
        storage = _free.pop(fitting)
    else:
        del _free[-1:]  # it has become too small, and the new one will take its place
        storage = torch.empty(num_bytes, dtype=torch.uint8).untyped_storage()
    flat = like.new_empty(0).set_(storage, 0, (numel,), (1,))

    def give_back(watcher: weakref.ref[Tensor]) -> None:
        _lent.discard(watcher)
        bisect.insort(_free, storage, key=torch.UntypedStorage.nbytes)
        if len(_free) > MOST_FREE:
            del _free[0]

    _lent.add(weakref.ref(flat, give_back))
    return flat


def carve(flat: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Contiguous views of ``flat``, one for each shape."""
    parts, offset = [], 0
    for shape in shapes:
        strides = [math.prod(shape[k + 1 :]) for k in range(len(shape))]
        parts.append(flat.as_strided(tuple(shape), strides, offset))
        offset += _room(shape)
    return parts


def _room(shape: Sequence[int]) -> int:
    """Elements for ``shape``, rounded up so that the next part begins at a full cache line, whatever the dtype."""
    return -(-math.prod(shape) // 64) * 64
