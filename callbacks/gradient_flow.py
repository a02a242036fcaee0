"""How far back in time the gradient reaches during training (question 1.7 of the assignment)."""

import csv
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from callbacks.contracts import HasHiddenStateGradients, folder_of


class GradientFlow(Callback):
    """Records ``|dL/dh_t|`` of every time step t every n steps. It changes nothing in the run.

    L is the loss of one item of the next training batch; the norm is averaged over the batch. The norms go to
    ``gradients/step_<step>.csv`` in the run's folder, and to TensorBoard as a figure and as a histogram of their
    logarithms (base 10). Each record costs one more forward and backward pass.

    Args:
        every_n_steps: optimizer steps between two records, at least 1; the first record is before any step.
    Raises:
        ValueError: ``every_n_steps`` is below 1; at setup, the model has no ``hidden_state_gradients``.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise ValueError(f"GradientFlow.every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, HasHiddenStateGradients):
            raise ValueError(
                f"GradientFlow cannot see the hidden states of {type(pl_module).__name__}; remove it, or use it with "
                "PalindromeClassifier"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step % self.every_n_steps != 0:
            return
        run_dir = folder_of(trainer)
        if run_dir is None or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, HasHiddenStateGradients)
        with torch.random.fork_rng():  # a model with dropout draws random numbers
            norms = pl_module.hidden_state_gradients(batch).norm(dim=2).double().cpu()
        self.write(norms.mean(dim=0), run_dir / "gradients" / f"step_{step:06}.csv")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                self.show(logger, norms, step)

    def write(self, norms: Tensor, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("t", "gradient_norm"))
            writer.writerows(enumerate(norms.tolist(), start=1))

    def show(self, logger: TensorBoardLogger, norms: Tensor, step: int) -> None:
        from matplotlib.figure import Figure  # heavy, and not every run needs it
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(3.5, 2.6), layout="constrained")
        axes = figure.subplots()
        mean = norms.mean(dim=0)
        axes.plot(range(1, len(mean) + 1), mean)
        axes.set(yscale="log", xlabel="time step t", ylabel=r"$|\partial L / \partial h_t|$", title=f"step {step}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        logger.experiment.add_figure("gradients/flow", figure, step)
        shown = norms[(norms > 0) & norms.isfinite()]
        if len(shown) > 0:
            logger.experiment.add_histogram("gradients/log10_norm", shown.log10(), step)
