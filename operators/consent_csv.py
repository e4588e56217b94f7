"""Consents as CSV: one row for each recipient, checked as a request to the registrar is.

Columns: `recipient_id`, `night_consent` and `opted_out` (true or false), `changed_at` (a time with an offset), and
`evidence`; `expires_at` where a night consent has an end; `renotified_at` and `renotify_due` where an earlier system
has kept them; `advertising_consent`, and `addresses` with semicolons between them. UTF-8, with a header. An export also
has `text_mark` (spreadsheet_text.py).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, BinaryIO

from commands import CommandError
from lambdas.quiet_hours.consents.record import Record
from lambdas.quiet_hours.consents.statement import Statement, due_fault, instant_fault, statement
from lambdas.quiet_hours.consents.times import iso
from lambdas.quiet_hours.errors import Invalid, UnreadableFile
from lambdas.quiet_hours.files.csv_rows import csv_header, csv_rows
from lambdas.quiet_hours.files.hidden_rows import Breaks, Inner, Kind, looks_like_address
from lambdas.quiet_hours.files.lines import lines
from lambdas.quiet_hours.notification.addresses import canonical_recipient, recipient_fault
from lambdas.quiet_hours.notification.fields import time_fault

from .spreadsheet_text import MARK, MARK_COLUMN, marked, unmarked

COLUMNS = ("recipient_id", "night_consent", "opted_out", "changed_at", "evidence")
OPTIONAL_COLUMNS = ("expires_at", "renotified_at", "renotify_due", "advertising_consent", "addresses")

ADDRESS_SEPARATOR = ";"

_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Row:
    """A recipient's statement, and the line on which its row begins."""

    line: int
    recipient_id: str
    said: Statement


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that cannot be imported. `errors`: one `column: fault` each, never with a value."""

    line: int
    errors: tuple[str, ...]


def read_rows(file: BinaryIO, now: datetime, from_line: int = 1) -> Iterator[Row | WrongRow]:
    """Yield every row of a file, right or wrong, in constant memory.

    Raises `CommandError` if the file as a whole cannot be read, or if its header is another one.
    """
    source = lines(file.read)
    try:
        header = csv_header(source)
    except UnreadableFile as fault:
        raise CommandError(f"The file cannot be imported: {fault}.") from None
    _check_header(header.columns)
    for row in csv_rows(source, header, KIND, separators_are_a_row=True):  # a consent without values must be counted
        if row.line < from_line:
            continue
        if row.fault:
            yield WrongRow(row.line, (row.fault,))
        else:
            yield _row(row.line, _cells(header.columns, row.fields), now)


def _may_be_row(line: Inner) -> bool:
    """True unless a line within the quotation marks of evidence is clearly a sentence.

    A recipient may be any text. So a line counts as a row if a blank is missing after a separator, if it has a truth
    value or an instant, or if a single word or an address stands where a recipient may stand.
    """
    recipient = line.columns.index("recipient_id")
    people = {line.fields[0], *line.fields[recipient : recipient + 1]}
    if any(map(looks_like_address, people)):
        return True
    if len(line.fields) == 1:
        return any(" " not in each and any(map(str.isdigit, each)) for each in people)
    values = any(field.lower() in _FLAGS or time_fault(field) is None for field in line.fields)
    return not line.is_prose or values or any(" " not in each for each in people)


def _breaks(column: str) -> Breaks:
    if column in ("evidence", "addresses"):
        return "within"
    return "around" if column == "recipient_id" else "nowhere"


KIND = Kind(_may_be_row, _breaks)


def _check_header(header: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in header]
    unknown = len([name for name in header if name not in (*COLUMNS, *OPTIONAL_COLUMNS, MARK_COLUMN)])
    if missing or unknown or len(set(header)) < len(header):
        raise CommandError(
            f"The first line must name the columns {', '.join(COLUMNS)}, and may name {', '.join(OPTIONAL_COLUMNS)}: "
            f"{', '.join(missing) or 'none'} missing, {unknown} unknown."
        )


def _cells(header: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """The cells of a row by column, without the marks of an export."""
    cells = dict(zip(header, fields, strict=True))
    if cells.pop(MARK_COLUMN, "") == MARK:
        return {name: unmarked(value) for name, value in cells.items()}
    return cells


def _row(line: int, cells: Mapping[str, str], now: datetime) -> Row | WrongRow:
    recipient = cells["recipient_id"]
    fault = recipient_fault(recipient)
    errors = [f"recipient_id: {fault}"] if fault else []
    renotified_at, renotify_due = cells.get("renotified_at", ""), cells.get("renotify_due", "")
    if renotified_at and (fault := instant_fault(renotified_at, now)):
        errors.append(f"renotified_at: {fault}")
    if renotify_due and (fault := due_fault(renotify_due, now)):
        errors.append(f"renotify_due: {fault}")
    try:
        said = statement(_request(cells), now)
    except Invalid as invalid:
        errors += invalid.errors
    if errors:
        return WrongRow(line, tuple(errors))
    at = iso(min(datetime.fromisoformat(renotified_at), now)) if renotified_at else ""
    return Row(line, canonical_recipient(recipient), replace(said, renotified_at=at, renotify_due=renotify_due))


def _request(cells: Mapping[str, str]) -> dict[str, Any]:
    """The row as a request to the registrar would state it."""
    request: dict[str, Any] = {name: cells[name] for name in ("changed_at", "evidence")}
    request |= {name: _FLAGS.get(cells[name].lower(), cells[name]) for name in ("night_consent", "opted_out")}
    if cells.get("expires_at"):
        request["expires_at"] = cells["expires_at"]
    if flag := cells.get("advertising_consent"):
        request["advertising_consent"] = _FLAGS.get(flag.lower(), flag)
    if addresses := cells.get("addresses"):
        request["addresses"] = addresses.rstrip(f"{ADDRESS_SEPARATOR} ").split(ADDRESS_SEPARATOR)
    return request


def write_rows(file: Any, records: Iterable[Record]) -> int:
    """Write the header and the records, and return how many. An import of it gives the same records, also if Excel
    has saved it in between."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow((*COLUMNS, *OPTIONAL_COLUMNS, MARK_COLUMN))
    number = 0
    for number, record in enumerate(records, 1):  # noqa: B007  the count of them
        writer.writerow((*(_cell(getattr(record, name)) for name in COLUMNS + OPTIONAL_COLUMNS), MARK))
    return number


def _cell(value: str | bool | tuple[str, ...] | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return marked(ADDRESS_SEPARATOR.join(value) if isinstance(value, tuple) else value or "")
