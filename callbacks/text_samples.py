"""What a text model writes while it learns (questions 2.1b and 2.1c of the assignment)."""

import math
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger


class TextSamples(Callback):
    """Lets the model write from a random first character, every n steps, and changes nothing.

    There is a text for each length, written greedily and for each tau. They go into ``samples/step_<step>.txt`` of the
    run folder and into TensorBoard's text tab, ``samples/greedy``, ``samples/tau 1`` and so on. First characters and
    draws depend on the step alone. The model writes (``write``), the data has the ``vocabulary``.

    Args:
        every_n_steps: optimizer steps from one time to the next, at least 1; the first is before any.
        lengths: characters of a text, its first among them, each at least 1.
        taus: what the logits are multiplied by before a character is drawn, each at least 0.
    Raises:
        ValueError: an argument is out of its range; when training begins, the model or the data is none of text.
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
        ways = {"greedy": math.inf} | {f"tau {tau:g}": float(tau) for tau in taus}
        self.wanted = [(way, tau, length) for way, tau in ways.items() for length in lengths]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not hasattr(pl_module, "write") or not hasattr(trainer.datamodule, "vocabulary"):
            raise ValueError(
                f"TextSamples cannot let {type(pl_module).__name__} write; it is for TextModel and BookDataModule, so "
                "leave it out"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            self.capture(trainer, pl_module)

    def between_steps(self, trainer: Trainer, ending: bool) -> None:
        """Let the model write if it is time; called by the loop after every optimizer step."""
        if trainer.global_step % self.every_n_steps == 0:
            self.capture(trainer, trainer.lightning_module)

    def capture(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the model write now; without a run folder (fast_dev_run) there is nowhere to."""
        step = trainer.global_step
        if trainer.run_dir is None or not trainer.is_global_zero:
            return
        texts = self.texts(pl_module, trainer.datamodule.vocabulary, step)
        folder = trainer.run_dir / "samples"
        folder.mkdir(exist_ok=True)
        in_file = "\n\n".join(f"--- {way}, {len(text)} characters\n{text}" for way, text in texts)
        (folder / f"step_{step:06}.txt").write_text(f"{in_file}\n", encoding="utf-8")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for way in dict.fromkeys(way for way, _ in texts):
                    shown = as_markdown([text for other, text in texts if other == way])
                    logger.experiment.add_text(f"samples/{way}", shown, step)

    def texts(self, pl_module: LightningModule, vocabulary: Any, step: int) -> list[tuple[str, str]]:
        """The way in which each text was written, and the text."""
        generator = torch.Generator().manual_seed(step)
        first = torch.randint(len(vocabulary), (len(self.wanted),), generator=generator)
        seeds = torch.randint(2**62, (len(self.wanted),), generator=generator).tolist()
        ways, taus, lengths = zip(*self.wanted, strict=True)
        written = pl_module.write(first, max(lengths), torch.tensor(taus), seeds)
        texts = (vocabulary.decode(ids[:length].tolist()) for ids, length in zip(written, lengths, strict=True))
        return list(zip(ways, texts, strict=True))


def as_markdown(texts: list[str]) -> str:
    """Each text as a block of code, in which line breaks and spaces are kept."""
    blocks = ("\n".join(f"    {line}" for line in text.split("\n")) for text in texts)
    return "\n\n".join(f"**{len(text)} characters**\n\n{block}" for text, block in zip(texts, blocks, strict=True))
