"""Files from the network: downloaded once, checked, kept in the user's cache folder."""

import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 30


def cache_folder(name: str) -> Path:
    """Folder of downloaded files; it need not exist."""
    import pooch

    return Path(pooch.os_cache("palimpsest")) / name


def fetch(name: str, url: str, sha256: str | None, path: Path, way_out: str) -> Path:
    """Download a file unless it exists; a failed download leaves none.

    Args:
        name: of the file, for messages.
        url: of the file.
        sha256: of the file; ``None`` if the source updates it.
        path: where to keep it.
        way_out: what a person without a network can do, for messages.
    Returns:
        ``path``.
    Raises:
        ValueError: the file cannot be downloaded or written, or has another checksum.
    """
    import filelock
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{path.stem}.lock"):
            pooch.retrieve(url, sha256, path.name, folder, downloader=download_file)
    except requests.RequestException as error:
        raise ValueError(f"cannot download {name} from {url}: {innermost_reason(error)}; {way_out}") from error
    except OSError as error:
        raise ValueError(f"cannot write {name} to {folder}: {error.strerror or error}; {way_out}") from error
    except ValueError as error:  # pooch's, for another checksum
        raise ValueError(
            f"the SHA-256 of {name} from {url} is not {sha256}, so the download was removed; {way_out}"
        ) from error
    return path


def download_file(url: str, output_file: str, pooch_instance: Any) -> None:
    """A downloader for pooch: pooch's own, but an HTML page in place of the file is an error."""
    import pooch
    import requests

    log.info("Downloading %s ...", url)
    pooch.HTTPDownloader(timeout=TIMEOUT_SECONDS)(url, output_file, pooch_instance)
    with Path(output_file).open("rb") as file:
        start = file.read(1000).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise requests.RequestException("the server sent a web page")


def innermost_reason(error: Exception) -> str:
    """The message of the exception that caused the others."""
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    inner = getattr(error, "reason", None)
    return innermost_reason(inner) if isinstance(inner, Exception) else str(error)
