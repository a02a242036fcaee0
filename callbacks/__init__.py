"""Observers of a run; each writes one kind of thing. Names are imported when first asked for (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callbacks.checkpoints import RunCheckpoints
    from callbacks.progress import StepProgress
    from callbacks.run_summary import RunSummary
    from callbacks.training_metrics import TrainingMetrics

__all__ = ["RunCheckpoints", "RunSummary", "StepProgress", "TrainingMetrics"]

MODULES = {
    "RunCheckpoints": "callbacks.checkpoints",
    "RunSummary": "callbacks.run_summary",
    "StepProgress": "callbacks.progress",
    "TrainingMetrics": "callbacks.training_metrics",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
