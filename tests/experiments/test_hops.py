"""The number of updates, compared with networkx and with the figure of the assignment."""

import csv
import itertools
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch

import cli
from experiments import hops
from models.networks.gcn import adjacency_matrix

CONFIG = "configs/hops/figure2.yaml"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run_hops(tmp_path: Path) -> Callable[..., int]:
    """``run_hops("--graph=figure2", ...)`` runs the command, which writes to ``tmp_path/out``."""
    return lambda *args: cli.main(["hops", *args, f"--output_dir={tmp_path / 'out'}"])


def graph_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "edges.txt"
    path.write_text(text)
    return f"--graph={path}"


def test_figure_2(run_hops: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    assert run_hops(f"--config={CONFIG}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        "A-tilde  A  B  C  D  E  F",
        "      A  1  1  0  0  1  1",
        "      B  1  1  1  1  0  0",
        "      C  0  1  1  1  0  0",
        "      D  0  1  1  1  0  1",
        "      E  1  0  0  0  1  1",
        "      F  1  0  0  1  1  1",
    ]
    assert lines[7].startswith("Updates from C to E: 3 by powers") and lines[8].startswith("3 by the grad")
    path = lines[9].removeprefix("A shortest path: ").split(" - ")
    assert path in (["C", "B", "A", "E"], ["C", "D", "F", "E"])
    with (tmp_path / "out" / "hops.csv").open() as file:
        updates = {row["node"]: row["updates"] for row in csv.DictReader(file)}
    assert updates == {"C": "0", "B": "1", "D": "1", "A": "2", "F": "2", "E": "3"}
    assert (tmp_path / "out" / "hops.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("seed", range(8))
def test_both_computations_count_the_edges_of_a_shortest_path(seed: int) -> None:
    graph = networkx.gnm_random_graph(29, 32, seed=seed)
    graph.add_edges_from([(0, 1), (1, 2), (2, 3), (3, 4)])
    graph.add_node(29)
    A = adjacency_matrix(torch.tensor([list(edge) for edge in graph.edges]).t(), 30)
    lengths = networkx.single_source_shortest_path_length(graph, 0)
    expected = [lengths.get(node, hops.NEVER) for node in range(30)]
    assert hops.updates_by_powers(A, 0).tolist() == expected
    assert [hops.updates_by_gradient(A, 0, target) for target in range(30)] == expected
    assert hops.NEVER in expected and max(expected) >= 2


def test_a_path_of_a_thousand_edges(run_hops: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    text = "".join(f"{k} {k + 1}\n" for k in range(1000))
    assert run_hops(graph_file(tmp_path, text), "--source=0", "--target=1000") == 0
    out = capsys.readouterr().out
    assert "Updates from 0 to 1000: 1000 by powers" in out and "\n1000 by the gradient" in out
    assert "A-tilde has 1,001 x 1,001 entries, 3,001 of them 1." in out


@pytest.mark.parametrize(("target", "count"), [("y", "never"), ("a", "0"), ("c", "2")])
def test_unreachable_and_zero(
    target: str, count: str, run_hops: Callable[..., int], tmp_path: Path, capsys: Capture
) -> None:
    text = "# who knows whom\na, b\nb, c\nb, a\nx, y\na, a\n"
    assert run_hops(graph_file(tmp_path, text), "--source=a", f"--target={target}") == 0
    shown = capsys.readouterr()
    assert f"Updates from a to {target}: {count} by powers" in shown.out
    assert f"\n{count} by the gradient" in shown.out
    assert ("A shortest path" in shown.out) is (count == "2")
    with (tmp_path / "out" / "hops.csv").open() as file:
        assert {row["node"]: row["updates"] for row in csv.DictReader(file)}["x"] == "never"


def test_names_that_are_numbers(run_hops: Callable[..., int], capsys: Capture) -> None:
    assert run_hops("--graph=karate", "--source=16", "--target=26") == 0
    assert "Updates from 16 to 26: 5 by powers" in capsys.readouterr().out


def test_different_results_of_the_two_computations_are_an_error(
    run_hops: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hops, "updates_by_gradient", lambda *args: 2)
    with pytest.raises(AssertionError, match="by powers of A-tilde 3 updates, by the gradient 2"):
        run_hops(f"--config={CONFIG}")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--graph=figure2", "--source=Z", "--target=A"],
            "source is 'Z', but figure2 has no such node; it has A, B, C",
        ),
        (["--graph=figure2", "--source=A", "--target=a"], "target is 'a'"),
        (["--graph=nowhere", "--source=A", "--target=B"], "graph is 'nowhere': there is no such file"),
        (["--graph=figure2", "--source=A"], "target"),
    ],
)
def test_wrong_input_is_one_line(args: list[str], message: str, run_hops: Callable[..., int], capsys: Capture) -> None:
    assert run_hops(*args) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1 and message in shown.err
    assert shown.out == ""


def test_a_large_graph_is_drawn_in_part() -> None:
    graph = networkx.grid_2d_graph(30, 30)
    path: list[Any] = networkx.shortest_path(graph, (0, 0), (5, 5))
    shown = hops.nearest(graph, path)
    assert len(shown) == hops.DRAWN_MAX and set(path) <= set(shown)
    far = [min(abs(x - u) + abs(y - v) for u, v in path) for x, y in graph]
    assert max(min(abs(x - u) + abs(y - v) for u, v in path) for x, y in shown) <= sorted(far)[hops.DRAWN_MAX - 1]


def test_names_with_special_characters(run_hops: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    """Matplotlib reads text between two dollars as a formula, so names must be drawn without formulas."""
    source, target = "$x_1$", r"$\frac{$"
    text = f"{source} a\na {target}\n北京 a\n" + "b" * 300 + " a\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_hops(graph_file(tmp_path, text), f"--source={source}", f"--target={target}") == 0
        assert run_hops(graph_file(tmp_path, text), f"--source={target}", f"--target={source}") == 0
    assert f"Updates from {target} to {source}: 2 by powers" in capsys.readouterr().out


def test_names_that_are_numbers_in_a_config(run_hops: Callable[..., int], tmp_path: Path, capsys: Capture) -> None:
    config = tmp_path / "numbers.yaml"
    config.write_text("graph: karate\nsource: 16\ntarget: 26\n")
    assert run_hops(f"--config={config}") == 0
    lengths = networkx.single_source_shortest_path_length(networkx.karate_club_graph(), 16)
    assert f"Updates from 16 to 26: {lengths[26]} by powers" in capsys.readouterr().out


def test_components_do_not_overlap() -> None:
    graph = networkx.union(networkx.path_graph(9), networkx.star_graph(range(9, 14)))
    places = hops.layout(networkx.relabel_nodes(graph, str))
    assert max(places[str(k)][0] for k in range(9)) < min(places[str(k)][0] for k in range(9, 14))
    assert min(math.dist(places[a], places[b]) for a, b in itertools.combinations(places, 2)) > 0.3


@pytest.mark.slow
def test_the_figure_is_the_same_in_each_run(tmp_path: Path) -> None:
    """Sets of names have another order in each run of Python."""
    (tmp_path / "edges.txt").write_text("".join(f"node{k} node{(k * k + 7) % 90}\nx{k} x{k + 1}\n" for k in range(40)))
    args = ["hops", f"--graph={tmp_path / 'edges.txt'}", "--source=node0", "--target=x3"]
    figures = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "cli.py", *args, f"--output_dir={out}"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"PYTHONHASHSEED": seed})
        figures.append((out / "hops.png").read_bytes())
    assert figures[0] == figures[1]


@pytest.mark.parametrize("seed", range(5))
def test_edges_of_all_shortest_paths(seed: int) -> None:
    graph = networkx.relabel_nodes(networkx.gnp_random_graph(12, 0.25, seed=seed), str)
    for target in list(graph)[1:]:
        ways = networkx.all_shortest_paths(graph, "0", target) if networkx.has_path(graph, "0", target) else []
        expected = {frozenset(edge) for way in ways for edge in itertools.pairwise(way)}
        found = hops.shortest_path_edges(graph, "0", target)
        assert {frozenset(edge) for edge in found} == expected and len(found) == len(expected)
    assert hops.shortest_path_edges(graph, "0", "0") == []
