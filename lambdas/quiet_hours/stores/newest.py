"""The newest held notification of each collapse key: of several that are held, only that one is sent at the release.

Whoever puts a notification with a `collapse_key` on wait notes it here first, as the newest of its group, unless a
newer one is noted. The group is one recipient's, of one source. The worker reads the note before it sends. An item of
the held table keeps each note, under a key that no notification's id can have. What has no collapse key costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import NewestUnavailable
from ..notification.bundle import Item
from ..notification.json_text import to_text
from ..notification.notification import LIFE, Notification, recipient_of
from ..side_by_side import SideBySide
from .backoff import RESERVE_S, Tries
from .clients import SERVICE_ERRORS, error_code, is_throttled
from .entries import epoch_ms
from .held import KEEP, source_key
from .unprocessed import BATCH_KEYS_MAX, read_batch

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

NOTES_AT_ONCE = 8
"""Fewer than the connections of a boto3 client."""

PLACES = 1000
"""Notifications accepted in the same millisecond, by one request, are told apart by their place in it."""

_NOTE = "!newest#"


class Note(NamedTuple):
    """The newest of a group: the instant of its acceptance in milliseconds since 1970, its place in the message or
    request that it came in, and its id. As a text, a later one is greater."""

    accepted_ms: int
    place: int
    id: str

    def __str__(self) -> str:
        return f"{self.accepted_ms:015d} {self.place:03d} {self.id}"

    @classmethod
    def read(cls, text: str) -> Note:
        accepted_ms, place, id = text.split(" ")
        return cls(int(accepted_ms), int(place), id)


def group_of(notification: Notification) -> str:
    """The key of a notification's group: source, recipient and collapse key. It shows none of them."""
    parts = [source_key(notification.get("source", "")), recipient_of(notification), notification["collapse_key"]]
    return _NOTE + sha256(to_text(parts).encode()).hexdigest()


def note_newest(
    dynamodb: DynamoDBClient,
    table: str,
    items: Sequence[Item],
    tries: Callable[[str], Tries],
    side_by_side: SideBySide,
    remaining_s: Callable[[], float],
) -> set[str]:
    """Note each group's newest item, before any of them is put on wait. Returns the ids of the items that must not be
    put on wait now, because the table did not take the note of their group.

    A note is only replaced by a newer one, so it does not matter in which order consumers write, or how often.
    """
    newest: dict[str, Item] = {}
    ids: dict[str, set[str]] = {}
    for item in items:
        if "collapse_key" in item.notification:
            group = group_of(item.notification)
            ids.setdefault(group, set()).add(item.id)
            newest[group] = max(newest.get(group, item), item, key=_note_of)

    def note(group: str) -> bool:
        return remaining_s() > RESERVE_S and _note(dynamodb, table, group, newest[group], tries(group))

    taken = side_by_side(note, list(newest), NOTES_AT_ONCE)
    return {id for group, is_noted in zip(newest, taken, strict=True) if not is_noted for id in ids[group]}


def superseded(
    dynamodb: DynamoDBClient, table: str, notifications: Iterable[Notification], tries: Callable[[str], Tries]
) -> dict[str, Note]:
    """The notes of newer held ones, by the id of the notification that each takes the place of. Raises what the client
    raises, and `NewestUnavailable`."""
    members: dict[str, list[Notification]] = {}
    for each in notifications:
        if "collapse_key" in each:
            members.setdefault(group_of(each), []).append(each)
    keys: list[Any] = [{"id": {"S": group}} for group in members]
    found: dict[str, Note] = {}
    for start in range(0, len(keys), BATCH_KEYS_MAX):
        batch = keys[start : start + BATCH_KEYS_MAX]
        items = read_batch(dynamodb, table, batch, tries(batch[0]["id"]["S"]))
        if batch:
            raise NewestUnavailable(f"{len(batch)} notes of the newest were left unprocessed")
        for item in items:
            note = Note.read(item["newest"]["S"])
            older = [each for each in members[item["id"]["S"]] if _is_older(each, note)]
            found |= {each["id"]: note for each in older}
    return found


def _is_older(notification: Notification, note: Note) -> bool:
    """True if the newest is another one. What was accepted later than the newest was never held with it."""
    return notification["id"] != note.id and _accepted_ms(notification) <= note.accepted_ms


def _note(dynamodb: DynamoDBClient, table: str, group: str, item: Item, tries: Tries) -> bool:
    """Note an item, unless a newer one is noted. Returns False if the table does not take it now."""
    newest = {"S": str(_note_of(item))}
    expires_at = datetime.fromisoformat(item.notification["accepted_at"]) + LIFE + KEEP
    while True:
        try:
            dynamodb.put_item(
                TableName=table,
                Item={"id": {"S": group}, "newest": newest, "expires": {"N": str(int(expires_at.timestamp()))}},
                ConditionExpression="(attribute_not_exists(#newest) OR #newest < :newest)",
                ExpressionAttributeNames={"#newest": "newest"},
                ExpressionAttributeValues={":newest": newest},
            )
        except SERVICE_ERRORS as error:
            if error_code(error) == "ConditionalCheckFailedException":
                return True
            if not is_throttled(error) or not tries.again():
                return False
        else:
            return True


def _note_of(item: Item) -> Note:
    return Note(_accepted_ms(item.notification), min(item.place, PLACES - 1), item.id)


def _accepted_ms(notification: Notification) -> int:
    return epoch_ms(datetime.fromisoformat(notification["accepted_at"]))
