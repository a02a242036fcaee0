"""A grid gives a run for every combination, each with its own name."""

from pathlib import Path
from typing import Any

import pytest

from experiments.sweep.grid import fit_words, runs_of
from training.errors import UserError

SGD = {"class_path": "torch.optim.SGD"}
MOMENTUM = {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}


def test_every_combination_with_every_seed() -> None:
    runs = runs_of({"model.network": ["rnn", "lstm"], "data.length": [5, 10, 20]}, [3, 1])
    combinations = [(*run.values.values(), run.seed) for run in runs]
    assert combinations == [(n, T, s) for n in ("rnn", "lstm") for T in (5, 10, 20) for s in (3, 1)]
    assert runs[0].name == "network=rnn+length=5+seed=3"
    assert runs[-1].key() == {"model.network": "lstm", "data.length": 20, "seed_everything": 1}
    assert len({run.name for run in runs}) == 12


def test_values_of_all_types_as_arguments() -> None:
    values = {
        "model.optimizer": [MOMENTUM],
        "data.test_lengths": [[5, 20]],
        "trainer.max_time": [None],
        "data.b": ["x y"],
    }
    (run,) = runs_of(values, [1])
    assert fit_words(Path("base.yaml"), run, Path("out")) == [
        "fit",
        "--config=base.yaml",
        '--model.optimizer={"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}',
        "--data.test_lengths=[5, 20]",
        "--trainer.max_time=null",
        "--data.b=x y",
        "--seed_everything=1",
        "--trainer.default_root_dir=out",
        "--ckpt_path=auto",
    ]


def test_names_have_the_values_that_differ() -> None:
    grid = {"model.optimizer": [SGD, MOMENTUM], "model.optimizer.lr": [0.1, 1e-5], "data.length": [5]}
    names = [run.name for run in runs_of(grid, [1])]
    assert names[1] == "optimizer=SGD+lr=1e-05+seed=1"
    assert names[2] == "optimizer=SGD_momentum_0.9+lr=0.1+seed=1"
    alike = runs_of({"model.scale": [1, 2], "data.scale": [3, 4]}, [1])
    assert alike[0].name == "model.scale=1+data.scale=3+seed=1"


@pytest.mark.parametrize("values", [["a b", "a/b"], ["x" * 200, "y"]], ids=["alike", "long"])
def test_names_that_are_equal_or_too_long_become_numbers(values: list[str]) -> None:
    assert [run.name for run in runs_of({"data.b": values}, [7])] == ["run_0+seed=7", "run_1+seed=7"]


def test_more_seeds_change_no_name() -> None:
    for grid in ({"data.b": ["a b", "a/b"]}, {"data.b": [1, 2]}, {"data.b": [1]}):
        few, many = ({run.name: (run.values, run.seed) for run in runs_of(grid, seeds)} for seeds in ([2], [1, 2, 3]))
        assert few.items() <= many.items()


@pytest.mark.parametrize(
    ("grid", "seeds", "message"),
    [
        ({}, [1], "grid is empty; give at least one key"),
        ({"data.length": []}, [1], "grid has no values for data.length"),
        ({"data.length": [5, 5]}, [1], "grid has data.length = 5 2 times; give each value once"),
        ({"data.m": [{"a": 1, "b": 2}, {"b": 2, "a": 1}]}, [1], "2 times"),
        (
            {"seed_everything": [1]},
            [1],
            "grid has seed_everything, which cannot be in a grid; list the seeds under seeds",
        ),
        ({"trainer.default_root_dir": ["x"]}, [1], "cannot be in a grid; set output_dir"),
        ({"ckpt_path": ["x"]}, [1], "cannot be in a grid"),
        ({"trainer": [{"default_root_dir": "x"}]}, [1], "grid has trainer, which cannot be in a grid; set output_dir"),
        ({"model": [{}]}, [1], "grid has model, which cannot be in a grid; give its arguments"),
        ({"model.network": ["rnn"], "model.init_args.network": ["lstm"]}, [1], "grid has model.network 2 times"),
        ({"print_config": [""]}, [1], "grid has print_config; give a key of the config, which begins with model., "),
        ({"model.help": ["x"]}, [1], "grid has model.help; give a key of the config"),
        ({"data.length": [5]}, [], "seeds is empty"),
        ({"data.length": [5]}, [1, 2, 1], "seeds has 1 2 times"),
        ({"data.length": [5]}, [-1], "seeds has -1; each must be from 0 to 4294967295"),
        ({"data.length": [5]}, [2**32], "seeds has 4294967296"),
    ],
)
def test_wrong_grids(grid: dict[str, list[Any]], seeds: list[int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        runs_of(grid, seeds)
