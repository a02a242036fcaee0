"""The studies read and draw the results of sweeps."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

import cli
from experiments.runs import read_results
from experiments.studies import (
    accuracy_vs_length,
    baselines,
    every_digit,
    graph_controls,
    learning_rate_vs_length,
    memory_factors,
    node_order,
    optimizers,
    oversmoothing,
    path_graph,
    spread,
    strings,
    text_choices,
)

COLUMNS = ("status", "run_dir", "model.network", "seed_everything")


def write_results(folder: Path, runs: list[dict[str, Any]], logged: list[dict[str, Any]] | None = None) -> Path:
    """A sweep's folder with these rows; each run has logged the rows ``logged``, or its own."""
    folder.mkdir()
    columns = list(dict.fromkeys([*COLUMNS, *(key for run in runs for key in run if key != "logged")]))
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        for k, run in enumerate(runs):
            writer.writerow({"status": "finished", "run_dir": f"runs/{k}", "seed_everything": 1, **run})
            rows = run.get("logged", logged or [])
            (folder / "runs" / str(k)).mkdir(parents=True)
            with (folder / "runs" / str(k) / "metrics.csv").open("w", newline="") as metrics:
                names = list(dict.fromkeys(["step", *(name for row in rows for name in row)]))
                metrics_writer = csv.DictWriter(metrics, names)
                metrics_writer.writeheader()
                metrics_writer.writerows(rows)
    return folder


def val(*accuracies: float) -> list[dict[str, Any]]:
    return [{"step": 100 * k + 99, "val/accuracy": value} for k, value in enumerate(accuracies)]


@pytest.fixture
def lengths(tmp_path: Path) -> Path:
    plain = {"model.network": "rnn", "model.initialization": "uniform", "trainer.callbacks": ""}
    curriculum = {"model.network": "lstm", "trainer.callbacks": "[{'class_path': 'callbacks.LengthCurriculum'}]"}
    return write_results(
        tmp_path / "lengths",
        [
            {**plain, "data.length": 5, "test/accuracy": 1.0, "logged": val(0.5, 0.99, 1.0)},
            {**plain, "data.length": 5, "test/accuracy": 0.98, "seed_everything": 2, "logged": val(1.0, 0.9)},
            {**plain, "data.length": 20, "test/accuracy": 0.1, "logged": val(0.1, 0.989)},
            {**plain, "data.length": 50, "status": "failed"},
            {**curriculum, "data.length": 1000, "test/accuracy_T10": 1.0, "test/accuracy_T10000": 0.5},
            {
                "model.network": "rnn",
                "model.class_path": "docs.examples.palindrome_models.NumberClassifier",
                "data.length": 8,
                "test/accuracy": 0.3,
                "logged": val(0.2),
            },
        ],
    )


def test_accuracy_vs_length(lengths: Path, tmp_path: Path) -> None:
    rows = accuracy_vs_length.rows_of(read_results(lengths))
    expected = [tuple(row.values()) for row in rows]
    assert expected == [
        ("rnn", "uniform", 5, 1, 1.0, 200),
        ("rnn", "uniform", 5, 2, 0.98, 100),
        ("rnn", "uniform", 20, 1, 0.1, ""),
        ("lstm", "curriculum", 10, 1, 1.0, ""),
        ("lstm", "curriculum", 10_000, 1, 0.5, ""),
        ("rnn", "numbers", 8, 1, 0.3, ""),
    ]
    assert cli.main(["figure", "--study=accuracy_vs_length", f"--results=[{lengths}]", f"--output_dir={tmp_path}"]) == 0
    with (tmp_path / "accuracy_vs_length.csv").open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [tuple(map(str, row)) for row in expected]
    assert (tmp_path / "accuracy_vs_length.png").read_bytes().startswith(b"\x89PNG")


def factor_run(seed: int, accuracy: float, weights: str = "uniform", rate: str = "RMSprop", steps: int = 10_000) -> Any:
    """A row of results.csv; with a curriculum if it took fewer than 1,000 steps."""
    curriculum = ", callbacks.LengthCurriculum" if steps < 1000 else ""
    return {
        "model.network": "rnn",
        "model.hidden_size": 128,
        "model.initialization": weights,
        "model.input_scale": 0.051,
        "model.forget_bias": "None",
        "model.optimizer.class_path": f"torch.optim.{rate}",
        "trainer.callbacks": f"[EarlyStopping{curriculum}]",
        "data.length": 30,
        "seed_everything": seed,
        "test/accuracy": accuracy,
        "steps": steps,
    }


def string_run(seed: int, network: str = "stack_rnn", **tested: float) -> dict[str, Any]:
    return {
        "model.class_path": "models.Transducer" if network != "gru" else "docs.examples.string_models.GRUTransducer",
        "model.network": network,
        "data.task": "reverse",
        "data.length": 40,
        "seed_everything": seed,
        "steps": 10,
    } | {f"test/{name}": value for name, value in tested.items()}


def test_strings_have_a_row_for_each_length_and_kind_of_actions(tmp_path: Path) -> None:
    both = {"accuracy_n9": 0.5, "exact_match_n9": 0.25, "accuracy_hardened_n9": 1.0, "exact_match_hardened_n9": 0.75}
    runs = [
        string_run(1, **both, accuracy_n70=0.3, exact_match_n70=0.0),
        string_run(2, "gru", **dict(list(both.items())[:2])),
    ]
    results = write_results(tmp_path / "strings", runs)
    rows = strings.rows_of(read_results(results))
    found = [tuple(row[key] for key in ("network", "seed", "length", "accuracy", "exact_match")) for row in rows]
    assert found == [
        ("stack_rnn", 1, 9, 0.5, 0.25),
        ("stack_rnn", 1, 70, 0.3, 0.0),
        ("stack_rnn, hardened", 1, 9, 1.0, 0.75),
        ("gru", 2, 9, 0.5, 0.25),
    ]
    assert {(row["task"], row["trained_to"]) for row in rows} == {("reverse", 40)}
    assert cli.main(["figure", "--study=strings", f"--results=[{results}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "strings.png").read_bytes().startswith(b"\x89PNG")


def test_every_digit_has_a_row_for_each_length(tmp_path: Path) -> None:
    tested = {"exact_match_T8": 0.9, "accuracy_T8": 0.99, "exact_match_T10": 0.0, "accuracy_T10": 0.5}
    run = {"model.network": "rnn", "data.length": 8, "seed_everything": 3, "steps": 20, "seconds": 1.5}
    results = write_results(tmp_path / "digits", [run | {f"test/{name}": value for name, value in tested.items()}])
    expected = {"network": "rnn", "trained_on": 8, "seed": 3, "seconds": 1.5}
    assert every_digit.rows_of(read_results(results)) == [
        expected | {"length": 8, "exact_match": 0.9, "accuracy": 0.99},
        expected | {"length": 10, "exact_match": 0.0, "accuracy": 0.5},
    ]
    assert cli.main(["figure", "--study=every_digit", f"--results=[{results}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "every_digit.png").read_bytes().startswith(b"\x89PNG")


def test_effects_of_factors_compare_runs_that_differ_in_one_factor(tmp_path: Path) -> None:
    runs = [
        factor_run(1, 0.4),
        factor_run(2, 0.6),
        factor_run(1, 0.7, "orthogonal"),
        factor_run(2, 1.0, "orthogonal"),
        factor_run(3, 1.0, "orthogonal"),  # no partner with the same seed
        factor_run(1, 0.9, "uniform", "Adam"),
        factor_run(1, 1.0, steps=200),
        factor_run(2, 0.9995, steps=100),
    ]
    results = write_results(tmp_path / "factors", runs)
    rows = memory_factors.rows_of(read_results(results))
    assert {row["input_scale"] for row in rows} == {0.051} and {row["curriculum"] for row in rows} == {"yes", "no"}
    optimizer, weights = memory_factors.effects(rows, "rnn", "no")
    assert (optimizer["factor"], optimizer["pairs"], optimizer["difference"]) == ("optimizer", 1, pytest.approx(0.5))
    assert (weights["before"], weights["after"], weights["pairs"]) == ("uniform", "orthogonal", 2)
    # Differences 0.3 and 0.4: mean 0.35, standard error 0.05; Student's t of one degree of freedom is 12.706.
    assert weights["difference"] == pytest.approx(0.35) and weights["high"] == pytest.approx(
        0.35 + 12.7062 * 0.05, abs=1e-4
    )
    assert (weights["solved_before"], weights["solved_after"]) == (0, 1)
    curriculum = memory_factors.curriculum_effect(rows, "rnn")
    assert (curriculum["pairs"], curriculum["solved_after"]) == (2, 2)
    assert curriculum["difference"] == pytest.approx((0.6 + 0.3995) / 2)
    assert cli.main(["figure", "--study=memory_factors", f"--results=[{results}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "memory_factors.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "memory_factors.svg").read_text(encoding="utf-8")


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    def run(optimizer: str, rate: float, seed: int, last: float) -> dict[str, Any]:
        logged = [{"step": 19, "train/loss": 2.0}, {"step": 39, "train/loss": last}, {"step": 39, "val/loss": 9.0}]
        values = {"model.network": "lstm", "model.optimizer": optimizer, "model.optimizer.lr": rate}
        return {
            **values,
            "model.initialization": "orthogonal",
            "seed_everything": seed,
            "data.length": 10,
            "test/accuracy": max(0.0, 1 - last),
            "logged": logged,
        }

    runs = [run("SGD", 0.1, 1, 0.9), run("SGD", 0.1, 2, 0.5), run("SGD", 1.0, 1, 0.1), run("SGD", 1.0, 2, math.nan)]
    return write_results(tmp_path / "losses", [*runs, run("Adam", 0.1, 1, 0.4), run("Adam", 0.01, 1, 0.3)])


def test_optimizers(losses: Path, tmp_path: Path) -> None:
    rows = optimizers.rows_of(read_results(losses))
    assert [tuple(row.values()) for row in rows[:2]] == [("SGD", 0.1, 1, 20, 2.0), ("SGD", 0.1, 1, 40, 0.9)]
    assert len(rows) == 12
    few = [row for row in rows if row["optimizer"] == "SGD" and (row["learning_rate"], row["seed"]) != (1.0, 2)]
    assert optimizers.best_rate(few) == 0.1  # 1.0 has lost a seed
    # A rate at which a seed diverges is not the best, however good the others are.
    assert optimizers.best_rate([row for row in rows if row["optimizer"] == "SGD"]) == 0.1
    assert optimizers.best_rate([row for row in rows if row["optimizer"] == "Adam"]) == 0.01
    assert cli.main(["figure", "--study=optimizers", f"--results=[{losses}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "optimizers.png").read_bytes().startswith(b"\x89PNG")


def test_learning_rate_vs_length(losses: Path, tmp_path: Path) -> None:
    rows = learning_rate_vs_length.rows_of(read_results(losses))
    assert [row["learning_rate"] for row in rows] == [0.1, 0.1, 1.0, 1.0, 0.1, 0.01]
    assert rows[0]["test_accuracy"] == pytest.approx(0.1) and rows[0]["length"] == 10
    assert {(row["network"], row["weights"]) for row in rows} == {("lstm", "orthogonal")}
    args = ["figure", "--study=learning_rate_vs_length", f"--results=[{losses}]", f"--output_dir={tmp_path}"]
    assert cli.main(args) == 0
    assert (tmp_path / "learning_rate_vs_length.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_spread(num_seeds: int, tmp_path: Path) -> None:
    def run(network: str, seed: int) -> dict[str, Any]:
        measured = {"loss": 0.1 * seed, "best_possible_loss": 0.04, "accuracy": 0.9, "best_possible_accuracy": 0.99}
        values = {f"test/{name}": value for name, value in (measured | {"recall": 0.5}).items()}
        return {"model.network": network, "seed_everything": seed, **values}

    runs = [run(network, seed) for network in ("lstm", "gcn_lstm") for seed in range(1, num_seeds + 1)]
    results = write_results(tmp_path / "results", runs)
    rows = spread.rows_of(read_results(results))
    assert len(rows) == 2 * num_seeds and tuple(rows[0].values()) == ("lstm", 1, 0.1, 0.04, 0.9, 0.99, 0.5)
    assert cli.main(["figure", "--study=spread", f"--results=[{results}]", f"--output_dir={tmp_path}"]) == 0
    with (tmp_path / "spread.csv").open(newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [tuple(map(str, row.values())) for row in rows]
    assert (tmp_path / "spread.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--study=spread", "--results=[{lengths}]"], "has no runs of study spread"),
        (["--study=optimizers", "--results=[]"], "results is empty; give at least one sweep's output folder"),
        (["--study=optimizers", "--results=[{here}]"], "results.csv cannot be read: No such file or directory"),
        (["--study=optimizers", "--results=[{lengths}]"], "has no runs of study optimizers"),
        (["--study=accuracy_vs_length", "--results=[{lengths},{lengths}]"], "results has a folder twice: "),
        (["--study=accuracy_vs_length", "--results=[{untested}]"], "has no runs of study accuracy_vs_length"),
        (["--study=nothing", "--results=[x]"], "study: expected"),
        (
            ["--study=optimizers", "--results=[{damaged}]"],
            "results.csv is not of a sweep; give a sweep's output folder",
        ),
    ],
)
def test_wrong_input_ends_in_one_line(
    args: list[str], message: str, lengths: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "results.csv").write_text("a,b\n1,2\n")
    untested = write_results(tmp_path / "untested", [{"model.network": "rnn", "data.length": 5}])
    args = [word.format(here=tmp_path, lengths=lengths, damaged=damaged, untested=untested) for word in args]
    assert cli.main(["figure", *args, f"--output_dir={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_oversmoothing(tmp_path: Path) -> None:
    def logged(gradient: float) -> list[dict[str, Any]]:
        steps = enumerate((gradient, gradient / 2, gradient / 4))
        return [{"step": 10 * k + 9, "train/gradient_first": g, "train/gradient_last": 2 * g} for k, g in steps]

    runs = [
        {
            "model.connection": connection,
            "model.num_layers": depth,
            "seed_everything": seed,
            "test/accuracy": 0.8 / depth,
            "test/distance": 1 / depth,
            "final/train_accuracy": 0.9,
            "final/test_accuracy": 0.7,
            "final/distance": 2 / depth,
            "logged": logged(0.0 if depth == 32 else 0.4),
        }
        for connection in ("none", "residual")
        for depth in (2, 32)
        for seed in (1, 2)
    ]
    folder = write_results(tmp_path / "depths", runs)
    rows = oversmoothing.rows_of(read_results(folder))
    assert [tuple(row.values()) for row in rows[:3]] == [
        ("none", 2, 1, 0.4, 0.5, 0.9, 0.7, 1.0, 0.4, 0.1, 0.8, 0.2),
        ("none", 2, 2, 0.4, 0.5, 0.9, 0.7, 1.0, 0.4, 0.1, 0.8, 0.2),
        ("none", 32, 1, 0.025, 0.03125, 0.9, 0.7, 0.0625, 0.0, 0.0, 0.0, 0.0),
    ]
    assert cli.main(["figure", "--study=oversmoothing", f"--results=[{folder}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "oversmoothing.png").exists() and (tmp_path / "oversmoothing.csv").exists()
    assert "<svg" in (tmp_path / "oversmoothing.svg").read_text()


def test_graph_controls(tmp_path: Path) -> None:
    common = {"model.num_layers": 2, "test/accuracy": 0.5}
    graphs = [common | {"data.graph": graph} for graph in ("cora", "citeseer")]
    gcn = write_results(tmp_path / "gcn", [run | {"seed_everything": seed} for run in graphs for seed in (1, 2)])
    mlp = write_results(tmp_path / "mlp", [run | {"model.network": "mlp"} for run in graphs])
    rows = graph_controls.rows_of([*read_results(gcn), *read_results(mlp)])
    assert [tuple(row.values()) for row in rows[1::2]] == [
        ("gcn", "cora", 2, 0.5),
        ("gcn", "citeseer", 2, 0.5),
        ("mlp", "citeseer", 1, 0.5),
    ]
    args = ["figure", "--study=graph_controls", f"--results=[{gcn},{mlp}]", f"--output_dir={tmp_path}"]
    assert cli.main(args) == 0
    assert (tmp_path / "graph_controls.png").read_bytes().startswith(b"\x89PNG")
    for other in ({"model.num_layers": "3"}, {"model.connection": "residual"}):
        with pytest.raises(LookupError, match="another study"):
            graph_controls.rows_of([row | other for row in read_results(gcn)])


def test_path_graph(tmp_path: Path) -> None:
    gcn = write_results(
        tmp_path / "gcn",
        [{"model.num_layers": depth, "data.length": 5, "test/accuracy": depth / 4} for depth in (2, 3)],
    )
    directed = write_results(
        tmp_path / "directed",
        [{"model.directed": True, "model.num_layers": 3, "data.length": 5, "test/accuracy": 0.9}],
    )
    rnn = write_results(tmp_path / "rnn", [{"model.network": "rnn", "data.length": 5, "test/accuracy": 1.0}])
    rows = path_graph.rows_of([row for folder in (gcn, directed, rnn) for row in read_results(folder)])
    assert [tuple(row.values()) for row in rows] == [
        ("gcn", 2, 5, 1, 0.5),
        ("gcn", 3, 5, 1, 0.75),
        ("gcn_directed", 3, 5, 1, 0.9),
        ("rnn", 0, 5, 1, 1.0),
    ]
    args = ["figure", "--study=path_graph", f"--results=[{gcn},{directed},{rnn}]", f"--output_dir={tmp_path}"]
    assert cli.main(args) == 0
    assert (tmp_path / "path_graph.png").exists()
    assert path_graph.mean_and_seeds([0.5, 0.5]) == "50.0"
    assert path_graph.mean_and_seeds([0.43, 0.54, 0.8]) == "59.0\n43 54 80"


def test_node_order(tmp_path: Path) -> None:
    lstm = write_results(
        tmp_path / "lstm",
        [
            {"model.order": order, "seed_everything": seed, "test/accuracy": 0.3 + 0.1 * seed}
            for order in ("bfs", "dfs", "random")
            for seed in (1, 2)
        ],
    )
    gcn = write_results(tmp_path / "gcn", [{"model.num_layers": depth, "test/accuracy": 0.8} for depth in (1, 3)])
    rows = node_order.rows_of([*read_results(lstm), *read_results(gcn)])
    assert [tuple(row.values()) for row in rows[1::2]] == [
        ("lstm_bfs", 2, 0.5),
        ("lstm_dfs", 2, 0.5),
        ("lstm_random", 2, 0.5),
        ("gcn_3", 1, 0.8),
    ]
    args = ["figure", "--study=node_order", f"--results=[{lstm},{gcn}]", f"--output_dir={tmp_path}"]
    assert cli.main(args) == 0
    assert (tmp_path / "node_order.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "node_order.csv").read_text().splitlines()) == 9
    for other in ({"data.length": 5}, {"model.connection": "residual"}):
        with pytest.raises(LookupError, match="another study"):
            node_order.rows_of([row | other for row in read_results(gcn)])


def test_baselines(tmp_path: Path) -> None:
    ours = {"model.initialization": "orthogonal", "data.length": 10, "steps": 3000}
    runs: list[dict[str, Any]] = [
        {"model.network": "gru", "data.length": 10, "steps": 400, "test/accuracy": 1.0},
        {"model.network": "gru", "data.length": 100, "steps": 3000, "test/accuracy": 0.2},
        {"model.network": "gru", "data.length": 100, "steps": 3000, "test/accuracy": 0.1, "seed_everything": 2},
        {**ours, "model.network": "rnn", "test/accuracy": 0.5},
        {**ours, "model.network": "rnn", "model.initialization": "uniform", "test/accuracy": 0.4},
    ]
    results = write_results(tmp_path / "results", runs)
    rows = baselines.rows_of(read_results(results))
    assert [tuple(row.values()) for row in rows] == [
        ("gru", 10, 1, 1.0, 400),
        ("gru", 100, 1, 0.2, 3000),
        ("gru", 100, 2, 0.1, 3000),
        ("rnn, orthogonal", 10, 1, 0.5, 3000),
        ("rnn", 10, 1, 0.4, 3000),
    ]
    assert cli.main(["figure", "--study=baselines", f"--results=[{results}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "baselines.png").read_bytes().startswith(b"\x89PNG")


def test_text_choices(tmp_path: Path) -> None:
    def run(optimizer: str, losses: list[float], embedding: str = "64") -> dict[str, Any]:
        logged = [{"step": 100 * k + 99, "val/loss": loss} for k, loss in enumerate(losses)]
        return {"model.optimizer": optimizer, "model.dropout": 0.3, "model.embedding_size": embedding} | {
            "test/loss": 1.5,
            "logged": logged,
        }

    runs = [run("torch.optim.Adam(lr=0.1)", [2.0, 1.0, 3.0]), run("", [1.0, 0.5], "None")]
    runs[1]["model.optimizer.class_path"] = "torch.optim.RMSprop"
    results = write_results(tmp_path / "results", runs)
    rows = text_choices.rows_of(read_results(results))
    assert [tuple(row.values()) for row in rows] == [
        ("Adam", 0.3, "64", 1, 1.0, 200, 3.0, 1.5),
        ("RMSprop", 0.3, "one-hot", 1, 0.5, 200, 0.5, 1.5),
    ]
    assert cli.main(["figure", "--study=text_choices", f"--results=[{results}]", f"--output_dir={tmp_path}"]) == 0
    assert (tmp_path / "text_choices.png").read_bytes().startswith(b"\x89PNG")
