"""Compares what two runs leave behind, bit for bit."""

from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.checkpoint_file import read_checkpoint
from training.run_folder import CheckpointName, RunFolder

SPEED_METRIC = "train/steps_per_second"
"""The one metric that depends on the clock."""


def state_of(run: RunFolder, name: CheckpointName) -> dict[str, Any]:
    """A checkpoint without the duration of training."""
    state = read_checkpoint(run.checkpoint(name))
    del state["callbacks"]["RunSummary"]
    return state


def curves_of(run: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """TensorBoard's scalars, by name, without the speed."""
    events = EventAccumulator(str(run.path), size_guidance={"scalars": 0}).Reload()
    names = [name for name in events.Tags()["scalars"] if name != SPEED_METRIC]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def rows_of(run: RunFolder) -> list[dict[str, str]]:
    """The rows of ``metrics.csv`` without the speed; the order of columns does not matter."""
    header, *rows = [line.split(",") for line in (run.path / "metrics.csv").read_text().splitlines()]
    return [
        {name: value for name, value in zip(header, row, strict=True) if value and name != SPEED_METRIC} for row in rows
    ]


def difference(ours: Any, theirs: Any, path: str = "") -> str | None:
    """The path of the first value that differs in any bit; ``None`` if all are equal."""
    if isinstance(ours, torch.Tensor):
        equal = isinstance(theirs, torch.Tensor) and torch.equal(ours, theirs)
        return None if equal else path
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        parts = [difference(ours[key], theirs[key], f"{path}.{key}".lstrip(".")) for key in ours]
        return next((part for part in parts if part is not None), None)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        parts = [difference(a, b, f"{path}[{k}]") for k, (a, b) in enumerate(zip(ours, theirs, strict=True))]
        return next((part for part in parts if part is not None), None)
    return None if ours == theirs else path or "its keys or length"
