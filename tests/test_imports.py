"""Imports point one way."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "models": {"models"},
    "datamodules": {"datamodules"},
    "callbacks": {"callbacks"},
    "training": {"training", "callbacks", "datamodules", "models"},
}
EXCEPTIONS = {ROOT / "models" / "loadable.py": {"training"}}
"""``Loadable.load`` reads a file, which only the room above can."""
ROOMS = {*MAY_IMPORT, "experiments", "benchmarks", "tests", "cli"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        imported = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
        assert imported & ROOMS <= MAY_IMPORT[room] | EXCEPTIONS.get(path, set()), path
