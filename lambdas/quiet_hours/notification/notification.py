"""The notification: its closed schema, its canonical form, and one form for each channel's addresses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple, TypedDict

from ..errors import Invalid
from ..rule.policy import CATEGORIES
from .addresses import canonical_address, canonical_recipient, recipient_fault
from .cleaning import clean_json
from .fields import (
    DEPTH_MAX,
    UNKNOWN_FIELDS_NAMED_MAX,
    UNSENDABLE_FAULT,
    UTF8_BYTES_MAX,
    Check,
    id_fault,
    instant,
    is_longer,
    json_fault,
    long_text,
    one_of,
    shown_name,
    text_check,
    time_fault,
)
from .json_text import RepeatedKeys, to_text

CHANNELS = ("kakao", "sms", "email", "push", "slack", "webhook", "log")
NOTIFICATION_BYTES_MAX = 32 * 1024
METADATA_BYTES_MAX = 2 * 1024

_ADDED = frozenset({"id", "category", "accepted_at", "expires_at"})
"""Fields that acceptance gives to what lacks them."""

ADDED_BYTES_MAX = 1024
"""More than acceptance adds: those fields, and a longer form of the address. The limit is on what the sender gave."""

LIFE = timedelta(days=3)
"""A notification may be sent for this time after acceptance: less than every source queue's retention."""


class Notification(TypedDict, total=False):
    """An accepted notification. `id`, `category`, `channel`, `address`, `content`, `expires_at` and `accepted_at`
    are always there; times are ISO 8601 with an offset."""

    id: str
    category: str
    channel: str
    address: str
    recipient_id: str
    content: dict[str, Any]
    expires_at: str
    accepted_at: str
    source: str
    metadata: dict[str, Any]


class Canonical(NamedTuple):
    """An accepted notification, and its JSON as it travels."""

    notification: Notification
    text: str


def accept(
    candidate: object, *, default_id: str, now: datetime, keep_accepted_at: bool = False, text: str | None = None
) -> Canonical:
    """The canonical notification of `candidate`, and its JSON as it travels.

    A candidate that is canonical already comes back as the same object, with the `text` that it was read from.
    `now` becomes `accepted_at`. With `keep_accepted_at` an earlier one is believed, but never a later one.
    Raises `Invalid` with every fault found.
    """
    if not isinstance(candidate, dict):
        raise Invalid(["notification: must be a JSON object"])
    if (content := clean_json(candidate.get("content"))) is not candidate.get("content"):
        candidate, text = type(candidate)({**candidate, "content": content}), None
    errors = _faults(candidate)
    if candidate.get("channel") == "email" and _is_of_several_lines(candidate):
        errors.append("content: title must be one line: it is an e-mail's subject")
    address = ""
    if not errors or _has_address(candidate):
        try:
            address = canonical_address(candidate["channel"], candidate["address"])
        except ValueError as fault:
            errors.append(f"address: {fault}")
        else:
            if "recipient_id" not in candidate and (unknown := recipient_fault(address)):
                errors.append(f"address: {unknown}; give a recipient_id")
    if errors:
        raise Invalid(errors)

    changes: dict[str, str] = {}
    if "id" not in candidate:
        changes["id"] = default_id
    if "category" not in candidate:
        changes["category"] = "advertising"
    if address != candidate["address"]:
        changes["address"] = address
    accepted_at, accepted_text = _as_precise_as_written(now)
    believed = instant(candidate["accepted_at"]) if keep_accepted_at and "accepted_at" in candidate else None
    # A time that is right stays as it was written, so that a canonical notification comes back unchanged.
    if believed is None or believed > now:
        changes["accepted_at"] = accepted_text
    else:
        accepted_at = believed
    latest = accepted_at + LIFE
    expires_at = instant(candidate["expires_at"]) if "expires_at" in candidate else None
    if expires_at is None or expires_at > latest:
        changes["expires_at"] = _as_precise_as_written(latest)[1]
    result: Notification = {**candidate, **changes} if changes else candidate  # type: ignore[assignment,typeddict-item]
    if changes or text is None or is_longer(text, NOTIFICATION_BYTES_MAX):  # or written with much white space
        text = to_text(result)
        if is_longer(text, NOTIFICATION_BYTES_MAX) and is_longer(
            to_text(candidate), _bytes_max(candidate, first=not keep_accepted_at)
        ):
            raise Invalid([f"notification: must be at most {NOTIFICATION_BYTES_MAX} bytes as compact JSON in UTF-8"])
    return Canonical(result, text)


def _bytes_max(candidate: dict[str, Any], *, first: bool) -> int:
    """Return the largest size allowed. A message with all the fields that acceptance adds was accepted before."""
    return NOTIFICATION_BYTES_MAX + (0 if first or not candidate.keys() >= _ADDED else ADDED_BYTES_MAX)


@lru_cache(maxsize=8)
def _as_precise_as_written(instant: datetime) -> tuple[datetime, str]:
    """The instant in whole milliseconds and in UTC, and its text. Everything in one request has the same.

    In UTC, because the cache cannot tell one instant from the same one in another zone.
    """
    instant = instant.astimezone(UTC).replace(microsecond=instant.microsecond // 1000 * 1000)
    return instant, instant.isoformat(timespec="milliseconds")


def recipient_of(notification: Notification) -> str:
    """Return the recipient whose consent counts: the key of the consent table, as the registrar makes it."""
    recipient = notification.get("recipient_id")
    return canonical_recipient(notification["address"] if recipient is None else recipient)


def consent_keys(notification: Notification) -> tuple[str, ...]:
    """The keys of the consent table that count for a notification: its recipient, and its address where that is
    another one."""
    recipient = recipient_of(notification)
    if "recipient_id" not in notification:
        return (recipient,)
    address = canonical_recipient(notification["address"])
    # DynamoDB refuses a whole batch of keys for one that is empty.
    return tuple(key for key in dict.fromkeys((recipient, address)) if key)


def _faults(candidate: dict[str, Any]) -> list[str]:
    """Every fault of a candidate, apart from the form of its address. Values are never shown: they may be somebody's
    data."""
    if _is_right(candidate):
        return []
    unknown = [name for name in candidate if name not in _FIELDS]
    found = {name: fault for name, check in _FIELDS.items() if name in candidate and (fault := check(candidate[name]))}
    allowed = ", ".join(_FIELDS)
    faults = [f"{shown_name(name)}: unknown field; allowed are {allowed}" for name in sorted(unknown)]
    del faults[UNKNOWN_FIELDS_NAMED_MAX:]
    if isinstance(candidate, RepeatedKeys):
        faults.append("notification: names a field twice")
    faults += [f"{name}: is required" for name in ("channel", "address", "content") if name not in candidate]
    return faults + [f"{name}: {fault}" for name, fault in found.items()]


def _is_right(candidate: dict[str, Any]) -> bool:
    """True if there is no fault at all. This is nearly always so: it is asked first and stops at the first fault."""
    try:
        for name, value in candidate.items():
            if _FIELDS[name](value):
                return False
    except KeyError:
        return False
    is_complete = "channel" in candidate and "address" in candidate and "content" in candidate
    return is_complete and not isinstance(candidate, RepeatedKeys)


def _is_of_several_lines(candidate: dict[str, Any]) -> bool:
    """True if the title, cleaned, has a line break. The content may be anything."""
    content = candidate.get("content")
    title = content.get("title") if isinstance(content, dict) else None
    return isinstance(title, str) and "\n" in title


def _has_address(candidate: dict[str, Any]) -> bool:
    """True if the form of the address can be checked, whatever else is wrong."""
    return not any(_FIELDS[name](candidate.get(name)) for name in ("channel", "address"))


_short_text, _address_text = text_check(128), text_check(1024)


def _source(value: object) -> str | None:
    return _short_text(value) or (UNSENDABLE_FAULT if "\r" in str(value) else None)


def _content(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"must be an object with {', '.join(_CONTENT_FIELDS)}"
    for name, part in value.items():
        if name not in _CONTENT_FIELDS:
            return f"{shown_name(name)} is an unknown field; allowed are {', '.join(_CONTENT_FIELDS)}"
        if (fault := _CONTENT_FIELDS[name](part)) is not None:
            return f"{name} {fault}"
    if isinstance(value, RepeatedKeys):
        return "names a field twice"
    return None if "body" in value or "template" in value else "needs a body or a template"


def _variables(value: object) -> str | None:
    return json_fault(value, DEPTH_MAX) if isinstance(value, dict) else "must be an object"


_CONTENT_FIELDS: dict[str, Check] = {
    "title": long_text,
    "body": long_text,
    "template": long_text,
    "variables": _variables,
}


def _metadata(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    if fault := json_fault(value, DEPTH_MAX):
        return fault
    # What stands as one character in the repr takes at most UTF8_BYTES_MAX as JSON, so that most need no writing.
    if len(repr(value)) * UTF8_BYTES_MAX > METADATA_BYTES_MAX and is_longer(to_text(value), METADATA_BYTES_MAX):
        return f"must be at most {METADATA_BYTES_MAX} bytes as JSON"
    return None


_FIELDS: dict[str, Check] = {
    "id": id_fault,
    "category": one_of(CATEGORIES),
    "channel": one_of(CHANNELS),
    "address": _address_text,
    "recipient_id": recipient_fault,
    "content": _content,
    "expires_at": time_fault,
    "accepted_at": time_fault,
    "source": _source,
    "metadata": _metadata,
}
