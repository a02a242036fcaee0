"""The range of seeds."""

from training.errors import UserError

SEED_MAX = 2**32 - 1
"""The largest seed of numpy, and so of Lightning."""


def check_seed(seed: int, name: str = "seed") -> None:
    """Raise a ``UserError`` if a seed is out of range."""
    if not 0 <= seed <= SEED_MAX:
        raise UserError(f"{name} is {seed}; it must be from 0 to {SEED_MAX}")


def check_seeds(seeds: list[int]) -> None:
    """Raise a ``UserError`` if a list of seeds is empty, has a seed twice, or one that is out of range."""
    if not seeds:
        raise UserError("seeds is empty; give at least one, such as [1, 2, 3, 4, 5]")
    for seed in seeds:
        if not 0 <= seed <= SEED_MAX:
            raise UserError(f"seeds has {seed}; each must be from 0 to {SEED_MAX}")
        if seeds.count(seed) > 1:
            raise UserError(f"seeds has {seed} {seeds.count(seed)} times; give each seed once")
