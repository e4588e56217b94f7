"""The message body on every queue: one notification or a bundle of them. This module reads and writes both.

A bundle of 64 KiB is one SQS billing unit and holds about 100 short notifications. Moving a night's messages then costs
a few calls instead of one for each notification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from ..errors import Invalid, Unreadable
from .fields import is_id
from .json_text import unpack
from .notification import Notification, accept

BUNDLE_BYTES_MAX = 64 * 1024
BUNDLE_ITEMS_MAX = 100

REASON_CHARACTERS_MAX = 1024

REDRIVEN = "dead_lettered_at"
"""The message attribute of a dead letter that lets its notification be claimed again: the ending that it undoes."""


class Item(NamedTuple):
    """A notification on its way.

    `text` is its JSON as it travels. `redriven` is the ending that a redrive undoes. `message_id` is that of the SQS
    message that it came in, for whoever must answer for it. `place` is where it stands in that message, or in a
    request.
    """

    notification: Notification
    text: str
    redriven: str | None = None
    message_id: str = ""
    place: int = 0

    @property
    def id(self) -> str:
        return self.notification["id"]

    @property
    def is_nameless(self) -> bool:
        """True if its id was made of a message's, because it brought none of its own."""
        return self.id.startswith(("sqs:", "sns:"))


# The constructor of a NamedTuple is a Python function. This one takes all fields as a tuple, and half of the time.
_item: Callable[[tuple[Notification, str, str | None, str, int]], Item] = partial(tuple.__new__, Item)


@dataclass(frozen=True, slots=True)
class InvalidItem:
    """A part of a body that is no notification: its own text, the id it would have had, its faults, and the ending that
    a redrive wanted to undo. `is_nameless`: it brought no id of its own."""

    text: str
    id: str
    errors: list[str]
    redriven: str | None = None
    is_nameless: bool = False


class Published(NamedTuple):
    """A message that SNS has put into its envelope, and SNS's id of it: the same whenever SNS delivers it again."""

    message: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message for a queue: its body, the items that travel in it, and its text attributes."""

    body: str
    items: tuple[Item, ...] = ()
    attributes: Mapping[str, str] | None = None


def read(record: Mapping[str, Any]) -> tuple[list[Item], list[InvalidItem]]:
    """Read one SQS record as Lambda gets it. Raises `Unreadable`.

    A notification without an id gets one that is the same at every redelivery: the event's id, or the id of the message
    with the place in the bundle. That is SNS's id for what is in its envelope, because SQS makes another one each time
    that SNS delivers the same message.
    """
    redriven = _attribute(record, REDRIVEN)
    sent_at = datetime.fromtimestamp(int(record["attributes"]["SentTimestamp"]) / 1000, UTC)
    items: list[Item] = []
    invalid: list[InvalidItem] = []
    message_id = f"sqs:{record['messageId']}"
    parts, is_array = unpack(record["body"], BUNDLE_ITEMS_MAX)
    if not is_array and (published := _published(parts[0][0])) is not None:
        message_id = f"sns:{published.message_id}"
        parts, is_array = unpack(published.message, BUNDLE_ITEMS_MAX)
    for index, (candidate, text) in enumerate(parts):
        default_id = f"{message_id}:{index}" if is_array else message_id
        requested = candidate
        if isinstance(candidate, dict) and candidate.get("detail-type") == "NotificationRequested":
            requested, event_id = candidate.get("detail"), candidate.get("id")
            if is_id(event_id) and is_id(f"event:{event_id}"):
                default_id = f"event:{event_id}"
        try:
            notification, written = accept(
                requested,
                default_id=default_id,
                now=sent_at,
                keep_accepted_at=True,
                text=text if requested is candidate else None,
            )
        except Invalid as fault:
            given = requested.get("id") if isinstance(requested, dict) else None
            has_id = is_id(given)
            id = str(given) if has_id else default_id
            invalid.append(InvalidItem(text, id, fault.errors, redriven, is_nameless=not has_id))
        else:
            items.append(_item((notification, written, redriven, record["messageId"], index)))
    return items, invalid


def _published(value: Any) -> Published | None:
    """The message in SNS's envelope, if this is one. Raises `Unreadable` for an envelope whose message has no id that
    can be kept: it is not from SNS, whose ids have 36 characters. Its message is not taken for a notification.
    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html"""
    if not isinstance(value, dict) or value.get("Type") != "Notification" or "TopicArn" not in value:
        return None
    message, message_id = value.get("Message"), value.get("MessageId")
    if not isinstance(message, str):
        raise Unreadable("an SNS envelope whose Message is not text")
    if not isinstance(message_id, str) or not message_id or not is_id(f"sns:{message_id}:{BUNDLE_ITEMS_MAX}"):
        raise Unreadable("an SNS envelope whose MessageId is missing, too long or not an id")
    return Published(message, message_id)


def _attribute(record: Mapping[str, Any], name: str) -> str | None:
    attribute = record.get("messageAttributes", {}).get(name, {})
    value = attribute.get("stringValue")
    return value if isinstance(value, str) else None


def dead_letter(text: str, reason: str, id: str | None = None, ended_at: str | None = None) -> Message:
    """A message for the dead-letter queue: the text unchanged, and why. `reason` is a code, then a sentence.

    `ended_at` is the ledger's instant of this ending, by which a redrive may claim the id again.
    """
    attributes = {"reason": reason[:REASON_CHARACTERS_MAX]}
    if id is not None:
        attributes["notification_id"] = id
    if ended_at is not None:
        attributes[REDRIVEN] = ended_at
    return Message(text, attributes=attributes)


def invalid_letters(invalid: Iterable[InvalidItem]) -> list[Message]:
    """The dead letters of what stood in one body and is refused.

    What brought an id goes alone, unchanged. The items without an id that have the same faults go in one letter, as an
    array: nobody can tell them apart by a name, and a body of rubbish is one fault of its sender, not a hundred. A
    letter holds no more than a queue takes again.
    """
    letters: list[Message] = []
    nameless: dict[str, list[InvalidItem]] = {}
    for each in invalid:
        faults = "; ".join(each.errors)
        if each.is_nameless:
            nameless.setdefault(faults, []).append(each)
        else:
            letters.append(dead_letter(each.text, f"invalid: {faults}", each.id, each.redriven))
    for faults, alike in nameless.items():
        for group in _groups(alike):
            if len(group) == 1:
                letters.append(dead_letter(group[0].text, f"invalid: {faults}", group[0].id, group[0].redriven))
            else:
                text = "[" + ",".join(each.text for each in group) + "]"
                letters.append(dead_letter(text, f"invalid: {len(group)} items of one body: {faults}"))
    return letters


def _groups(items: Iterable[InvalidItem]) -> list[list[InvalidItem]]:
    """Split items into groups whose arrays fit a message."""
    groups: list[list[InvalidItem]] = [[]]
    room_bytes = BUNDLE_BYTES_MAX - 1
    for item in items:
        size_bytes = len(item.text.encode()) + 1  # the comma, or the closing bracket
        if groups[-1] and size_bytes > room_bytes:
            groups.append([])
            room_bytes = BUNDLE_BYTES_MAX - 1
        groups[-1].append(item)
        room_bytes -= size_bytes
    return groups


def pack(items: Iterable[Item]) -> list[Message]:
    """Pack items into bundles of one channel each, within the bounds of size and number, in the order given.

    A redriven item travels alone: the attribute that marks it counts for everything in its message.
    """
    messages: list[Message] = []
    open_bundles: dict[str, list[Item]] = {}
    room_bytes: dict[str, int] = {}
    for item in items:
        if item.redriven is not None:
            messages.append(Message(item.text, (item,), {REDRIVEN: item.redriven}))
            continue
        channel = item.notification["channel"]
        size_bytes = len(item.text.encode()) + 1  # the comma, or the closing bracket
        bundle = open_bundles.get(channel)
        if bundle is None or len(bundle) == BUNDLE_ITEMS_MAX or size_bytes > room_bytes[channel]:
            if bundle is not None:
                messages.append(_bundle(bundle))
            bundle = open_bundles[channel] = []
            room_bytes[channel] = BUNDLE_BYTES_MAX - 1
        bundle.append(item)
        room_bytes[channel] -= size_bytes
    return messages + [_bundle(bundle) for bundle in open_bundles.values()]


def _bundle(items: list[Item]) -> Message:
    return Message("[" + ",".join(item.text for item in items) + "]", tuple(items))
