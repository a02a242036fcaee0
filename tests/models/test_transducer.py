"""The model of strings: what it learns, both tests of a stack RNN, the second loss, and what it refuses."""

from typing import Any

import pytest
import torch

from datamodules import PalindromeDataModule, StringDataModule
from models import PalindromeClassifier, Transducer
from models.networks import LSTM, StackRNN, VanillaRNN
from models.networks.stack_bounds import reversal_bound
from models.transducer import written
from tests.models.test_classifier import QUIET
from training.trainer import Trainer


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.02)


@pytest.mark.slow
def test_a_stack_rnn_learns_to_reverse_longer_strings_than_in_training() -> None:
    torch.manual_seed(1)
    data = StringDataModule(8, num_symbols=3, batch_size=64, num_val=50, num_test=100, test_lengths=[8, 60], seed=1)
    model = Transducer(hidden_size=16, in_features=5, out_features=3, optimizer=adam)
    trainer = Trainer(**QUIET | {"max_steps": 600, "limit_val_batches": 0})
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    hardened = {result["length"]: result["exact_match"] for result in model.test_results if result["is_hardened"]}
    assert hardened == {8: 1.0, 60: 1.0}
    soft = {result["length"]: result["accuracy"] for result in model.test_results if not result["is_hardened"]}
    assert soft[60] > 0.9
    assert "and on 100.00 % of" in model.describe_learning()


def test_soft_and_hardened_results_are_those_of_the_network() -> None:
    torch.manual_seed(0)
    data = StringDataModule(4, num_symbols=3, num_test=40, eval_batch_size=13, test_lengths=[4, 7])
    model = Transducer(hidden_size=8, in_features=5, out_features=3, soft_test_length=4)
    trainer = Trainer(**QUIET)
    trainer.test(model, data, verbose=False)
    kinds = [(result["length"], result["is_hardened"]) for result in model.test_results]
    assert kinds == [(4, False), (4, True), (7, True)]  # 7 symbols are more than soft_test_length
    for result, loader in zip(model.test_results[:2], [data.test_dataloader()[0]] * 2, strict=True):
        right = total = exact = 0
        for symbols, target in loader:
            trace = model.network.trace(symbols, hardened=result["is_hardened"])
            correct = model.network.readout(trace.hidden_states[:, -4:]).argmax(2) == target
            right, total, exact = right + int(correct.sum()), total + correct.numel(), exact + int(correct.all(1).sum())
        assert result["num_accuracy"] == (right, total) and result["num_exact_match"] == (exact, 40)
    logged = {name for name in trainer.callback_metrics if "accuracy" in name}
    assert logged == {"test/accuracy_n4", "test/accuracy_hardened_n4", "test/accuracy_hardened_n7"}
    assert len(model.describe_test()) == 4
    soft, hardened = model.describe_learning().split(", and ")
    assert "of 40 held-out strings of 4 symbols" in soft
    assert "of 80 held-out strings of 4 to 7 symbols with hardened actions" in hardened
    model.test_results = model.test_results[2:]
    assert "of 40 held-out strings of 7 symbols with hardened actions" in model.describe_learning()


@pytest.mark.parametrize(("network", "kind"), [("stack_rnn", StackRNN), ("lstm", LSTM), ("rnn", VanillaRNN)])
def test_each_network_is_tested_as_it_can_be(network: Any, kind: type) -> None:
    data = StringDataModule(3, "stack_manipulation", num_symbols=3, num_test=20)
    model = Transducer(network, hidden_size=8, in_features=data.num_features, out_features=data.num_classes)
    assert isinstance(model.network, kind)
    Trainer(**QUIET).test(model, data, verbose=False)
    assert [result["is_hardened"] for result in model.test_results] == [False] + [True] * (network == "stack_rnn")
    assert ("hardened" in model.describe_learning()) == (network == "stack_rnn")


def test_predictions_have_signs_for_marker_and_blank() -> None:
    data = StringDataModule(3, num_symbols=4, num_test=5)
    model = Transducer(hidden_size=8, in_features=6, out_features=4)
    batch = next(iter(data.predict_dataloader()))
    lines = model.describe_predictions([model.predict_step(batch, 0)])
    string, target = lines[1].split()[:2]
    assert string[3:] == "4___" and target == string[2::-1]
    assert written([3, 10, 11], 12) == "3a_" and written([3, 10, 39], 40) == "3.10._"


def test_the_bound_is_above_the_loss_of_every_string() -> None:
    """Of the written symbols and the actions, at every step, of random strings; hardened actions as they are taught."""
    torch.manual_seed(0)
    K, n = 3, 9
    network = StackRNN(K + 2, 8, K, 3).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter *= 0.3 if name != "W_hx" else 1.0  # so that the boxes settle
    bound = reversal_bound(network).item()
    strings = torch.randint(K, (200, n))
    log_p = torch.log_softmax
    actions_of_steps, outputs = [], []
    h, stack = network.initial_state(200)
    for t in range(2 * n + 1):
        symbol = strings[:, t] if t < n else torch.full((200,), K if t == n else K + 1)
        top = stack[:, 0] if stack.shape[1] else torch.zeros(200, 3, dtype=torch.float64)
        pre = network.W_hx.T[symbol] + network.b_h + h @ network.W_hh.T + top @ network.W_hs.T
        h = torch.tanh(pre)
        action = 0 if t < n else (1 if t == n else 2)
        actions_of_steps.append(-log_p(h @ network.W_ah.T + network.b_a, 1)[:, action])
        if action == 0:
            stack = torch.cat([torch.sigmoid(h @ network.W_vh.T + network.b_v)[:, None], stack], 1)
        elif action == 2:
            target = strings[:, 2 * n - t]
            outputs.append(-log_p(network.readout(h), 1).gather(1, target[:, None])[:, 0])
            stack = stack[:, 1:]
    # The bound is a sum of means over the symbols, so the mean over the strings is below the largest of each symbol.
    pushes, marks = torch.stack(actions_of_steps[:n]), actions_of_steps[n]
    pops, written = torch.stack(actions_of_steps[n + 1 :]), torch.stack(outputs)
    by_symbol = 0.0
    for k in range(K):
        by_step = strings.T
        reads, writes = by_step == k, by_step.flip(0) == k
        last = strings[:, -1] == k
        parts = (pushes[reads], marks[last], pops[writes], written[writes])
        by_symbol += sum(part.detach().max().item() for part in parts) / K
    assert 0 < by_symbol <= bound


def test_without_widths_the_bound_is_the_loss_of_one_path() -> None:
    network = StackRNN(5, 8, 3, 3).double()
    with torch.no_grad():
        narrow, half, wide = (float(reversal_bound(network, share)) for share in (0.0, 0.5, 1.0))
    assert narrow < half < wide


def test_the_second_loss_is_added_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    data = StringDataModule(3, num_symbols=3, batch_size=4)
    model = Transducer(hidden_size=8, in_features=5, out_features=3, worst_case_weight=0.5, worst_case_ramp=10)
    plain = Transducer(hidden_size=8, in_features=5, out_features=3)
    plain.load_state_dict(model.state_dict())
    batch = data.train_dataloader().batch(0)
    trainer = Trainer(**QUIET)
    monkeypatch.setattr(model, "_trainer", trainer)
    for step in (0, 4, 30):
        trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
        assert trainer.global_step == step
        expected = plain.training_step(batch, 0) + 0.5 * reversal_bound(plain.network, min(1.0, step / 10))
        torch.testing.assert_close(model.training_step(batch, 0), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"worst_case_weight": -1.0}, "worst_case_weight is -1.0"),
        ({"worst_case_ramp": -1}, "worst_case_ramp is -1"),
        ({"worst_case_weight": 1.0, "network": "lstm"}, "'stack_rnn'"),
        ({"stack_size": 0}, "stack_size is 0"),
        ({"soft_test_length": -1}, "soft_test_length is -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Transducer(**arguments)


def test_data_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no strings; use StringDataModule"):
        Trainer(**QUIET | {"max_steps": 1}).fit(Transducer(hidden_size=8), PalindromeDataModule(5))
    with pytest.raises(ValueError, match="no palindromes; use PalindromeDataModule"):
        Trainer(**QUIET | {"max_steps": 1}).fit(PalindromeClassifier(hidden_size=8), StringDataModule(5))
    model = Transducer(hidden_size=8, worst_case_weight=1.0, in_features=12, out_features=11)
    with pytest.raises(ValueError, match="'stack_manipulation'"):
        Trainer(**QUIET | {"max_steps": 1}).fit(model, StringDataModule(5, "stack_manipulation"))


@pytest.mark.parametrize("network", ["stack_rnn", "lstm"])
def test_gradients_of_hidden_states(network: Any) -> None:
    batch = StringDataModule(4, num_symbols=3, batch_size=2, shortest=4).train_dataloader().batch(0)
    model = Transducer(network, hidden_size=8, in_features=5, out_features=3)
    assert model.hidden_state_gradients(batch).shape == (2, 9, 8)
