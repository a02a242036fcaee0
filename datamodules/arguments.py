"""Checks of arguments."""


def check_at_least(limit: int, **arguments: int | None) -> None:
    """Raise a ValueError that names the first argument below the limit; ``None`` is allowed."""
    for name, value in arguments.items():
        if value is not None and value < limit:
            raise ValueError(f"{name} is {value}; it must be at least {limit}")
