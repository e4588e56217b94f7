"""The held table, used if `recordHeld` is on: one item for each notification that the consumer has put on wait.

The record is for people who ask or cancel. Nothing that sends depends on it. It costs two write units for each
notification, one for the item and one for the index by source. It is written after wait has taken the message, so a
missing record loses no notification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ..notification.notification import Notification, consent_keys
from ..rule.policy import Hold
from .clients import SERVICE_ERRORS
from .unprocessed import BATCH_ITEMS_MAX, put_batch

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

ROUNDS_MAX = 3
SOURCE_INDEX = "BySource"

KEEP = timedelta(days=1)
"""The time that a record outlives the notification's own expiry, after which there is nothing left to ask or cancel."""


@dataclass(frozen=True, slots=True)
class Held:
    """One held notification: why and until when it is held, and the fields that judging it again needs.

    `until` and `held_at` are ISO 8601 in UTC. `address` is the address's key of the consent table, where it is not
    `recipient_id`. The content is not here: it is on the queue and nowhere else.
    """

    id: str
    held_at: str
    until: str
    why: str
    category: str
    channel: str
    recipient_id: str
    expires_at: str
    source: str = ""
    address: str = ""

    def to_item(self) -> dict[str, Any]:
        item: dict[str, Any] = {name: {"S": value} for name in self.__slots__ if (value := getattr(self, name))}
        item["expires"] = {"N": str(int((datetime.fromisoformat(self.expires_at) + KEEP).timestamp()))}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Held:
        return cls(**{name: item[name]["S"] for name in cls.__slots__ if name in item})


class Page(NamedTuple):
    """Some ids of one source, and where the next page begins, or None after the last."""

    ids: list[str]
    after: dict[str, str] | None


def held_record(notification: Notification, hold: Hold, now: datetime) -> Held:
    """The record of a notification that is held now."""
    recipient, *address = consent_keys(notification)
    return Held(
        id=notification["id"],
        held_at=now.astimezone(UTC).isoformat(timespec="milliseconds"),
        until=hold.until.astimezone(UTC).isoformat(timespec="seconds"),
        why=hold.why,
        category=notification["category"],
        channel=notification["channel"],
        recipient_id=recipient,
        expires_at=notification["expires_at"],
        source=notification.get("source", ""),
        address=address[0] if address else "",
    )


def record_held(dynamodb: DynamoDBClient, table: str, records: Sequence[Held]) -> int:
    """Write the records. Returns how many could not be written.

    It never raises what the client raises, and it stops at the first failure: what is held stays held, and the queue's
    messages must not wait for this table.
    """
    items = [each.to_item() for each in {each.id: each for each in records}.values()]
    for start in range(0, len(items), BATCH_ITEMS_MAX):
        batch = items[start : start + BATCH_ITEMS_MAX]
        later = len(items) - start - len(batch)
        with suppress(*SERVICE_ERRORS):
            put_batch(dynamodb, table, batch, ROUNDS_MAX)
        if batch:
            return len(batch) + later
    return 0


def read_held(dynamodb: DynamoDBClient, table: str, id: str) -> Held | None:
    """The record of an id, or None. Raises what the client raises."""
    answer = dynamodb.get_item(TableName=table, Key={"id": {"S": id}}, ConsistentRead=True)
    return Held.from_item(answer["Item"]) if "Item" in answer else None


def held_of(
    dynamodb: DynamoDBClient, table: str, source: str, limit: int, after: Mapping[str, str] | None = None
) -> Page:
    """Up to `limit` ids of one source, in the order of their release. Raises what the client raises.

    An index is read as it was a moment ago: what has been held within the last second may be missing.
    """
    start: dict[str, Any] = {}
    if after:
        key = {"source": source, "until": after["until"], "id": after["id"]}
        start = {"ExclusiveStartKey": {name: {"S": value} for name, value in key.items()}}
    answer = dynamodb.query(
        TableName=table,
        IndexName=SOURCE_INDEX,
        KeyConditionExpression="#source = :source",
        ExpressionAttributeNames={"#source": "source"},
        ExpressionAttributeValues={":source": {"S": source}},
        Limit=limit,
        **start,
    )
    last = answer.get("LastEvaluatedKey")
    return Page(
        [item["id"]["S"] for item in answer["Items"]],
        {"until": last["until"]["S"], "id": last["id"]["S"]} if last else None,
    )
