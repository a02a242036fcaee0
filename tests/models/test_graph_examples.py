"""The controls of the GCN, and the callback that tells failed training from smoothed features."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional

import cli
from datamodules import GraphDataModule
from docs.examples.graph_models import ControlClassifier
from models import NodeClassifier
from models.graph import mean_cosine_distance
from models.networks.gcn import adjacency_matrix, normalize_adjacency
from training.run_folder import run_folders


def test_the_mlp_sees_no_edge_and_the_sgc_has_no_hidden_layer() -> None:
    features, edges, *_ = GraphDataModule("karate").batch("train")
    X, A_hat = features.to_dense(), normalize_adjacency(adjacency_matrix(edges, 34)).to_dense()
    mlp = ControlClassifier("mlp", 34, 4).eval()
    W_0, W_1 = (layer.W for layer in mlp.network.layers)
    assert torch.allclose(mlp(features, edges), (X @ W_0).relu() @ W_1, atol=1e-6)
    sgc = ControlClassifier("sgc", 34, 4, num_layers=3).eval()
    (W,) = (layer.W for layer in sgc.network.layers)
    assert torch.allclose(sgc(features, edges), A_hat @ A_hat @ A_hat @ X @ W, atol=1e-6)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run of two steps with the callback, whose metrics are logged at each step."""
    config = {
        "seed_everything": 3,
        "model": {"class_path": "models.NodeClassifier", "init_args": {"dropout": 0.0, "num_layers": 3}},
        "data": {"class_path": "datamodules.GraphDataModule", "init_args": {"graph": "karate"}},
        "trainer": {
            "max_steps": 2,
            "log_every_n_steps": 1,
            "default_root_dir": str(tmp_path / "runs"),
            "callbacks": [{"class_path": "docs.examples.graph_models.TrainingDiagnosis"}],
        },
    }
    (tmp_path / "diagnosis.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["fit", "--config", str(tmp_path / "diagnosis.yaml")]) == 0
    (folder,) = run_folders(tmp_path / "runs" / "diagnosis")
    return folder.path


def test_gradients_accuracy_and_distance_are_those_of_the_run(run: Path) -> None:
    metrics = json.loads((run / "summary.json").read_text())["metrics"]
    model = NodeClassifier.load(run / "checkpoints" / "last.ckpt")
    features, edges, nodes, target = GraphDataModule("karate", seed=3).batch("train")
    logits = model(features, edges)
    right = (logits[nodes].argmax(dim=1) == target).float().mean()
    assert metrics["final/train_accuracy"] == pytest.approx(right.item())
    _, _, others, classes = GraphDataModule("karate", seed=3).batch("test")
    right = (logits[others].argmax(dim=1) == classes).float().mean()
    assert metrics["final/test_accuracy"] == pytest.approx(right.item())
    assert metrics["final/distance"] == pytest.approx(mean_cosine_distance(logits).item(), rel=1e-5)
    # One more step would log the gradient at these weights. Its loss has no weight decay.
    functional.cross_entropy(logits[nodes], target).backward()
    words = ["fit", "--ckpt_path", str(run), "--trainer.max_steps=3"]
    assert cli.main(words) == 0
    with (run / "metrics.csv").open(newline="") as file:
        logged = [row for row in csv.DictReader(file) if row["train/gradient_first"]]
    assert [row["step"] for row in logged] == ["0", "1", "2"]
    for name, layer in (("first", 0), ("last", -1)):
        W = model.network.layers[layer].W
        assert W.grad is not None
        assert float(logged[-1][f"train/gradient_{name}"]) == pytest.approx(W.grad.norm().item(), rel=1e-4)
