"""A learning rate that follows the run to its end, whatever ends it."""

import math
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupCosine(LRScheduler):
    """A linear warm-up, then half a cosine (Loshchilov and Hutter 2017), over all that the run may take.

    With s the share of the run that is over, from 0 to 1, the learning rate is multiplied by ``s / warmup`` until that
    is 1, then by ``final + (1 - final) (1 + cos(pi (s - warmup) / (1 - warmup))) / 2``. A run that ends by
    ``trainer.max_time`` is measured in seconds, and so comes to its end on a slow machine as on a quick one; otherwise
    it is measured in optimizer steps, and where both are limited by what is further on. A resumed run has spent what it
    had when its checkpoint was saved. The factor is never below 0.01 in the warm-up. What a run is, ``follow`` is told:
    models do that.

    Args:
        optimizer: its learning rates are the highest of the schedule.
        warmup: share of the run in which the rate rises, at least 0 and below 1.
        final: what is left of the rate at the end, from 0 to 1.
    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, optimizer: Optimizer, warmup: float = 0.03, final: float = 0.0) -> None:
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup is {warmup}; it must be at least 0 and below 1")
        if not 0 <= final <= 1:
            raise ValueError(f"final is {final}; it must be from 0 to 1")
        self.warmup = warmup
        self.final = final
        self.share_spent: Callable[[], float] = lambda: 0.0
        super().__init__(optimizer)

    def follow(self, trainer: Trainer) -> None:
        """Measure the run of this trainer.

        Raises:
            ValueError: nothing is set that ends it.
        """
        self.share_spent = measure_of(trainer)

    def get_lr(self) -> list[float | Tensor]:
        factor = self.factor(min(1.0, self.share_spent()))
        return [float(base) * factor for base in self.base_lrs]

    def factor(self, spent: float) -> float:
        """What the learning rate is multiplied by when this share of the run is over."""
        if spent < self.warmup:
            return max(spent / self.warmup, LEAST_FACTOR_OF_WARM_UP)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * (spent - self.warmup) / (1 - self.warmup))) / 2

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().state_dict().items() if key != "share_spent"}


LEAST_FACTOR_OF_WARM_UP = 0.01
"""When the first step is taken nothing is spent; with a rate of zero it would be for nothing."""


def measure_of(trainer: Trainer) -> Callable[[], float]:
    """What tells the share of a run that is over: of its seconds or its steps, whichever is greater."""
    num_steps = trainer.estimated_stepping_batches
    timers = [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # what max_time becomes
    if not timers and num_steps == math.inf:
        raise ValueError(
            "lr_scheduler is WarmupCosine, which follows the run to its end, but nothing ends it; "
            "set trainer.max_time or trainer.max_steps"
        )

    least = {"min_steps": trainer.min_steps, "min_epochs": trainer.min_epochs}
    for name, value in least.items():
        if timers and value:
            raise ValueError(
                f"lr_scheduler is WarmupCosine, which ends with trainer.max_time, but trainer.{name} is {value}, for "
                "which a run goes on after that; leave one of them out"
            )

    def share_spent() -> float:
        spent = trainer.global_step / num_steps
        for timer in timers:
            elapsed, remaining = timer.time_elapsed(), timer.time_remaining()
            if remaining is not None:
                spent = max(spent, elapsed / max(elapsed + remaining, MIN_SECONDS))
        # Each of several processes has a clock of its own, but all must take the same step.
        return trainer.strategy.broadcast(spent) if timers and trainer.world_size > 1 else spent

    return share_spent


MIN_SECONDS = 1e-9
