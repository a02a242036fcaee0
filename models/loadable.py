"""Models that are loaded from Python: ``TextModel.load("runs/text_grimm")``."""

from pathlib import Path
from typing import Self


class Loadable:
    """A LightningModule that can be loaded with its weights."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A trained model, on the CPU, ready to predict.

        Args:
            path: a checkpoint file, a run's folder or an experiment's folder (the best checkpoint of its newest run),
                or what ``python cli.py export --format safetensors`` wrote.
        Raises:
            training.errors.UserError: there is no such checkpoint, it is damaged, or it is one of another class.
        """
        # The one import against the direction: only the room above reads files.
        from training.loading import load_model

        return load_model(cls, str(path))
