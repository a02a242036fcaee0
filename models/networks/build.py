"""Networks from the hyper-parameters of the models, without Lightning: for the models and for checkpoints."""

import inspect
from typing import Any

from torch import nn

from models.networks.lstm import LSTM
from models.networks.stack_rnn import StackRNN
from models.networks.stacked_lstm import StackedLSTM
from models.networks.vanilla_rnn import VanillaRNN


def build_string_network(
    *, network: str, in_features: int, out_features: int, **hyper_parameters: Any
) -> LSTM | StackRNN | VanillaRNN:
    """The network of ``Transducer``.

    Args:
        network: ``stack_rnn``, ``lstm`` or ``rnn``.
        in_features: different symbols that it reads.
        out_features: different symbols that it predicts.
        hyper_parameters: of ``Transducer``; those that the network does not have are left out, and for None it has its
            own default.
    """
    hyper_parameters |= {"input_size": in_features, "output_size": out_features}
    given = {name: value for name, value in hyper_parameters.items() if value is not None}
    if network == "stack_rnn":
        return StackRNN(**accepted(StackRNN, given))
    if network == "lstm":
        return LSTM(**accepted(LSTM, given))
    return VanillaRNN(**accepted(VanillaRNN, given))


def build_palindrome_network(*, network: str, num_classes: int, **hyper_parameters: Any) -> LSTM | VanillaRNN:
    """The network of ``PalindromeClassifier``.

    Args:
        network: ``lstm`` or ``rnn``.
        num_classes: different digits, K: the network reads and predicts them.
        hyper_parameters: of ``PalindromeClassifier``; those that the network does not have are left out.
    """
    hyper_parameters |= {"input_size": num_classes, "output_size": num_classes}
    if network == "lstm":
        return LSTM(**accepted(LSTM, hyper_parameters))
    return VanillaRNN(**accepted(VanillaRNN, hyper_parameters))


def build_text_network(**hyper_parameters: Any) -> StackedLSTM:
    """The network of ``TextModel`` from its hyper-parameters; those that the network does not have are left out."""
    return StackedLSTM(**accepted(StackedLSTM, hyper_parameters))


def accepted(network: type[nn.Module], hyper_parameters: dict[str, Any]) -> dict[str, Any]:
    """The hyper-parameters that are arguments of the network; a checkpoint has also those of the optimizer."""
    arguments = inspect.signature(network).parameters
    return {name: value for name, value in hyper_parameters.items() if name in arguments}
