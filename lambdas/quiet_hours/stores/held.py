"""The held table, used if `recordHeld` is on: one item for each notification that the consumer has put on wait.

The record is for people who ask or cancel. Nothing that sends depends on it. It costs two write units for each
notification, one for the item and one for the index by source, and a read unit before. It is written after wait has
taken the message, so a missing record loses no notification.

A notification that comes again from another source keeps its first record. The other source gets a record under a key
of its own, which only the index leads to: whoever cancels either source reaches the notification.

A partition of an index takes 1,000 write units a second, so the notifications of one source are spread over
`SHARDS` partitions by their ids. What cannot be recorded is counted, and an item marks its source as incomplete.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-sharding.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from ..notification.cleaning import clean_text
from ..notification.fields import is_id
from ..notification.notification import LIFE, Notification, consent_keys
from ..rule.terms import Hold
from .backoff import Tries
from .clients import SERVICE_ERRORS
from .unprocessed import BATCH_ITEMS_MAX, BATCH_KEYS_MAX, put_batch, read_batch

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

SHARDS = 16
"""The partitions of one source: 16,000 records a second. It must not become less while records are kept."""

SOURCE_INDEX = "BySourceShard"
OLD_SOURCE_INDEX = "BySource"
"""The index of earlier versions, with one partition for each source. Nothing is written into it any more."""

KEEP = timedelta(days=1)
"""The time that a record outlives the notification's own expiry, after which there is nothing left to ask or cancel."""

INDEX_LAG = timedelta(seconds=5)
"""An index is read as it was a moment ago. AWS states no bound; it is usually well under a second."""

PAUSES_S = (0.05, 0.1, 0.2, *[0.4] * 7)
"""The longest pauses before trying again what DynamoDB left unprocessed: at most 3.2 s for all records together."""

MARK_PAUSES_S = (0.2, 0.4, 0.8)
"""The longest pauses before trying again a mark that was not written: at most 1.4 s."""

READ_TRIES_MAX = 3
"""The tries to read the sources that records have already: their pauses are 0.15 s at most for a hundred records."""

_MARK = "!dropped#"
"""Begins the key of a source's mark. No notification's id can have an exclamation mark."""

_KEY = re.compile(r"([^!]+)(?:![0-9a-f]{16})?")
"""The key of a record: the notification's id, and a digest of the source where the id alone is taken by another."""


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
    policy: str = ""
    country: str = ""
    timezone: str = ""

    def to_item(self) -> dict[str, Any]:
        """The item. The key of the index has the source, so that the item has it only once."""
        texts = {name: getattr(self, name) for name in self.__slots__ if name != "source"}
        item: dict[str, Any] = {name: {"S": value} for name, value in texts.items() if value}
        if self.source:
            item["source_shard"] = {"S": f"{self.source}#{shard_of(self.id)}"}
        item["expires"] = {"N": str(int((datetime.fromisoformat(self.expires_at) + KEEP).timestamp()))}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Held:
        """The record of an item. An item of an earlier version has a `source`."""
        found = {name: item[name]["S"] for name in cls.__slots__ if name in item}
        if "source_shard" in item:
            found["source"] = item["source_shard"]["S"].rpartition("#")[0]
        return cls(**found)


class Position(NamedTuple):
    """A place among the records of one source: behind this record, or at the beginning if `id` is empty.

    `shard` is None in the index of earlier versions, which is read first.
    """

    shard: int | None = None
    until: str = ""
    id: str = ""


class Page(NamedTuple):
    """Some ids of one source, and where the next page begins, or None after the last."""

    ids: list[str]
    after: Position | None


def source_key(source: str) -> str:
    """A source as it is kept and looked up: composed (NFC), and without outer blanks. One source is then one, however
    its name was written."""
    return clean_text(source).strip()


def is_record_key(text: str) -> bool:
    """True if this can be the key of a record."""
    found = _KEY.fullmatch(text)
    return found is not None and is_id(found[1])


def shard_of(id: str) -> int:
    """The shard of a notification's record."""
    return crc32(id.encode()) % SHARDS


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
        source=source_key(notification.get("source", "")),
        address=address[0] if address else "",
        policy=notification.get("policy", ""),
        country=notification.get("country", ""),
        timezone=notification.get("timezone", ""),
    )


def record_held(
    dynamodb: DynamoDBClient,
    table: str,
    records: Sequence[Held],
    now: datetime,
    sleep: Callable[[float], None],
    owed: MutableMapping[str, datetime],
) -> int:
    """Write the records. Returns how many could not be written; their sources are then marked as incomplete.

    `owed` has the marks that could not be written so far, each with the instant at which it may be forgotten: sources
    are added and taken out, and the next call tries them again. It never raises what the client raises, and it stops at
    any failure but throttling: what is held stays held, and the queue's messages must not wait for this table.
    """
    keyed = _keyed(records, _recorded(dynamodb, table, sorted({each.id for each in records}), sleep))
    items = [{**record.to_item(), "id": {"S": key}} for key, record in keyed.items()]
    left = _put_all(dynamodb, table, items, PAUSES_S, sleep)
    forgotten = now + LIFE + KEEP
    owed.update((source, forgotten) for item in left if (source := keyed[item["id"]["S"]].source))
    marks = [_mark(source, until) for source, until in sorted(owed.items()) if until > now]
    not_marked = {item["id"]["S"] for item in _put_all(dynamodb, table, marks, MARK_PAUSES_S, sleep)}
    for source in [source for source in owed if _MARK + source not in not_marked]:
        del owed[source]
    return len(left)


def _recorded(
    dynamodb: DynamoDBClient, table: str, ids: Sequence[str], sleep: Callable[[float], None]
) -> dict[str, str | None]:
    """The source of each id's record, empty if it has none; None where the table does not say. An id without a record
    is not in the answer."""
    sources: dict[str, str | None] = {}
    for start in range(0, len(ids), BATCH_KEYS_MAX):
        keys: list[Any] = [{"id": {"S": id}} for id in ids[start : start + BATCH_KEYS_MAX]]
        try:
            found = read_batch(dynamodb, table, keys, Tries(READ_TRIES_MAX, sleep, seed=ids[start]))
        except SERVICE_ERRORS:
            found = []
        sources |= {key["id"]["S"]: None for key in keys}  # those that are left
        sources |= {item["id"]["S"]: source_key(Held.from_item(item).source) for item in found}
    return sources


def _keyed(records: Sequence[Held], recorded: Mapping[str, str | None]) -> dict[str, Held]:
    """The records to write, by key: the id, or a key of the source's own where another source's record has the id, or
    may have it. A record without a source replaces none of a source."""
    owners = dict(recorded)
    keyed: dict[str, Held] = {}
    for record in records:
        owner = owners.get(record.id, record.source)
        if owner in ("", record.source):
            owners[record.id] = record.source
            keyed[record.id] = record
        elif record.source:
            keyed[f"{record.id}!{sha256(record.source.encode()).hexdigest()[:16]}"] = record
        elif owner is None:
            keyed[record.id] = record
    return keyed


def _put_all(
    dynamodb: DynamoDBClient,
    table: str,
    items: Sequence[dict[str, Any]],
    pauses_s: Sequence[float],
    sleep: Callable[[float], None],
) -> list[dict[str, Any]]:
    """Put items, and try again after a pause what DynamoDB throttles, as often as `pauses_s` allows. Returns the items
    that are not written."""
    left, pauses = list(items), iter(pauses_s)
    while left:
        batch, left = left[:BATCH_ITEMS_MAX], left[BATCH_ITEMS_MAX:]
        try:
            put_batch(dynamodb, table, batch, Tries(1))
        except SERVICE_ERRORS:
            return left + batch
        left += batch  # last: the shard may be busy, and others are not
        if batch:
            if (longest_s := next(pauses, None)) is None:
                return left
            sleep(_jittered(longest_s, batch[0]["id"]["S"]))
    return left


def _jittered(longest_s: float, id: str) -> float:
    """A pause of half this length or more. It depends on an id, so that consumers throttled together part."""
    return longest_s * (1 + crc32(id.encode()) / 2**32) / 2


def _mark(source: str, until: datetime) -> dict[str, Any]:
    """The item that marks a source: records of it are missing. It is in no index."""
    return {"id": {"S": _MARK + source}, "expires": {"N": str(int(until.timestamp()))}}


def is_incomplete(dynamodb: DynamoDBClient, table: str, source: str, now: datetime) -> bool:
    """True if records of a source are missing. Raises what the client raises."""
    answer = dynamodb.get_item(TableName=table, Key={"id": {"S": _MARK + source_key(source)}}, ConsistentRead=True)
    return "Item" in answer and float(answer["Item"]["expires"]["N"]) > now.timestamp()


def read_held(dynamodb: DynamoDBClient, table: str, id: str) -> Held | None:
    """The record of an id, or None. Raises what the client raises."""
    answer = dynamodb.get_item(TableName=table, Key={"id": {"S": id}}, ConsistentRead=True)
    return Held.from_item(answer["Item"]) if "Item" in answer else None


def held_of(dynamodb: DynamoDBClient, table: str, source: str, limit: int, after: Position | None = None) -> Page:
    """Up to `limit` ids of one source, shard by shard. Raises what the client raises.

    What has been held within the last moments (`INDEX_LAG`) may be missing.
    """
    ids: list[str] = []
    position: Position | None = after or Position()
    while position is not None and len(ids) < limit:
        found = _query(dynamodb, table, source, limit - len(ids), position)
        ids += found.ids
        position = found.after
    return Page(ids, position)


def _query(dynamodb: DynamoDBClient, table: str, source: str, limit: int, at: Position) -> Page:
    """One query. `after` is then in the same shard, or at the beginning of the next, or None after the last."""
    name, key = ("source", source) if at.shard is None else ("source_shard", f"{source_key(source)}#{at.shard}")
    start: dict[str, Any] = {}
    if at.id:
        start = {"ExclusiveStartKey": {name: {"S": key}, "until": {"S": at.until}, "id": {"S": at.id}}}
    answer = dynamodb.query(
        TableName=table,
        IndexName=OLD_SOURCE_INDEX if at.shard is None else SOURCE_INDEX,
        KeyConditionExpression="#key = :key",
        ExpressionAttributeNames={"#key": name},
        ExpressionAttributeValues={":key": {"S": key}},
        Limit=limit,
        **start,
    )
    last = answer.get("LastEvaluatedKey")
    if last:
        after: Position | None = Position(at.shard, last["until"]["S"], last["id"]["S"])
    else:
        following = 0 if at.shard is None else at.shard + 1
        after = Position(following) if following < SHARDS else None
    return Page([item["id"]["S"].partition("!")[0] for item in answer["Items"]], after)
