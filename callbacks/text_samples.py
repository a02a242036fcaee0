"""Texts that a model writes while it learns (questions 2.1b and 2.1c of the assignment)."""

import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger

from callbacks.contracts import HasVocabulary, WritesText, folder_of


class TextSamples(Callback):
    """Lets the model continue a random first character every n steps. It changes nothing in the run.

    There is one text for each length and each way of choosing characters: greedy, and at random with each tau. The
    texts go to ``samples/step_<step>.txt`` in the run's folder and to TensorBoard's text tab (``samples/greedy``,
    ``samples/tau 1``, ...). First characters and random draws depend on the step alone.

    Args:
        every_n_steps: optimizer steps between two samples, at least 1; the first sample is before any step.
        lengths: characters of each text, its first one included, each at least 1.
        taus: factors of the logits before a character is drawn, each at least 0.
    Raises:
        ValueError: an argument is out of its range; at setup, the model has no ``write`` or the data no ``vocabulary``.
    """

    def __init__(
        self, every_n_steps: int = 1000, lengths: tuple[int, ...] = (15, 30, 200), taus: tuple[float, ...] = (0.5, 1, 2)
    ) -> None:
        if every_n_steps < 1:
            raise ValueError(f"TextSamples.every_n_steps is {every_n_steps}; it must be at least 1")
        if not lengths or min(lengths) < 1:
            raise ValueError(f"TextSamples.lengths is {list(lengths)}; give at least one, each at least 1")
        if not all(tau >= 0 for tau in taus):
            raise ValueError(f"TextSamples.taus is {list(taus)}; each must be at least 0")
        self.every_n_steps = every_n_steps
        self.last_step = -1
        names = {"greedy": math.inf} | {f"tau {tau:g}": float(tau) for tau in taus}
        self.wanted = [(name, tau, length) for name, tau in names.items() for length in lengths]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = trainer.datamodule
        if not isinstance(pl_module, WritesText) or not isinstance(data, HasVocabulary):
            raise ValueError(
                f"TextSamples cannot sample text from {type(pl_module).__name__} and {type(data).__name__}; remove it, "
                "or use it with TextModel and BookDataModule"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.last_step = trainer.global_step
        if trainer.global_step == 0:
            self.sample(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every_n_steps == 0 and step != self.last_step:  # several batches may make one optimizer step
            self.last_step = step
            self.sample(trainer, pl_module)

    def sample(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the model write now. Without a folder for the run (``fast_dev_run``) nothing happens."""
        step, run_dir = trainer.global_step, folder_of(trainer)
        if run_dir is None or not trainer.is_global_zero:
            return
        texts = self.texts(pl_module, trainer.datamodule.vocabulary, step)
        folder = run_dir / "samples"
        folder.mkdir(parents=True, exist_ok=True)
        in_file = "\n\n".join(f"--- {name}, {len(text)} characters\n{text}" for name, text in texts)
        (folder / f"step_{step:06}.txt").write_text(f"{in_file}\n", encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name in dict.fromkeys(name for name, _ in texts):
                    shown = as_markdown([text for other, text in texts if other == name])
                    logger.experiment.add_text(f"samples/{name}", shown, step)

    def texts(self, pl_module: Any, vocabulary: Any, step: int) -> list[tuple[str, str]]:
        """The way in which each text was written, and the text."""
        generator = torch.Generator().manual_seed(step)
        first = torch.randint(len(vocabulary), (len(self.wanted),), generator=generator)
        seeds = torch.randint(2**62, (len(self.wanted),), generator=generator).tolist()
        names, taus, lengths = zip(*self.wanted, strict=True)
        written = pl_module.write(first, max(lengths), torch.tensor(taus), seeds)
        texts = (vocabulary.decode(ids[:length].tolist()) for ids, length in zip(written, lengths, strict=True))
        return list(zip(names, texts, strict=True))


def as_markdown(texts: list[str]) -> str:
    """Each text as a code block, which keeps line breaks and spaces."""
    blocks = ("\n".join(f"    {line}" for line in text.split("\n")) for text in texts)
    return "\n\n".join(f"**{len(text)} characters**\n\n{block}" for text, block in zip(texts, blocks, strict=True))
