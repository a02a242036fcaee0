"""Means over steps and splits, and the table that shows them."""

import pytest
import torch

from models.metrics import EvalMetrics, ExactAccuracy, StepMetrics
from models.tables import format_table


def test_an_accuracy_is_exact_beyond_the_integers_of_float32() -> None:
    metric = ExactAccuracy()
    metric.correct += 2**24
    metric.update(torch.tensor([True, True, False]))
    metric.total += 2**24
    assert metric.compute() and metric.counts == (2**24 + 2, 2**24 + 3)


def test_eval_metrics_weigh_the_loss_and_begin_again() -> None:
    metrics = EvalMetrics(("accuracy", "recall"))
    assert metrics.compute() == {}
    metrics.update(torch.tensor(1.0), 3, {"accuracy": torch.tensor([[True, False], [True, True]])})
    metrics.update(torch.tensor(5.0), 1, {"accuracy": torch.tensor([False])})
    means = metrics.compute()
    assert means.keys() == {"loss", "accuracy"}  # a metric without predictions is left out
    assert means["loss"].item() == pytest.approx(2.0) and means["accuracy"].item() == pytest.approx(0.6)
    assert metrics.accuracies["accuracy"].counts == (3, 5)
    assert metrics.compute() == {}


def test_step_metrics_survive_a_checkpoint_between_two_steps() -> None:
    def metrics() -> StepMetrics:
        return StepMetrics(("loss", "accuracy"), lambda logits, target: {"accuracy": logits.argmax(-1) == target})

    steps = [(torch.rand(()), torch.randn(4, 3), torch.randint(3, (4,))) for _ in range(5)]
    whole, before, after = metrics(), metrics(), metrics()
    for k, step in enumerate(steps):
        whole.add(*step)
        (before if k < 2 else after).add(*step)
        if k == 1:
            after.load_tensors(before.tensors())
    ours, theirs = after.compute(), whole.compute()
    assert ours.keys() == theirs.keys() == {"loss", "accuracy"}
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert after.compute() == {}


def test_columns_of_a_table_are_as_wide_as_their_widest_cell() -> None:
    assert format_table([["T", "accuracy"], ["1,000", "9 %"]]) == ["    T  accuracy", "1,000       9 %"]
