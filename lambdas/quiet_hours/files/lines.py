"""Reads a file as a stream of numbered lines, in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import UnreadableFile

CHUNK_BYTES = 1024 * 1024

LINE_BYTES_MAX = 128 * 1024
"""Four times the largest notification: a longer line cannot be one. Also the longest field that Python's csv reads."""

_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """One line. `end`: the offset in bytes at which the next line begins. `data`: the bytes without the line feed; cut
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

    `read(n)` returns up to n bytes from there on, and none at the end. Raises `UnreadableFile` for UTF-16.
    """
    rest, dropped_bytes, at_start = b"", 0, offset == 0
    while chunk := read(CHUNK_BYTES):
        rest += chunk
        if at_start and len(rest) >= len(_BOM):
            at_start = False
            if rest.startswith(_UTF_16):
                raise UnreadableFile("the file is UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)")
            if rest.startswith(_BOM):
                rest, offset = rest[len(_BOM) :], len(_BOM)
        *whole, rest = rest.split(b"\n")
        for data in whole:
            offset += len(data) + dropped_bytes + 1
            dropped_bytes = 0
            yield Line(number, offset, data)
            number += 1
        if len(rest) > LINE_BYTES_MAX + 1:
            dropped_bytes += len(rest) - LINE_BYTES_MAX - 1
            rest = rest[: LINE_BYTES_MAX + 1]
    if rest:
        yield Line(number, offset + len(rest) + dropped_bytes, rest)


def decoded(data: bytes) -> Decoded:
    """Decode a line. The text of a faulty line shows what can be shown of it."""
    if len(data) > LINE_BYTES_MAX:
        return Decoded(data[:1000].decode(errors="backslashreplace"), f"row: must have at most {LINE_BYTES_MAX} bytes")
    try:
        return Decoded(data.decode().removesuffix("\r"))
    except UnicodeDecodeError as error:
        fault = f"row: is not UTF-8 (byte {error.start + 1}); save the file as UTF-8 (in Excel: CSV UTF-8)"
        return Decoded(data.decode(errors="backslashreplace"), fault)
