"""The models' contracts: what may differ in a test, what data they accept, what they report."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningDataModule

import models
from datamodules import BookDataModule, GraphDataModule, PalindromeDataModule, SpreadDataModule, StringDataModule
from models import (
    NodeClassifier,
    NodeSequenceClassifier,
    PalindromeClassifier,
    PathGraphClassifier,
    TextModel,
    Transducer,
)
from models.contracts import GraphData, PalindromeData, ReportingModel, SignalData, StringData, TextData
from models.spread import SpreadClassifier
from tests.models.test_classifier import QUIET
from training.trainer import Trainer

MODELS = [getattr(models, name) for name in models.__all__]

OTHER_VALUES: dict[str, Any] = {
    "backward": "autograd",
    "carry_state": False,
    "dropout": 0.3,
    "dropout_samples": 3,
    "forget_bias": 0.5,
    "fused": False,
    "initialization": "orthogonal",
    "input_scale": 0.5,
    "longest_memory": 7,
    "lr_scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1.0),
    "recurrent_scale": 0.5,
    "reset_probability": 0.5,
    "soft_test_length": 3,
    "weight_decay": 0.7,
    "weight_dropout": 0.3,
    "worst_case_ramp": 7,
    "worst_case_steps": 3,
    "worst_case_weight": 0.5,
}

GRAPH = {"in_features": 34, "out_features": 4, "hidden_size": 8}
SMALL: dict[type, dict[str, Any]] = {
    NodeClassifier: GRAPH,
    NodeSequenceClassifier: GRAPH,
    PalindromeClassifier: {"hidden_size": 8},
    PathGraphClassifier: {"hidden_size": 8},
    SpreadClassifier: {"hidden_size": 8},
    TextModel: {"vocab_size": 9, "hidden_size": 8, "dropout": 0.1},
    Transducer: {"hidden_size": 8},
}


def a_batch(model: type) -> Any:
    if model is TextModel:
        ids = torch.randint(9, (3, 7))
        return ids, ids
    if model is SpreadClassifier:
        return SpreadDataModule(num_nodes=8, num_steps=6).draw(4, "val", 0)
    if model is Transducer:
        return StringDataModule(5, batch_size=4).train_dataloader().batch(0)
    if issubclass(model, NodeClassifier | NodeSequenceClassifier):
        return GraphDataModule("karate").batch("val")
    return PalindromeDataModule(7, batch_size=4).train_dataloader().batch(0)


@pytest.mark.parametrize("model", MODELS)
def test_may_differ_has_exact_names_in_order(model: Any) -> None:
    arguments = inspect.signature(model).parameters.keys()
    for names in (model.MAY_DIFFER_IN_TEST, model.MAY_DIFFER_ON_RESUME):
        assert list(names) == sorted(set(names)) and set(names) <= arguments
    assert {"optimizer", "lr_scheduler"} <= set(model.MAY_DIFFER_IN_TEST)


@pytest.mark.parametrize(("model", "name"), [(model, name) for model in MODELS for name in model.MAY_DIFFER_IN_TEST])
def test_settings_that_may_differ_in_a_test_change_no_prediction(model: Any, name: str) -> None:
    trained = model(**SMALL[model]).eval()
    tested = model(**(SMALL[model] | {name: OTHER_VALUES[name]})).eval()
    tested.load_state_dict(trained.state_dict())
    batch = a_batch(model)
    with torch.no_grad():
        ours, theirs = (network.logits_and_target(batch)[0] for network in (tested, trained))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        (PalindromeClassifier, {"network": "rnn"}),
        (PalindromeClassifier, {"num_classes": 3}),
        (PathGraphClassifier, {"num_layers": 3}),
        (PathGraphClassifier, {"connection": "residual", "num_layers": 3}),
        (TextModel, {"embedding_size": None}),
        (NodeClassifier, {"num_layers": 3}),
        (NodeSequenceClassifier, {"order": "dfs"}),
        (SpreadClassifier, {"network": "lstm"}),
        (Transducer, {"network": "lstm"}),
        (Transducer, {"stack_size": 3}),
    ],
)
def test_settings_that_change_predictions_must_match(model: Any, changed: dict[str, Any]) -> None:
    assert not changed.keys() & set(model.MAY_DIFFER_IN_TEST)


def test_each_datamodule_fulfils_its_own_contract_only(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Once upon a time there was a king.\n" * 100)
    data: dict[type, LightningDataModule] = {
        PalindromeData: PalindromeDataModule(6),
        TextData: BookDataModule(str(tmp_path / "book.txt"), seq_len=12),
        GraphData: GraphDataModule("karate"),
        SignalData: SpreadDataModule(),
        StringData: StringDataModule(6),
    }
    for contract in data:
        assert [kind for kind, module in data.items() if isinstance(module, contract)] == [contract]


class PlainReport(ReportingModel):
    """A model that overrides nothing."""


def test_a_reporting_model_has_defaults() -> None:
    model = PlainReport()
    assert model.describe_test() == [] and model.describe_learning() == "" and model.training_metrics() == {}
    assert model.describe_predictions([1, 2, 3]) == ["3 batches of predictions"]
    assert model.next_command == "predict" and model.MAY_DIFFER_IN_TEST == model.MAY_DIFFER_ON_RESUME == ()


@pytest.mark.parametrize("model", MODELS)
def test_without_a_test_there_is_nothing_to_report(model: Any) -> None:
    untested = model(**SMALL[model])
    assert isinstance(untested, ReportingModel)
    assert untested.describe_test() == [] and untested.describe_learning() == ""


class OwnPalindromes(LightningDataModule):
    """A datamodule of a user's own, which inherits nothing from ours."""

    num_classes = 10
    train_lengths = None

    def train_dataloader(self) -> Any:
        return PalindromeDataModule(7, batch_size=4).train_dataloader()

    def test_dataloader(self) -> Any:
        return PalindromeDataModule(7, num_test=12).test_dataloader()[0]

    val_dataloader = test_dataloader


def test_a_datamodule_of_a_users_own_is_accepted_if_it_fulfils_the_contract() -> None:
    model = PalindromeClassifier(hidden_size=8)
    trainer = Trainer(**QUIET, max_steps=3)
    trainer.fit(model, OwnPalindromes())
    trainer.test(model, OwnPalindromes(), verbose=False)
    assert model.test_results[0]["num_accuracy"][1] == 12
    assert "of 12 held-out palindromes of 7 digits" in model.describe_learning()
