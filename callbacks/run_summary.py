"""The results of a run in one file, and in TensorBoard's tabs HParams and Custom Scalars."""

import json
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams as hparams_summaries

from callbacks.contracts import RunTrainer, folder_of

PACKAGES = ("torch", "pytorch-lightning", "torchmetrics", "tensorboard", "jsonargparse")
CHARTS = {
    "Learning": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy", ".*/exact_match"]],
    },
    "Optimization": {
        "gradient norm": ["Multiline", ["train/gradient_norm"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "steps per second": ["Multiline", ["train/steps_per_second"]],
    },
}
"""Curves that TensorBoard's custom scalars show together: category, chart, regular expressions of its curves."""


class RunSummary(Callback):
    """Writes ``summary.json`` when training ends, and again after the test that follows.

    The file holds the final metrics, optimizer steps, seconds of training (over all starts of the run), steps per
    second, the versions of the packages and the git commit. When training starts, the hyperparameters go to
    TensorBoard's HParams tab, and the Custom Scalars tab gets charts of related curves.
    """

    def __init__(self) -> None:
        self.seconds_before = 0.0
        self.started: float | None = None
        self.seconds: float | None = None
        self.metrics_before: dict[str, float] = {}  # a resumed run may end before it logs each of them

    def state_dict(self) -> dict[str, Any]:
        since = 0.0 if self.started is None else time.perf_counter() - self.started
        return {"seconds": self.seconds_before + since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds_before = state_dict["seconds"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["metrics"] = self.metrics_before | metrics_so_far(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self.metrics_before = checkpoint.get("metrics", {})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0 and trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    self._write_hparams(logger, trainer)
                    logger.experiment.add_custom_scalars(CHARTS)
        self.started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not on_train_end: a run that was stopped during its test has no step left when it is resumed.
        self.seconds = self.state_dict()["seconds"]
        self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.seconds is not None:  # a test without training has no folder to write to
            self._write(trainer)

    def _write_hparams(self, logger: TensorBoardLogger, trainer: Trainer) -> None:
        config = (trainer.run_config if isinstance(trainer, RunTrainer) else None) or {}
        shown: dict[str, Any] = {key: config[key] for key in ("seed_everything", "model", "data") if key in config}
        writer = logger.experiment._get_file_writer()
        # Without the first summary, which lists the columns of the table. TensorBoard would take the columns of one run
        # for all the runs that it shows; without a list, it takes the hyperparameters and metrics that the runs have.
        for summary in hparams_summaries(flatten(shown), {})[1:]:
            writer.add_summary(summary)

    def _write(self, trainer: Trainer) -> None:
        folder = folder_of(trainer)
        if folder is None or not trainer.is_global_zero:
            return
        path = folder / "summary.json"
        in_test = path.exists() and trainer.state.fn != "fit"
        earlier = json.loads(path.read_text())["metrics"] if in_test else self.metrics_before
        summary = {
            "metrics": earlier | metrics_so_far(trainer),
            "steps": trainer.global_step,
            "seconds": self.seconds,
            "steps_per_second": trainer.global_step / self.seconds if self.seconds else 0.0,
            "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
            "git_commit": git_commit(),
        }
        path.write_text(json.dumps(summary, indent=2) + "\n")


def metrics_so_far(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"model": {"init_args": {"network": "rnn"}}}`` -> ``{"model.network": "rnn"}``, the keys of the command line.

    Values that are neither numbers nor text become text.
    """
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, prefix if key == "init_args" else f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat


def git_commit() -> str | None:
    """The commit of this project's checkout, ``-dirty`` if files differ from it; ``None`` outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except OSError:
        return None
    return result.stdout.strip() or None
