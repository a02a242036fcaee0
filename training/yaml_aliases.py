"""Aliases of YAML, of which a few lines may stand for more values than there is memory."""

import functools
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

VALUES_MAX = 100_000
"""Values that a config may have once every alias is spelled out; of the project's own the largest has 72."""


@functools.cache
def guard_aliases() -> None:
    """Let jsonargparse refuse YAML whose aliases stand for more values than ``VALUES_MAX``."""
    load = get_loader("yaml")

    def guarded(text: str) -> Any:
        if "&" in text and "*" in text:
            num = num_values(yaml.compose(text, Loader=yaml.SafeLoader), {})
            if num > VALUES_MAX:
                raise yaml.YAMLError(
                    f"with its aliases spelled out there are {num:,} values; at most {VALUES_MAX:,} can be"
                )
        return load(text)

    set_loader("yaml", guarded, (yaml.YAMLError,))


def num_values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """How many values a node stands for, ``known`` those of nodes that were counted; it may be in itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 1
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(num_values(part, known) for part in parts)
    return known[id(node)]
