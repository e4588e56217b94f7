"""Admission: the one place that decides whether a notification is accepted when it arrives.

What comes through the producer or in a campaign file is admitted here before it is put on a queue. What another service
has put on the queue itself is accepted when it is read (bundle.py), and only its content is left to check.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..errors import Invalid
from ..settings import Settings
from .bundle import InvalidItem, Item
from .deployment import checks_content, content_faults
from .notification import Notification, accept

CAMPAIGN_IDS = "campaign:"
"""The beginning of each id that the campaign function makes for a row. Such ids can be guessed: whoever used one first
would keep its row from being sent."""

CAMPAIGN_ID_FAULT = f"id: must not begin with {CAMPAIGN_IDS}, which marks the rows of campaign files"


def is_campaign_id(id: str) -> bool:
    return id.startswith(CAMPAIGN_IDS)


def admit(candidate: object, *, default_id: str, now: datetime, settings: Settings, place: int = 0) -> Item:
    """The item that `candidate` becomes when it is accepted now. `place`: where it stands in the request.

    Raises `Invalid` with every fault found.
    """
    notification, text = accept(candidate, default_id=default_id, now=now)
    if notification["id"] != default_id and is_campaign_id(notification["id"]):
        raise Invalid([CAMPAIGN_ID_FAULT])
    if isinstance(candidate, dict) and "expires_at" in candidate and _has_expired(notification, now):
        raise Invalid(["expires_at: has passed already"])
    if faults := content_faults(notification, settings):
        raise Invalid(faults)
    return Item(notification, text, None, "", place)


def _has_expired(notification: Notification, now: datetime) -> bool:
    return datetime.fromisoformat(notification["expires_at"]) <= now


def check_content(items: list[Item], settings: Settings) -> tuple[list[Item], list[InvalidItem]]:
    """Separate the items that may be accepted from those whose content this deployment refuses.

    A redriven item is checked too: only a message attribute says that it is one, and any sender may set that.
    """
    if not checks_content(settings):
        return items, []
    accepted: list[Item] = []
    invalid: list[InvalidItem] = []
    for item in items:
        if faults := content_faults(item.notification, settings):
            invalid.append(InvalidItem(item.text, item.id, faults, item.redriven, is_nameless=item.is_nameless))
        else:
            accepted.append(item)
    return accepted, invalid


def check_campaign_ids(
    items: list[Item], record: Mapping[str, Any], settings: Settings
) -> tuple[list[Item], list[InvalidItem]]:
    """Separate the items of a record from those that have an id of a campaign file and come from somebody else.

    A redriven item passes: an operator has sent it. Any sender can set that attribute, so the worker lets such an item
    pass only if the ledger knows its id.
    """
    sender = record["attributes"].get("SenderId", "").partition(":")[0]
    if not settings.campaign_sender or sender == settings.campaign_sender:
        return items, []
    others: list[Item] = []
    invalid: list[InvalidItem] = []
    for item in items:
        if item.redriven is None and is_campaign_id(item.id):
            invalid.append(InvalidItem(item.text, item.id, [CAMPAIGN_ID_FAULT]))
        else:
            others.append(item)
    return others, invalid
