"""A run restores the process around it."""

import gc
from typing import Any

import pytest
import torch

from datamodules import PalindromeDataModule
from models import PalindromeClassifier
from tests.models.test_classifier import QUIET
from training.trainer import Trainer, precision_for


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


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_f": True, "avx512_bf16": False, "amx_bf16": False, "amx_int8": True}, "32-true"),
        ({"avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"neon": True, "bf16": True}, "bf16-mixed"),
        ({"neon": True, "bf16": False}, "32-true"),
        (None, "32-true"),
    ],
)
def test_auto_precision_depends_on_the_processor(
    capabilities: dict[str, bool] | None, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if capabilities is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert Trainer(**QUIET, precision="auto").precision == precision
    assert Trainer(**QUIET).precision == "32-true"


def test_auto_precision_on_apples_gpu_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)
    assert [precision_for(name) for name in ("auto", "mps", "cpu")] == ["32-true", "32-true", "bf16-mixed"]


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked_first(supported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": not supported}, raising=False)
    with_gpu, without = ("bf16-mixed", "32-true") if supported else ("32-true", "bf16-mixed")
    assert (precision_for("auto"), precision_for("cpu")) == (with_gpu, without)
