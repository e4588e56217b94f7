"""Consents in bulk: `python -m operators.consents import FILE | export FILE | due --before DATE`.

By default on what `make local` runs; with OUTPUTS=(a CDK outputs file) in the account that the environment's
credentials are for. An import may be run again, or go on where it was stopped: what stands already is not written
again, and an older statement never undoes a newer one.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from botocore.exceptions import ClientError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lambdas.quiet_hours.consents.record import Record, amended
from lambdas.quiet_hours.consents.statement import due_fault
from lambdas.quiet_hours.errors import ConsentUnavailable, StatementRefused
from lambdas.quiet_hours.notification.addresses import lacks_its_zero
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.clients import error_code
from lambdas.quiet_hours.stores.consents import CHANGES_MAX, Change, due, read_records, write
from local import CommandError
from local.command import run_command
from local.sam_env import deployed_settings

from .consent_csv import Row, WrongRow, read_rows, write_rows
from .target import target

AT_ONCE = 8
WINDOW_ROWS = AT_ONCE * CHANGES_MAX
TRIES = 8
DUE_PAGE = 1000
SHOWN_MAX = 20
THROTTLED = ("TransactionCanceledException", "ThrottlingException", "ProvisionedThroughputExceededException")


@dataclass(frozen=True)
class Registry:
    """The two tables, and the zone whose calendar dates are counted by."""

    dynamodb: Any
    table: str
    history_table: str
    zone: tzinfo

    def take(self, rows: Sequence[Row], now: datetime) -> tuple[Counter[str], list[WrongRow]]:
        """Let up to `CHANGES_MAX` rows of different recipients count. Raises what the client raises in the end."""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(min(5.0, 0.05 * 2**attempt))
            with suppress(ConsentUnavailable):
                try:
                    if taken := self._try(rows, now):
                        return taken
                except ClientError as error:
                    if error_code(error) not in THROTTLED or attempt == TRIES - 1:
                        raise
        raise CommandError(f"Others keep changing the consents of the rows from line {rows[0].line} on: try again.")

    def _try(self, rows: Sequence[Row], now: datetime) -> tuple[Counter[str], list[WrongRow]] | None:
        known = read_records(self.dynamodb, self.table, [row.recipient_id for row in rows])
        changes, refused = [], []
        for row in rows:
            before = known.get(row.recipient_id)
            try:
                after = amended(before, row.recipient_id, row.said, now, self.zone)
            except StatementRefused as fault:
                refused.append(WrongRow(row.line, (str(fault),)))
            else:
                if after != before:
                    changes.append(Change(before, after, "changed", row.said.evidence))
        if changes and not write(self.dynamodb, self.table, self.history_table, changes, now):
            return None
        unchanged = len(rows) - len(changes) - len(refused)
        return Counter(written=len(changes), unchanged=unchanged, older=len(refused)), refused


@dataclass
class Imported:
    """What came of an import so far. `line`: every row before it is done. `zero_lacking`: how many of the right rows a
    check has found to look like phone numbers without their 0."""

    counts: Counter[str] = field(default_factory=Counter)
    line: int = 1
    zero_lacking: int = 0


def import_rows(
    rows: Iterable[Row | WrongRow], registry: Registry | None, now: datetime, done: Imported
) -> Iterator[WrongRow]:
    """Let rows count, some at once, in the order of the file for each recipient. Yields those that do not, and keeps
    `done` up to date. Without a registry they are only checked."""
    for window in _windows(rows):
        right = [row for row in window if isinstance(row, Row)]
        wrong = [row for row in window if isinstance(row, WrongRow)]
        done.counts["wrong"] += len(wrong)
        if registry is None:
            done.counts["right"] += len(right)
            done.zero_lacking += sum(lacks_its_zero(row.recipient_id) for row in right)
        else:
            parts = [right[start : start + CHANGES_MAX] for start in range(0, len(right), CHANGES_MAX)]
            for counts, refused in in_threads(lambda part: registry.take(part, now), parts, AT_ONCE):
                done.counts += counts
                wrong += refused
        done.line = window[-1].line + 1
        yield from sorted(wrong, key=lambda row: row.line)


def _windows(rows: Iterable[Row | WrongRow]) -> Iterator[list[Row | WrongRow]]:
    """Rows that can be taken at once: no recipient twice."""
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


def import_file(path: Path, registry: Registry | None, now: datetime, from_line: int, progress: Progress) -> Imported:
    """Import a file; what is wrong is written beside it, by line. Raises `LocalError` that says where to go on."""
    done = Imported(line=from_line)
    rejected = path.with_name(path.name + ".rejected.csv")
    try:
        task = progress.add_task("checked" if registry is None else "imported", total=path.stat().st_size)
        with path.open("rb") as file, rejected.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("line", "errors"))
            read = {"bytes": 0}
            rows = read_rows(file, now, from_line, lambda bytes_read: read.update(bytes=bytes_read))
            for number, row in enumerate(import_rows(_told(rows, read, progress, task), registry, now, done)):
                writer.writerow((row.line, "; ".join(row.errors)))
                if number < SHOWN_MAX:
                    progress.console.print(f"line {row.line}: {'; '.join(row.errors)}", markup=False, highlight=False)
            progress.update(task, completed=read["bytes"])
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


def _told(rows: Iterable[Any], read: dict[str, int], progress: Progress, task: Any) -> Iterator[Any]:
    for number, row in enumerate(rows):
        if number % 5000 == 0:
            progress.update(task, completed=read["bytes"])
        yield row


def records(dynamodb: Any, table: str) -> Iterator[Record]:
    """Every record of the table, page by page."""
    for page in dynamodb.get_paginator("scan").paginate(TableName=table):
        yield from map(Record.from_item, page["Items"])


def _print_due(registry: Registry, before: date) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("recipient_id", "renotify_due"))
    after = None
    while True:
        page, after = due(registry.dynamodb, registry.table, before, DUE_PAGE, after)
        writer.writerows((each["recipient_id"], each["renotify_due"]) for each in page)
        if after is None:
            return


def _export(path: Path, registry: Registry, progress: Progress) -> None:
    about = registry.dynamodb.describe_table(TableName=registry.table)["Table"].get("ItemCount") or None
    task = progress.add_task("exported", total=about)
    unfinished = path.with_name(path.name + ".part")
    with unfinished.open("w", encoding="utf-8", newline="") as file:
        number = write_rows(file, progress.track(records(registry.dynamodb, registry.table), task_id=task))
    unfinished.replace(path)
    print(f"{number} consents are in {path}.")


def _connected() -> Registry:
    client, outputs = target()
    settings = deployed_settings(client("lambda"), outputs["RegistrarFunctionName"])
    zone = ZoneInfo(settings.timezone)
    return Registry(client("dynamodb"), settings.consent_table, settings.consent_history_table, zone)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m operators.consents", description="Consents in bulk.")
    commands = parser.add_subparsers(dest="command", required=True)
    importing = commands.add_parser("import", help="let what a CSV file says count")
    importing.add_argument("file", type=Path)
    importing.add_argument("--check", action="store_true", help="only check the file, which needs no deployment")
    importing.add_argument("--from-line", type=int, default=1, help="go on where an import was stopped")
    commands.add_parser("export", help="write every consent into a CSV file").add_argument("file", type=Path)
    listing = commands.add_parser("due", help="who must be notified again, as CSV")
    listing.add_argument("--before", required=True, metavar="DATE")
    return parser.parse_args()


def main() -> None:
    """Do what the command line says. Raises `LocalError` with what went wrong."""
    arguments, now = _arguments(), datetime.now(UTC)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        if arguments.command == "due":
            if fault := due_fault(arguments.before, now):
                raise CommandError(f"--before {fault}.")
            _print_due(_connected(), date.fromisoformat(arguments.before))
        elif arguments.command == "export":
            _export(arguments.file, _connected(), progress)
        else:
            registry = None if arguments.check else _connected()
            done = import_file(arguments.file, registry, now, arguments.from_line, progress)
    if arguments.command == "import":
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        said = ", ".join(f"{number} {word}" for word, number in sorted(done.counts.items()))
        print(f"{said or 'no rows'}. Peak memory {peak_mb} MB.")
        if done.zero_lacking:
            print(
                f"Warning: {done.zero_lacking} of the right rows look like phone numbers without their 0 or +, such as "
                "1012345678. They count as customer numbers. Where they are phone numbers, format the column as text."
            )
        if done.counts["wrong"] + done.counts["older"]:
            raise CommandError(f"What did not count is listed by line in {arguments.file}.rejected.csv.")


if __name__ == "__main__":
    run_command(main)
