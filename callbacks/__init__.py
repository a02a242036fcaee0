"""Observers of a run, each of which writes one kind of file, and ``LengthCurriculum``, which changes the training.

Names are imported on first use (PEP 562). ``callbacks.contracts`` says what a callback may implement.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callbacks.checkpoints import RunCheckpoints
    from callbacks.gradient_flow import GradientFlow
    from callbacks.length_curriculum import LengthCurriculum
    from callbacks.progress import StepProgress
    from callbacks.run_summary import RunSummary
    from callbacks.text_samples import TextSamples
    from callbacks.training_metrics import TrainingMetrics

__all__ = [
    "GradientFlow",
    "LengthCurriculum",
    "RunCheckpoints",
    "RunSummary",
    "StepProgress",
    "TextSamples",
    "TrainingMetrics",
]

MODULES = {
    "GradientFlow": "callbacks.gradient_flow",
    "LengthCurriculum": "callbacks.length_curriculum",
    "RunCheckpoints": "callbacks.checkpoints",
    "RunSummary": "callbacks.run_summary",
    "StepProgress": "callbacks.progress",
    "TextSamples": "callbacks.text_samples",
    "TrainingMetrics": "callbacks.training_metrics",
}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
