"""Palindromes whose digits repeat: all of a kind in test, and a share of the batches in training."""

import itertools

import pytest
import torch

from datamodules import PalindromeDataModule
from datamodules.palindrome_patterns import KIND_MAX, all_patterns, change_places, with_repetitions
from datamodules.palindrome_space import in_split
from datamodules.palindromes import PatternLoader
from datamodules.sharding import Shard


def strings(halves: torch.Tensor) -> list[str]:
    return ["".join(map(str, row)) for row in halves.tolist()]


@pytest.mark.parametrize("length", [4, 5, 6, 7, 12, 15])
def test_each_kind_has_all_its_palindromes(length: int) -> None:
    N, K = (length + 1) // 2, 3
    expected: dict[str, set[str]] = {"runs": set(), "odd digit": set()}
    for p in range(1, min(4, N)):
        words = map("".join, itertools.product("012", repeat=p + 1))
        expected[f"period {p}"] = {(word[0] + word[1:] * N)[:N] for word in words}
    for d, a, b in itertools.product("012", repeat=3):
        for k in range(1, N if a != b else 0):
            if N > 2:
                expected["odd digit"].add(d + a * (k - 1) + b + a * (N - 1 - k))
            if k > 1:
                expected["runs"].add(d + a * (k - 1) + b * (N - k))
    found = {
        name: strings(halves.numbered(torch.arange(halves.num))) for name, halves in all_patterns(length, K).items()
    }
    assert {name: set(halves) for name, halves in found.items()} == {k: v for k, v in expected.items() if v}
    assert all(len(half) == N for halves in found.values() for half in halves)
    assert all(len(set(halves)) == len(halves) for halves in found.values())


def test_long_halves_change_at_log_spaced_places() -> None:
    assert change_places(2, 10) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert change_places(1, 5001) == [1, 3, 11, 38, 130, 439, 1481, 5000]
    halves = all_patterns(10_001, 10)["odd digit"]
    assert halves.num == 8 * 900
    (half,) = halves.numbered(torch.tensor([halves.num - 1]))
    assert half.tolist() == [9, *[9] * 4999, 8]


def test_kinds_with_too_many_palindromes_are_left_out() -> None:
    kinds = all_patterns(20, 20)
    assert "period 2" in kinds and "period 3" not in kinds
    assert KIND_MAX < 20**4


def test_repetitions_copy_the_digit_of_a_period_before() -> None:
    generator = torch.Generator().manual_seed(0)
    random = torch.randint(1000, (3000, 64), generator=generator)
    halves = with_repetitions(random, 0.5, generator)
    same = (halves == random).all(dim=1)
    assert 1400 < int(same.sum()) < 1600  # few of the others have no repetition
    assert torch.equal(halves[:, 0], random[:, 0])
    repeated = halves[~same]
    copies = torch.stack([(repeated[:, 1 + p :] == repeated[:, 1:-p]).float().mean(dim=1) for p in (1, 2, 3)], dim=1)
    # Each digit is either the random one, or a copy from one period before.
    periods = copies.argmax(dim=1) + 1
    assert min(torch.bincount(periods)[1:].tolist()) > 400
    for half, own, p in zip(repeated.tolist(), random[~same].tolist(), periods.tolist(), strict=True):
        assert all(half[t] in (own[t], half[t - p]) for t in range(1 + p, 64))
    share = copies.amax(dim=1)
    assert float(share.quantile(0.25)) < 0.8 and float(share.quantile(0.75)) > 0.95  # rates from 1/N to 1
    assert torch.equal(with_repetitions(random, 0.0, generator), random)


def test_a_share_of_the_training_batches_repeats_and_none_is_held_out() -> None:
    def batch(share: float) -> torch.Tensor:
        loader = PalindromeDataModule(61, batch_size=400, repeating_fraction=share, seed=3).train_dataloader()
        digits, target = loader.batch(7)
        assert torch.equal(digits[:, 0], target) and torch.equal(digits[:, 1:31], digits[:, 30:].flip(1))
        assert in_split(digits[:, :31], 61, 10, "train").all()
        return digits

    def num_constant(digits: torch.Tensor) -> int:
        return int((digits[:, 1:21] == digits[:, 1:2]).all(dim=1).sum())

    assert num_constant(batch(0.0)) == 0 and num_constant(batch(1.0)) > num_constant(batch(0.3)) > 0
    assert torch.equal(batch(0.3), batch(0.3))


@pytest.mark.parametrize("num", [1, 3, 5])
def test_processes_share_the_patterns(num: int) -> None:
    expected = torch.cat([halves.numbered(torch.arange(halves.num)) for halves in all_patterns(8, 2).values()])
    seen: list[str] = []
    for rank in range(num):
        loader = PatternLoader(8, 2, 3, "last_digit", Shard(rank, num))
        batches = list(loader)
        assert len(batches) == len(loader) and all(0 < len(digits) <= 3 for digits, _ in batches)
        assert all(torch.equal(digits[:, 0], target) for digits, target in batches)
        seen += [half for digits, _ in batches for half in strings(digits[:, :4])]
    assert sorted(seen) == sorted(strings(expected))


def test_fewer_patterns_than_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = PalindromeDataModule(20, num_classes=2, test_patterns=True)
    most = max(halves.num for halves in all_patterns(20, 2).values())
    monkeypatch.setattr(PalindromeDataModule, "shard", Shard(0, most))
    assert all(len(loader) > 0 for loader in data.test_dataloader())
    monkeypatch.setattr(PalindromeDataModule, "shard", Shard(0, most + 1))
    with pytest.raises(ValueError, match=f"at most {most} palindromes of a kind"):
        data.test_dataloader()
