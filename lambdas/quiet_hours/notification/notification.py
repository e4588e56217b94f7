"""The notification: its closed schema, its canonical form, and one form for each channel's addresses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypedDict

from ..errors import Invalid
from ..rule.policy import CATEGORIES
from ..rule.policy import CHANNELS as CHANNELS
from ..rule.policy_file import is_country, read_zone
from .addresses import canonical_address, canonical_recipient, recipient_fault, usual_address
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
    matches_id,
    one_of,
    shown_name,
    text_check,
    time_fault,
)
from .json_text import RepeatedKeys, to_text

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
    collapse_key: str
    policy: str
    country: str
    timezone: str


class Canonical(NamedTuple):
    """An accepted notification, and its JSON as it travels."""

    notification: Notification
    text: str


# The constructor of a NamedTuple is a Python function. This one takes a pair, and half of the time.
_canonical: Callable[[tuple[Any, str]], Canonical] = partial(tuple.__new__, Canonical)


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
    address = usual_address(candidate["channel"], candidate["address"]) if _is_right(candidate) else None
    if address is None:
        given, candidate = candidate, _cleaned(candidate)
        text = text if candidate is given else None
        address = _checked_address(candidate)

    added: dict[str, str] = {}
    if "id" not in candidate:
        added["id"] = default_id
    if "category" not in candidate:
        added["category"] = "advertising"
    if address != candidate["address"]:
        added["address"] = address
    believed = candidate.get("accepted_at") if keep_accepted_at else None
    times = _times(believed, candidate.get("expires_at"), now)
    is_unchanged = not added and not times
    if is_unchanged and text is not None and not is_longer(text, NOTIFICATION_BYTES_MAX):
        return _canonical((candidate, text))
    result: Notification = candidate if is_unchanged else {**candidate, **added, **times}  # type: ignore[assignment,typeddict-item]
    text = to_text(result)  # anew if it was too long: it may be written with much white space
    if is_longer(text, NOTIFICATION_BYTES_MAX) and is_longer(
        to_text(candidate), _bytes_max(candidate, first=not keep_accepted_at)
    ):
        raise Invalid([f"notification: must be at most {NOTIFICATION_BYTES_MAX} bytes as compact JSON in UTF-8"])
    return _canonical((result, text))


def _cleaned(candidate: dict[str, Any]) -> dict[str, Any]:
    """A candidate with its content cleaned; the same object where nothing had to change."""
    content = candidate.get("content")
    cleaned = clean_json(content)
    return candidate if cleaned is content else type(candidate)({**candidate, "content": cleaned})


def _checked_address(candidate: dict[str, Any]) -> str:
    """The canonical address of a candidate without faults. Raises `Invalid` with every fault found."""
    errors = _faults(candidate)
    if candidate.get("channel") == "email" and _has_title_of_several_lines(candidate.get("content")):
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
    return address


def _bytes_max(candidate: dict[str, Any], *, first: bool) -> int:
    """Return the largest size allowed. A message with all the fields that acceptance adds was accepted before."""
    return NOTIFICATION_BYTES_MAX + (0 if first or not candidate.keys() >= _ADDED else ADDED_BYTES_MAX)


@lru_cache(maxsize=256)
def _times(accepted_at: str | None, expires_at: str | None, now: datetime) -> dict[str, str]:
    """The times that acceptance gives or replaces. The notifications of a campaign have all their times in common.

    `accepted_at` is the one to be believed, if any. A time that is right stays as it was written, so that a canonical
    notification comes back unchanged. The times are in UTC: the cache cannot tell `now` from the same instant in
    another zone.
    """
    times: dict[str, str] = {}
    start = instant(accepted_at) if accepted_at is not None else None
    if start is None or start > now:
        start = now.astimezone(UTC).replace(microsecond=now.microsecond // 1000 * 1000)
        times["accepted_at"] = _written(start)
    latest = start + LIFE
    end = instant(expires_at) if expires_at is not None else None
    if end is None or end > latest:
        times["expires_at"] = _written(latest)
    return times


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds")


def recipient_of(notification: Notification) -> str:
    """Return the recipient whose consent counts: the key of the consent table, as the registrar makes it."""
    recipient = notification.get("recipient_id")
    return canonical_recipient(notification["address"] if recipient is None else recipient)


def consent_keys(notification: Notification) -> tuple[str, ...]:
    """The keys of the consent table that count for a notification: its recipient, and its address where that is
    another one."""
    address = canonical_recipient(notification["address"])
    if "recipient_id" not in notification:
        return (address,)
    # DynamoDB refuses a whole batch of keys for one that is empty.
    return tuple(key for key in dict.fromkeys((recipient_of(notification), address)) if key)


def _faults(candidate: dict[str, Any]) -> list[str]:
    """Every fault of a candidate, apart from the form of its address. Values are never shown: they may be somebody's
    data."""
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
    """True if a candidate has no fault and its content is clean, apart from the form of its address.

    It saves time: this is nearly always so. False says nothing, the other checks then decide.
    """
    if type(candidate) is not dict:
        return False
    try:
        for name, value in candidate.items():
            if not _PASSES[name](value):
                return False
    except (KeyError, TypeError):
        return False
    return "channel" in candidate and "address" in candidate and "content" in candidate


def _has_title_of_several_lines(content: object) -> bool:
    """True if the title of a cleaned content has a line break. The content may be anything."""
    title = content.get("title") if isinstance(content, dict) else None
    return isinstance(title, str) and "\n" in title


def _has_address(candidate: dict[str, Any]) -> bool:
    """True if the form of the address can be checked, whatever else is wrong."""
    return not any(_FIELDS[name](candidate.get(name)) for name in ("channel", "address"))


_name_text, _short_text, _address_text = text_check(64), text_check(128), text_check(1024)


def _source(value: object) -> str | None:
    return _short_text(value) or (UNSENDABLE_FAULT if "\r" in str(value) else None)


@lru_cache(maxsize=1024)  # all the zones that there are
def _zone_fault(text: str) -> str | None:
    try:
        read_zone(text)
    except ValueError:
        return "must be an IANA name of a time zone such as America/New_York"
    return None


def _timezone(value: object) -> str | None:
    return _name_text(value) or _zone_fault(str(value))


def _country(value: object) -> str | None:
    return None if isinstance(value, str) and is_country(value) else "must be a country's code such as KR (ISO 3166-1)"


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


_right_before: list[dict[str, str] | None] = [None]
"""The content that was found right last, as a copy. The notifications of a campaign often have one and the same."""


def _content_passes(content: object) -> bool:
    """True if a content has no fault on any channel and nothing to clean."""
    if type(content) is dict and content == _right_before[0]:
        return True
    if type(content) is not dict or clean_json(content) is not content or _content(content):
        return False
    if _has_title_of_several_lines(content):
        return False
    if "variables" not in content:  # the other parts are texts, which nobody can change afterwards
        _right_before[0] = dict(content)
    return True


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
    "collapse_key": _short_text,
    "policy": _name_text,
    "country": _country,
    "timezone": _timezone,
}

_PASSES: dict[str, Callable[[Any], object]] = {
    "id": matches_id,
    "category": frozenset(CATEGORIES).__contains__,
    "channel": frozenset(CHANNELS).__contains__,
    "address": str.isascii,  # all that `usual_address` needs
    "recipient_id": lambda value: recipient_fault(value) is None,
    "content": _content_passes,
    "expires_at": instant,
    "accepted_at": instant,
    "source": lru_cache(maxsize=64)(lambda value: _source(value) is None),
    "metadata": lambda value: _metadata(value) is None,
    "collapse_key": lambda value: _short_text(value) is None,
    "policy": lambda value: _name_text(value) is None,
    "country": lambda value: _country(value) is None,
    "timezone": lambda value: _timezone(value) is None,
}
"""Checks for nearly every value: true if it has no fault. They are fast, and raise `TypeError` for some other types."""
