"""A learning rate schedule over the whole run, for runs that are limited by steps or by time."""

import math
from collections.abc import Callable
from typing import Any

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


class WarmupCosine(LRScheduler):
    """A linear warm-up, then half a cosine (Loshchilov and Hutter 2017), over the whole run.

    Let s, from 0 to 1, be the fraction of the run that is done. In the warm-up the learning rate is multiplied by
    ``s / warmup``, but at least 0.01, then by ``final + (1 - final) (1 + cos(pi (s - warmup) / (1 - warmup))) / 2``.
    A run with ``trainer.max_time`` is measured in seconds, so that the schedule also ends on a slow machine. Other runs
    are measured in optimizer steps. If both are limited, the larger fraction counts. A resumed run continues with the
    fraction of its checkpoint. Models call ``follow``.

    Args:
        optimizer: its learning rates are the highest of the schedule.
        warmup: fraction of the run in which the rate rises, at least 0 and below 1.
        final: factor of the rate at the end, from 0 to 1.
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
        self.fraction_done: Callable[[], float] = lambda: 0.0
        super().__init__(optimizer)

    def follow(self, trainer: Trainer) -> None:
        """Take the fraction of the run, of its seconds or its steps, the larger of both, from this trainer.

        Raises:
            ValueError: the run has no limit, or may continue after ``trainer.max_time``.
        """
        num_steps = trainer.estimated_stepping_batches
        timers = [timer for timer in trainer.callbacks if isinstance(timer, Timer)]  # Lightning makes one from max_time
        if not timers and num_steps == math.inf:
            raise ValueError(
                "lr_scheduler is WarmupCosine, which needs the length of the run, but the run has no limit; "
                "set trainer.max_time or trainer.max_steps"
            )
        for name, value in (("min_steps", trainer.min_steps), ("min_epochs", trainer.min_epochs)):
            if timers and value:
                raise ValueError(
                    f"lr_scheduler is WarmupCosine, which ends with trainer.max_time, but trainer.{name} is {value}, "
                    "so the run may continue after that; leave one of them out"
                )

        def fraction_done() -> float:
            done = trainer.global_step / num_steps
            for timer in timers:
                elapsed, remaining = timer.time_elapsed(), timer.time_remaining()
                if remaining is not None:
                    done = max(done, elapsed / max(elapsed + remaining, MIN_SECONDS))
            # Every process has its own clock, but all must take the same step.
            return trainer.strategy.broadcast(done) if timers and trainer.world_size > 1 else done

        self.fraction_done = fraction_done

    def get_lr(self) -> list[float | Tensor]:
        factor = self.factor(min(1.0, self.fraction_done()))
        return [float(base) * factor for base in self.base_lrs]

    def factor(self, done: float) -> float:
        """Factor of the learning rate when this fraction of the run is done."""
        if done < self.warmup:
            return max(done / self.warmup, MIN_WARMUP_FACTOR)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2

    def state_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().state_dict().items() if key != "fraction_done"}


MIN_WARMUP_FACTOR = 0.01
"""At the first step nothing is done; a learning rate of zero would waste it."""


MIN_SECONDS = 1e-9
"""Avoids a division by zero if ``trainer.max_time`` is 0."""
