"""A checkpoint is written completely or not at all, verified when read, and runs no code."""

import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.checkpoint_file import COMMENT_SIZE, add_checksum, checksum, read_checkpoint, write_checkpoint
from training.errors import UserError

CHECKPOINT = {"state_dict": {"weight": torch.arange(12.0).view(3, 4)}, "global_step": 7, "lr": 0.5}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checkpoint(CHECKPOINT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_written_files_are_read(path: Path) -> None:
    torch.testing.assert_close(read_checkpoint(path), CHECKPOINT)
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_it_stays_a_file_that_torch_and_zip_read(path: Path) -> None:
    torch.testing.assert_close(torch.load(path, weights_only=True), CHECKPOINT)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment == path.read_bytes()[-71:]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_noticed(path: Path, data: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = path.with_name("damaged.ckpt")
    damaged.write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(damaged)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 0.9999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(UserError, match=r"last.ckpt is damaged or no checkpoint of this project: its \d+ bytes"):
        read_checkpoint(path)


def test_noise_is_refused(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(5000))
    with pytest.raises(UserError, match="do not end in a checksum"):
        read_checkpoint(path)


def test_a_file_larger_than_the_memory_is_refused(path: Path) -> None:
    os.truncate(path, 2**40)  # it takes no more room on the disk
    with pytest.raises(UserError, match=f"its {2**40} bytes do not end in a checksum"):
        read_checkpoint(path)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("form", ["pickle", "torch", "sealed"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, form: str) -> None:
    target, path = tmp_path / "ran", tmp_path / "hostile.ckpt"
    checkpoint = {"state_dict": {}, "evil": Hostile(target)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(checkpoint))
    elif form == "torch":
        torch.save(checkpoint, path)
    else:
        write_checkpoint(checkpoint, path)
    with pytest.raises(UserError, match="do not end in a checksum|holds more than tensors and plain values"):
        read_checkpoint(path)
    assert not target.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert target.exists()  # it would have


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    write_checkpoint({"weights": 1}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="it has no state_dict"):
        read_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="cannot read the checkpoint .*: No such file"):
        read_checkpoint(tmp_path / "missing.ckpt")


def test_a_failed_write_keeps_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(UserError, match="No space left on device; what was saved before is intact"):
        write_checkpoint({"state_dict": {}}, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["last.ckpt"]


def test_sealing_covers_all_but_the_checksum() -> None:
    archive = b"content" + b"PK\x05\x06" + bytes(18)
    sealed = add_checksum(archive)
    assert sealed[:-73] == archive[:-2]
    assert sealed[-71:] == checksum(sealed[:-71])
    assert int.from_bytes(sealed[-73:-71], "little") == 71


@given(place=st.integers(0, 10**9), noise=st.binary(min_size=1, max_size=600))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_forged_checkpoint_ends_in_one_line(place: int, noise: bytes, tmp_path: Path) -> None:
    """Its checksum is right, so it may hold anything."""
    path = tmp_path / "forged.ckpt"
    write_checkpoint({"state_dict": {"w": torch.arange(4.0)}, "global_step": 3}, path)
    archive = bytearray(path.read_bytes()[:-COMMENT_SIZE])
    place %= len(archive) - len(noise)
    archive[place : place + len(noise)] = noise
    path.write_bytes(add_checksum(bytes(archive)))
    try:
        assert "state_dict" in read_checkpoint(path)
    except UserError as error:
        assert "\n" not in str(error)
