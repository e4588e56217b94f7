"""CSV rows from a stream of lines. Campaign files and files of consents are both read here.

A faulty row never takes its neighbours with it: the reader goes on with the next line. Each line is parsed a fixed
number of times, whatever its quotation marks are, so that no file takes more than linear time.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal, NamedTuple

from ..errors import UnreadableFile
from .hidden_rows import Inner, Kind
from .lines import LINE_BYTES_MAX, Line, decoded

ROW_LINES_MAX = 100
"""The number of lines that one row may have, by line breaks in quotation marks. Each quotation that somebody forgot to
close costs a search for its end: this bounds the search."""

COLUMNS_MAX = 256

NOT_CSV = "row: is not CSV; a field with a quotation mark must stand in quotation marks, with that one doubled"
NOT_CLOSED = f"row: a quotation mark is opened and not closed within {ROW_LINES_MAX} lines"

_SEPARATORS = (",", ";", "\t")
_GROUPED_DIGITS = re.compile(
    r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|(?<=,)[0-9]{1,3}(?:,[0-9]{3})+(?=[^\W\d_])"
)
"""A number such as `1,000,000`. Right after a comma it may be two fields, unless a word such as 원 follows at once."""
_SEPARATOR_LINE = re.compile(r'"?sep=(.?)"?[,;\t]*', re.IGNORECASE)


class Header(NamedTuple):
    """The names of the columns, and the character that separates the fields."""

    columns: Sequence[str]
    separator: str = ","


class CsvRow(NamedTuple):
    """One row: the number of its first line, the line and the offset in bytes at which the next row begins, its own
    text, and either its fields or what is wrong with it."""

    line: int
    next_line: int
    end: int
    text: str
    fields: Sequence[str] = ()
    fault: str | None = None


# --- the first line


def csv_header(source: Iterator[Line]) -> Header:
    """Read the line with the names of the columns: none if it is not CSV. Excel's line `sep=;` may stand before it.

    Columns at the end that have no name are left out. Raises `UnreadableFile` if there is no such line, if it cannot be
    decoded, or if a column between others has no name.
    """
    text, separator = _first_text(source), None
    if declared := _SEPARATOR_LINE.fullmatch(text):
        separator = declared[1]
        if separator not in _SEPARATORS:
            raise UnreadableFile("the line sep= must name a comma, a semicolon or a tab as the separator")
        text = _first_text(source)
    if separator is None:
        separator = next((each for each in _SEPARATORS if len(_fields(text, each) or ()) > 1), ",")
    columns = [name.strip() for name in _fields(text, separator) or ()]
    while columns and not columns[-1]:
        columns.pop()
    if "" in columns:
        raise UnreadableFile(f"the first line must name the columns; column {columns.index('') + 1} has no name")
    if len(columns) > COLUMNS_MAX:
        raise UnreadableFile(f"the first line must name at most {COLUMNS_MAX} columns")
    return Header(columns, separator)


def _first_text(source: Iterator[Line]) -> str:
    if (first := next(source, None)) is None:
        raise UnreadableFile("the first line must name the columns; row: the file is empty")
    text, fault = decoded(first.data)
    if fault:
        raise UnreadableFile(f"the first line must name the columns; {fault}")
    return text


# --- rows


def csv_rows(
    source: Iterator[Line], header: Header, kind: Kind, *, separators_are_a_row: bool = False
) -> Iterator[CsvRow]:
    """Yield the rows of the lines. A blank line is not a row, nor is a line of separators only, unless
    `separators_are_a_row`."""
    ahead: deque[_Part] = deque()  # lines that were read in a vain search for the end of a quotation
    parts = (_Part(line, header, kind) for line in source)
    while (first := ahead.popleft() if ahead else next(parts, None)) is not None:
        row = _row_from(first, ahead, parts, header, kind)
        if row.fault is None and not (row.fields if separators_are_a_row else any(row.fields)):
            continue
        if row.fault is None and len(row.fields) != len(header.columns):
            fields = _without_empty_end(row.fields, len(header.columns))
            fault = None if len(fields) == len(header.columns) else _wrong_number(len(fields), header)
            row = row._replace(fields=() if fault else fields, fault=fault)
        yield row


def _row_from(first: _Part, ahead: deque[_Part], parts: Iterator[_Part], header: Header, kind: Kind) -> CsvRow:
    """Read the row that begins on the line `first`, with whatever number of fields."""
    text, fault = first.decoded
    fields = None if fault else _fields(text, header.separator)
    if fields is None and fault is None:
        begun = _scan(text, header.separator, inside=False)
        if begun.ends == "open":
            found = _quotation(first, begun, ahead, parts, header, kind)
            if not found.fault:
                return _joined([first, *(ahead.popleft() for _ in range(found.lines))], header)
            fault = found.fault
        else:
            fault = NOT_CSV
    number, end, _ = first.line
    return CsvRow(number, number + 1, end, text, fields or (), fault)


class _Scanned(NamedTuple):
    """The end of a line's last field: `open` within a quotation, `closed`, or `broken` where the line is no CSV. The
    number of fields that the line has a part of, the place of the first closing quotation mark, and the place at which
    the text of the last quotation begins."""

    ends: Literal["open", "closed", "broken"]
    fields: int
    closes_at: int
    opens_at: int


def _scan(text: str, separator: str, *, inside: bool) -> _Scanned:
    """Follow the quotation marks of a line once, from its start. `inside`: an earlier line has opened a quotation."""
    at, fields, closes_at, opens_at = 0, 1, len(text), 0
    if not inside and text.startswith('"'):
        at, opens_at, inside = 1, 1, True
    while True:
        if inside:
            while (at := text.find('"', at)) >= 0 and text.startswith('""', at):
                at += 2
            if at < 0:
                return _Scanned("open", fields, closes_at, opens_at)
            closes_at, at = min(closes_at, at), at + 1
            if at < len(text) and text[at] != separator:
                return _Scanned("broken", fields, closes_at, opens_at)
        else:
            at = text.find(separator, at)
        if at < 0 or at == len(text):
            return _Scanned("closed", fields, closes_at, opens_at)
        fields, at = fields + 1, at + 1
        inside = text.startswith('"', at)
        at += inside
        opens_at = at


class _Part:
    """A line, with what is found out about it. It may be looked at for several rows, but is read only once."""

    def __init__(self, line: Line, header: Header, kind: Kind) -> None:
        self.line = line
        self.decoded = decoded(line.data)
        self._header = header
        self._kind = kind

    @cached_property
    def inside(self) -> _Scanned:
        """The line as it reads if an earlier line has opened a quotation."""
        return _scan(self.decoded.text, self._header.separator, inside=True)

    @cached_property
    def hides_row(self) -> bool:
        """True if the part of the line within the quotation reads as a row. One field may be the beginning of a row
        whose quotation ends there."""
        text = self.decoded.text
        inner = _inner(text[: self.inside.closes_at], self._header)
        if len(inner.fields) == 1 and self.inside.closes_at >= len(text) - 1:
            return False
        return self._kind.may_be_row(inner)

    @cached_property
    def has_text_before_end(self) -> bool:
        """True if the part of the line that ends its first quotation, or all of it if none ends, is not blank."""
        return bool(self.decoded.text[: self.inside.closes_at].strip())

    @cached_property
    def has_text_after_start(self) -> bool:
        """True if the part of the line that goes on in the next one is not blank."""
        return bool(self.decoded.text[self.inside.opens_at :].strip())

    @cached_property
    def empty_fields_at_end(self) -> int:
        text = self.decoded.text
        return len(text) - len(text.rstrip(self._header.separator))


class _Found(NamedTuple):
    """The number of further lines that a row takes, or why there is no such row."""

    lines: int
    fault: str | None = None


def _quotation(
    first: _Part, begun: _Scanned, ahead: deque[_Part], parts: Iterator[_Part], header: Header, kind: Kind
) -> _Found:
    """Look for the end of the quotation that `first` opens in its last field, where its line has `begun` it. The lines
    that were looked at are left in `ahead`."""
    characters, columns, fields = len(first.decoded.text), len(header.columns), begun.fields
    has_text = bool(first.decoded.text[begun.opens_at :].strip())  # the field that goes on in the next line
    hidden, split = 0, ""
    for place in range(ROW_LINES_MAX - 1):
        if place == len(ahead):
            if (more := next(parts, None)) is None:
                break
            ahead.append(more)
        part = ahead[place]
        characters += 1 + len(part.decoded.text)
        if part.decoded.fault or characters > LINE_BYTES_MAX or part.inside.ends == "broken":
            break
        column = header.columns[fields - 1] if fields <= columns else ""
        breaks = kind.breaks(column) if column else "within"
        if breaks == "nowhere" or (breaks == "around" and has_text and part.has_text_before_end):
            split = split or column
        has_text = part.has_text_after_start or (has_text and part.inside.fields == 1)
        fields += part.inside.fields - 1  # its first field began on an earlier line
        hidden = hidden or (part.line.number if part.hides_row else 0)
        if part.inside.ends == "closed":
            goes_on = f"by its quotation marks it goes on to line {part.line.number}"
            if hidden:
                return _Found(0, f"row: its quotation marks enclose line {hidden}, which reads as a row of its own")
            if not fields - part.empty_fields_at_end <= columns <= fields:
                return _Found(0, f"{_wrong_number(fields, header)}; {goes_on}")
            if split:
                return _Found(0, f"row: the column {split} has a line break; {goes_on}")
            return _Found(place + 1)
    return _Found(0, NOT_CLOSED)


def _joined(parts: Sequence[_Part], header: Header) -> CsvRow:
    """Parse several lines as one row."""
    text = "\n".join(part.decoded.text for part in parts)
    fields = _fields(text, header.separator)
    first, last = parts[0].line, parts[-1].line
    return CsvRow(first.number, last.number + 1, last.end, text, fields or (), NOT_CSV if fields is None else None)


def _fields(text: str, separator: str) -> list[str] | None:
    try:
        found = list(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error:
        return None
    return found[0] if found else []


def _inner(text: str, header: Header) -> Inner:
    """The part of a line that stands within a quotation. Its own quotation marks, if any, are doubled."""
    fields = text.split(header.separator)
    parts = _GROUPED_DIGITS.sub("0", text).split(header.separator) if header.separator == "," else fields
    is_prose = all(part.startswith(" ") for part in parts[1:])
    columns = len(header.columns)
    is_whole = len(_without_empty_end([part.strip(' "') for part in parts], columns)) == columns
    return Inner(header.columns, [field.strip(' "') for field in fields], is_prose, is_whole)


def _without_empty_end(fields: Sequence[str], columns: int) -> Sequence[str]:
    """Leave out empty fields behind the last column, as Excel writes them for cells that were used once."""
    return fields if any(fields[columns:]) else fields[:columns]


def _wrong_number(fields: int, header: Header) -> str:
    return f"row: has {fields} fields where the first line names {len(header.columns)} columns"
