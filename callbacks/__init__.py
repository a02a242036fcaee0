"""Observers of a run, each of which writes one kind of file, and ``LengthCurriculum``, which changes the training.

Names are imported on first use (PEP 562). ``callbacks.contracts`` says what a callback may implement.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callbacks.checkpoints import RunCheckpoints as RunCheckpoints
    from callbacks.gradient_flow import GradientFlow as GradientFlow
    from callbacks.length_curriculum import LengthCurriculum as LengthCurriculum
    from callbacks.progress import StepProgress as StepProgress
    from callbacks.run_summary import RunSummary as RunSummary
    from callbacks.text_samples import TextSamples as TextSamples
    from callbacks.training_metrics import TrainingMetrics as TrainingMetrics

MODULES = {
    "GradientFlow": "callbacks.gradient_flow",
    "LengthCurriculum": "callbacks.length_curriculum",
    "RunCheckpoints": "callbacks.checkpoints",
    "RunSummary": "callbacks.run_summary",
    "StepProgress": "callbacks.progress",
    "TextSamples": "callbacks.text_samples",
    "TrainingMetrics": "callbacks.training_metrics",
}
__all__ = list(MODULES)


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
