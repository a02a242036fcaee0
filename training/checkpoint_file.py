"""Checkpoint files: written whole or not at all, checked when read, and never able to run code.

A checkpoint is what ``torch.save`` writes, a ZIP archive, with its own SHA-256 in the archive's comment. The comment is
the last thing in a ZIP file and its length the last thing before that, so the sum covers every other byte.

Importing this module does not import torch: finding and checking a checkpoint needs none.
"""

import hashlib
import io
import os
import struct
from pathlib import Path
from typing import Any

from training.errors import UserError

END_RECORD = b"PK\x05\x06"
END_RECORD_SIZE = 22  # bytes, the comment left out; its last two hold the comment's length (ZIP APPNOTE 4.3.16)
COMMENT_SIZE = len("sha256:") + 64


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write ``checkpoint`` to ``path``: whole, on the disk and under its name, or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    content = seal(buffer.getvalue())
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"cannot write the checkpoint {path}: {error.strerror}; what stood there before is intact"
        ) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read and check a checkpoint; tensors come to the CPU.

    Raises:
        UserError: the file is missing, damaged, not one of this project's, or holds more than tensors and plain values.
    """
    content = checked_content(path)
    import pickle

    import torch

    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {path} holds more than tensors and plain values and is refused: loading it could run code"
        ) from error
    except Exception as error:  # whatever torch and zipfile make of an archive that somebody has written by hand
        raise UserError(f"the checkpoint {path} cannot be read: {type(error).__name__}; give another file") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} holds no checkpoint of this project (it has no state_dict); give another file")
    return checkpoint


def checked_content(path: Path) -> bytes:
    """The bytes of a checkpoint whose checksum is right.

    Raises:
        UserError: the file cannot be read, carries no checksum, or a wrong one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}") from error
    body, comment = content[:-COMMENT_SIZE], content[-COMMENT_SIZE:]
    if not (comment.startswith(b"sha256:") and body[-END_RECORD_SIZE:].startswith(END_RECORD)):
        raise UserError(
            f"{path} is damaged or no checkpoint of this project: its {len(content)} bytes do not end in a checksum"
        )
    if comment != checksum(body):
        raise UserError(f"the checkpoint {path} is damaged: its checksum does not fit its {len(content)} bytes")
    return content


def seal(archive: bytes) -> bytes:
    """A ZIP archive without a comment -> the same with its checksum as the comment."""
    body = archive[:-2] + struct.pack("<H", COMMENT_SIZE)
    return body + checksum(body)


def checksum(body: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(body).hexdigest().encode()


def sync_folder(folder: Path) -> None:
    """Bring a rename in ``folder`` to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
