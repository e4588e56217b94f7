"""Kinds of files that are no text in UTF-8, recognised by their first bytes, and how to save them."""

from __future__ import annotations

HEAD_BYTES = 512
"""The bytes of a file that are looked at: enough for the name of the first file in a ZIP archive."""

_UTF_16 = "the file is UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)"
_UTF_32 = "the file is UTF-32: save it as UTF-8"
_COMPRESSED = "the file is compressed: decompress it first"

_BEGINNINGS = (
    (b"\xff\xfe\x00\x00", _UTF_32),
    (b"\x00\x00\xfe\xff", _UTF_32),
    (b"\xff\xfe", _UTF_16),
    (b"\xfe\xff", _UTF_16),
    (b"\x1f\x8b", _COMPRESSED),  # gzip
    (b"BZh", _COMPRESSED),
    (b"\xfd7zXZ\x00", _COMPRESSED),
    (b"7z\xbc\xaf\x27\x1c", _COMPRESSED),
    (b"\x28\xb5\x2f\xfd", _COMPRESSED),  # Zstandard
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "this is an Excel workbook of an old kind (.xls): save it as CSV UTF-8"),
    (b"%PDF-", "the file is a PDF: save the table as CSV UTF-8"),
)
_ARCHIVE = b"PK\x03\x04"
_TAGS = (b"<!doctype", b"<html", b"<table", b"<?xml")


def kind_fault(head: bytes) -> str | None:
    """The reason why a file that begins with `head` cannot be read, or None."""
    for beginning, fault in _BEGINNINGS:
        if head.startswith(beginning):
            return fault
    if head.startswith(_ARCHIVE):
        return _archive_fault(head)
    if len(head) >= 4 and (head[:4:2] == b"\0\0" or head[1:4:2] == b"\0\0"):  # ASCII in UTF-16 has a null in each pair
        return _UTF_16
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_TAGS):
        return "the file is HTML or XML: save the table as CSV UTF-8"
    return None


def _archive_fault(head: bytes) -> str:
    """Excel's and OpenDocument's files are ZIP archives. The first name in them says which."""
    if b"opendocument" in head:
        return "this is an OpenDocument file: save it as CSV in UTF-8"
    if any(name in head for name in (b"[Content_Types].xml", b"xl/", b"_rels/", b"docProps/")):
        return "this is an Excel workbook: save it as CSV UTF-8"
    return f"{_COMPRESSED} (it is a ZIP archive)"
