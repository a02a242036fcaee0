"""Loads a text model from a checkpoint, without Lightning and without the book."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.vocabulary import Vocabulary
from experiments.trained_model import trained_model
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM

SIZES = ("hidden_size", "num_layers", "embedding_size")


@dataclass(frozen=True)
class TrainedText:
    """The network and the vocabulary in a checkpoint of a ``TextModel``.

    Args:
        path: the checkpoint file.
        network: the trained network, which reads one character at a time.
        vocabulary: the characters of the book.
    """

    path: Path
    network: CharacterSteps
    vocabulary: Vocabulary


def load_text(ckpt_path: str) -> TrainedText:
    """Load a text model for generation. Arguments and errors as for ``load_network``."""
    path, network, vocabulary = load_network(ckpt_path)
    return TrainedText(path, CharacterSteps(network), vocabulary)


def load_network(ckpt_path: str) -> tuple[Path, StackedLSTM, Vocabulary]:
    """The checkpoint's file, the trained network and its vocabulary.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
    Raises:
        UserError: the checkpoint does not exist, is damaged, is not that of a ``TextModel``, or its weights are not
            finite.
    """
    trained = trained_model(ckpt_path, "TextModel", "BookDataModule")
    vocabulary = Vocabulary(trained.checkpoint["BookDataModule"]["characters"])
    network = StackedLSTM(len(vocabulary), **{name: trained.arguments[name] for name in SIZES})
    trained.load_weights(network)
    return trained.path, network.eval(), vocabulary
