"""Palindromes are palindromes, splits share none, and batch k depends on the arguments alone."""

import logging
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules import PalindromeDataModule, palindrome_space, palindromes
from datamodules.palindrome_space import (
    HeldOutHalves,
    Split,
    draw_halves,
    half_length,
    hash_digits,
    in_split,
    is_split,
    num_palindromes,
)
from datamodules.palindromes import HeldOutLoader, PalindromeLoader, TrainingLengths, inputs_and_target
from datamodules.seeding import make_generator
from datamodules.sharding import Shard


def words(batch: tuple[torch.Tensor, torch.Tensor]) -> list[str]:
    digits, target = batch
    return ["".join(map(str, row)) for row in torch.cat([digits, target[:, None]], dim=1).tolist()]


def loader_of(length: int, batch_size: int, seed: int, **kwargs: Any) -> PalindromeLoader:
    return PalindromeLoader(TrainingLengths(length, length), 10, batch_size, seed, **kwargs)


def trained_words(data: PalindromeDataModule, num_batches: int) -> set[str]:
    loader = data.train_dataloader()
    return {word for k in range(num_batches) for word in words(loader.batch(k))}


def held_out_halves(length: int, num_classes: int, split: Split, num: int, seed: int) -> torch.Tensor:
    return torch.cat(list(HeldOutHalves(length, num_classes, split, num, seed).batches(1000)))


@settings(deadline=None, max_examples=60)
@given(length=st.integers(2, 41), batch_size=st.integers(1, 9), k=st.integers(0, 10**6), seed=st.integers(0, 2**32))
def test_batches_hold_palindromes_of_the_length_asked_for(length: int, batch_size: int, k: int, seed: int) -> None:
    digits, target = loader_of(length, batch_size, seed).batch(k)
    assert digits.shape == (batch_size, length - 1) and target.shape == (batch_size,)
    assert digits.dtype == target.dtype == torch.int64
    for word in words((digits, target)):
        assert len(word) == length and word == word[::-1]


@pytest.mark.parametrize(("length", "num_classes"), [(5, 10), (6, 10), (9, 10), (13, 2), (7, 3 * 3)])
def test_splits_are_disjoint_and_cover_everything(length: int, num_classes: int) -> None:
    every_half = torch.cartesian_prod(*[torch.arange(num_classes)] * half_length(length))
    members = torch.stack([in_split(every_half, length, num_classes, split) for split in ("train", "val", "test")])
    assert (members.sum(0) == 1).all()
    assert members.any(1).all()
    shares = members.float().mean(1)
    torch.testing.assert_close(shares, torch.tensor([0.8, 0.1, 0.1]), rtol=0, atol=0.06)


@pytest.mark.parametrize("length", [5, 6, 7, 20])
def test_no_held_out_palindrome_is_trained_on(length: int) -> None:
    data = PalindromeDataModule(length)
    trained = trained_words(data, 100)
    validated = {word for batch in data.val_dataloader() for word in words(batch)}
    tested = {word for loader in data.test_dataloader() for batch in loader for word in words(batch)}
    assert trained and validated and tested
    assert not trained & validated and not trained & tested and not validated & tested


def test_training_at_length_5_sees_every_palindrome_of_its_split() -> None:
    data = PalindromeDataModule(5)
    trained = trained_words(data, 200)
    held_out = {
        w for loader in (data.val_dataloader(), *data.test_dataloader()) for batch in loader for w in words(batch)
    }
    assert len(trained) + len(held_out) == 1000


@pytest.mark.parametrize(("length", "expected"), [(5, 93), (7, 978), (9, 9942), (11, 10_000), (30, 10_000)])
def test_held_out_palindromes_are_distinct_and_as_many_as_there_are(length: int, expected: int) -> None:
    halves = held_out_halves(length, 10, "test", 10_000, seed=3)
    assert len(halves) == expected
    assert len(halves.unique(dim=0)) == expected


def test_held_out_palindromes_are_distinct_if_some_are_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palindrome_space, "ENUMERATED_SPACE_MAX", 0)
    halves = held_out_halves(7, 10, "test", 450, seed=3)  # of 978: some are drawn twice for certain
    assert halves.shape == (450, 4) and len(halves.unique(dim=0)) == 450
    assert in_split(halves, 7, 10, "test").all()


def test_a_split_may_have_fewer_palindromes_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palindrome_space, "ENUMERATED_SPACE_MAX", 0)
    assert len(held_out_halves(7, 10, "test", 10_000, seed=3)) == 978


def test_a_small_split_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="datamodules")
    data = PalindromeDataModule(5)
    (loader,) = data.test_dataloader()
    assert len(loader) == 1
    assert caplog.messages == ["The test split has only 93 palindromes of length 5; num_test is 10000."]


def test_a_length_too_short_to_split_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="datamodules")
    data = PalindromeDataModule(4)
    data.setup("fit")
    assert "There are only 100 palindromes of length 4" in caplog.text
    assert {w for batch in data.predict_dataloader() for w in words(batch)} == {
        f"{a}{b}{b}{a}" for a in range(10) for b in range(10)
    }


def hash_by_hand(digits: list[int]) -> int:
    modulo = 2**64
    value = sum((digit + 1) * pow(0x5851F42D4C957F2D, n, modulo) for n, digit in enumerate(digits, start=1)) % modulo
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % modulo
    value = (value ^ value >> 27) * 0x94D049BB133111EB % modulo
    return (value ^ value >> 31) >> 1


@given(digits=st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_the_hash_is_splitmix_of_a_polynomial(digits: list[int]) -> None:
    assert hash_digits(torch.tensor([digits])).tolist() == [hash_by_hand(digits)]


def test_the_hash_never_changes() -> None:
    # If it did, palindromes that a checkpoint was trained on would turn up in the test split.
    assert hash_digits(torch.tensor([[1, 2, 3]])).tolist() == [5566345160748336288]


def test_the_hash_is_uniform() -> None:
    buckets = torch.bincount(hash_digits(torch.cartesian_prod(*[torch.arange(10)] * 5)) % 10)
    assert buckets.min() > 9700 and buckets.max() < 10300  # 10,000 each, three standard deviations being 285


def test_batch_k_depends_on_its_arguments_alone() -> None:
    loader = loader_of(20, 32, seed=1)
    in_order = [batch for batch, _ in zip(loader, range(120), strict=False)]
    fresh = loader_of(20, 32, seed=1)
    for k in (119, 0, 77, 78):
        torch.testing.assert_close(fresh.batch(k), in_order[k], rtol=0, atol=0)
    different: list[dict[str, Any]] = [{"seed": 2}, {"length": 19}]
    for change in different:
        arguments = {"length": 20, "batch_size": 32, "seed": 1} | change
        assert not torch.equal(loader_of(**arguments).batch(0)[1], in_order[0][1])


def test_palindromes_of_huge_lengths_are_not_counted() -> None:
    assert num_palindromes(10**15, 10) == palindrome_space.UNCOUNTED
    assert num_palindromes(20, 10) == 10**10
    assert is_split(10**15, 10)


def test_digits_are_uniform() -> None:
    halves = draw_halves(20, 10, "train", 20_000, make_generator(0, "train", 20, 10, 0))
    counts = torch.stack([torch.bincount(column, minlength=10) for column in halves.T])
    assert counts.min() > 1800 and counts.max() < 2200


def test_long_palindromes_are_drawn_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    randint = torch.randint

    def counted(high: int, size: tuple[int, int], **kwargs: Any) -> torch.Tensor:
        drawn.append(size[0] * size[1])
        return randint(high, size, **kwargs)

    monkeypatch.setattr(torch, "randint", counted)
    halves = held_out_halves(4001, 10, "test", 300, seed=0)
    assert halves.shape == (300, 2001) and in_split(halves, 4001, 10, "test").all()
    assert len(drawn) > 1 and max(drawn) <= 1 << 22


def test_held_out_palindromes_do_not_depend_on_the_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    halves = HeldOutHalves(4001, 10, "test", 50, seed=0)
    one, two, three = (torch.cat(list(halves.batches(size))) for size in (1, 7, 1000))
    assert torch.equal(one, two) and torch.equal(one, three)
    assert [len(part) for part in halves.batches(7)] == [7] * 7 + [1]


def test_batches_of_long_palindromes_are_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palindromes, "EVAL_DIGITS_MAX", 1000)
    (loader,) = PalindromeDataModule(101, num_test=25).test_dataloader()
    assert [len(target) for _, target in loader] == [9, 9, 7] and len(loader) == 3


def test_several_lengths_are_tested_separately() -> None:
    data = PalindromeDataModule(8, num_test=30, test_lengths=[12, 7])
    lengths = [{len(word) for batch in loader for word in words(batch)} for loader in data.test_dataloader()]
    assert lengths == [{12}, {7}]
    assert {len(word) for batch in data.val_dataloader() for word in words(batch)} == {8}


@settings(deadline=None, max_examples=40)
@given(length=st.integers(2, 41), k=st.integers(0, 10**6))
def test_every_digit_of_the_second_half_is_a_target(length: int, k: int) -> None:
    digits, target = loader_of(length, 5, seed=0, task="every_digit").batch(k)
    assert digits.shape == (5, length - 1) and target.shape == (5, length // 2)
    word = torch.cat([digits, target[:, -1:]], dim=1)
    assert torch.equal(word, word.flip(1))
    # The target at an input step is the digit that comes next.
    assert torch.equal(word[:, -(length // 2) :], target)


def test_a_mixture_of_lengths_is_half_the_longest_and_log_uniform_below() -> None:
    lengths = TrainingLengths(longest=1000, shortest=5, shorter_fraction=0.5)
    drawn = torch.tensor([lengths.of_batch(3, k) for k in range(4000)])
    assert abs((drawn == 1000).float().mean().item() - 0.5) < 0.03
    shorter = drawn[drawn < 1000].double()
    assert shorter.min() == 5 and shorter.max() < 1000
    # Log-uniform: as many between 5 and sqrt(5 * 1000) as above it, and as many in each quarter of the logarithm.
    place = (shorter.log() - torch.tensor(5.0).log()) / torch.tensor(200.0).log()
    shares = torch.histc(place, 4, 0, 1) / len(place)
    torch.testing.assert_close(shares, torch.full((4,), 0.25).double(), rtol=0, atol=0.04)


def test_mixed_batches_depend_on_the_current_lengths_and_k_alone() -> None:
    def loader(longest: int) -> PalindromeLoader:
        return PalindromeLoader(TrainingLengths(longest, 5, 0.5), 10, 4, seed=1)

    in_order = [batch for batch, _ in zip(loader(40), range(60), strict=False)]
    fresh = loader(40)
    for k in (59, 0, 31, 30):
        torch.testing.assert_close(fresh.batch(k), in_order[k], rtol=0, atol=0)
    lengths = [digits.shape[1] + 1 for digits, _ in in_order]
    assert 40 in lengths and min(lengths) < 10
    grown = loader(20)
    grown.batch(30)
    grown.lengths.longest = 40
    torch.testing.assert_close(grown.batch(31), in_order[31], rtol=0, atol=0)
    no_longer_mixed = loader(40)
    no_longer_mixed.batch(0)
    no_longer_mixed.lengths.shorter_fraction = 0.0
    torch.testing.assert_close(no_longer_mixed.batch(1), loader_of(40, 4, seed=1).batch(1), rtol=0, atol=0)


def test_lengths_below_the_shortest_are_not_mixed() -> None:
    assert TrainingLengths(longest=5, shortest=5, shorter_fraction=0.5).of_batch(0, 0) == 5
    assert {TrainingLengths(6, 5, 0.5).of_batch(0, k) for k in range(50)} == {5, 6}


def test_the_second_half_mirrors_the_first() -> None:
    digits, target = inputs_and_target(torch.tensor([[1, 2, 3]]), 5)
    assert digits.tolist() == [[1, 2, 3, 2]] and target.tolist() == [1]
    digits, target = inputs_and_target(torch.tensor([[1, 2, 3]]), 6)
    assert digits.tolist() == [[1, 2, 3, 3, 2]] and target.tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length": 1}, "length is 1; it must be at least 2"),
        ({"length": 5, "batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"length": 5, "num_classes": 1}, "num_classes is 1; it must be at least 2"),
        ({"length": 5, "num_val": 0}, "num_val is 0"),
        ({"length": 5, "num_test": 0}, "num_test is 0"),
        ({"length": 5, "eval_batch_size": 0}, "eval_batch_size is 0"),
        (
            {"length": 10**9},
            "batch_size is 128: with length 1000000000 a batch has 128000000000 digits; it must have at most 1073741824",
        ),
        ({"length": 20, "num_test": 10**9}, "num_test is 1000000000; it must be at most 16777216"),
        ({"length": 5, "test_lengths": []}, "test_lengths is empty; give at least one length"),
        ({"length": 5, "test_lengths": [5, 1]}, "test_lengths has 1; each must be from 2 to"),
        ({"length": 5, "test_lengths": [6, 5, 6]}, "test_lengths has 6 2 times; give each length once"),
        ({"length": 5, "seed": -1}, "seed is -1; it must be at least 0"),
        ({"length": 5, "repeating_fraction": 1.5}, "repeating_fraction is 1.5; it must be from 0 to 1"),
        ({"length": 9, "num_classes": 317, "test_patterns": True}, "num_classes 317; it must be at most 316"),
        ({"length": 3, "test_patterns": True}, "test_patterns is true with test length 3, .* has 4; leave out shorter"),
    ],
)
def test_arguments_out_of_range_are_rejected(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PalindromeDataModule(**arguments)


def test_the_datamodule_can_be_printed_without_touching_its_loaders() -> None:
    data = PalindromeDataModule(20)
    assert str(data).startswith("PalindromeDataModule(length=20, batch_size=128, num_classes=10, num_val=1000, ")


@pytest.mark.parametrize("num", [2, 3])
def test_processes_share_batches(num: int) -> None:
    lengths = TrainingLengths(longest=9, shortest=9)
    whole = PalindromeLoader(lengths, 10, 6 * num, seed=1)
    parts = [PalindromeLoader(lengths, 10, 6, seed=1, shard=Shard(rank, num)) for rank in range(num)]
    for k in (0, 5, 1000):
        for ours, theirs in zip(zip(*(part.batch(k) for part in parts), strict=True), whole.batch(k), strict=True):
            assert torch.equal(torch.cat(ours), theirs)
    halves = HeldOutHalves(9, 10, "test", 101, seed=1)
    held_out = [HeldOutLoader(halves, 10, "last_digit", Shard(rank, num)) for rank in range(num)]
    seen = []
    for loader in held_out:
        batches = list(loader)
        assert len(batches) == len(loader) and all(0 < len(digits) <= 10 for digits, _ in batches)
        seen += [tuple(row) for digits, _ in batches for row in digits.tolist()]
    every = [tuple(row) for digits, _ in HeldOutLoader(halves, 1000, "last_digit") for row in digits.tolist()]
    assert len(seen) == 101 and set(seen) == set(every)
