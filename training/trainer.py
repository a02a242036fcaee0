"""Lightning's Trainer with this project's loop, run folder and checkpoint files."""

import gc
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.plugins.precision.precision import _PRECISION_INPUT
from lightning_fabric.utilities import move_data_to_device
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from callbacks import RunCheckpoints, RunSummary, StepProgress, TrainingMetrics
from callbacks.contracts import RunTrainer
from training.checkpoint_file import read_checkpoint, write_checkpoint
from training.errors import UserError
from training.external_loggers import as_loggers, begin_logging
from training.fast_step import loop_class
from training.interruption import StopOnSignal
from training.recorded_config import as_list
from training.run_folder import RunFolder

log = logging.getLogger(__name__)

DEFAULTS: dict[str, Any] = {
    "default_root_dir": "runs",
    "val_check_interval": 250,
    "check_val_every_n_epoch": None,  # val_check_interval counts steps, across epochs
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,
}
"""Where this project's Trainer differs from Lightning's."""


# typing caches Optional[Union[float, int]], which other libraries have, and returns it for Optional[Union[int, float]].
# Then "--trainer.limit_train_batches 1", one batch, would be parsed as 1.0, all batches. This spelling has no cache.
pl.Trainer.__init__.__annotations__ |= dict.fromkeys(
    [f"limit_{name}_batches" for name in ("train", "val", "test", "predict")], int | float | None
)


class Trainer(RunTrainer):
    """Lightning's Trainer: how long to train, how often to validate and to log, on which device.

    Args:
        precision: as in Lightning, or ``auto``: ``bf16-mixed`` on a device with instructions for bfloat16, else
            ``32-true``.
        logger: loggers beside TensorBoard's events and ``metrics.csv``, which every run has. Only ``fit`` uses them.
    """

    def __init__(self, *, precision: _PRECISION_INPUT | Literal["auto"] | None = None, **kwargs: Any) -> None:
        if precision == "auto":
            precision = precision_for(kwargs.get("accelerator", "auto"))
            log.info("Precision: %s", precision)
        self.folder: RunFolder | None = None
        self.recorded_config: dict[str, Any] | None = None  # saved in every checkpoint
        self.open_run: Callable[[], None] | None = None  # opens the run's folder once every process is ready
        self.has_begun = False  # whether training, validation, test or prediction has started
        self.stop_on_signal = StopOnSignal()
        self.checkpoint_io = VerifiedCheckpointIO()
        options = DEFAULTS | kwargs
        callbacks = as_list(options.get("callbacks"))
        is_kept = not options.get("fast_dev_run")
        has_progress = any(isinstance(callback, ProgressBar) for callback in callbacks)
        wanted: dict[type[Callback], bool] = {
            TrainingMetrics: is_kept,
            RunSummary: is_kept,
            RunCheckpoints: is_kept and options.get("enable_checkpointing") is not False,
            StepProgress: options.get("enable_progress_bar") is not False and not has_progress,
        }
        missing = [
            kind for kind, needed in wanted.items() if needed and not any(isinstance(c, kind) for c in callbacks)
        ]
        options["callbacks"] = [*callbacks, NoteBeginning(), self.stop_on_signal, *(kind() for kind in missing)]
        options["plugins"] = [*as_list(options.get("plugins")), self.checkpoint_io]
        if SLURMEnvironment.detect():
            options["plugins"].append(SLURMEnvironment(auto_requeue=False))
        self.external_loggers = as_loggers(options.get("logger"))
        options["logger"] = False  # a run that is trained brings its own, and those
        kwargs.update(options)  # jsonargparse follows this name to the arguments of Lightning's Trainer
        super().__init__(precision=precision, **kwargs)
        theirs = self.fit_loop.epoch_loop
        self.fit_loop.epoch_loop = loop_class()(self, min_steps=theirs.min_steps, max_steps=theirs.max_steps)

    @property
    def run_dir(self) -> Path | None:
        return None if self.folder is None else self.folder.path

    @property
    def log_dir(self) -> str | None:
        return super().log_dir if self.run_dir is None else str(self.run_dir)

    def fit(self, *args: Any, **kwargs: Any) -> None:
        # Imported modules hold a million objects. Without freezing them, the garbage collector visits them again and
        # again, each time for as long as ten steps.
        gc.freeze()
        try:
            super().fit(*args, **kwargs)
        finally:
            gc.unfreeze()

    def _fit_impl(self, *args: Any, **kwargs: Any) -> None:
        self.strategy.setup_environment()  # connects the processes; Lightning's second call has no effect
        if self.open_run is not None:
            self.open_run()
        super()._fit_impl(*args, **kwargs)

    def save_last(self) -> None:
        if self.folder is None:
            return
        self.save_checkpoint(self.folder.coming)
        if self.is_global_zero:
            self.folder.promote_coming()

    def keep_as_best(self, source: Path | None = None) -> None:
        if self.folder is not None and self.is_global_zero:
            self.folder.keep_as_best(source)

    def save_checkpoint(
        self, filepath: _PATH, weights_only: bool | None = None, storage_options: Any | None = None
    ) -> None:
        """As in Lightning, with the run's configuration and the state of each process."""
        checkpoint = self._checkpoint_connector.dump_checkpoint(weights_only)
        for name in ("hyper_parameters", "datamodule_hyper_parameters"):
            if name in checkpoint:  # a checkpoint with other objects in it could not be loaded again
                checkpoint[name] = plain_values(checkpoint[name])
        if self.recorded_config is not None:
            checkpoint["config"] = self.recorded_config
        if self.world_size > 1:
            own = {name: checkpoint[name] for name in STATE_OF_A_PROCESS if name in checkpoint}
            of_each: list[Any] = [None] * self.world_size
            torch.distributed.all_gather_object(of_each, move_data_to_device(own, torch.device("cpu")))
            checkpoint[OF_EACH_PROCESS] = of_each
        self.strategy.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
        self.strategy.barrier("Trainer.save_checkpoint")


def plain_values(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that a configuration and a checkpoint can hold: numbers, text, and collections of them."""

    def is_plain(value: Any) -> bool:
        if type(value) is dict:
            return all(map(is_plain, value.values()))
        return all(map(is_plain, value)) if type(value) in (list, tuple) else type(value) in PLAIN_TYPES

    return {name: list(v) if type(v) is tuple else v for name, v in arguments.items() if is_plain(v)}


PLAIN_TYPES = (bool, int, float, str, type(None))


class NoteBeginning(Callback):
    """Notes on the trainer, and in external loggers, that the work has begun."""

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(trainer, Trainer)
        trainer.has_begun = True

    on_test_start = on_predict_start = on_validation_start

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_validation_start(trainer, pl_module)
        assert isinstance(trainer, Trainer)
        if trainer.run_dir is not None and trainer.is_global_zero:
            begin_logging(trainer.loggers, trainer.run_dir, trainer.run_config or {})


def precision_for(accelerator: Any) -> Literal["bf16-mixed", "32-true"]:
    """The fastest precision of the device. Without instructions for it, bfloat16 is slower than float32."""
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "32-true"  # the CPU's capabilities do not matter
    if accelerator != "cpu" and torch.cuda.is_available():
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not in older torch
        has_bfloat16 = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # x86's and ARM's
    return "bf16-mixed" if has_bfloat16 else "32-true"


STATE_OF_A_PROCESS = ("random_state", "steps_to_log", "carried_state")
"""Entries of a checkpoint that differ between the processes of a run."""

OF_EACH_PROCESS = "of_each_process"


def num_processes(checkpoint: Mapping[str, Any]) -> int:
    """The number of processes that made a checkpoint."""
    return len(checkpoint.get(OF_EACH_PROCESS, [None]))


class VerifiedCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints completely, with a checksum, and loads nothing but tensors and plain values."""

    def __init__(self) -> None:
        super().__init__()
        self._loaded: dict[Path, dict[str, Any]] = {}
        self._can_be_read = False

    def provide(self, path: Path, checkpoint: dict[str, Any]) -> None:
        """The next load of ``path`` returns this checkpoint, so that a file is read only once."""
        self._loaded = {path: checkpoint}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        write_checkpoint(checkpoint, Path(path))
        if not self._can_be_read:  # once, so that a state that cannot be read is refused at the first checkpoint
            try:
                read_checkpoint(Path(path))
            except UserError as error:
                raise UserError(f"{error}; save nothing else in state_dict and on_save_checkpoint") from error
            self._can_be_read = True

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        checkpoint = self._loaded.pop(Path(path), None) or read_checkpoint(Path(path))
        of_each = checkpoint.pop(OF_EACH_PROCESS, [{}])
        return checkpoint | of_each[rank_zero_only.rank % len(of_each)]  # more processes may test than have trained
