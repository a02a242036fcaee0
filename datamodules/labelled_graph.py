"""Graphs with features and classes of their nodes, as tensors.

Legend: N nodes, M edges, F features of a node, C classes.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import networkx
import torch
from torch import Tensor

from datamodules.graph_files import read_graph
from datamodules.planetoid import NAMES as PLANETOID
from datamodules.planetoid import read_planetoid

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class LabelledGraph:
    """A graph as tensors.

    Args:
        names: of the nodes, N.
        edges: (2, M) int64, each undirected edge once, its ends ascending.
        features: (N, F), CSR.
        classes: (N,) int64, -1 for nodes without a class.
        class_names: C.
        published: nodes of each split, int64, if there is a published split.
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
    """A known graph or one from a GraphML file, with features and classes.

    Cora and Citeseer have the words of a document as features, and their public split. The only feature of a node of
    other graphs is its identity: X = I_N. The classes of the karate club are its four communities of largest modularity
    (Kipf and Welling 2017, appendix A). One node of each is labelled, the one with most edges; the paper does not say
    which nodes it labelled.

    Args:
        graph: as for ``read_graph``.
        class_attribute: the attribute of nodes in a GraphML file that is their class.
    Raises:
        ValueError: the graph does not exist, or has no classes.
    """
    if graph in PLANETOID:
        return labelled_planetoid(graph)
    read = read_graph(graph)
    classes = karate_classes(read) if graph == "karate" else networkx.get_node_attributes(read, class_attribute)
    if not classes:
        raise ValueError(
            f"graph is {graph!r}: no node has the attribute {class_attribute!r}, its class; give a GraphML file whose "
            "nodes have one, and set data.class_attribute to its name"
        )
    names = [str(node) for node in read]
    class_names = sorted({str(value) for value in classes.values()})
    ids = [class_names.index(str(classes[node])) if node in classes else -1 for node in read]
    place = {name: i for i, name in enumerate(names)}
    edges = torch.tensor([sorted((place[str(u)], place[str(v)])) for u, v in read.edges]).t()
    published: dict[Split, Tensor] | None = None
    if graph == "karate":
        degrees = dict(read.degree)
        members = [[name for name in names if classes[name] == c] for c in class_names]
        train = torch.tensor([place[max(community, key=lambda name: degrees[name])] for community in members])
        test = [k for k in range(len(names)) if k not in train]
        published = {"train": train, "val": train[:0], "test": torch.tensor(test)}
    return LabelledGraph(names, edges.contiguous(), identity(len(names)), torch.tensor(ids), class_names, published)


def karate_classes(graph: networkx.Graph) -> dict[str, str]:
    """The community of each member, ``0`` to ``3``, the largest first."""
    # Louvain's method ends in one of several partitions, one time in five in the best. Its modularity, 0.4198, is known
    # to be the maximum (Brandes et al. 2008).
    tried = [networkx.community.louvain_communities(graph, weight=None, seed=seed) for seed in range(50)]
    best = max(tried, key=lambda communities: networkx.community.modularity(graph, communities, weight=None))
    by_size = sorted(best, key=len, reverse=True)
    return {name: str(k) for k, members in enumerate(by_size) for name in members}


def labelled_planetoid(name: str) -> LabelledGraph:
    data = read_planetoid(name)
    u, v = data.edge_index
    return LabelledGraph(
        names=[str(node) for node in range(data.num_nodes)],
        edges=data.edge_index[:, u != v].sort(dim=0).values.unique(dim=1),
        features=data.x.to_sparse_csr(),
        classes=data.y,
        class_names=[str(k) for k in range(int(data.y.max()) + 1)],
        published={
            "train": data.train_mask.nonzero().flatten(),
            "val": data.val_mask.nonzero().flatten(),
            "test": data.test_mask.nonzero().flatten(),
        },
    )


def identity(num_nodes: int) -> Tensor:
    """I_N, CSR."""
    rows = torch.arange(num_nodes + 1)
    return torch.sparse_csr_tensor(rows, rows[:-1], torch.ones(num_nodes), check_invariants=True)
