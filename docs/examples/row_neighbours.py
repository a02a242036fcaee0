"""What each order of Cora's papers keeps of the graph (question 3.4a of the assignment).

``python -m docs.examples.row_neighbours > docs/results/node_order/neighbours.csv``
"""

from typing import get_args

from datamodules import GraphDataModule
from models.graph import Order, traversal


def main() -> None:
    """Print a table: for each order, how many papers that follow each other are joined by an edge or of one class."""
    graph = GraphDataModule("cora").graph
    edges = {frozenset(edge) for edge in graph.edges.t().tolist()}
    print("order,edges,pairs,joined,of_one_class")
    for order in get_args(Order):
        nodes = traversal(graph.edges, len(graph.names), order)
        pairs = list(zip(nodes[:-1].tolist(), nodes[1:].tolist(), strict=True))
        joined = sum(frozenset(pair) in edges for pair in pairs)
        of_one_class = int((graph.classes[nodes[:-1]] == graph.classes[nodes[1:]]).sum())
        print(f"{order},{len(edges)},{len(pairs)},{joined},{of_one_class}")


if __name__ == "__main__":
    main()
