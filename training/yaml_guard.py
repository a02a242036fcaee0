"""What a config must not have: a key twice, values nested too deeply, or so many aliases that they fill the memory."""

import functools
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

VALUES_MAX = 100_000
"""Values that a config may have once its aliases are resolved. The project's largest config has 72."""


@functools.cache
def guard_yaml() -> None:
    """Let jsonargparse refuse YAML with one of them."""
    load = get_loader("yaml")

    def guarded(text: str) -> Any:
        try:
            if ":" in text or "&" in text:  # else it has neither keys nor aliases
                check(yaml.compose(text, Loader=yaml.SafeLoader))
            return load(text)
        except RecursionError:
            raise yaml.YAMLError("its values are nested too deeply") from None

    set_loader("yaml", guarded, (yaml.YAMLError,))


def check(root: yaml.Node | None) -> None:
    """Raise a YAMLError for a key that stands twice, and for too many values."""
    check_keys(root, set())
    num = num_values(root, {})
    if num > VALUES_MAX:
        raise yaml.YAMLError(f"with its aliases resolved it has {num:,} values; it may have at most {VALUES_MAX:,}")


def check_keys(node: yaml.Node | None, seen: set[int]) -> None:
    """Raise a YAMLError if a mapping has a key twice: YAML would take the last one without a word."""
    if node is None or isinstance(node, yaml.ScalarNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[str, int] = {}
    for part in node.value:
        if isinstance(node, yaml.MappingNode):
            key, part = part
            name, line = str(key.value), key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and name in lines and name != "<<":
                raise yaml.YAMLError(f"the key {name} stands twice, in lines {lines[name]} and {line}; keep one")
            lines[name] = line
        check_keys(part, seen)


def num_values(node: yaml.Node | None, known: dict[int, int]) -> int:
    """The number of values of a node; ``known`` has the nodes counted so far. A node may contain itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = 1
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(num_values(part, known) for part in parts)
    return known[id(node)]
