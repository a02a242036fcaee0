"""What a run does to the process around it."""

import gc
from typing import Any

import pytest

from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.models.test_classifier import QUIET
from training.trainer import Trainer


@pytest.mark.parametrize("ending", [None, ZeroDivisionError])
def test_garbage_is_collected_without_what_was_there_before(ending: type[Exception] | None) -> None:
    class Model(PalindromeClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            frozen.append(gc.get_freeze_count())
            if ending is not None:
                raise ending
            return super().training_step(batch, batch_idx)

    frozen: list[int] = []
    num_before = len(gc.get_objects())
    trainer = Trainer(**(QUIET | {"max_steps": 1, "limit_val_batches": 0}))
    try:
        trainer.fit(Model(hidden_size=8), PalindromeDataModule(6, batch_size=8))
    except ZeroDivisionError:
        assert ending is ZeroDivisionError
    assert frozen[0] > num_before / 2
    assert gc.get_freeze_count() == 0
