"""A file as a stream of numbered lines, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import UnreadableFile
from .kinds import HEAD_BYTES, kind_fault

CHUNK_BYTES = 1024 * 1024

LINE_BYTES_MAX = 128 * 1024
"""Four times the largest notification: a longer line cannot be one. Also the longest field that Python's csv reads."""

_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line. `end`: the offset in bytes at which the next line begins. `data`: the bytes without the line's end; cut
    where the line is longer than `LINE_BYTES_MAX`."""

    number: int
    end: int
    data: bytes


class Decoded(NamedTuple):
    """A line's text, and what is wrong with it, if anything."""

    text: str
    fault: str | None = None


def lines(read: Callable[[int], bytes], *, offset: int = 0, number: int = 1) -> Iterator[Line]:
    """Yield the lines of a file from `offset` on, where the line `number` begins.

    A line ends in a line feed, a carriage return, or both. `read(n)` returns up to n bytes from there on, and none at
    the end. Raises `UnreadableFile` for a file that is no text in UTF-8.
    """
    rest, dropped_bytes = b"", 0
    if offset == 0:
        head = _head(read)
        rest = head
        while rest.startswith(_BOM):  # a file that was saved twice may have two
            rest = rest[len(_BOM) :]
        offset = len(head) - len(rest)
    chunk = rest
    rest = b""
    while chunk or (chunk := read(CHUNK_BYTES)):
        *whole, rest = _split(rest + chunk)
        chunk = b""
        for data in whole:
            offset += len(data) + dropped_bytes
            dropped_bytes = 0
            yield Line(number, offset, data.rstrip(b"\r\n"))
            number += 1
        if len(rest) > LINE_BYTES_MAX + 2:
            kept = rest[: LINE_BYTES_MAX + 1] + (b"\r" if rest.endswith(b"\r") else b"")
            dropped_bytes += len(rest) - len(kept)
            rest = kept
    if rest:
        yield Line(number, offset + len(rest) + dropped_bytes, rest.rstrip(b"\r"))


def _head(read: Callable[[int], bytes]) -> bytes:
    """Read the beginning of a file, and look at what kind of file it is."""
    head = b""
    while len(head) < HEAD_BYTES and (chunk := read(CHUNK_BYTES)):
        head += chunk
    if fault := kind_fault(head[:HEAD_BYTES]):
        raise UnreadableFile(fault)
    return head


def _split(data: bytes) -> list[bytes]:
    """The lines of `data` with their ends, and last what may go on in the next chunk: a carriage return at the end may
    be the first half of a line's end."""
    parts = data.splitlines(keepends=True)
    return [*parts, b""] if not parts or parts[-1].endswith(b"\n") else parts


def decoded(data: bytes) -> Decoded:
    """Decode a line. The text of a faulty line shows what can be shown of it."""
    if len(data) > LINE_BYTES_MAX:
        return Decoded(data[:1000].decode(errors="backslashreplace"), f"row: must have at most {LINE_BYTES_MAX} bytes")
    try:
        return Decoded(data.decode())
    except UnicodeDecodeError as error:
        fault = f"row: is not UTF-8 (byte {error.start + 1}); save the file as UTF-8 (in Excel: CSV UTF-8)"
        return Decoded(data.decode(errors="backslashreplace"), fault)
