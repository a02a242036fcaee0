"""Files from the network: fetched once, checked, kept in the user's cache folder."""

import json
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a download that breaks off is gone on with."""

TIMEOUT_SECONDS = 30


def cache_folder(name: str) -> Path:
    """Where what was fetched is kept; the folder need not exist."""
    import pooch

    return Path(pooch.os_cache("palimpsest")) / name


def fetch(name: str, url: str, sha256: str | None, path: Path, way_out: str) -> Path:
    """Fetch a file unless it is there.

    Args:
        name: what it is called in messages.
        url: where it is.
        sha256: of the file; ``None`` where the source makes it anew from time to time.
        path: where it is to be kept.
        way_out: what a person without a network can do.
    Returns:
        ``path``.
    Raises:
        ValueError: it cannot be fetched or kept, or is not what it should be.
    """
    import filelock
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f".{path.stem}.lock"):
            pooch.retrieve(url, sha256, path.name, folder, downloader=ResumingDownloader(name))
    except requests.RequestException as error:
        raise ValueError(f"cannot download {name} from {url}: {reason(error)}; {way_out}") from error
    except OSError as error:
        raise ValueError(f"cannot keep {name} in {folder}: {error.strerror or error}; {way_out}") from error
    except ValueError as error:  # pooch's, when the checksum does not fit
        raise ValueError(
            f"what came from {url} is not {name}: its SHA-256 is not {sha256}; it was thrown away; {way_out}"
        ) from error
    return path


class ResumingDownloader:
    """Fetches a file for pooch; a download that breaks off is gone on with, now or the next time.

    Args:
        name: what the part that has come is called.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, url: str, output_file: str, _: Any) -> None:
        import requests

        # Beside the file that it becomes: pooch names a temporary one there.
        part = Path(output_file).parent / f".{self.name}.part"
        version = part.with_suffix(".version")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._fetch(url, part, version)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
                if attempt == ATTEMPTS:
                    raise
        part.replace(output_file)
        version.unlink(missing_ok=True)

    def _fetch(self, url: str, part: Path, version: Path) -> None:
        """Append what is missing to ``part``, or begin anew if the source has changed since."""
        import requests

        # Compressed on the way, a part would not be a part of the file.
        headers = {"Accept-Encoding": "identity"}
        before = json.loads(version.read_text()) if part.exists() and version.exists() else {}
        if before:
            headers["Range"] = f"bytes={part.stat().st_size}-"
        if before.get("validator"):
            headers["If-Range"] = before["validator"]
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink()
                raise requests.ConnectionError("the part that was there does not fit", response=response)
            response.raise_for_status()
            if "html" in response.headers.get("Content-Type", ""):
                raise requests.RequestException("a web page came in place of a text", response=response)
            log.info("Downloading %s from %s ...", self.name, url)
            goes_on = response.status_code == requests.codes.partial_content
            size = response.headers.get("Content-Range", "").rpartition("/")[2] if goes_on else ""
            size = size or response.headers.get("Content-Length", "")
            if goes_on and size != before["size"]:
                part.unlink()
                raise requests.ConnectionError("another file is there by now", response=response)
            validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
            version.write_text(json.dumps({"validator": validator, "size": size}))
            with part.open("ab" if goes_on else "wb") as file:
                for piece in response.iter_content(1 << 16):
                    file.write(piece)
            if size.isdecimal() and part.stat().st_size != int(size):
                raise requests.ConnectionError(f"the connection broke off after {part.stat().st_size} bytes")


def reason(error: Exception) -> str:
    """The innermost reason, without the layers of libraries around it."""
    while error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    inner = getattr(error, "reason", None)
    return reason(inner) if isinstance(inner, Exception) else str(error)
