"""A campaign file's rows as a stream, in constant memory: CSV or JSON Lines. Each row becomes one candidate
notification.

A row that cannot be read becomes a row with errors, and reading goes on with the next line: a bad row never takes its
neighbours with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..errors import Unreadable, UnreadableFile
from ..notification.fields import shown_name
from ..notification.json_text import unpack
from ..rule.policy import CHANNELS
from .csv_rows import Header, csv_header, csv_rows
from .hidden_rows import Breaks, Inner, Kind, looks_like_address
from .lines import Line, decoded, lines

REQUIRED = ("channel", "address")
COLUMNS = (
    *REQUIRED,
    *("category", "recipient_id", "id", "title", "body", "template", "expires_at", "source", "collapse_key"),
    *("policy", "country", "timezone"),
)
GROUPS = {"variables.": ("content", "variables"), "metadata.": ("metadata",)}
"""Prefixes of columns with free names, and where in a notification their values go."""

_IN_CONTENT = ("title", "body", "template")


class Row(NamedTuple):
    """One row: the number of its first line, the line and the offset in bytes at which the next row begins, its own
    text, and either its candidate notification or its errors."""

    line: int
    next_line: int
    end: int
    text: str
    candidate: Any
    errors: list[str]


def rows(
    name: str, read: Callable[[int], bytes], *, offset: int = 0, line: int = 1, header: Header | None = None
) -> tuple[Iterator[Row], Header]:
    """Return the rows of the file `name` from `offset` on, where `line` begins, and the header if it is CSV.

    `read(n)` returns up to n bytes from there on, and none at the end. `header` is that of an earlier part of the same
    file. Raises `UnreadableFile`.
    """
    source = lines(read, offset=offset, number=line)
    if name.lower().endswith((".jsonl", ".ndjson")):
        return _rows_of_json(source), Header([])
    if not name.lower().endswith(".csv"):
        raise UnreadableFile("the file's name must end in .csv or .jsonl")
    found = header if header and header.columns and offset else _checked_header(source)
    return _rows_of_csv(source, found), found


def _rows_of_json(source: Iterator[Line]) -> Iterator[Row]:
    for number, end, data in source:
        text, fault = decoded(data)
        candidate: Any = None
        if fault is None:
            if not text.strip():
                continue
            try:
                row = unpack(text)
            except Unreadable as why:
                fault = f"row: {why}"
            else:
                candidate = None if row.is_array else row.value  # an array gets the error of what is not a JSON object
        yield Row(number, number + 1, end, text, candidate, [fault] if fault else [])


def _checked_header(source: Iterator[Line]) -> Header:
    allowed = f"allowed are {', '.join(COLUMNS)}, variables.NAME and metadata.NAME"
    header = csv_header(source)
    if not header.columns:
        raise UnreadableFile(f"the first line must name the columns; {allowed}")
    seen = set()
    for name in header.columns:
        if name not in COLUMNS and not any(name.startswith(group) and name != group for group in GROUPS):
            asks = "(is that line missing, or are its fields separated by another character than , ; and tab?)"
            raise UnreadableFile(
                f"the first line must name the columns; {shown_name(name)} is not a column {asks}; {allowed}"
            )
        if name in seen:
            raise UnreadableFile(f"the first line names {name} twice")
        seen.add(name)
    if missing := [name for name in REQUIRED if name not in seen]:
        raise UnreadableFile(f"the first line lacks the column {missing[0]}")
    return header


def _rows_of_csv(source: Iterator[Line], header: Header) -> Iterator[Row]:
    paths = [_path(name) for name in header.columns]
    for row in csv_rows(source, header, KIND):
        if row.fault:
            yield Row(row.line, row.next_line, row.end, row.text, None, [row.fault])
        else:
            yield Row(row.line, row.next_line, row.end, row.text, _candidate(paths, row.fields), [])


_NO_ADDRESS = re.compile(r"(?![#@])(?=.*[^!-~])[^@0-9\uff10-\uff19]+")
"""Words that no channel has as an address, such as Korean ones: no Slack channel, and without an at sign or a digit."""


def _may_be_row(line: Inner) -> bool:
    """True if a channel stands where its column is, or an address where its column is, or both anywhere; or if the line
    is whole and no prose, unless what stands in place of the address can be none on any channel."""
    fields = [field.lower() for field in line.fields]
    channel, address = line.columns.index("channel"), line.columns.index("address")
    if fields[channel : channel + 1] and fields[channel] in CHANNELS:
        return True
    addresses = [index for index, field in enumerate(fields) if looks_like_address(field)]
    if line.is_whole and not line.is_prose and not _NO_ADDRESS.fullmatch(fields[address]):
        return True
    return address in addresses or bool(addresses and not set(fields).isdisjoint(CHANNELS))


def _breaks(column: str) -> Breaks:
    if column in _IN_CONTENT or any(column.startswith(group) for group in GROUPS):
        return "within"
    return "around" if column in ("address", "recipient_id", "source") else "nowhere"


KIND = Kind(_may_be_row, _breaks)


def _path(column: str) -> tuple[str, ...]:
    """The fields of a notification that lead to a column's values."""
    for group, inside in GROUPS.items():
        if column.startswith(group):
            return (*inside, column.removeprefix(group))
    return ("content", column) if column in _IN_CONTENT else (column,)


def _candidate(paths: Sequence[tuple[str, ...]], fields: Sequence[str]) -> dict[str, Any]:
    """Build the candidate notification of a row. An empty field sets nothing."""
    candidate: dict[str, Any] = {}
    for path, value in zip(paths, fields, strict=True):
        if value:
            inside = candidate
            for name in path[:-1]:
                inside = inside.setdefault(name, {})
            inside[path[-1]] = value
    return candidate
