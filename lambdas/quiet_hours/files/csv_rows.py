"""Reads CSV rows from a stream of lines. Campaign files and files of consents are both read here.

A faulty row never takes its neighbours with it: the reader goes on with the next line.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..errors import UnreadableFile
from .lines import LINE_BYTES_MAX, Line, decoded

ROW_LINES_MAX = 100
"""The number of lines that one row may have, by line breaks in quotation marks. Each quotation that somebody forgot to
close costs a search for its end: this bounds the search."""

NOT_CSV = "row: is not CSV; a field with a quotation mark must stand in quotation marks, with that one doubled"
NOT_CLOSED = f"row: a quotation mark is opened and not closed within {ROW_LINES_MAX} lines"


class CsvRow(NamedTuple):
    """One row: the number of its first line, the line and the offset in bytes at which the next row begins, its own
    text, and either its fields or what is wrong with it."""

    line: int
    next_line: int
    end: int
    text: str
    fields: Sequence[str] = ()
    fault: str | None = None


def csv_header(source: Iterator[Line]) -> list[str]:
    """Reads the first line: the names of the columns, or none if the line is not CSV.

    Raises `UnreadableFile` if there is no line, or if it cannot be decoded.
    """
    if (first := next(source, None)) is None:
        raise UnreadableFile("the first line must name the columns; row: the file is empty")
    text, fault = decoded(first.data)
    if fault:
        raise UnreadableFile(f"the first line must name the columns; {fault}")
    return _fields(text) or []


def csv_rows(source: Iterator[Line], columns: int, *, commas_are_a_row: bool = False) -> Iterator[CsvRow]:
    """Yields the rows of the lines. A blank line is not a row, nor is a line of commas only, unless
    `commas_are_a_row`."""
    ahead: deque[Line] = deque()  # lines that were read in a vain search for the end of a quotation
    while (first := _next_line(ahead, source)) is not None:
        row = _row_from(first, ahead, source)
        if row.fault is None and not (row.fields if commas_are_a_row else any(row.fields)):
            continue
        if row.fault is None and len(row.fields) != columns:
            row = row._replace(fields=(), fault=_wrong_number(row, columns))
        yield row


def _row_from(first: Line, ahead: deque[Line], source: Iterator[Line]) -> CsvRow:
    """Reads the row that begins on the line `first`, with whatever number of fields."""
    text, fault = decoded(first.data)
    fields = None if fault else _fields(text)
    if fields is None and fault is None:
        if not _opens_or_closes(first):
            fault = NOT_CSV
        elif (longer := _longer_row(first, ahead, source)) is not None:
            return longer
        else:
            fault = NOT_CLOSED
    return CsvRow(first.number, first.number + 1, first.end, text, fields or (), fault)


def _next_line(ahead: deque[Line], source: Iterator[Line]) -> Line | None:
    return ahead.popleft() if ahead else next(source, None)


def _opens_or_closes(line: Line) -> bool:
    """True if the line has an odd number of quotation marks: it opens a quotation, or closes an open one."""
    return line.data.count(b'"') % 2 == 1


def _longer_row(first: Line, ahead: deque[Line], source: Iterator[Line]) -> CsvRow | None:
    """Reads on to the end of the quotation that `first` opens: the row, or None with every line read put back."""
    taken = [first]
    while len(taken) < ROW_LINES_MAX and (more := _next_line(ahead, source)) is not None:
        taken.append(more)
        if _opens_or_closes(more) and (row := _joined(taken)) is not None:
            return row
    ahead.extendleft(reversed(taken[1:]))
    return None


def _joined(parts: Sequence[Line]) -> CsvRow | None:
    """Parses several lines as one row. None if they are not one."""
    texts = [decoded(part.data) for part in parts]
    text = "\n".join(each.text for each in texts)
    if any(each.fault for each in texts) or len(text) > LINE_BYTES_MAX:
        return None
    fields = _fields(text)
    return None if fields is None else CsvRow(parts[0].number, parts[-1].number + 1, parts[-1].end, text, fields)


def _fields(text: str) -> list[str] | None:
    try:
        found = list(csv.reader([text], strict=True))
    except csv.Error:
        return None
    return found[0] if found else []


def _wrong_number(row: CsvRow, columns: int) -> str:
    fault = f"row: has {len(row.fields)} fields where the first line names {columns} columns"
    last_line = row.next_line - 1
    # If a quotation mark is missing, the lines in between were meant as rows: nobody must overlook them.
    return fault if last_line == row.line else f"{fault}; by its quotation marks it goes on to line {last_line}"
