"""Every datamodule declares what may differ on resume, and whether it can serve several processes."""

import inspect

import pytest

import datamodules
from datamodules.sharding import WHOLE, Shard, ShardedDataModule


@pytest.mark.parametrize("name", datamodules.__all__)
def test_arguments_that_may_differ_on_resume_exist_and_are_sorted(name: str) -> None:
    datamodule = getattr(datamodules, name)
    may_differ = datamodule.MAY_DIFFER_ON_RESUME
    assert may_differ and list(may_differ) == sorted(may_differ)
    assert set(may_differ) <= inspect.signature(datamodule).parameters.keys()


def test_palindromes_strings_and_books_can_be_sharded() -> None:
    sharded = {name for name in datamodules.__all__ if issubclass(getattr(datamodules, name), ShardedDataModule)}
    assert sharded == {"BookDataModule", "PalindromeDataModule", "StringDataModule"}
    assert datamodules.PalindromeDataModule(5).shard == WHOLE  # without a trainer


def test_shards_are_disjoint_and_cover_all_rows() -> None:
    shards = [Shard(rank, 3) for rank in range(3)]
    assert [row for shard in shards for row in range(12)[shard.rows(4)]] == list(range(12))
    for num_rows in range(10):
        assert [shard.size(num_rows) for shard in shards] == [len(range(num_rows)[rank::3]) for rank in range(3)]
