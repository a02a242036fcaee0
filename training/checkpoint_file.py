"""Checkpoint files: written completely or not at all, verified when read, and unable to run code.

A checkpoint is the ZIP archive that ``torch.save`` writes, with its own SHA-256 as the archive's comment. The comment
is the end of a ZIP file, so the checksum covers every other byte. (torch does not verify the CRC-32 in the archive.)

Importing this module does not import torch.
"""

import hashlib
import io
import os
from pathlib import Path
from typing import Any

from training.errors import UserError
from training.files import write_atomically

END_RECORD = b"PK\x05\x06"
END_RECORD_SIZE = 22  # bytes without the comment; its last two hold the comment's length (ZIP APPNOTE 4.3.16)
COMMENT_SIZE = len("sha256:") + 64


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint. A ``UserError`` says why it cannot be written."""
    import torch

    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    try:
        write_atomically(path, add_checksum(buffer.getvalue()))
    except OSError as error:
        way_out = "what was saved before is intact"
        raise UserError(f"cannot write the checkpoint {path}: {error.strerror}; {way_out}") from error


def verified_content(path: Path) -> bytes:
    """The bytes of a checkpoint file whose checksum is right.

    Raises:
        UserError: the file is missing, damaged, or not one of this project's.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - COMMENT_SIZE - END_RECORD_SIZE))
            end = file.read()  # first, because a damaged file can be larger than the memory
        num = f"its {size} bytes"
        if not (end[-COMMENT_SIZE:].startswith(b"sha256:") and end.startswith(END_RECORD)):
            raise UserError(f"{path} is damaged or no checkpoint of this project: {num} do not end in a checksum")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the checkpoint {path}: {error.strerror}; make it readable") from error
    if content[-COMMENT_SIZE:] != checksum(content[:-COMMENT_SIZE]):
        raise UserError(f"the checkpoint {path} is damaged: its checksum does not match {num}")
    return content


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, as ``read_with_sha256`` gives it."""
    return read_with_sha256(path)[0]


def read_with_sha256(path: Path) -> tuple[dict[str, Any], str]:
    """Read and verify a checkpoint. Tensors are loaded to the CPU.

    Returns:
        its content, and the SHA-256 of the file.
    Raises:
        UserError: the file is missing, damaged, not one of this project's, or holds more than tensors and plain values.
    """
    content = verified_content(path)
    import pickle

    import torch

    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"the checkpoint {path} holds more than tensors and plain values and is refused: loading it could run code"
        ) from error
    except Exception as error:  # torch and zipfile raise many kinds of errors for an archive that someone has edited
        raise UserError(f"the checkpoint {path} cannot be read: {type(error).__name__}; give another file") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UserError(f"{path} holds no checkpoint of this project (it has no state_dict); give another file")
    return checkpoint, hashlib.sha256(content).hexdigest()


def add_checksum(archive: bytes) -> bytes:
    """The same ZIP archive with its checksum as the comment; ``archive`` has no comment."""
    body = archive[:-2] + COMMENT_SIZE.to_bytes(2, "little")
    return body + checksum(body)


def checksum(body: bytes) -> bytes:
    return b"sha256:" + hashlib.sha256(body).hexdigest().encode()
