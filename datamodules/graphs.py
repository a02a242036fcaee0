"""Graphs whose nodes are classified (section 3 of the assignment).

Legend: N nodes, M edges, F features of a node, C classes, n nodes of a split.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from datamodules.arguments import check_at_least
from datamodules.labelled_graph import LabelledGraph, Split, read_labelled_graph
from datamodules.resumable_loader import FunctionLoader, HeldOutLoader
from datamodules.seeding import make_generator
from datamodules.sharding import DataModule

Batch = tuple[Tensor, Tensor, Tensor, Tensor]

log = logging.getLogger(__name__)

TRAIN_PER_CLASS = 20
"""Labelled nodes of each class without a published split: as many as in that of Cora and Citeseer."""


class GraphDataModule(DataModule):
    """A graph with a few labelled nodes; the classes of the others are predicted.

    Every batch is the whole graph, and the nodes of a split with their classes. The features of a node are divided by
    their sum, as Kipf and Welling (2017) do.

    Args:
        graph: ``karate`` (Zachary's club, four communities, one labelled node in each), ``cora`` or ``citeseer`` (with
            their public split), or the path of a GraphML file whose nodes have classes.
        class_attribute: the attribute of nodes in a GraphML file that is their class; nodes without it have none.
        train_per_class: labelled nodes of each class, 20 by default; only for graphs without a published split.
        num_val: nodes for validation, none by default; only for graphs without a published split. The rest is for test.
        seed: decides which nodes are in which split, for graphs without a published split.
    Attributes:
        num_features: F; known after ``__init__``: the CLI links it to the model.
        num_classes: C; known after ``__init__``: the CLI links it to the model.
        graph: the graph, a ``LabelledGraph``.
    Batch:
        ``(features, edges, nodes, target)``: (N, F) CSR, (2, M) int64, the n nodes of the split, int64, and their
        classes, (n,) int64 in [0, C).
    Raises:
        ValueError: the graph does not exist, has no classes, or has too few nodes for such a split.
    """

    MAY_DIFFER_ON_RESUME = ("graph",)  # check_state compares the graphs

    def __init__(
        self,
        graph: str,
        class_attribute: str = "class",
        train_per_class: int | None = None,
        num_val: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        check_at_least(1, train_per_class=train_per_class)
        check_at_least(0, num_val=num_val, seed=seed)
        self.graph = read_labelled_graph(graph, class_attribute)
        self.num_classes = len(self.graph.class_names)
        if self.num_classes < 2:
            raise ValueError(f"graph is {graph!r}: all its nodes have one class; it must have at least 2")
        self.name = graph
        self.num_features = self.graph.features.shape[1]
        self.features = row_normalized(self.graph.features)
        self._moved: tuple[Tensor, Tensor] | None = None  # features and edges on the device
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
            sizes = [f"{len(nodes):,} for {split}" for split, nodes in self.nodes.items()]
            if num_unlabelled := int((self.graph.classes < 0).sum()):
                sizes.append(f"{num_unlabelled:,} without a class")
            log.info(
                "Graph %s: %s nodes (%s), %s edges, %d classes.",
                self.name,
                f"{len(self.graph.names):,}",
                ", ".join(sizes),
                f"{self.graph.edges.shape[1]:,}",
                self.num_classes,
            )

    def train_dataloader(self) -> FunctionLoader[Batch]:
        batch = self.batch("train")
        return FunctionLoader(lambda k: batch)

    def val_dataloader(self) -> HeldOutLoader[Batch]:
        return self._held_out_loader("val")

    def test_dataloader(self) -> HeldOutLoader[Batch]:
        return self._held_out_loader("test")

    predict_dataloader = test_dataloader

    def _held_out_loader(self, split: Split) -> HeldOutLoader[Batch]:
        """One batch; none if the split has no nodes."""
        return HeldOutLoader(min(1, len(self.nodes[split])), lambda k: self.batch(split))

    def batch(self, split: Split) -> Batch:
        """The whole graph, and the nodes of that split."""
        nodes = self.nodes[split]
        return self.features, self.graph.edges, nodes, self.graph.classes[nodes]

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        features, _, nodes, target = batch  # the features in the trainer's precision
        moved = self._moved
        if moved is None or (moved[0].device, moved[0].dtype) != (device, features.dtype):
            self._moved = moved = (features.to(device), self.graph.edges.to(device))  # once, not at each step
        return *moved, nodes.to(device), target.to(device)

    def state_dict(self) -> dict[str, Any]:
        return {"sha256": self.graph.sha256(), "nodes": self.nodes}

    def check_state(self, state_dict: dict[str, Any]) -> None:
        if state_dict["sha256"] != self.graph.sha256():
            raise ValueError(
                f"graph is {self.name!r}, which is not the graph that the checkpoint was trained on; give that graph"
            )
        theirs = state_dict.get("nodes", self.nodes)  # the first checkpoints do not have them
        if any(not torch.equal(nodes, theirs[split]) for split, nodes in self.nodes.items()):
            raise ValueError(
                "the split of the nodes differs from the checkpoint's, so nodes that were trained on would be scored; "
                "give the checkpoint's seed_everything, train_per_class and num_val"
            )
        if not state_dict.get("normalize_features", True):  # an option of earlier versions
            raise ValueError(
                "the checkpoint was trained with normalize_features false, which is no longer supported; train from "
                "scratch"
            )

    load_state_dict = check_state


def row_normalized(features: Tensor) -> Tensor:
    """Each node's features divided by their sum; a node without features keeps none."""
    features = features.clone()
    crow, values = features.crow_indices(), features.values()
    rows = torch.repeat_interleave(torch.arange(len(features)), crow.diff())
    sums = torch.zeros(len(features), dtype=values.dtype).index_add_(0, rows, values)
    values.div_(sums[rows])
    return features


def draw_split(graph: LabelledGraph, train_per_class: int, num_val: int, seed: int) -> dict[Split, Tensor]:
    """Labelled nodes of each class, nodes for validation, and for test the other nodes with a class."""
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
    return {
        "train": labelled.sort().values,
        "val": held_out[:num_val].sort().values,
        "test": held_out[num_val:].sort().values,
    }
