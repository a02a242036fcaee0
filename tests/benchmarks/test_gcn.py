"""The two sides of the GCN benchmark are one network, and every part of it can be run."""

import time

import pytest
import torch

from benchmarks import gcn
from benchmarks.rounds import in_new_process
from datamodules import GraphDataModule
from models import NodeClassifier

pytest.importorskip("torch_geometric", reason="the extra graphs is not installed")


def test_both_sides_are_trained_alike() -> None:
    """Weights at the start, dropout, decay: with one seed, the same losses step by step."""
    data = GraphDataModule("karate")
    X, edges, nodes, target = data.batch("train")
    batch = (X.to_sparse_csr(), edges, nodes, target)
    losses, logits = [], []
    for kind in (NodeClassifier, gcn.GCNConvClassifier):
        torch.manual_seed(0)
        model = kind(34, 4)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(5):
            loss = model.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        logits.append(model.eval()(*batch[:2]))
    assert losses[:5] == pytest.approx(losses[5:], abs=1e-5)
    assert torch.allclose(logits[0], logits[1], atol=1e-5)


def test_a_size_is_measured() -> None:
    """The parts take less time than the whole. The peak is at least the list of edges, and in its order of magnitude."""
    num_edges = 200_000
    start = time.perf_counter()
    normalize, epoch, peak_bytes = in_new_process(gcn.measure, num_edges)
    assert 0 < normalize + 5 * epoch < time.perf_counter() - start
    bytes_of_edges = 2 * 8 * num_edges
    assert bytes_of_edges < peak_bytes < 100 * bytes_of_edges
