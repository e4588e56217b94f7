"""The consent table and its history, read strongly and written together; and the recipients to be notified again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from ..consents.record import Record, attributes_said, consent_of
from ..consents.times import FIRST_DUE, iso
from ..errors import ConsentUnavailable, KeysRefused
from ..rule.terms import Consent
from .backoff import TRIES_MAX, Tries, endless, no_pause
from .clients import error_code
from .unprocessed import BATCH_KEYS_MAX, read_batch

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

TRANSACTION_ITEMS_MAX = 100
CHANGES_MAX = TRANSACTION_ITEMS_MAX // 2
ROUNDS_MAX = 5
DUE_INDEX = "ByRenotifyDue"
PROBE = "-"
"""A key that every consent table takes."""


def read_record(dynamodb: DynamoDBClient, table: str, recipient_id: str) -> Record | None:
    """One record, read strongly. Raises what the client raises."""
    answer = dynamodb.get_item(TableName=table, Key={"recipient_id": {"S": recipient_id}}, ConsistentRead=True)
    return Record.from_item(answer["Item"]) if "Item" in answer else None


def read_records(
    dynamodb: DynamoDBClient,
    table: str,
    recipients: Sequence[str],
    sleep: Callable[[float], None] = no_pause,
    remaining_s: Callable[[], float] = endless,
) -> dict[str, Record]:
    """The records of those recipients that have one. Raises `ConsentUnavailable`, or what the client raises."""
    items, unread = _read(dynamodb, table, recipients, _tries(recipients, sleep, remaining_s))
    if unread:
        raise _unavailable(unread)
    return {item["recipient_id"]["S"]: Record.from_item(item) for item in items}


class Consents(NamedTuple):
    """The consent of each recipient that has a record; missing means no night consent.

    `unreadable`: the keys of which nobody knows now whether they have a record: DynamoDB left them unprocessed, or what
    is stored there is no consent record. `refused`: the keys that DynamoDB refuses, although it answers: they can have
    no record, and the notifications with those are invalid.
    """

    found: dict[str, Consent]
    unreadable: frozenset[str]
    refused: frozenset[str]


def read_each_consent(
    dynamodb: DynamoDBClient,
    table: str,
    recipients: Iterable[str],
    now: datetime,
    sleep: Callable[[float], None] = no_pause,
    remaining_s: Callable[[], float] = endless,
) -> Consents:
    """Read consents so that one that cannot be read delays only who needs it. Raises what the client raises, when the
    table as a whole does not answer."""
    keys = sorted(set(recipients) - {""})  # DynamoDB refuses a batch with an empty key
    tries = _tries(keys, sleep, remaining_s)
    refused: frozenset[str] = frozenset()
    try:
        items, unread = _read(dynamodb, table, keys, tries)
    except ClientError as error:
        if not _is_invalid(error) or not (refused := _refused(dynamodb, table, [PROBE, *keys], tries)):
            raise
        if PROBE in refused:  # it refuses every key: the table is at fault, and no recipient
            raise
        items, unread = _read(dynamodb, table, [key for key in keys if key not in refused], tries)
    found: dict[str, Consent] = {}
    malformed: set[str] = set()
    for item in items:
        key = item["recipient_id"]["S"]
        try:
            found[key] = consent_of(item, now)
        except (AttributeError, KeyError, TypeError, ValueError):
            malformed.add(key)
    return Consents(found, unread | malformed, refused)


def read_consents(
    dynamodb: DynamoDBClient,
    table: str,
    recipients: Iterable[str],
    now: datetime,
    sleep: Callable[[float], None] = no_pause,
    remaining_s: Callable[[], float] = endless,
) -> dict[str, Consent]:
    """The consent of each recipient that has a record, or none of them. Missing means no night consent.

    Raises `KeysRefused` if DynamoDB refuses some of them and answers otherwise, `ConsentUnavailable` if some cannot be
    read (`read_each_consent` returns the others), or what the client raises.
    """
    consents = read_each_consent(dynamodb, table, recipients, now, sleep, remaining_s)
    if consents.refused:
        raise KeysRefused(consents.refused)
    if consents.unreadable:
        raise _unavailable(consents.unreadable)
    return consents.found


def _unavailable(unread: frozenset[str]) -> ConsentUnavailable:
    return ConsentUnavailable(f"{len(unread)} keys could not be read", unread)


def _refused(dynamodb: DynamoDBClient, table: str, keys: Sequence[str], tries: Tries) -> frozenset[str]:
    """The keys that DynamoDB refuses when it is asked for them alone. It is asked for halves first."""
    try:
        _read(dynamodb, table, keys, tries)
    except ClientError as error:
        if not _is_invalid(error):
            raise
        if len(keys) == 1:
            return frozenset(keys)
        half = len(keys) // 2
        return _refused(dynamodb, table, keys[:half], tries) | _refused(dynamodb, table, keys[half:], tries)
    return frozenset()


def _is_invalid(error: ClientError) -> bool:
    return error_code(error) == "ValidationException"


def _tries(keys: Sequence[str], sleep: Callable[[float], None], remaining_s: Callable[[], float]) -> Tries:
    return Tries(TRIES_MAX, sleep, remaining_s, seed=keys[0] if keys else "")


def _read(
    dynamodb: DynamoDBClient, table: str, recipients: Sequence[str], tries: Tries
) -> tuple[list[Any], frozenset[str]]:
    """The items that exist, and the keys that were left unprocessed in every try."""
    found: list[Any] = []
    unread: list[Any] = []
    for start in range(0, len(recipients), BATCH_KEYS_MAX):
        keys = [{"recipient_id": {"S": recipient}} for recipient in recipients[start : start + BATCH_KEYS_MAX]]
        found += read_batch(dynamodb, table, keys, tries)
        unread += keys
    return found, frozenset(key["recipient_id"]["S"] for key in unread)


@dataclass(frozen=True, slots=True)
class Change:
    """A record as it was read, the same record as it is to be, and the evidence for the change."""

    before: Record | None
    after: Record
    event: str
    evidence: str


def write(dynamodb: DynamoDBClient, table: str, history_table: str, changes: Sequence[Change], now: datetime) -> bool:
    """Write up to `CHANGES_MAX` changes of different recipients, each with its history: all of them or none.

    The history may already have the same entry, if its record was deleted by other means: that is no obstacle.
    Returns False if a record has changed since it was read, the history has another entry at the instant of a change
    (`taken_instants`), or another transaction is at work: read again. Raises what the client raises.
    """
    assert len(changes) <= CHANGES_MAX
    puts = []
    for change in changes:
        puts.append({"Put": {"TableName": table, "Item": change.after.to_item(), **_unchanged(change.before)}})
        entry = _history_item(change, now)
        puts.append({"Put": {"TableName": history_table, "Item": entry, **_new_or_the_same(entry)}})
    try:
        dynamodb.transact_write_items(TransactItems=puts)  # type: ignore[arg-type]
    except ClientError as error:
        codes = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
        if codes and codes <= {None, "None", "ConditionalCheckFailed", "TransactionConflict"}:
            return False
        raise
    return True


def taken_instants(dynamodb: DynamoDBClient, history_table: str, change: Change, now: datetime) -> set[str]:
    """The instant of a change, if the history has another entry there: an older renotification, for example.

    Raises what the client raises.
    """
    entry = _history_item(change, now)
    answer = dynamodb.query(
        TableName=history_table,
        KeyConditionExpression="recipient_id = :recipient AND changed_at = :at",
        ExpressionAttributeValues={":recipient": entry["recipient_id"], ":at": entry["changed_at"]},
        ConsistentRead=True,
    )
    others = [each for each in answer["Items"] if any(each.get(name) != entry[name] for name in _said_by(entry))]
    return {entry["changed_at"]["S"]} if others else set()


def put_record(dynamodb: DynamoDBClient, table: str, before: Record | None, item: Mapping[str, Any]) -> bool:
    """Put one item back into the consent table without a new entry in the history, which has its change already.

    Returns False if the record has changed since it was read. Raises what the client raises.
    """
    try:
        dynamodb.put_item(TableName=table, Item=item, **_unchanged(before))
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def _unchanged(before: Record | None) -> dict[str, Any]:
    if before is None:
        return {"ConditionExpression": "attribute_not_exists(recipient_id)"}
    conditions, values = ["attribute_exists(recipient_id)"], {}
    for name in ("changed_at", "renotified_at"):
        if value := getattr(before, name):
            conditions.append(f"{name} = :{name}")
            values[f":{name}"] = {"S": value}
        else:
            conditions.append(f"attribute_not_exists({name})")
    condition: dict[str, Any] = {"ConditionExpression": " AND ".join(conditions)}
    return condition | ({"ExpressionAttributeValues": values} if values else {})


def _new_or_the_same(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The condition that the history has no such entry, or has the same one.

    `recorded_at` may differ, and so may `renotify_due`, which depends on the record that was there before.
    """
    says = _said_by(entry)
    same = " AND ".join(f"#{name} = :{name}" for name in says)
    return {
        "ConditionExpression": f"attribute_not_exists(recipient_id) OR ({same})",
        "ExpressionAttributeNames": {f"#{name}": name for name in says},
        "ExpressionAttributeValues": {f":{name}": entry[name] for name in says},
    }


def _said_by(entry: Mapping[str, Any]) -> list[str]:
    """The attributes in which two entries of the history must agree to be the same."""
    return [name for name in entry if name not in ("recorded_at", "renotify_due")]


def _history_item(change: Change, now: datetime) -> dict[str, Any]:
    after = change.after
    texts = {
        "recipient_id": after.recipient_id,
        "changed_at": after.renotified_at if change.event == "renotified" else after.changed_at,
        "event": change.event,
        "evidence": change.evidence,
        "renotify_due": after.renotify_due,
        "expires_at": after.expires_at,
        "recorded_at": iso(now),
    }
    item: dict[str, Any] = {name: {"S": value} for name, value in texts.items() if value}
    item |= {name: {"BOOL": getattr(after, name)} for name in ("night_consent", "opted_out")}
    return item | attributes_said(after)


def history(dynamodb: DynamoDBClient, table: str, recipient_id: str, limit: int) -> list[dict[str, Any]]:
    """The newest changes of one recipient, newest first. Raises what the client raises."""
    answer = dynamodb.query(
        TableName=table,
        KeyConditionExpression="recipient_id = :recipient",
        ExpressionAttributeValues={":recipient": {"S": recipient_id}},
        ScanIndexForward=False,
        ConsistentRead=True,
        Limit=limit,
    )
    names = (
        *("changed_at", "event", "evidence", "night_consent", "opted_out", "expires_at", "renotify_due"),
        *("recorded_at", "advertising_consent", "addresses"),
    )
    return [{name: _plain(item[name]) if name in item else None for name in names} for item in answer["Items"]]


def _plain(value: Mapping[str, Any]) -> Any:
    """An attribute of the history as JSON has it."""
    (plain,) = value.values()
    return sorted(plain) if "SS" in value else plain


def due(
    dynamodb: DynamoDBClient, table: str, before: date, limit: int, after: Mapping[str, str] | None = None
) -> tuple[list[dict[str, str]], dict[str, str] | None]:
    """Up to `limit` recipients who must be notified again before a date, the longest overdue first.

    Also returns where the next page begins, or None after the last. It makes one query for each month since the oldest
    possible date, and so takes some seconds. Raises what the client raises.
    """
    found: list[dict[str, str]] = []
    month = date.fromisoformat(after["renotify_due"][:7] + "-01") if after else FIRST_DUE
    start = _due_key(after) if after else None
    while month < before:
        going_on: Any = {"ExclusiveStartKey": start} if start else {}
        answer = dynamodb.query(
            TableName=table,
            IndexName=DUE_INDEX,
            KeyConditionExpression="due_month = :month AND renotify_due < :before",
            ExpressionAttributeValues={":month": {"S": f"{month:%Y-%m}"}, ":before": {"S": before.isoformat()}},
            Limit=limit - len(found),
            **going_on,
        )
        found += [{name: item[name]["S"] for name in ("recipient_id", "renotify_due")} for item in answer["Items"]]
        start = answer.get("LastEvaluatedKey")
        if len(found) == limit:
            return found, found[-1]
        if start is None:
            month = (month + timedelta(days=31)).replace(day=1)
    return found, None


def _due_key(entry: Mapping[str, str]) -> dict[str, Any]:
    key = {"recipient_id": entry["recipient_id"], "renotify_due": entry["renotify_due"]}
    return {name: {"S": value} for name, value in (key | {"due_month": key["renotify_due"][:7]}).items()}
