"""Random generators that depend on names alone, so that no order of calls matters."""

import hashlib

import torch


def make_generator(*names: int | str) -> torch.Generator:
    """A random generator, a different one for each combination of arguments."""
    return torch.Generator().manual_seed(derive_seed(*names))


def derive_seed(*names: int | str) -> int:
    """An integer from 0 to 2^63 - 1, a different one for each combination of arguments."""
    digest = hashlib.blake2b("/".join(map(str, names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1
