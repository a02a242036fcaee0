"""A loader resumes at the next batch, within an epoch and between epochs."""

from itertools import islice

import pytest

from datamodules.resumable_loader import STEPS_PER_EPOCH, ResumableLoader


class Numbers(ResumableLoader[int]):
    """Batch k is k."""

    def batch(self, k: int) -> int:
        return k


@pytest.mark.parametrize("served", [0, 3, 9, 10, 14])
def test_a_resumed_loader_continues_with_the_next_batch(served: int) -> None:
    one = Numbers(10)
    state = one.state_dict()
    iterator = iter(one)
    for k in range(served):
        if k == 10:
            iterator = iter(one)  # the next epoch
        assert next(iterator) == k
        state = one.state_dict()
    two = Numbers(10)
    two.load_state_dict(state)
    rest = list(two)
    assert rest == list(range(served, 10 if served <= 10 else 20))
    assert len(list(two)) == len(two) == 10  # the next epoch is whole again
    assert two.state_dict() == {"num_served": served + len(rest) + 10, "num_served_in_epoch": 10}


def test_an_incomplete_epoch_is_followed_by_a_complete_one() -> None:
    loader = Numbers(10)
    assert list(islice(loader, 7)) == list(range(7))
    assert list(loader) == list(range(7, 17))


def test_an_epoch_of_endless_data_has_a_fixed_length() -> None:
    assert len(Numbers()) == STEPS_PER_EPOCH == len(list(Numbers()))
