"""Graphs whose nodes are to be classified (section 3 of the assignment).

Legend: N nodes, E edges, d features of a node, K classes.
"""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import networkx
import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from datamodules.endless import EndlessLoader, make_generator
from datamodules.graph_files import read_graph
from datamodules.planetoid import NAMES as PLANETOID
from datamodules.planetoid import read_planetoid

Split = Literal["train", "val", "test"]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]

log = logging.getLogger(__name__)

STEPS_PER_EPOCH = 1000
"""Every batch is the whole graph; after so many an epoch is said to end, and nothing else depends on it."""

TRAIN_PER_CLASS = 20
"""Labelled nodes of each class where no split is published: as many as in that of Cora and Citeseer."""


@dataclass(frozen=True)
class LabelledGraph:
    """A graph as tensors.

    Args:
        names: of the nodes, N.
        edges: (2, E) int64, each undirected edge once, its ends ascending.
        features: (N, d), CSR.
        classes: (N,) int64, -1 where it is not known.
        class_names: K.
        published: nodes of each split, int64, where others have decided on it.
    """

    names: list[str]
    edges: Tensor
    features: Tensor
    classes: Tensor
    class_names: list[str]
    published: dict[Split, Tensor] | None = None

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for tensor in (self.edges, self.features.values(), self.features.col_indices(), self.classes):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()


def read_labelled_graph(graph: str, class_attribute: str = "class") -> LabelledGraph:
    """The same with features and classes.

    Cora and Citeseer have words of a document as features, and their public split. Otherwise a node's only feature is
    which one it is: X = I_N. The karate club's classes are its four communities of largest modularity, as in Kipf and
    Welling (2017, appendix A), and one node of each is labelled: that with most edges, of which they do not say which
    it was with them.

    Args:
        graph: as for ``read_graph``.
        class_attribute: the attribute of nodes in a GraphML file that is their class.
    Raises:
        ValueError: there is no such graph, or it has no classes.
    """
    if graph in PLANETOID:
        return labelled_planetoid(graph)
    read = read_graph(graph)
    names = [str(node) for node in read]
    if graph == "karate":
        classes_by_name, published = karate_classes(read), {}
        degrees = dict(read.degree)
        labelled = [
            max((name for name in names if classes_by_name[name] == c), key=lambda name: degrees[name])
            for c in sorted(set(classes_by_name.values()))
        ]
        train = torch.tensor([names.index(name) for name in labelled])
        published = {"train": train, "val": train[:0], "test": others(len(names), train)}
    else:
        classes_by_name = networkx.get_node_attributes(read, class_attribute)
        published = None
        if not classes_by_name:
            raise ValueError(
                f"graph is {graph!r}: no node has an attribute {class_attribute!r}, its class; give a GraphML file "
                "whose nodes have one (data.class_attribute says which)"
            )
    class_names = sorted({str(value) for value in classes_by_name.values()})
    place = {name: k for k, name in enumerate(names)}
    edges = torch.tensor([sorted((place[str(u)], place[str(v)])) for u, v in read.edges]).t()
    ids = [class_names.index(str(classes_by_name[n])) if n in classes_by_name else -1 for n in read]
    return LabelledGraph(
        names, edges.contiguous(), identity(len(names)), torch.tensor(ids), class_names, cast(Any, published)
    )


def karate_classes(graph: networkx.Graph) -> dict[str, str]:
    """The community of each member, ``0`` to ``3``, the largest first."""
    # The method of Louvain ends in one of several partitions, every fifth time in the best: its modularity, 0.4198, is
    # known to be the largest there is (Brandes et al. 2008).
    tried = [networkx.community.louvain_communities(graph, weight=None, seed=seed) for seed in range(50)]
    best = max(tried, key=lambda communities: networkx.community.modularity(graph, communities, weight=None))
    by_size = sorted(best, key=len, reverse=True)
    return {name: str(k) for k, members in enumerate(by_size) for name in members}


def labelled_planetoid(name: str) -> LabelledGraph:
    data = read_planetoid(name)
    u, v = data.edge_index
    edges = data.edge_index[:, u != v].sort(dim=0).values.unique(dim=1)
    masks = {"train": data.train_mask, "val": data.val_mask, "test": data.test_mask}
    return LabelledGraph(
        [str(node) for node in range(data.num_nodes)],
        edges,
        data.x.to_sparse_csr(),
        data.y,
        [str(k) for k in range(int(data.y.max()) + 1)],
        {cast(Split, split): mask.nonzero().flatten() for split, mask in masks.items()},
    )


def identity(num_nodes: int) -> Tensor:
    """I_N, CSR."""
    places = torch.arange(num_nodes + 1)
    return torch.sparse_csr_tensor(places, places[:-1], torch.ones(num_nodes), check_invariants=True)


def others(num_nodes: int, nodes: Tensor) -> Tensor:
    """All nodes but these."""
    left = torch.ones(num_nodes, dtype=torch.bool)
    left[nodes] = False
    return left.nonzero().flatten()


class GraphDataModule(LightningDataModule):
    """A graph, some of whose nodes have a class that is told; that of others is asked for.

    Every batch is the whole graph, and the nodes of a split with their classes.

    Args:
        graph: ``karate`` (Zachary's club, four communities, one labelled node in each), ``cora`` or ``citeseer`` (with
            their public split), or the path of a GraphML file whose nodes have classes.
        class_attribute: the attribute of nodes in a GraphML file that is their class; nodes without it have none.
        train_per_class: labelled nodes of each class, 20 by default; not where a split is published, as for the three.
        num_val: nodes for validation, none by default; not where a split is published. The others are for test.
        normalize_features: divide a node's features by their sum, as Kipf and Welling (2017) do.
        seed: decides which nodes are labelled where no split is published.
    Attributes:
        num_features: d; known at once: the CLI links it to the model's.
        num_classes: K; the same.
        graph: the graph, a ``LabelledGraph``.
    Batch:
        ``(features, edges, nodes, target)``: (N, d) CSR, (2, E) int64, the n nodes of the split, int64, and their
        classes, (n,) int64 in [0, K).
    Raises:
        ValueError: there is no such graph, it has no classes, or too few nodes for such a split.
    """

    def __init__(
        self,
        graph: str,
        class_attribute: str = "class",
        train_per_class: int | None = None,
        num_val: int | None = None,
        normalize_features: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, limit in (
            ("train_per_class", train_per_class, 1),
            ("num_val", num_val, 0),
            ("seed", seed, 0),
        ):
            if value is not None and value < limit:
                raise ValueError(f"{name} is {value}; it must be at least {limit}")
        self.graph = read_labelled_graph(graph, class_attribute)
        self.num_classes = len(self.graph.class_names)
        if self.num_classes < 2:
            raise ValueError(f"graph is {graph!r}: all its nodes have one class; it must have at least 2")
        self.name = graph
        features = self.graph.features
        self.num_features = features.shape[1]
        self.normalize_features = normalize_features
        self.features = row_normalized(features) if normalize_features else features
        self._moved: tuple[Tensor, Tensor] | None = None  # features and edges where they are needed
        self.nodes: dict[Split, Tensor]
        if self.graph.published is None:
            train_per_class = TRAIN_PER_CLASS if train_per_class is None else train_per_class
            self.nodes = draw_split(self.graph, train_per_class, num_val or 0, seed)
        else:
            for name, value in (("train_per_class", train_per_class), ("num_val", num_val)):
                if value is not None:
                    raise ValueError(f"{name} is {value}, but the split of {graph} is published; leave it out")
            self.nodes = self.graph.published

    def setup(self, stage: str) -> None:
        if stage == "fit":
            sizes = ", ".join(f"{len(nodes):,} for {split}" for split, nodes in self.nodes.items())
            without = int((self.graph.classes < 0).sum())
            sizes += f", {without:,} without a class" if without else ""
            log.info(
                "Graph %s: %s nodes (%s), %s edges, %d classes.",
                self.name,
                f"{len(self.graph.names):,}",
                sizes,
                f"{self.graph.edges.shape[1]:,}",
                self.num_classes,
            )

    def train_dataloader(self) -> "GraphLoader":
        return GraphLoader(self.batch("train"))

    def val_dataloader(self) -> "WholeGraph":
        return WholeGraph(self.batch("val"))

    def test_dataloader(self) -> "WholeGraph":
        return WholeGraph(self.batch("test"))

    def predict_dataloader(self) -> "WholeGraph":
        return self.test_dataloader()

    def batch(self, split: Split) -> Batch:
        """The whole graph, and which nodes are of that split."""
        nodes = self.nodes[split]
        return self.features, self.graph.edges, nodes, self.graph.classes[nodes]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        features, _, nodes, target = batch  # the features in the trainer's precision
        moved = self._moved
        if moved is None or (moved[0].device, moved[0].dtype) != (device, features.dtype):
            self._moved = moved = (features.to(device), self.graph.edges.to(device))  # they need not travel each time
        return *moved, nodes.to(device), target.to(device)

    def state_dict(self) -> dict[str, Any]:
        return {"sha256": self.graph.sha256(), "nodes": self.nodes, "normalize_features": self.normalize_features}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["sha256"] != self.graph.sha256():
            raise ValueError(
                f"graph is {self.name!r}, which is not the graph that the checkpoint was trained on; give that"
            )
        theirs = state_dict.get("nodes", self.nodes)  # older checkpoints do not say
        if any(not torch.equal(nodes, theirs[split]) for split, nodes in self.nodes.items()):
            raise ValueError(
                "the nodes are not split as they were for the checkpoint, so that some would be scored that were "
                "trained on; give the same seed_everything, train_per_class and num_val"
            )
        if state_dict.get("normalize_features", self.normalize_features) != self.normalize_features:
            raise ValueError(
                f"normalize_features is {self.normalize_features}, which it was not for the checkpoint; leave it as it "
                "was"
            )

    def __str__(self) -> str:
        # Lightning's own iterates over the loaders.
        return f"{type(self).__name__}(graph={self.name}, num_nodes={len(self.graph.names)})"


class GraphLoader(EndlessLoader[Batch]):
    """The same batch without end."""

    def __init__(self, whole: Batch) -> None:
        super().__init__(STEPS_PER_EPOCH)
        self.whole = whole

    def batch(self, k: int) -> Batch:
        return self.whole


class WholeGraph:
    """The one batch of a held-out split; none where it has no nodes."""

    def __init__(self, whole: Batch) -> None:
        self.whole = whole

    def __len__(self) -> int:
        return int(len(self.whole[2]) > 0)

    def __iter__(self) -> Iterator[Batch]:
        if len(self) > 0:
            yield self.whole


def row_normalized(features: Tensor) -> Tensor:
    """Each node's features divided by their sum; a node without any keeps none."""
    features = features.clone()
    crow, values = features.crow_indices(), features.values()
    rows = torch.repeat_interleave(torch.arange(len(features)), crow.diff())
    sums = torch.zeros(len(features), dtype=values.dtype).index_add_(0, rows, values)
    values.div_(sums[rows])
    return features


def draw_split(graph: LabelledGraph, train_per_class: int, num_val: int, seed: int) -> dict[Split, Tensor]:
    """Labelled nodes of each class, nodes for validation, and the others whose class is known for test."""
    generator = make_generator(seed, "split")
    order = torch.randperm(len(graph.names), generator=generator)
    order = order[graph.classes[order] >= 0]
    train = []
    for k, name in enumerate(graph.class_names):
        members = order[graph.classes[order] == k]
        if len(members) < train_per_class:
            raise ValueError(
                f"train_per_class is {train_per_class}, but the class {name} has {len(members)} nodes; lower it"
            )
        train.append(members[:train_per_class])
    labelled = torch.cat(train)
    held_out = order[~torch.isin(order, labelled)]
    if num_val >= len(held_out):
        raise ValueError(
            f"num_val is {num_val} and train_per_class {train_per_class}: that leaves none of {len(order)} nodes to "
            "test; lower one of them"
        )
    parts = {"train": labelled, "val": held_out[:num_val], "test": held_out[num_val:]}
    return {cast(Split, split): nodes.sort().values for split, nodes in parts.items()}
