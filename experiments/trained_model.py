"""Loads handwritten networks from checkpoints, for commands that need no Lightning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.networks import LSTM, StackRNN, VanillaRNN
from models.networks.build import build_palindrome_network, build_string_network
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
    data = data_arguments(path, checkpoint, ("task", "seed", "length"), "PalindromeDataModule")
    trained_for = data["task"]
    if trained_for != task:
        raise UserError(f"{path} was trained for task {trained_for}; this command needs task {task}")
    options = arguments | {"backward": "bptt", "fused": False}
    network, untrained = (build_palindrome_network(**options) for _ in range(2))
    load_weights(network, path, checkpoint)
    folder = folder_of(path)
    K, seed, length = arguments["num_classes"], data["seed"], data["length"]
    dtype = checkpoint["state_dict"][f"{PREFIX}W_ph"].dtype
    return TrainedNetwork(path, network, untrained, K, seed, length, folder, dtype)


@dataclass(frozen=True)
class TrainedStackRNN:
    """The stack RNN in a checkpoint of a ``Transducer``.

    Args:
        path: the checkpoint file.
        network: the trained network.
        num_symbols: different symbols of the strings, K.
        seed: of the data, which is that of the run.
        folder: the run's folder; for a checkpoint outside of a run, the folder that the file is in.
        dtype: of the weights in the checkpoint; those of ``network`` are float32.
    """

    path: Path
    network: StackRNN
    num_symbols: int
    seed: int
    folder: Path
    dtype: torch.dtype


def load_stack_rnn(ckpt_path: str, task: str) -> TrainedStackRNN:
    """Load the stack RNN in a checkpoint.

    Args:
        ckpt_path: a checkpoint file, a run folder or an experiment folder (the best checkpoint of its newest run).
        task: that the network must have been trained for.
    Raises:
        UserError: the checkpoint does not exist, is damaged, is not that of a ``Transducer`` with a stack that was
            trained for this task, or its weights are not finite.
    """
    path, checkpoint, arguments = read_model(ckpt_path, "Transducer")
    data = data_arguments(path, checkpoint, ("task", "num_symbols", "seed"), "StringDataModule")
    if data["task"] != task:
        raise UserError(f"{path} was trained for task {data['task']}; this command needs task {task}")
    sizes = {"in_features": data["num_symbols"] + 2, "out_features": data["num_symbols"]}
    network = build_string_network(**arguments | sizes | {"backward": "bptt"})
    if not isinstance(network, StackRNN):
        raise UserError(f"{path} has network {arguments['network']}, which has no stack; this command needs stack_rnn")
    load_weights(network, path, checkpoint)
    dtype = checkpoint["state_dict"][f"{PREFIX}W_ph"].dtype
    return TrainedStackRNN(path, network, data["num_symbols"], data["seed"], folder_of(path), dtype)


def data_arguments(path: Path, checkpoint: dict[str, Any], names: tuple[str, ...], use: str) -> dict[str, Any]:
    """The arguments of the datamodule of a checkpoint; a UserError if it lacks one of ``names``."""
    data: dict[str, Any] = checkpoint["config"]["data"]
    arguments: dict[str, Any] = data.get("init_args") or {}
    if missing := [name for name in names if name not in arguments]:
        raise UserError(
            f"{path} was trained with {data['class_path']}, which has no argument {missing[0]}; this command needs a "
            f"network that was trained with {use}"
        )
    return arguments


def check_float32(path: Path, dtype: torch.dtype) -> None:
    """Raise a UserError unless the weights of a checkpoint are float32, which proofs are about."""
    if dtype != torch.float32:
        raise UserError(
            f"the weights in {path} are {dtype}, but a proof is about float32; train with --trainer.precision 32-true"
        )


def model_name(ckpt_path: str) -> str:
    """The name of the model's class in a checkpoint; errors as for ``read_model``."""
    _, checkpoint, _ = read_model(ckpt_path)
    return str(checkpoint["config"]["model"]["class_path"]).rpartition(".")[2]


def folder_of(path: Path) -> Path:
    """The run's folder of a checkpoint; outside of a run, the folder that the file is in."""
    run = run_folder_of(path)
    return path.parent if run is None else run.path


def as_vector(state: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The state as one tensor: h (B, H), or for an LSTM h and c concatenated (B, 2H)."""
    return state if isinstance(state, Tensor) else torch.cat(state, dim=1)


def as_state(vector: Tensor, network: Network) -> Any:
    """The inverse of ``as_vector``."""
    return vector if network.num_states == 1 else tuple(vector.chunk(2, dim=1))
