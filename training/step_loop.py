"""Lightning's loop over training steps, with a hook between two steps. Exact resume depends on it.

It overrides names that Lightning calls private. ``tests/training/test_step_loop.py`` compares it with Lightning's loop:
the same hooks in the same order, the same weights bit for bit.
"""

import logging
from typing import Any

from lightning_fabric.utilities.types import _Stateful
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop

from callbacks import RunSummary
from callbacks.contracts import RunCallback
from training.errors import UserError

log = logging.getLogger(__name__)


class StepLoop(_TrainingEpochLoop):
    """Runs the steps of an epoch and calls ``on_step_complete`` of every ``RunCallback`` after each of them.

    Checkpoints are taken only there, so a resumed run has no half step and no validation to repeat. Validation, if
    there is any, always follows an optimizer step, and the last one of a run.
    """

    restarting: bool
    _is_validation_due = False

    def reset(self) -> None:
        if self.restarting:
            combined = self.trainer.fit_loop._combined_loader
            loaders = [] if combined is None else combined.flattened
            is_within_epoch = self.batch_progress.current.ready > 0 and not self.batch_progress.is_last_batch
            if is_within_epoch and not all(isinstance(loader, _Stateful) for loader in loaders):
                log.warning(
                    "The resumed run is not exact: its training loader has no state_dict, so the epoch's data repeat."
                )
            self.restarting = False  # also of val_loop: a validation that was due had ended before the checkpoint
            self.trainer.fit_loop._restarting = False  # else a ReduceLROnPlateau would not count this epoch
        else:
            super().reset()

    def _get_monitor_value(self, key: str) -> Any:
        """What a ReduceLROnPlateau follows; in a resumed run it may have been measured before the checkpoint."""
        earlier = next((c.metrics_before for c in self.trainer.callbacks if isinstance(c, RunSummary)), {})
        return self.trainer.callback_metrics.get(key, earlier.get(key))

    def on_save_checkpoint(self) -> dict[str, Any]:
        """As in Lightning, and the name of a mean over the running epoch if a learning rate will follow it."""
        metas = [metric.meta for metric in self._results.result_metrics if metric.meta.on_epoch]
        means = {name for meta in metas for name in (meta.name, meta.forked_name(on_step=False))}
        followed = [c.monitor for c in self.trainer.lr_scheduler_configs if c.reduce_on_plateau and c.monitor in means]
        return super().on_save_checkpoint() | ({"followed_mean": followed[0]} if followed else {})

    def on_load_checkpoint(self, state_dict: dict[str, Any]) -> None:
        if "followed_mean" in state_dict:
            raise UserError(
                f"the learning rate follows {state_dict['followed_mean']}, a mean over the epoch in which the run was "
                "stopped; let it follow a metric of the validation, in a new run"
            )
        super().on_load_checkpoint(state_dict)

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        super().on_run_start(data_fetcher)
        self._run_callbacks = [c for c in self.trainer.callbacks if isinstance(c, RunCallback)]

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        is_accumulating = self._should_accumulate()
        super().on_advance_end(data_fetcher)
        if is_accumulating:  # the optimizer step needs more batches
            return
        is_last = self.done
        for callback in self._run_callbacks:
            callback.on_step_complete(self.trainer, is_last)

    def _should_check_val_fx(self, data_fetcher: _DataFetcher) -> bool:
        fit_loop = self.trainer.fit_loop
        is_last_epoch = fit_loop.epoch_progress.current.processed + 1 == fit_loop.max_epochs
        is_last = 0 <= self.max_steps <= self.global_step or (is_last_epoch and self._num_ready_batches_reached())
        is_due = super()._should_check_val_fx(data_fetcher) or (is_last and self._should_check_val_epoch())
        # While gradients are accumulated it waits for the step, because the next checkpoint has the weights after it.
        self._is_validation_due = is_due or self._is_validation_due
        if not self._is_validation_due or self._should_accumulate():
            return False
        self._is_validation_due = False
        return True
