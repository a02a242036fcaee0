"""The models and their metrics. Each name is imported at its first use (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.graph import NodeClassifier, NodeSequenceClassifier
    from models.palindrome import PalindromeClassifier, PathGraphClassifier
    from models.spread import SpreadClassifier
    from models.text import TextModel

__all__ = [
    "NodeClassifier",
    "NodeSequenceClassifier",
    "PalindromeClassifier",
    "PathGraphClassifier",
    "SpreadClassifier",
    "TextModel",
]

MODULES = {
    "NodeClassifier": "models.graph",
    "NodeSequenceClassifier": "models.graph",
    "PalindromeClassifier": "models.palindrome",
    "PathGraphClassifier": "models.palindrome",
    "SpreadClassifier": "models.spread",
    "TextModel": "models.text",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
