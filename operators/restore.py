"""Put back what a table has lost, from a copy that was restored to a point in time (docs/restore.md).

    make restore-consents SINCE=TIME [FROM=TABLE]
    make restore-ledger [FROM=TABLE] [DELIVERED=FILE]

TIME is the instant to which the table was restored, or somewhat earlier. By default a command works on what `make
local` runs; with OUTPUTS=(a CDK outputs file) it works in the account of the environment's credentials. Every command
may be run again.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from commands import CommandError
from commands.deployment import deployed_settings
from commands.run import run_command
from lambdas.quiet_hours.consents.record import Record, amended, grants_more, renotified
from lambdas.quiet_hours.consents.statement import Statement
from lambdas.quiet_hours.consents.times import iso
from lambdas.quiet_hours.errors import StatementRefused
from lambdas.quiet_hours.notification.fields import is_id, time_fault
from lambdas.quiet_hours.stores.consents import ROUNDS_MAX, put_record, read_records
from lambdas.quiet_hours.stores.entries import Entry, ended
from lambdas.quiet_hours.stores.unprocessed import BATCH_KEYS_MAX

from .target import TARGET_HELP, target

Item = Mapping[str, Any]


@dataclass(frozen=True)
class Consents:
    """The consent table in use, and its history. `zone`: the time zone of their calendar dates."""

    dynamodb: Any
    table: str
    history_table: str
    zone: tzinfo

    def copy_back(self, restored_table: str) -> Counter[str]:
        """Put back every record of a restored table, unless the table in use has a newer record, or one
        without a date that grants less."""
        counts: Counter[str] = Counter()
        for items in _parts(_scan(self.dynamodb, restored_table), BATCH_KEYS_MAX):
            by_recipient = {item["recipient_id"]["S"]: item for item in items}
            for _ in range(ROUNDS_MAX):
                known = read_records(self.dynamodb, self.table, list(by_recipient), time.sleep)
                wanted = {key: item for key, item in by_recipient.items() if _goes_back(item, known.get(key))}
                counts["kept"] += len(by_recipient) - len(wanted)
                by_recipient = {
                    key: item for key, item in wanted.items() if not self._put(known.get(key), item)
                }  # what somebody has changed meanwhile is read again
                counts["put back"] += len(wanted) - len(by_recipient)
                if not by_recipient:
                    break
            counts["not settled"] += len(by_recipient)
        return +counts

    def replay(self, since: datetime, now: datetime) -> Counter[str]:
        """Apply what the history has recorded since an instant to records that are older. Nothing older undoes
        anything newer. Nothing grants more than a record without a date does."""
        counts: Counter[str] = Counter()
        for entries in _parts(self._entries(since), BATCH_KEYS_MAX):
            by_recipient: defaultdict[str, list[Item]] = defaultdict(list)
            for entry in sorted(entries, key=lambda entry: str(entry["recorded_at"]["S"])):
                by_recipient[entry["recipient_id"]["S"]].append(entry)
            waiting = list(by_recipient)
            for _ in range(ROUNDS_MAX):
                known = read_records(self.dynamodb, self.table, waiting, time.sleep)
                after = {key: self._after(key, known.get(key), by_recipient[key], now) for key in waiting}
                changed = {key: record for key, record in after.items() if record and record != known.get(key)}
                counts["unchanged"] += len(waiting) - len(changed)
                waiting = [key for key, record in changed.items() if not self._put(known.get(key), record.to_item())]
                counts["replayed"] += len(changed) - len(waiting)
                if not waiting:
                    break
            counts["not settled"] += len(waiting)
        return +counts

    def _entries(self, since: datetime) -> Iterator[Item]:
        return _scan(
            self.dynamodb,
            self.history_table,
            FilterExpression="recorded_at >= :since",
            ExpressionAttributeValues={":since": {"S": iso(since)}},
        )

    def _after(self, recipient: str, record: Record | None, entries: Sequence[Item], now: datetime) -> Record | None:
        """Return the record with the entries of its history applied, by the rules for statements."""
        for entry in entries:
            at = datetime.fromisoformat(entry["changed_at"]["S"])
            try:
                if entry["event"]["S"] == "renotified":
                    record = renotified(record, at, now, self.zone)
                else:
                    record = amended(record, recipient, _statement(entry, at), now, self.zone)
            except StatementRefused:  # what stands is newer
                continue
        return record

    def _put(self, before: Record | None, item: Item) -> bool:
        return put_record(self.dynamodb, self.table, before, item)


def _goes_back(item: Item, present: Record | None) -> bool:
    """True if a restored record may replace the one in use.

    It never replaces a newer record. If the dates do not tell which is newer, it never replaces one that grants less.
    """
    restored = Record.from_item(item)
    if present is None:
        return True
    if present == restored or (present.changed_at, present.renotified_at) > (
        restored.changed_at,
        restored.renotified_at,
    ):
        return False
    is_older = "" < present.changed_at < restored.changed_at
    return is_older or not grants_more(restored, present)


def _statement(entry: Item, at: datetime) -> Statement:
    texts = {name: entry.get(name, {}).get("S", "") for name in ("evidence", "expires_at", "renotify_due")}
    flags = {name: entry[name]["BOOL"] for name in ("night_consent", "opted_out")}
    return Statement(
        made_at=at,
        **flags,
        **texts,
        advertising_consent=entry["advertising_consent"]["BOOL"] if "advertising_consent" in entry else None,
        addresses=tuple(sorted(entry["addresses"]["SS"])) if "addresses" in entry else None,
    )


@dataclass(frozen=True)
class LedgerTable:
    """The ledger in use. Nothing here changes an entry that it has."""

    dynamodb: Any
    table: str

    def copy_back(self, restored_table: str) -> Counter[str]:
        """Put back every entry of a restored table that the ledger in use does not have.

        What had not ended at that instant may have been sent since: it is put back as if a provider may have it.
        """
        counts: Counter[str] = Counter()
        for item in _scan(self.dynamodb, restored_table):
            is_open = item["state"]["S"] == "claimed"
            taken = self._put({**item, "sending": {"BOOL": True}} if is_open else item)
            counts[("open, put back" if is_open else "ended, put back") if taken else "kept"] += 1
        return counts

    def delivered(self, ids: Iterable[str], now: datetime) -> Counter[str]:
        """Record as delivered the ids that a provider says it has sent and that the ledger does not have."""
        counts: Counter[str] = Counter()
        for id in ids:
            taken = self._put(ended(Entry(id, "claimed"), "delivered", now, "recorded by an operator").to_item(now))
            counts["recorded" if taken else "kept"] += 1
        return counts

    def _put(self, item: Item) -> bool:
        try:
            self.dynamodb.put_item(TableName=self.table, Item=item, ConditionExpression="attribute_not_exists(id)")
        except self.dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True


def _scan(dynamodb: Any, table: str, **parameters: Any) -> Iterator[Item]:
    """Every item of a table, read strongly, page by page."""
    for page in dynamodb.get_paginator("scan").paginate(TableName=table, ConsistentRead=True, **parameters):
        yield from page["Items"]


def _parts(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while part := list(islice(items, size)):
        yield part


def read_ids(path: Path) -> list[str]:
    """The ids in a file, one a line. Raises `CommandError` that names the first line that is none, or the file if it
    cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}.") from None
    for number, line in enumerate(lines, 1):
        if not is_id(line):
            raise CommandError(f"Line {number} of {path} is not the id of a notification.")
    return lines


def _time(text: str) -> datetime:
    if fault := time_fault(text):
        raise argparse.ArgumentTypeError(fault)
    return datetime.fromisoformat(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m operators.restore", description="Put back what a table has lost.", epilog=TARGET_HELP
    )
    commands = parser.add_subparsers(dest="command", required=True)
    consents = commands.add_parser("consents", help="put back records, then apply the history since an instant")
    consents.add_argument(
        "--since",
        type=_time,
        required=True,
        metavar="TIME",
        help="apply the history from this instant on: that of the restored table, less five minutes "
        "(such as 2026-11-27T02:55:00Z)",
    )
    consents.add_argument("--from", dest="restored", metavar="TABLE", help="a table restored from a point in time")
    ledger = commands.add_parser("ledger", help="put back entries that are missing")
    ledger.add_argument("--from", dest="restored", metavar="TABLE", help="a table restored from a point in time")
    ledger.add_argument("--delivered", type=Path, metavar="FILE", help="ids that a provider has sent, one a line")
    return parser.parse_args()


def _report(what: str, counts: Counter[str]) -> None:
    said = ", ".join(f"{number} {word}" for word, number in sorted(counts.items()) if number)
    print(f"{what}: {said or 'nothing'}.")


def main() -> None:
    """Run the command. Raises `CommandError`, which says what went wrong."""
    arguments, now = _arguments(), datetime.now(UTC)
    client, outputs = target()
    dynamodb = client("dynamodb")
    if arguments.command == "ledger":
        ids = read_ids(arguments.delivered) if arguments.delivered else []  # before anything is written
        ledger = LedgerTable(dynamodb, outputs["LedgerTableName"])
        if arguments.restored:
            _report("Copied from the restored table", ledger.copy_back(arguments.restored))
        if arguments.delivered:
            _report("Deliveries", ledger.delivered(ids, now))
        return
    settings = deployed_settings(client("lambda"), outputs["RegistrarFunctionName"])
    consents = Consents(dynamodb, settings.consent_table, settings.consent_history_table, ZoneInfo(settings.timezone))
    unsettled = 0
    if arguments.restored:
        copied = consents.copy_back(arguments.restored)
        unsettled += copied["not settled"]
        _report("Copied from the restored table", copied)
    replayed = consents.replay(arguments.since, now)
    _report("Applied from the history", replayed)
    if unsettled + replayed["not settled"]:
        raise CommandError("Others keep changing some of the records: run it again.")


if __name__ == "__main__":
    run_command(main)
