"""Networks from hyper-parameters: the same weights as the constructors', and no Lightning."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from models import PalindromeClassifier, TextModel
from models.networks import LSTM, VanillaRNN
from models.networks.build import build_palindrome_network, build_text_network
from models.networks.stacked_lstm import StackedLSTM


def assert_same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("network", "kind", "initialization"),
    [
        *(("rnn", VanillaRNN, name) for name in ("orthogonal", "identity", "uniform")),
        *(("lstm", LSTM, name) for name in ("orthogonal", "chrono", "uniform")),
    ],
)
def test_palindrome_networks_have_the_weights_of_their_constructors(
    network: Any, kind: Any, initialization: Any
) -> None:
    options: dict[str, Any] = {"initialization": initialization, "input_scale": 0.2, "recurrent_scale": 0.9}
    only_lstm = {"longest_memory": 50}
    torch.manual_seed(1)
    expected = kind(5, 8, 5, **options, **(only_lstm if network == "lstm" else {}))
    torch.manual_seed(1)
    model = PalindromeClassifier(network, hidden_size=8, num_classes=5, **options, **only_lstm)
    assert_same_weights(model.network, expected)
    torch.manual_seed(1)
    # A checkpoint has the arguments of the optimizer, too.
    built = build_palindrome_network(**model.hparams, optimizer="torch.optim.Adam")
    assert type(built) is kind and built.backward == "bptt"
    assert_same_weights(built, expected)


def test_arguments_reach_the_network() -> None:
    network = build_palindrome_network(network="rnn", num_classes=3, hidden_size=8, backward="autograd", fused=False)
    assert (network.input_size, network.hidden_size, network.output_size) == (3, 8, 3)
    assert network.backward == "autograd"
    text = build_text_network(vocab_size=9, hidden_size=8, dropout=0.5, dropout_samples=2, weight_dropout=0.1)
    assert (text.dropout, text.dropout_samples, text.weight_dropout) == (0.5, 2, 0.1)


def test_text_networks_have_the_weights_of_their_constructor() -> None:
    torch.manual_seed(1)
    expected = StackedLSTM(9, 8, 3, 4, initialization="orthogonal")
    torch.manual_seed(1)
    model = TextModel(9, 8, 3, 4, initialization="orthogonal", carry_state=False)
    assert_same_weights(model.network, expected)
    torch.manual_seed(1)
    assert_same_weights(build_text_network(**model.hparams), expected)


def test_networks_are_built_without_lightning() -> None:
    code = (
        "import sys, models.networks.build, models.tables, models.contracts, models.decoding; "
        "sys.exit(any('lightning' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
