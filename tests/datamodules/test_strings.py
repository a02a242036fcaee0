"""Strings to reverse, to push and pop, brackets to close: what they mean, their splits, lengths and shards."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import StringDataModule
from datamodules.sharding import Shard
from datamodules.string_tasks import TASKS, without_unopened
from datamodules.strings import HeldOutStrings, StringLoader


def all_rows(loader: Any) -> tuple[list[list[int]], list[list[int]]]:
    symbols, targets = zip(*loader, strict=True)
    return torch.cat(symbols).tolist(), torch.cat(targets).tolist()


def reference(task: str, symbols: list[int], K: int) -> list[int]:
    """What is to be predicted, from what is read, with a list of Python."""
    stack: list[int] = []
    if task == "reverse":
        n = (len(symbols) - 1) // 2
        assert symbols[n:] == [K] + [K + 1] * n
        return symbols[:n][::-1]
    blank = {"stack_manipulation": K + 1, "brackets": 2 * K}[task]
    n = symbols.index(blank)
    assert symbols[n:] == [blank] * (n + 1)
    for symbol in symbols[:n]:
        if symbol < K:
            stack.append(symbol)
        elif task == "brackets":
            assert stack.pop() == symbol - K  # each closing bracket fits
        elif stack:
            stack.pop()
    return stack[::-1] + [K] * (n + 1 - len(stack))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("K", [2, 5])
def test_targets_are_those_of_a_list(task: Any, K: int) -> None:
    data = StringDataModule(9, task, num_symbols=K, num_val=50, batch_size=8)
    train = (data.train_dataloader().batch(k) for k in range(30))
    lengths = set()
    for symbols, target in itertools.chain(train, data.val_dataloader()):
        assert symbols.dtype == target.dtype == torch.int64
        assert int(symbols.max()) < data.num_features and int(target.max()) < data.num_classes
        lengths.add((symbols.shape[1] - 1) // 2)
        for row, expected in zip(symbols.tolist(), target.tolist(), strict=True):
            assert reference(task, row, K) == expected
    assert lengths == set(range(1, 10))


def test_lengths_are_uniform() -> None:
    loader = StringDataModule(6, shortest=3, batch_size=1).train_dataloader()
    counts = torch.bincount(torch.tensor([(loader.batch(k)[0].shape[1] - 1) // 2 for k in range(2000)]), minlength=8)
    assert counts[[0, 1, 2, 7]].tolist() == [0] * 4 and bool((counts[3:7] > 420).all())


@pytest.mark.parametrize("task", TASKS)
def test_splits_share_no_string(task: Any) -> None:
    data = StringDataModule(6, task, num_symbols=3, shortest=6, num_val=10_000, num_test=10_000, batch_size=500)
    held_out = {name: {tuple(row) for row in all_rows(getattr(data, f"{name}_dataloader")())[0]} for name in ("val",)}
    held_out["test"] = {tuple(row) for row in all_rows(data.test_dataloader()[0])[0]}
    trained = {tuple(row) for k in range(20) for row in data.train_dataloader().batch(k)[0].tolist()}
    assert not held_out["val"] & held_out["test"] and not trained & (held_out["val"] | held_out["test"])
    # Every string of that length is in one of the splits; those of brackets are counted by trying all.
    every = 3**6 if task == "reverse" else 4**6
    if task == "brackets":
        strings = torch.tensor(list(itertools.product(range(4), repeat=6)))
        every = int((without_unopened(strings, 3) == strings).all(1).sum())
    assert len(trained | held_out["val"] | held_out["test"]) > 0.95 * every
    assert len(held_out["val"]) + len(held_out["test"]) == pytest.approx(0.2 * every, rel=0.3)


def test_held_out_strings_are_distinct_and_always_the_same() -> None:
    data = StringDataModule(20, "brackets", num_symbols=2, num_test=300, test_lengths=[3, 20])
    for loader, length in zip(data.test_dataloader(), (3, 20), strict=True):
        rows, _ = all_rows(loader)
        assert len({tuple(row) for row in rows}) == len(rows) and len(rows[0]) == 2 * length + 1
        assert all_rows(loader)[0] == rows
        other = StringDataModule(20, "brackets", num_symbols=2, num_test=300, eval_batch_size=7, test_lengths=[length])
        assert all_rows(other.test_dataloader()[0])[0] == rows


@pytest.mark.parametrize("task", TASKS)
def test_processes_share_a_batch(task: Any) -> None:
    """Two processes read together what one reads with twice the batch size."""
    form, lengths = TASKS[task], range(1, 8)
    whole = StringLoader(lengths, form, 3, 8, 0, Shard(0, 1))
    parts = [StringLoader(lengths, form, 3, 4, 0, Shard(rank, 2)) for rank in range(2)]
    for k in range(5):
        for item in range(2):
            assert torch.equal(torch.cat([part.batch(k)[item] for part in parts]), whole.batch(k)[item])
    held_out = StringDataModule(7, task, num_symbols=3, num_val=25)
    loader = held_out.val_dataloader()
    shards = [HeldOutStrings(loader.strings, form, 3, 4, Shard(rank, 2)) for rank in range(2)]
    rows = [row for shard in shards for row in all_rows(shard)[0]]
    assert sorted(rows) == sorted(all_rows(loader)[0]) and [len(list(shard)) for shard in shards] == [
        len(shard) for shard in shards
    ]


def test_a_resumed_loader_goes_on() -> None:
    data = StringDataModule(9)
    first, second = data.train_dataloader(), data.train_dataloader()
    batches = list(itertools.islice(first, 5))
    second.load_state_dict({"num_served": 3, "num_served_in_epoch": 3})
    resumed: list[tuple[Tensor, Tensor]] = list(itertools.islice(second, 2))
    for expected, actual in zip(batches[3:], resumed, strict=True):
        assert torch.equal(expected[0], actual[0]) and torch.equal(expected[1], actual[1])


def test_too_few_strings_are_told(caplog: pytest.LogCaptureFixture) -> None:
    data = StringDataModule(1, num_symbols=5, num_val=100)
    with caplog.at_level("INFO", logger="datamodules.strings"):
        data.setup("fit")
        assert len(all_rows(data.val_dataloader())[0]) == 5
    assert "only 5 strings of length 1" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"length": 5, "shortest": 0}, "shortest is 0"),
        ({"length": 5, "shortest": 6}, "shortest is 6"),
        ({"length": 5, "num_symbols": 1}, "num_symbols is 1"),
        ({"length": 5, "task": "sort"}, "reverse, stack_manipulation, brackets"),
        ({"length": 5, "test_lengths": [0]}, "from 1 to"),
        ({"length": 5, "test_lengths": []}, "empty"),
        ({"length": 5, "num_test": 0}, "num_test is 0"),
        ({"length": 5, "num_val": 1 << 30}, "at most"),
        ({"length": 1 << 28}, "lower batch_size or length"),
        ({"length": 5, "seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StringDataModule(**arguments)
