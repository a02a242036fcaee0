"""What the models see: vocabulary, splits and the order of data. Names are imported when first asked for (PEP 562)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datamodules.palindromes import PalindromeDataModule

__all__ = ["PalindromeDataModule"]


def __getattr__(name: str) -> Any:
    if name == "PalindromeDataModule":
        from datamodules.palindromes import PalindromeDataModule

        return PalindromeDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
