"""How far back the gradient reaches, while training goes on (question 1.7 of the assignment)."""

import csv
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor


class GradientFlow(Callback):
    """Captures ``|dL/dh_t|`` of every time step t, every n steps, and changes nothing.

    L is the loss of each item of the batch by itself, about to be trained on; the norm is averaged over the batch. It
    goes into ``gradients/step_<step>.csv`` of the run folder, and into TensorBoard as a figure and as a histogram of
    the logarithms (base 10) of all norms. It costs another forward and backward pass. The model gives the gradients
    (``hidden_state_gradients(batch)``).

    Args:
        every_n_steps: optimizer steps from one capture to the next, at least 1; the first is before any.
    Raises:
        ValueError: ``every_n_steps`` is below 1; when training begins, the model has no ``hidden_state_gradients``.
    """

    def __init__(self, every_n_steps: int = 100) -> None:
        if every_n_steps < 1:
            raise ValueError(f"GradientFlow.every_n_steps is {every_n_steps}; it must be at least 1")
        self.every_n_steps = every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not hasattr(pl_module, "hidden_state_gradients"):
            raise ValueError(
                f"GradientFlow cannot see the hidden states of {type(pl_module).__name__}; it is for "
                "PalindromeClassifier, so leave it out"
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step % self.every_n_steps != 0 or not trainer.is_global_zero:
            return
        with torch.random.fork_rng():  # a model with dropout draws
            norms = pl_module.hidden_state_gradients(batch).norm(dim=2).double().cpu()
        if trainer.run_dir is not None:  # in a fast_dev_run there is nowhere to write
            self.write(norms.mean(dim=0), trainer.run_dir / "gradients" / f"step_{step:06}.csv")
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    self.show(logger, norms, step)

    def write(self, norms: Tensor, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("t", "gradient_norm"))
            writer.writerows(enumerate(norms.tolist(), start=1))

    def show(self, logger: TensorBoardLogger, norms: Tensor, step: int) -> None:
        from matplotlib.figure import Figure  # heavy, and only for those who look
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(3.5, 2.6), layout="constrained")
        axes = figure.subplots()
        mean = norms.mean(dim=0)
        axes.plot(range(1, len(mean) + 1), mean)
        axes.set(yscale="log", xlabel="time step t", ylabel=r"$|\partial L / \partial h_t|$", title=f"step {step}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        logger.experiment.add_figure("gradients/flow", figure, step)
        seen = norms[(norms > 0) & norms.isfinite()]
        if len(seen) > 0:
            logger.experiment.add_histogram("gradients/log10_norm", seen.log10(), step)
