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
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from training.checkpoint_file import read_checkpoint, write_checkpoint
from training.step_loop import StepLoop

log = logging.getLogger(__name__)


class Trainer(pl.Trainer):
    """How long to train, how often to validate and to log, on what: Lightning's Trainer.

    Args:
        precision: Lightning's, or ``auto``: ``bf16-mixed`` on a device that has instructions for bfloat16, else
            ``32-true``.
    """

    run_dir: Path | None = None
    """The folder of this run, once there is one."""

    open_run: Callable[[], None] | None = None
    """Makes the run's folder; called when every process has found that nothing is wrong, before any goes on."""

    def __init__(self, *, precision: _PRECISION_INPUT | Literal["auto"] | None = None, **kwargs: Any) -> None:
        if precision == "auto":
            precision = precision_for(kwargs.get("accelerator", "auto"))
            log.info("Precision: %s", precision)
        super().__init__(precision=precision, **kwargs)
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

    def _fit_impl(self, *args: Any, **kwargs: Any) -> None:
        self.strategy.setup_environment()  # the processes meet; later, Lightning finds it done
        if self.open_run is not None:
            self.open_run()
        super()._fit_impl(*args, **kwargs)

    def save_checkpoint(
        self, filepath: _PATH, weights_only: bool | None = None, storage_options: Any | None = None
    ) -> None:
        """Lightning's, with what each of several processes has of its own."""
        checkpoint = self._checkpoint_connector.dump_checkpoint(weights_only)
        if self.world_size > 1:
            own = {name: checkpoint[name] for name in OWN if name in checkpoint}
            of_each: list[Any] = [None] * self.world_size
            torch.distributed.all_gather_object(of_each, move_data_to_device(own, torch.device("cpu")))
            checkpoint[OF_EACH_PROCESS] = of_each
        self.strategy.save_checkpoint(checkpoint, filepath, storage_options=storage_options)
        self.strategy.barrier("Trainer.save_checkpoint")

    @property
    def log_dir(self) -> str | None:
        return super().log_dir if self.run_dir is None else str(self.run_dir)


def precision_for(accelerator: Any) -> Literal["bf16-mixed", "32-true"]:
    """What is quickest on the device: bfloat16 without instructions for it is slower than float32."""
    if accelerator == "mps" or (accelerator == "auto" and torch.backends.mps.is_available()):
        return "32-true"  # what the processor beside it could do tells nothing
    if accelerator != "cpu" and torch.cuda.is_available():
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
        has_bfloat16 = any(capabilities.get(name) for name in CPU_BFLOAT16)
    return "bf16-mixed" if has_bfloat16 else "32-true"


CPU_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""Names under which torch knows the instructions, of x86 and of ARM."""


OWN = ("random_state", "steps_to_log", "carried_state")
"""What each process of a run has of its own."""

OF_EACH_PROCESS = "of_each_process"


def num_processes(checkpoint: Mapping[str, Any]) -> int:
    """How many processes made a checkpoint."""
    return len(checkpoint.get(OF_EACH_PROCESS, [None]))


class SealedCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written whole, carry a checksum, and are never loaded but as tensors and plain values."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        write_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: _PATH, map_location: Any = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        checkpoint = read_checkpoint(Path(path))
        of_each = checkpoint.pop(OF_EACH_PROCESS, [{}])
        return checkpoint | of_each[rank_zero_only.rank % len(of_each)]  # others than made it may test it
