"""Files that are written completely or not at all, even if the process is killed or the power fails; and their paths.

Importing this module imports neither torch nor Lightning.
"""

import os
from pathlib import Path
from typing import Any


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace ``path`` by a file with this content, and wait until it is on the disk.

    Raises:
        OSError: the file cannot be written; the previous one is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
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


def with_home(path: Any) -> Any:
    """A path, or a list of paths, with the home folder in place of a ``~`` that the shell has left or a file has.

    Without such a beginning, or for a user that does not exist, a path stays as it is; so does ``None``.
    """
    if isinstance(path, list):
        return [with_home(part) for part in path]
    if not (isinstance(path, str) and path.startswith("~")):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path
