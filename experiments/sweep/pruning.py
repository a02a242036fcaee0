"""Stops the run of a trial that is worse than most of the trials before it."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from callbacks.contracts import RunCallback, RunTrainer
from callbacks.run_summary import RunSummary
from experiments.sweep.settings import Search


class PrunedTrial(Exception):  # noqa: N818 - it is no error
    """The run of a trial was stopped after a step, because most of the trials before it were better."""

    def __init__(self, step: int) -> None:
        super().__init__(f"pruned after step {step}")


class TrialPruning(RunCallback):
    """Notes the metric of a search after each validation, and stops a run that its pruner rejects before its end.

    It decides by the trials that have ended, and by what the run itself had reached until then. So a run that is
    resumed from a checkpoint ends after the same step.

    Args:
        search: the metric and the pruner.
        journal: the file with the trials that have ended.
    Attributes:
        values: the metric after each validation, by optimizer steps.
        notes: those of the pruner about this trial.
    Raises:
        PrunedTrial: from ``on_step_complete``.
    """

    def __init__(self, search: Search, journal: Path) -> None:
        self.search = search
        self.journal = journal
        self.values: dict[int, float] = {}
        self.notes: dict[str, Any] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["trial"] = {"values": dict(self.values), "notes": self.notes}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit":
            self.values, self.notes = checkpoint["trial"]["values"], checkpoint["trial"]["notes"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self.search.metric)
        if trainer.state.fn == "fit" and not trainer.sanity_checking and value is not None:
            self.values[trainer.global_step] = float(value)

    def on_step_complete(self, trainer: RunTrainer, is_last: bool) -> None:
        step = trainer.global_step
        if step not in self.values:
            return
        from experiments.sweep.optuna_study import decide

        decision = decide(self.search, self.journal, self.values)
        self.notes = decision.notes
        is_complete = step == trainer.max_steps or (is_last and trainer.current_epoch + 1 == trainer.max_epochs)
        if decision.is_pruned and not is_complete:
            for callback in trainer.callbacks:
                if isinstance(callback, RunSummary):
                    callback.on_fit_end(trainer, trainer.lightning_module)
            raise PrunedTrial(step)
