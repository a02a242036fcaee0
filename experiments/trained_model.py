"""Loads handwritten networks from checkpoints, for commands that need no Lightning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.networks import LSTM, VanillaRNN
from models.networks.build import build_palindrome_network
from training.errors import UserError
from training.loading import PREFIX, load_weights, read_model
from training.run_folder import run_folder_of

Network = LSTM | VanillaRNN

DIGITS_MAX = 1 << 27
"""The most digits that a measurement holds at a time: 1 GiB."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The network in a checkpoint of a ``PalindromeClassifier``.

    Args:
        path: the checkpoint file.
        network: the trained network.
        untrained: a network with the same arguments and random weights.
        num_classes: different digits, K.
        seed: of the data, which is that of the run.
        length: of the palindromes that it was trained on.
        folder: the run's folder; for a checkpoint outside of a run, the folder that the file is in.
        dtype: of the weights in the checkpoint; those of ``network`` are float32.
    """

    path: Path
    network: Network
    untrained: Network
    num_classes: int
    seed: int
    length: int
    folder: Path
    dtype: torch.dtype = torch.float32


def load(ckpt_path: str, task: str) -> TrainedNetwork:
    """Load the network in a checkpoint.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
        task: that the network must have been trained for, ``last_digit`` or ``every_digit``.
    Raises:
        UserError: the checkpoint does not exist, is damaged, is not that of a ``PalindromeClassifier`` trained for
            this task, or its weights are not finite.
    """
    path, checkpoint, arguments = read_model(ckpt_path, "PalindromeClassifier")
    data = checkpoint["config"]["data"]["init_args"]
    trained_for = data["task"]
    if trained_for != task:
        raise UserError(f"{path} was trained for task {trained_for}; this command needs task {task}")
    options = arguments | {"backward": "bptt", "fused": False}
    network, untrained = (build_palindrome_network(**options) for _ in range(2))
    load_weights(network, path, checkpoint)
    run = run_folder_of(path)
    folder = path.parent if run is None else run.path
    K, seed, length = arguments["num_classes"], data["seed"], data["length"]
    dtype = checkpoint["state_dict"][f"{PREFIX}W_ph"].dtype
    return TrainedNetwork(path, network, untrained, K, seed, length, folder, dtype)


def as_vector(state: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The state as one tensor: h (B, H), or for an LSTM h and c concatenated (B, 2H)."""
    return state if isinstance(state, Tensor) else torch.cat(state, dim=1)


def as_state(vector: Tensor, network: Network) -> Any:
    """The inverse of ``as_vector``."""
    return vector if network.num_states == 1 else tuple(vector.chunk(2, dim=1))
