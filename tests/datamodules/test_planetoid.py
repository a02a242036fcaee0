"""Citation networks are read by torch-geometric, only from files with a known checksum."""

import hashlib
import pickle
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch

from datamodules import GraphDataModule, planetoid

pytest.importorskip("torch_geometric", reason="the extra graphs is not installed")

NUM_TRAIN, NUM_KNOWN, NUM_TEST, NUM_FEATURES, NUM_CLASSES = 6, 600, 10, 12, 3
"""Of a small network like Cora. In torch-geometric, the 500 nodes after the labelled ones are always for validation."""


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.mark,))


def raw_files() -> dict[str, Any]:
    """The content of the files of a small network, by the ends of their names."""
    random = np.random.default_rng(0)
    num_nodes = NUM_KNOWN + NUM_TEST
    words = (random.random((num_nodes, NUM_FEATURES)) < 0.3).astype(np.float32)
    words[0] = 0  # a document without words
    one_hot = np.eye(NUM_CLASSES, dtype=np.int32)[random.integers(NUM_CLASSES, size=num_nodes)]
    graph: dict[int, list[int]] = defaultdict(list)
    for u in range(num_nodes):
        for v in random.integers(num_nodes, size=2).tolist():
            graph[u].append(v)  # with repetitions, loops, and edges in one direction
    graph[3].append(3)
    files: dict[str, Any] = {"graph": graph}
    for name, nodes in (
        ("", slice(NUM_TRAIN)),
        ("all", slice(NUM_KNOWN)),
        ("t", slice(NUM_KNOWN, None)),
    ):
        files[f"{name}x"] = scipy.sparse.csr_matrix(words[nodes])
        files[f"{name}y"] = one_hot[nodes]
    return files


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the files of a small network under the name Cora; missing files cannot be downloaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(planetoid, "URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "palimpsest" / "graphs" / "Cora" / "raw"
    folder.mkdir(parents=True)
    for end, content in raw_files().items():
        (folder / f"ind.cora.{end}").write_bytes(pickle.dumps(content, protocol=2))
    shuffled = np.random.default_rng(1).permutation(np.arange(NUM_KNOWN, NUM_KNOWN + NUM_TEST))
    (folder / "ind.cora.test.index").write_text("".join(f"{k}\n" for k in shuffled))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert digests.keys() == {name for name in planetoid.SHA256 if "cora" in name}
    monkeypatch.setattr(planetoid, "SHA256", digests)
    return folder


def test_graph_features_classes_and_split_are_those_of_the_files(raw: Path) -> None:
    data = GraphDataModule("cora")
    files = raw_files()
    known = {tuple(sorted((u, v))) for u, neighbours in files["graph"].items() for v in neighbours if u != v}
    assert set(map(tuple, data.graph.edges.t().tolist())) == known
    assert len(known) == data.graph.edges.shape[1]
    words = torch.from_numpy(files["allx"].toarray())
    expected = words / words.sum(1, keepdim=True).clamp(min=1)
    assert torch.allclose(data.features.to_dense()[:NUM_KNOWN], expected)
    assert torch.equal(data.graph.features.to_dense()[:NUM_KNOWN], words)
    places = torch.tensor([int(line) for line in (raw / "ind.cora.test.index").read_text().split()])
    assert torch.equal(data.graph.features.to_dense()[places], torch.from_numpy(files["tx"].toarray()))
    assert torch.equal(data.graph.classes[:NUM_KNOWN], torch.from_numpy(files["ally"].argmax(1)))
    assert torch.equal(data.graph.classes[places], torch.from_numpy(files["ty"].argmax(1)))
    assert data.nodes["train"].tolist() == list(range(NUM_TRAIN))
    assert data.nodes["val"].tolist() == list(range(NUM_TRAIN, NUM_TRAIN + 500))
    assert data.nodes["test"].tolist() == sorted(places.tolist())
    assert (data.num_features, data.num_classes) == (NUM_FEATURES, NUM_CLASSES)


def test_a_file_with_another_checksum_is_not_read(raw: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = raw / "ind.cora.graph"
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ValueError, match=r"ind\.cora\.graph has the SHA-256 .* was not read; delete it") as caught:
        GraphDataModule("cora")
    assert "\n" not in str(caught.value) and path.exists()
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # so reading it would have run its code


def test_a_missing_file_that_cannot_be_downloaded_is_reported(raw: Path) -> None:
    (raw / "ind.cora.tx").unlink()
    with pytest.raises(
        ValueError, match=r"cannot download ind\.cora\.tx from .*put the dataset's eight files into .*raw"
    ):
        GraphDataModule("cora")


def test_a_published_split_cannot_be_changed(raw: Path) -> None:
    for wrong in ({"train_per_class": 5}, {"num_val": 5}):
        with pytest.raises(ValueError, match="the split of cora is published"):
            GraphDataModule("cora", **wrong)


def test_without_torch_geometric_the_message_gives_the_extra(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch_geometric.datasets", None)
    with pytest.raises(ValueError, match=r"needs torch-geometric; install it with: pip install -e '\.\[graphs\]'"):
        GraphDataModule("cora")
