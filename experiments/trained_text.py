"""A text model out of a checkpoint, ready to write, without Lightning and without the book."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.vocabulary import Vocabulary
from experiments.trained_model import trained_model
from models.networks.build import build_text_network
from models.networks.stacked_lstm import CharacterSteps, StackedLSTM


@dataclass(frozen=True)
class TrainedText:
    """What a checkpoint of a ``TextModel`` holds.

    Args:
        path: the checkpoint file.
        network: as it was trained, one character at a time.
        vocabulary: the characters it knows.
    """

    path: Path
    network: CharacterSteps
    vocabulary: Vocabulary


def load_text(ckpt_path: str) -> TrainedText:
    """The network and the vocabulary in a checkpoint, to write with. Arguments and errors as for ``load_network``."""
    path, network, vocabulary = load_network(ckpt_path)
    return TrainedText(path, CharacterSteps(network), vocabulary)


def load_network(ckpt_path: str) -> tuple[Path, StackedLSTM, Vocabulary]:
    """The checkpoint's file, the network in it, as it was trained, and its vocabulary.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment's folder (the best of its newest run).
    Raises:
        UserError: there is no such checkpoint, it is damaged, it holds no ``TextModel``, or one that has diverged.
    """
    trained = trained_model(ckpt_path, "TextModel", "BookDataModule")
    vocabulary = Vocabulary(trained.checkpoint["BookDataModule"]["characters"])
    # The weights are loaded, so the quickest initialization will do.
    network = build_text_network(**trained.arguments | {"vocab_size": len(vocabulary), "initialization": "uniform"})
    trained.load_weights(network)
    return trained.path, network.eval(), vocabulary
