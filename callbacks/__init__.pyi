from .checkpoints import RunCheckpoints as RunCheckpoints
from .gradient_flow import GradientFlow as GradientFlow
from .length_curriculum import LengthCurriculum as LengthCurriculum
from .progress import StepProgress as StepProgress
from .run_summary import RunSummary as RunSummary
from .text_samples import TextSamples as TextSamples
from .training_metrics import TrainingMetrics as TrainingMetrics
