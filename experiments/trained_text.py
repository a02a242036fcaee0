"""Loads a text model from a checkpoint, without Lightning and without the book."""

from pathlib import Path

from datamodules.vocabulary import Vocabulary
from experiments.trained_model import load_weights, read_model
from models.networks.build import build_text_network
from models.networks.stacked_lstm import StackedLSTM


def load_network(ckpt_path: str) -> tuple[Path, StackedLSTM, Vocabulary]:
    """The checkpoint's file, the trained network and its vocabulary.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
    Raises:
        UserError: the checkpoint does not exist, is damaged, is not that of a ``TextModel``, or its weights are not
            finite.
    """
    path, checkpoint, arguments = read_model(ckpt_path, "TextModel", "BookDataModule")
    vocabulary = Vocabulary(checkpoint["BookDataModule"]["characters"])
    # The weights are loaded, so the fastest initialization is enough.
    network = build_text_network(**arguments | {"vocab_size": len(vocabulary), "initialization": "uniform"})
    load_weights(network, path, checkpoint)
    return path, network.eval(), vocabulary
