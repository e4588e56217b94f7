"""A campaign file's rows, read as a stream in constant memory: CSV or JSON Lines, a candidate for a notification each.

A row that cannot be read is one with errors, and the next line is looked at afresh: one bad row never takes its
neighbours with it.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import Unreadable, UnreadableFile
from ..notification.fields import shown_name
from ..notification.json_text import unpack

CHUNK_BYTES = 1024 * 1024

LINE_BYTES_MAX = 128 * 1024
"""Four times the largest notification: what is longer is none. Also the longest field that Python's csv takes."""

ROW_LINES_MAX = 100
"""How many lines one CSV row may have, by line breaks between quotation marks. To look further for the end of a
quotation that somebody forgot to close would cost more the more of them there are."""

REQUIRED = ("channel", "address")
COLUMNS = (*REQUIRED, "category", "recipient_id", "id", "title", "body", "template", "expires_at", "source")
GROUPS = {"variables.": ("content", "variables"), "metadata.": ("metadata",)}
"""Columns of free names, by what they begin with: where their values go."""

_IN_CONTENT = ("title", "body", "template")
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the number of its first line, where and at which line the next begins, its own text, and either the
    candidate that it stands for or why it stands for none."""

    line: int
    next_line: int
    end: int
    text: str
    candidate: Any = None
    errors: list[str] = field(default_factory=list)


Line = tuple[int, int, bytes]
"""A line's number, the offset after it in bytes, and its bytes without the line break; cut where it is too long."""


def rows(
    name: str, read: Callable[[int], bytes], *, offset: int = 0, line: int = 1, columns: Sequence[str] | None = None
) -> tuple[Iterator[Row], list[str]]:
    """The rows of the file `name` from `offset` on, which is where `line` begins, and a CSV's columns.

    `read(n)` gives up to n bytes from there on, none at the end. `columns` are those of an earlier part of the same
    file. Raises `BadFile`.
    """
    source = _lines(read, offset, line)
    if name.lower().endswith((".jsonl", ".ndjson")):
        return _json_rows(source), []
    if not name.lower().endswith(".csv"):
        raise UnreadableFile("the file's name must end in .csv or .jsonl")
    found = list(columns) if columns and offset else _header(next(source, None))
    return _csv_rows(source, found), found


def _lines(read: Callable[[int], bytes], offset: int, number: int) -> Iterator[Line]:
    rest, dropped_bytes, begins = b"", 0, offset == 0
    while chunk := read(CHUNK_BYTES):
        rest += chunk
        if begins and len(rest) >= len(_BOM):
            begins = False
            if rest.startswith(_UTF_16):
                raise UnreadableFile("the file is UTF-16: save it as UTF-8 (in Excel: CSV UTF-8)")
            if rest.startswith(_BOM):
                rest, offset = rest[len(_BOM) :], len(_BOM)
        *whole, rest = rest.split(b"\n")
        for data in whole:
            offset += len(data) + dropped_bytes + 1
            dropped_bytes = 0
            yield number, offset, data
            number += 1
        if len(rest) > LINE_BYTES_MAX + 1:
            dropped_bytes += len(rest) - LINE_BYTES_MAX - 1
            rest = rest[: LINE_BYTES_MAX + 1]
    if rest:
        yield number, offset + len(rest) + dropped_bytes, rest


def _decoded(data: bytes) -> tuple[str, str | None]:
    """A line's text, and what is wrong with it."""
    if len(data) > LINE_BYTES_MAX:
        return data[:1000].decode(errors="backslashreplace"), f"row: must have at most {LINE_BYTES_MAX} bytes"
    try:
        return data.decode().removesuffix("\r"), None
    except UnicodeDecodeError as fault:
        where = f"row: is not UTF-8 (byte {fault.start + 1}); save the file as UTF-8 (in Excel: CSV UTF-8)"
        return data.decode(errors="backslashreplace"), where


def _json_rows(source: Iterator[Line]) -> Iterator[Row]:
    for number, end, data in source:
        text, fault = _decoded(data)
        candidate: Any = None
        if fault is None:
            if not text.strip():
                continue
            try:
                values, is_array = unpack(text)
            except Unreadable as why:
                fault = f"row: {why}"
            else:
                candidate = None if is_array else values[0][0]  # an array is told that it is no JSON object
        yield Row(number, number + 1, end, text, candidate, [fault] if fault else [])


def _header(first: Line | None) -> list[str]:
    allowed = f"allowed are {', '.join(COLUMNS)}, variables.NAME and metadata.NAME, separated by commas"
    text, fault = _decoded(first[2]) if first else ("", "row: the file is empty")
    found = [name.strip() for name in _fields(text) or []]
    if fault or not found:
        raise UnreadableFile(f"the first line must name the columns; {fault or allowed}")
    for name in found:
        if name not in COLUMNS and not any(name.startswith(group) and name != group for group in GROUPS):
            asks = "(is that line missing, or are its fields separated by semicolons?)"
            raise UnreadableFile(f"the first line must name the columns; {shown_name(name)} is none {asks}; {allowed}")
        if found.count(name) > 1:
            raise UnreadableFile(f"the first line names {name} twice")
    if missing := [name for name in REQUIRED if name not in found]:
        raise UnreadableFile(f"the first line lacks the column {missing[0]}")
    return found


def _csv_rows(source: Iterator[Line], columns: Sequence[str]) -> Iterator[Row]:
    paths = [_path(name) for name in columns]
    ahead: deque[Line] = deque()  # looked at in vain for the end of a quotation
    while (first := ahead.popleft() if ahead else next(source, None)) is not None:
        number, end, data = first
        text, fault = _decoded(data)
        fields, next_line = _fields(text), number + 1
        if fault is None and fields is None and data.count(b'"') % 2:
            taken: list[Line] = []
            while fields is None and len(taken) < ROW_LINES_MAX - 1:
                if (more := ahead.popleft() if ahead else next(source, None)) is None:
                    break
                taken.append(more)
                if more[2].count(b'"') % 2:
                    fields = _joined([first, *taken])
            if fields is None:
                ahead.extendleft(reversed(taken))
                fault = f"row: a quotation mark is opened and not closed within {ROW_LINES_MAX} lines"
            else:
                text = "\n".join(_decoded(each[2])[0] for each in (first, *taken))
                next_line, end = taken[-1][0] + 1, taken[-1][1]
        if fault is None and fields is None:
            fault = (
                "row: is not CSV; a field with a quotation mark must stand in quotation marks, with that one doubled"
            )
        if fault is None and not any(fields or []):
            continue
        if fault is None and fields is not None and len(fields) != len(columns):
            fault = f"row: has {len(fields)} fields where the first line names {len(columns)} columns"
        candidate = None if fault else _candidate(paths, fields or [])
        yield Row(number, next_line, end, text, candidate, [fault] if fault else [])


def _joined(lines: Sequence[Line]) -> list[str] | None:
    """The fields of one row that goes over several lines, unless it is none."""
    decoded = [_decoded(data) for _, _, data in lines]
    text = "\n".join(text for text, _ in decoded)
    return None if any(fault for _, fault in decoded) or len(text) > LINE_BYTES_MAX else _fields(text)


def _fields(text: str) -> list[str] | None:
    try:
        found = list(csv.reader([text], strict=True))
    except csv.Error:
        return None
    return found[0] if found else []


def _path(column: str) -> tuple[str, ...]:
    """Where a column's values stand in a notification."""
    for group, inside in GROUPS.items():
        if column.startswith(group):
            return (*inside, column.removeprefix(group))
    return ("content", column) if column in _IN_CONTENT else (column,)


def _candidate(paths: Sequence[tuple[str, ...]], fields: Sequence[str]) -> dict[str, Any]:
    """What the fields of a row say; an empty one says nothing."""
    candidate: dict[str, Any] = {}
    for path, value in zip(paths, fields, strict=True):
        if value:
            inside = candidate
            for name in path[:-1]:
                inside = inside.setdefault(name, {})
            inside[path[-1]] = value
    return candidate
