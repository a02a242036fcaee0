"""Files that are written completely or not at all, even if the process is killed or the power fails.

Importing this module imports neither torch nor Lightning.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by a file with this content, and wait until it is on the disk.

    Raises:
        OSError: the file cannot be written; the previous one is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    replace_atomically(path, lambda file: file.write(data))


def copy_atomically(source: Path, target: Path) -> None:
    """Replace ``target`` by a copy of ``source``, and wait until it is on the disk. Errors as for writing."""
    with source.open("rb") as read:
        replace_atomically(target, lambda file: shutil.copyfileobj(read, file))


def replace_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill a temporary file, which then takes the name ``path``."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
