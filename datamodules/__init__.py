"""The datamodules. Each is imported on first use (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.books import BookDataModule as BookDataModule
    from datamodules.graphs import GraphDataModule as GraphDataModule
    from datamodules.palindromes import PalindromeDataModule as PalindromeDataModule
    from datamodules.spread import SpreadDataModule as SpreadDataModule

MODULES = {
    "BookDataModule": "datamodules.books",
    "GraphDataModule": "datamodules.graphs",
    "PalindromeDataModule": "datamodules.palindromes",
    "SpreadDataModule": "datamodules.spread",
}
__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
