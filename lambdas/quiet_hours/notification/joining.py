"""Joining small messages into full bundles: what may be joined, and the messages that come of it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..errors import Unreadable
from .bundle import BUNDLE_BYTES_MAX, BUNDLE_ITEMS_MAX, Item, Message, pack
from .json_text import unpack

JOINED_ITEMS_MAX, JOINED_BYTES_MAX = BUNDLE_ITEMS_MAX // 2, BUNDLE_BYTES_MAX // 2
"""A message that holds more moves as it is: to join it would save little."""


class Received(NamedTuple):
    """A message from wait, as it came, and the notifications in it that may travel in another bundle.

    Without `items`, it moves on as it is. `notifications` is the number of those in it.
    """

    handle: str
    message: Message
    items: tuple[Item, ...]
    notifications: int


def received(message: Any) -> Received:
    """A message as it came, and its notifications where it may be joined with others.

    It may not where an attribute counts for all that is in it, where it is a large bundle already, and where anything
    in it is not what the consumer writes: what cannot be read stays as it is and takes no neighbour with it.
    """
    attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
    handle, body = message["ReceiptHandle"], message["Body"]
    whole = Message(body, attributes=attributes)
    # Most bodies are large bundles: they are counted, which costs less than taking them apart.
    neighbours = body.count("},{")
    if attributes or neighbours >= JOINED_ITEMS_MAX or len(body.encode()) > JOINED_BYTES_MAX:
        return Received(handle, whole, (), _notifications(body, neighbours))
    try:
        parts = unpack(body).parts
    except Unreadable:
        return Received(handle, whole, (), 1)
    if len(parts) > JOINED_ITEMS_MAX or not all(_is_accepted(value) for value, _ in parts):
        return Received(handle, whole, (), len(parts))
    return Received(handle, whole, tuple(Item(value, text) for value, text in parts), len(parts))


_NEIGHBOURS = re.compile(r'\},\{"\w')
"""The end of an object in an array, and the next one with the beginning of a key.

No text of JSON contains it: its quote would end the text, and what follows a text is never a letter or a digit.
"""


def _notifications(body: str, neighbours: int) -> int:
    """Count the notifications in a body, for the report. A body that cannot be read counts as one.

    `neighbours` counts "},{" in it. In nearly every bundle that `pack` has written, these are the places between its
    notifications and nothing else: there is none in a text, and no other array. Anything else is parsed, which takes
    four times as long.
    """
    if (
        neighbours
        and body.startswith("[{")
        and body.endswith("}]")
        and len(_NEIGHBOURS.findall(body)) == neighbours
        and (body.count("[") == 1 or body.count("[") == 1 + body.count('"['))  # the others begin a text
    ):
        return neighbours + 1
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return 1
    return len(parsed) if isinstance(parsed, list) else 1


def _is_accepted(value: Any) -> bool:
    """True if this can be a notification that was accepted: without an id it would take one from its message."""
    return isinstance(value, dict) and isinstance(value.get("id"), str) and isinstance(value.get("channel"), str)


def bundles(received: Received) -> float:
    """Return the part of a bundle that a message will fill."""
    if not received.items:
        return 1
    return max(len(received.items) / BUNDLE_ITEMS_MAX, len(received.message.body.encode()) / BUNDLE_BYTES_MAX)


class Outgoing(NamedTuple):
    """A message for schedule: the places of the received messages that it holds parts of, and its notifications."""

    message: Message
    places: frozenset[int]
    notifications: int


def outgoing_of(gathered: Sequence[Received]) -> list[Outgoing]:
    """Make the messages for schedule: the small ones joined into bundles, the others as they are."""
    items = [item._replace(place=place) for place, each in enumerate(gathered) for item in each.items]
    joined = [
        Outgoing(message, frozenset(item.place for item in message.items), len(message.items))
        for message in pack(items)
    ]
    return joined + [
        Outgoing(each.message, frozenset([place]), each.notifications)
        for place, each in enumerate(gathered)
        if not each.items
    ]
