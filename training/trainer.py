"""Lightning's Trainer with this project's loop, run folder and checkpoint files."""

import gc
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH

from training.checkpoint_file import read_checkpoint, write_checkpoint
from training.step_loop import StepLoop


class Trainer(pl.Trainer):
    """How long to train, how often to validate and to log, on what: Lightning's Trainer."""

    run_dir: Path | None = None
    """The folder of this run, once there is one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        theirs = self.fit_loop.epoch_loop
        self.fit_loop.epoch_loop = StepLoop(self, min_steps=theirs.min_steps, max_steps=theirs.max_steps)

    def fit(self, *args: Any, **kwargs: Any) -> None:
        # The objects of the imported modules, a million, stay: time and again the garbage collector would go through
        # them, for as long as ten steps take.
        gc.freeze()
        try:
            super().fit(*args, **kwargs)
        finally:
            gc.unfreeze()

    @property
    def log_dir(self) -> str | None:
        return super().log_dir if self.run_dir is None else str(self.run_dir)


class SealedCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written whole, carry a checksum, and are never loaded but as tensors and plain values."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path))
