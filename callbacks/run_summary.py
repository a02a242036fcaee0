"""The end of a run in one file, and its place in TensorBoard's tabs HParams and Custom Scalars."""

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
"""Which curves TensorBoard's custom scalars show together: category, chart, regular expressions of its curves."""


class RunSummary(Callback):
    """Writes ``summary.json`` when training ends and again when the test that follows it has ended.

    It holds the final metrics, optimizer steps, seconds of training (over all starts of the run), steps per second, the
    versions of what was used and the git commit. When training starts, the hyperparameters go to TensorBoard's HParams
    tab, beside the curves of the same names, and its Custom Scalars tab learns which curves belong together.

    Args:
        config: the run's configuration, nested dictionaries of plain values.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.seconds_before = 0.0
        self.started: float | None = None
        self.seconds: float | None = None
        self.metrics_before: dict[str, float] = {}  # a run that is gone on with may end before each is logged again

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
                    self._write_hparams(logger)
                    logger.experiment.add_custom_scalars(CHARTS)
        self.started = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not on_train_end: a run that had done all its steps when it was stopped, while tested, trains no more.
        self.seconds = self.state_dict()["seconds"]
        self._write(trainer)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.seconds is not None:  # a test of its own, without training before it, has no folder to write to
            self._write(trainer)

    def _write_hparams(self, logger: TensorBoardLogger) -> None:
        shown: dict[str, Any] = {key: self.config[key] for key in ("seed_everything", "model", "data")}
        writer = logger.experiment._get_file_writer()
        # Without the first summary, the experiment's: of several, TensorBoard takes any one's columns for all the runs
        # that it shows. Where there is none, it takes what hyperparameters and metrics they have.
        for summary in hparams_summaries(flatten(shown), {})[1:]:
            writer.add_summary(summary)

    def _write(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        path = Path(str(trainer.log_dir)) / "summary.json"
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
    """``{"model": {"init_args": {"network": "rnn"}}}`` -> ``{"model.network": "rnn"}``, as it is typed.

    Values that TensorBoard cannot show become text.
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
