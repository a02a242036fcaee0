"""A handwritten network out of a checkpoint, without Lightning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.trained_model import trained_model
from models.networks import LSTM, VanillaRNN
from models.networks.build import build_palindrome_network
from training.run_folder import run_folder_of

Network = LSTM | VanillaRNN


@dataclass(frozen=True)
class TrainedNetwork:
    """What a checkpoint of a ``PalindromeClassifier`` holds.

    Args:
        path: the checkpoint file.
        network: as it was trained.
        untrained: of the same kind, as it might have been before.
        num_classes: different digits, K.
        task: what it was trained for, ``last_digit`` or ``every_digit``.
        folder: of the run, or, for a file from elsewhere, the file's.
    """

    path: Path
    network: Network
    untrained: Network
    num_classes: int
    task: str
    folder: Path


def load(ckpt_path: str) -> TrainedNetwork:
    """The network in a checkpoint.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment's folder (the best of its newest run).
    Raises:
        UserError: there is no such checkpoint, it is damaged, it holds no ``PalindromeClassifier``, or one that has
            diverged.
    """
    trained = trained_model(ckpt_path, "PalindromeClassifier")
    network, untrained = (
        build_palindrome_network(**trained.arguments | {"backward": "bptt", "fused": False}) for _ in range(2)
    )
    trained.load_weights(network)
    run = run_folder_of(trained.path)
    return TrainedNetwork(
        trained.path,
        network,
        untrained,
        trained.arguments["num_classes"],
        trained.checkpoint["config"]["data"]["init_args"]["task"],
        trained.path.parent if run is None else run.path,
    )


def as_vector(state: Tensor | tuple[Tensor, ...]) -> Tensor:
    """h, or for an LSTM h and c side by side: (B, H) or (B, 2H)."""
    return state if isinstance(state, Tensor) else torch.cat(state, dim=1)


def as_state(vector: Tensor, network: Network) -> Any:
    """The reverse of ``as_vector``."""
    return vector if network.num_states == 1 else tuple(vector.chunk(2, dim=1))
