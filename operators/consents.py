"""Import, export and list consents: `python -m operators.consents import FILE | export FILE | due --before DATE`.

By default it works on what `make local` runs; with OUTPUTS=(a CDK outputs file) it works in the account of the
environment's credentials. An import may be run again, or continue from the line at which it was stopped. It does
not write again what is already stored, and an older statement never undoes a newer one.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zoneinfo import ZoneInfo

from botocore.exceptions import ClientError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from commands import CommandError
from commands.deployment import deployed_settings
from commands.run import run_command
from lambdas.quiet_hours.consents.record import Record, amended, at_free_instant
from lambdas.quiet_hours.consents.statement import due_fault
from lambdas.quiet_hours.errors import ConsentUnavailable, StatementRefused
from lambdas.quiet_hours.notification.addresses import lacks_its_beginning
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.clients import error_code
from lambdas.quiet_hours.stores.consents import CHANGES_MAX, Change, due, read_records, taken_instants, write

from .consent_csv import Row, WrongRow, read_rows, write_rows
from .target import TARGET_HELP, target

AT_ONCE = 8
WINDOW_ROWS = AT_ONCE * CHANGES_MAX
TRIES = 8
DUE_PAGE = 1000
SHOWN_MAX = 20
ROWS_AN_UPDATE = 5000
THROTTLED = ("TransactionCanceledException", "ThrottlingException", "ProvisionedThroughputExceededException")


class Applied(NamedTuple):
    """The result of some rows: how many of each kind, and the rows that were refused."""

    counts: Counter[str]
    refused: list[WrongRow]


@dataclass(frozen=True)
class ConsentTables:
    """The consent table and its history. `zone`: the time zone of their calendar dates."""

    dynamodb: Any
    table: str
    history_table: str
    zone: tzinfo

    def apply(self, rows: Sequence[Row], now: datetime) -> Applied:
        """Apply up to `CHANGES_MAX` rows of different recipients. Tries again while DynamoDB is busy, and while
        others change the same consents. Raises what the client raises in the end, or `CommandError`."""
        taken: defaultdict[str, set[str]] = defaultdict(set)
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(5.0, 0.05 * 2**attempt))
            with suppress(ConsentUnavailable):
                try:
                    if applied := self._apply_once(rows, now, taken):
                        return applied
                except ClientError as error:
                    if error_code(error) not in THROTTLED or attempt == TRIES - 1:
                        raise
        raise CommandError(f"Others keep changing the consents of the rows from line {rows[0].line} on: try again.")

    def _apply_once(self, rows: Sequence[Row], now: datetime, taken: defaultdict[str, set[str]]) -> Applied | None:
        """None if somebody else has changed one of the consents since it was read, or if the history has another entry
        at the same instant, which is then added to those that are `taken`, by recipient: nothing is written then."""
        known = read_records(self.dynamodb, self.table, [row.recipient_id for row in rows], time.sleep)
        changes, refused = [], []
        for row in rows:
            before = known.get(row.recipient_id)
            try:
                after = amended(before, row.recipient_id, row.said, now, self.zone)
            except StatementRefused as fault:
                refused.append(WrongRow(row.line, (str(fault),)))
            else:
                if after != before:
                    after = at_free_instant(after, "changed", taken[row.recipient_id])
                    changes.append(Change(before, after, "changed", row.said.evidence))
        if changes and not write(self.dynamodb, self.table, self.history_table, changes, now):
            for change in changes:
                taken[change.after.recipient_id] |= taken_instants(self.dynamodb, self.history_table, change, now)
            return None
        unchanged = len(rows) - len(changes) - len(refused)
        return Applied(Counter(written=len(changes), unchanged=unchanged, older=len(refused)), refused)


# --- import


@dataclass
class Imported:
    """The progress of an import. `line`: every row before it is done. `shortened`: right rows that look like phone
    numbers without their 0, as a check counts them."""

    counts: Counter[str] = field(default_factory=Counter)
    line: int = 1
    shortened: int = 0


def import_rows(
    rows: Iterable[Row | WrongRow], tables: ConsentTables | None, now: datetime, done: Imported
) -> Iterator[WrongRow]:
    """Apply rows, many at once, but in the order of the file for each recipient. Keep `done` up to date, and yield
    the rows that are not applied. Without tables, only check them."""
    for window in _windows(rows):
        right = [row for row in window if isinstance(row, Row)]
        wrong = [row for row in window if isinstance(row, WrongRow)]
        done.counts["wrong"] += len(wrong)
        if tables is None:
            done.counts["right"] += len(right)
            done.shortened += sum(lacks_its_beginning(row.recipient_id) for row in right)
        else:
            parts = [right[start : start + CHANGES_MAX] for start in range(0, len(right), CHANGES_MAX)]
            for applied in in_threads(lambda part: tables.apply(part, now), parts, AT_ONCE):
                done.counts += applied.counts
                wrong += applied.refused
        done.line = window[-1].line + 1
        yield from sorted(wrong, key=lambda row: row.line)


def _windows(rows: Iterable[Row | WrongRow]) -> Iterator[list[Row | WrongRow]]:
    """Group rows that can be applied at once: no recipient twice."""
    window: list[Row | WrongRow] = []
    recipients: set[str] = set()
    for row in rows:
        recipient = row.recipient_id if isinstance(row, Row) else ""
        if window and (len(window) == WINDOW_ROWS or (recipient and recipient in recipients)):
            yield window
            window, recipients = [], set()
        window.append(row)
        recipients.add(recipient)
    if window:
        yield window


def import_file(
    path: Path, tables: ConsentTables | None, now: datetime, from_line: int, progress: Progress
) -> Imported:
    """Import a file, and list its faults in a file beside it. Raises `CommandError`, which says where to go on."""
    done = Imported(line=from_line)
    rejected = path.with_name(path.name + ".rejected.csv")
    try:
        task = progress.add_task("checked" if tables is None else "imported", total=path.stat().st_size)
        with path.open("rb") as file, rejected.open("w", encoding="utf-8", newline="") as out:
            rows = _with_progress(read_rows(file, now, from_line), file, progress, task)
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("line", "errors"))
            for number, row in enumerate(import_rows(rows, tables, now, done)):
                writer.writerow((row.line, "; ".join(row.errors)))
                if number < SHOWN_MAX:
                    progress.console.print(f"line {row.line}: {'; '.join(row.errors)}", markup=False, highlight=False)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    except ClientError as error:
        raise CommandError(
            f"The table did not take the rows from line {done.line} on ({error_code(error)}). Run it again; "
            f"--from-line {done.line} saves time."
        ) from None
    if not done.counts["wrong"] + done.counts["older"]:
        rejected.unlink()
    return done


def _with_progress(
    rows: Iterable[Row | WrongRow], file: BinaryIO, progress: Progress, task: TaskID
) -> Iterator[Row | WrongRow]:
    """The same rows; shows now and then how many bytes of the file have been read."""
    for number, row in enumerate(rows):
        if number % ROWS_AN_UPDATE == 0:
            progress.update(task, completed=file.tell())
        yield row
    progress.update(task, completed=file.tell())


# --- export and due


def records(dynamodb: Any, table: str) -> Iterator[Record]:
    """Yield every record of the table, page by page."""
    for page in dynamodb.get_paginator("scan").paginate(TableName=table):
        yield from map(Record.from_item, page["Items"])


def _export(path: Path, tables: ConsentTables, progress: Progress) -> None:
    about = tables.dynamodb.describe_table(TableName=tables.table)["Table"].get("ItemCount") or None
    task = progress.add_task("exported", total=about)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("w", encoding="utf-8-sig", newline="") as file:  # without the mark Excel does not read UTF-8
        number = write_rows(file, progress.track(records(tables.dynamodb, tables.table), task_id=task))
    unfinished.replace(path)
    print(f"{number} consents are in {path}.")


def _print_due(tables: ConsentTables, before: date) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("recipient_id", "renotify_due"))
    after = None
    while True:
        page, after = due(tables.dynamodb, tables.table, before, DUE_PAGE, after)
        writer.writerows((each["recipient_id"], each["renotify_due"]) for each in page)
        if after is None:
            return


# --- the command


def _connected() -> ConsentTables:
    client, outputs = target()
    settings = deployed_settings(client("lambda"), outputs["RegistrarFunctionName"])
    zone = ZoneInfo(settings.timezone)
    return ConsentTables(client("dynamodb"), settings.consent_table, settings.consent_history_table, zone)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m operators.consents",
        description="Import, export and list the consents of a deployment.",
        epilog=TARGET_HELP,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="import consents from a CSV file")
    importing.add_argument("file", type=Path, help="the CSV file; its faults are listed in FILE.rejected.csv")
    importing.add_argument("--check", action="store_true", help="only check the file; this needs no deployment")
    importing.add_argument(
        "--from-line", type=int, default=1, metavar="LINE", help="skip the rows before this line, to go on after a stop"
    )
    exporting = commands.add_parser("export", help="export every consent to a CSV file")
    exporting.add_argument("file", type=Path, help="the CSV file to write")
    listing = commands.add_parser("due", help="list as CSV the recipients who must be notified again before a date")
    listing.add_argument(
        "--before", required=True, metavar="DATE", help="list who is due before this day, such as 2027-11-01"
    )
    return parser.parse_args()


def main() -> None:
    """Run the command. Raises `CommandError`, which says what went wrong."""
    arguments, now = _arguments(), datetime.now(UTC)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        match arguments.command:
            case "due":
                if fault := due_fault(arguments.before, now):
                    raise CommandError(f"--before {fault}.")
                _print_due(_connected(), date.fromisoformat(arguments.before))
            case "export":
                _export(arguments.file, _connected(), progress)
            case "import":
                tables = None if arguments.check else _connected()
                done = import_file(arguments.file, tables, now, arguments.from_line, progress)
    if arguments.command == "import":  # outside of the block, which draws the progress until its end
        _print_imported(arguments.file, done)


def _print_imported(path: Path, done: Imported) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    said = ", ".join(f"{number} {word}" for word, number in sorted(done.counts.items()))
    print(f"{said or 'no rows'}. Peak memory {peak_mb} MB.")
    if done.shortened:
        print(
            f"Warning: {done.shortened} of the right rows look like phone numbers without their 0 or +, such as "
            "1012345678. They count as customer numbers. If they are phone numbers, format the column as text."
        )
    if done.counts["wrong"] + done.counts["older"]:
        raise CommandError(f"The rows that were not imported are listed by line in {path}.rejected.csv.")


if __name__ == "__main__":
    run_command(main)
