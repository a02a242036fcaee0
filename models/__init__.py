"""What is learned and how it is scored. Names are imported when first asked for (PEP 562)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.palindrome import PalindromeClassifier

__all__ = ["PalindromeClassifier"]


def __getattr__(name: str) -> Any:
    if name == "PalindromeClassifier":
        from models.palindrome import PalindromeClassifier

        return PalindromeClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
