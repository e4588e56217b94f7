"""Consents as CSV: one row a recipient, each checked as a request to the registrar is.

Columns: `recipient_id`, `night_consent` and `opted_out` (true or false), `changed_at` (a time with an offset), and
`evidence`; `expires_at` where a night consent has an end; `renotified_at` and `renotify_due` where an earlier system
has kept them. UTF-8, with a header.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, BinaryIO

from lambdas.quiet_hours.consents.record import Record
from lambdas.quiet_hours.consents.statement import Statement, due_fault, instant_fault, statement
from lambdas.quiet_hours.consents.times import iso
from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.notification.addresses import canonical_recipient, stored_recipient_fault
from lambdas.quiet_hours.notification.fields import text_check
from local import CommandError

COLUMNS = ("recipient_id", "night_consent", "opted_out", "changed_at", "evidence")
OPTIONAL_COLUMNS = ("expires_at", "renotified_at", "renotify_due")
LINE_BYTES_MAX = 8192
"""No row that is right is longer; what is longer is cut, and then wrong, but never all in memory."""

_FLAGS = {"true": True, "false": False}
_recipient_fault = text_check(128)


@dataclass(frozen=True, slots=True)
class Row:
    """What one row says, and the line that it begins on."""

    line: int
    recipient_id: str
    said: Statement


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that cannot be taken: one `column: fault` each, never with a value."""

    line: int
    errors: tuple[str, ...]


def read_rows(
    file: BinaryIO, now: datetime, from_line: int = 1, progress: Callable[[int], None] = lambda bytes_read: None
) -> Iterator[Row | WrongRow]:
    """Every row of a file, right or wrong, one after another. `progress` is told how many bytes have been read.

    Raises `LocalError` where the header is not that of such a file.
    """
    reader = csv.reader(_lines(file, progress), strict=True)
    try:
        header = next(reader, [])
    except csv.Error:
        header = []
    missing = [name for name in COLUMNS if name not in header]
    unknown = len([name for name in header if name not in COLUMNS + OPTIONAL_COLUMNS])
    if missing or unknown or len(set(header)) < len(header):
        raise CommandError(
            f"The first line must name the columns {', '.join(COLUMNS)}, and may name {', '.join(OPTIONAL_COLUMNS)}: "
            f"{', '.join(missing) or 'none'} missing, {unknown} unknown."
        )
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield WrongRow(line, (f"row: is no CSV ({error})",))
            continue
        if line < from_line or not cells:
            continue
        if len(cells) != len(header):
            yield WrongRow(line, (f"row: has {len(cells)} columns and not {len(header)}",))
            continue
        yield _row(line, dict(zip(header, cells, strict=True)), now)


def _lines(file: BinaryIO, progress: Callable[[int], None]) -> Iterator[str]:
    bytes_read = 0
    for raw in iter(partial(file.readline, LINE_BYTES_MAX), b""):
        # What is not UTF-8 becomes surrogates, which no field may have: the row is wrong and not the whole file.
        yield raw.decode("utf-8" if bytes_read else "utf-8-sig", "surrogateescape")
        bytes_read += len(raw)
        progress(bytes_read)


def _row(line: int, cells: dict[str, str], now: datetime) -> Row | WrongRow:
    recipient = cells["recipient_id"]
    fault = _recipient_fault(recipient) or stored_recipient_fault(recipient)
    errors = [f"recipient_id: {fault}"] if fault else []
    request: dict[str, Any] = {name: cells[name] for name in ("changed_at", "evidence")}
    request |= {name: _FLAGS.get(cells[name].lower(), cells[name]) for name in ("night_consent", "opted_out")}
    if cells.get("expires_at"):
        request["expires_at"] = cells["expires_at"]
    renotified_at, renotify_due = cells.get("renotified_at", ""), cells.get("renotify_due", "")
    if renotified_at and (fault := instant_fault(renotified_at, now)):
        errors.append(f"renotified_at: {fault}")
    if renotify_due and (fault := due_fault(renotify_due, now)):
        errors.append(f"renotify_due: {fault}")
    try:
        said = statement(request, now)
    except Invalid as invalid:
        errors += invalid.errors
    if errors:
        if any("\udc80" <= letter <= "\udcff" for cell in cells.values() for letter in cell):
            errors.append("row: is not UTF-8; save the file as UTF-8")
        return WrongRow(line, tuple(errors))
    at = iso(datetime.fromisoformat(renotified_at)) if renotified_at else ""
    return Row(line, canonical_recipient(recipient), replace(said, renotified_at=at, renotify_due=renotify_due))


def write_rows(file: Any, records: Iterable[Record]) -> int:
    """Write the header and the records; returns how many. What is written can be read again."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS + OPTIONAL_COLUMNS)
    number = 0
    for number, record in enumerate(records, 1):  # noqa: B007  the count of them
        flags = {name: str(getattr(record, name)).lower() for name in ("night_consent", "opted_out")}
        writer.writerow(flags.get(name, getattr(record, name)) for name in COLUMNS + OPTIONAL_COLUMNS)
    return number
