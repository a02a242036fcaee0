"""Files that are no plain text, told by their content and not by their name."""

import re

WAYS_OUT = {
    "html": ("an HTML page", "save it as plain text"),
    "rtf": ("an RTF document", "save it as plain text"),
    "mobi": ("a Mobipocket or Kindle book", "convert it to plain text"),
    "application/pdf": ("a PDF document", "convert it to plain text, for example with pdftotext"),
    "application/epub+zip": ("an EPUB book", "convert it to plain text"),
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": (
        "a Word document",
        "save it as plain text",
    ),
    "application/vnd.oasis.opendocument.text": ("an OpenDocument text", "save it as plain text"),
    "application/gzip": ("a gzip archive", "unpack it with gunzip"),
    "application/x-bzip2": ("a bzip2 archive", "unpack it with bunzip2"),
    "application/x-xz": ("an xz archive", "unpack it with unxz"),
    "application/zstd": ("a Zstandard archive", "unpack it with unzstd"),
    "application/zip": ("a ZIP archive", "unpack it"),
    "application/x-7z-compressed": ("a 7z archive", "unpack it"),
    "application/vnd.rar": ("a RAR archive", "unpack it"),
    "application/x-ole-storage": ("an old Word document or another Office file", "save it as plain text"),
}
"""What a file is called, and what to do with it; the keys are MIME types, or names of our own."""

BEGINNINGS = (
    (re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL), "html"),
    (re.compile(rb"%PDF-\d"), "application/pdf"),
    (re.compile(rb"\{\\rtf\d"), "rtf"),
    (re.compile(rb"\x1f\x8b\x08"), "application/gzip"),
    (re.compile(rb"BZh[1-9]1AY&SY"), "application/x-bzip2"),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), "application/x-ole-storage"),
    (re.compile(rb".{60}(BOOKMOBI|TEXtREAd)", re.DOTALL), "mobi"),
)
"""Formats that chardet does not know, or that begin like a text."""


def format_of(head: bytes, is_plain: bool) -> tuple[str, str] | None:
    """What a file is if it is no plain text, and what to do with it; ``None`` if it may be a text.

    Args:
        head: its first bytes.
        is_plain: whether they are valid UTF-8, without control characters.
    """
    head = head.removeprefix(b"\xef\xbb\xbf")
    name = next((name for beginning, name in BEGINNINGS if beginning.match(head)), None)
    if name is None and not is_plain:
        import chardet

        name = chardet.detect(head, compat_names=False)["mime_type"]
    if name in WAYS_OUT:
        return WAYS_OUT[name]
    return (
        None if name in (None, "application/octet-stream", "text/plain") else (f"a file of type {name}", "give a text")
    )
