"""A limit for YAML aliases: with a few lines they can make more values than the memory holds."""

import functools
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

VALUES_MAX = 100_000
"""Values that a config may have once its aliases are resolved. The project's largest config has 72."""


@functools.cache
def guard_aliases() -> None:
    """Let jsonargparse refuse YAML with more than ``VALUES_MAX`` values."""
    load = get_loader("yaml")

    def guarded(text: str) -> Any:
        if "&" in text and "*" in text:
            num = num_values(yaml.compose(text, Loader=yaml.SafeLoader), {})
            if num > VALUES_MAX:
                raise yaml.YAMLError(
                    f"with its aliases resolved it has {num:,} values; it may have at most {VALUES_MAX:,}"
                )
        return load(text)

    set_loader("yaml", guarded, (yaml.YAMLError,))


def num_values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """The number of values of a node; ``known`` has the nodes counted so far. A node may contain itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 1
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(num_values(part, known) for part in parts)
    return known[id(node)]
