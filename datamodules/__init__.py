"""The datamodules. Each is imported on first use (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.books import BookDataModule
    from datamodules.graphs import GraphDataModule
    from datamodules.palindromes import PalindromeDataModule
    from datamodules.spread import SpreadDataModule

__all__ = ["BookDataModule", "GraphDataModule", "PalindromeDataModule", "SpreadDataModule"]

MODULES = {
    "BookDataModule": "datamodules.books",
    "GraphDataModule": "datamodules.graphs",
    "PalindromeDataModule": "datamodules.palindromes",
    "SpreadDataModule": "datamodules.spread",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
