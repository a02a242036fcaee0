"""The two sides of the GCN benchmark are one network, and every part of it can be run."""

import pytest
import torch

from benchmarks import gcn
from datamodules import GraphDataModule
from models import NodeClassifier

pytest.importorskip("torch_geometric", reason="the extra graphs is not installed")


def test_both_sides_compute_the_same() -> None:
    features, edges, *_ = batch = GraphDataModule("karate").batch("train")
    ours, theirs = NodeClassifier(34, 4).eval(), gcn.GCNConvClassifier(34, 4).eval()
    with torch.no_grad():
        for layer, conv in zip(ours.network.layers, (theirs.network.conv1, theirs.network.conv2), strict=True):
            conv.lin.weight.copy_(layer.W.t())
    assert torch.allclose(ours(features, edges), theirs(features, edges), atol=1e-6)
    for module in (ours.network.train(), theirs.network.train()):
        module.dropout = 0.0
    torch.manual_seed(0)
    gcn.DROPOUT = 0.0
    try:
        losses = [model.training_step(batch, 0).item() for model in (ours, theirs)]
    finally:
        gcn.DROPOUT = 0.5
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)  # the decay of the first weights among it


def test_a_size_is_measured() -> None:
    result = gcn.measured(1000)
    assert result["normalize"] > 0 and result["epoch"] > 0 and result["peak_bytes"] > 1000 * 8
