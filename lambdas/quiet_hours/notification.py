"""The notification: its closed schema, its canonical form, and one form for each channel's addresses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, TypedDict

from .policy import CATEGORIES

CHANNELS = ("kakao", "sms", "email", "push", "slack", "webhook", "log")
NOTIFICATION_BYTES_MAX = 32 * 1024
METADATA_BYTES_MAX = 2 * 1024
TEXT_CHARACTERS_MAX = 10_000
DEPTH_MAX = 5
UTF8_BYTES_MAX = 4
"""What one character takes at most."""

UNKNOWN_FIELDS_NAMED_MAX = 5
LIFE = timedelta(days=3)
"""How long after acceptance a notification may still be sent: less than every source queue's retention."""


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


class Invalid(Exception):
    """Raised when something is no notification. `errors`: one `field: fault` each, never with a value."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class RepeatedKeys(dict[str, Any]):
    """A JSON object that named a key twice: a sign that whoever wrote it meant something else."""


Check = Callable[[object], str | None]
"""What is wrong with a field's value, if anything."""

ID_FAULT = "must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = / -"
_ID = re.compile(r"[A-Za-z0-9._:@+=/-]{1,128}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})")
_UNSENDABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def to_text(value: object) -> str:
    """Compact JSON, Korean as it is: 3 bytes a character in UTF-8 instead of 6 escaped."""
    return _encode(value)


def accept(
    candidate: object, *, default_id: str, now: datetime, keep_accepted_at: bool = False, text: str | None = None
) -> tuple[Notification, str]:
    """The canonical notification that `candidate` stands for, and its JSON as it travels.

    What is canonical already comes back as the same object, with the `text` that it was read from.
    `now` becomes `accepted_at`; with `keep_accepted_at` an earlier one is believed, a later one never.
    Raises `Invalid` with every fault found.
    """
    if not isinstance(candidate, dict):
        raise Invalid(["notification: must be a JSON object"])
    errors = _faults(candidate)
    address = ""
    if not errors or _has_address(candidate):
        try:
            address = canonical_address(candidate["channel"], candidate["address"])
        except ValueError as fault:
            errors.append(f"address: {fault}")
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
    believed = _instant(candidate["accepted_at"]) if keep_accepted_at and "accepted_at" in candidate else None
    # What already says the same instant stays as it was written, so that a canonical one comes back untouched.
    if believed is None or believed > now:
        changes["accepted_at"] = accepted_text
    else:
        accepted_at = believed
    latest = accepted_at + LIFE
    expires_at = _instant(candidate["expires_at"]) if "expires_at" in candidate else None
    if expires_at is None or expires_at > latest:
        changes["expires_at"] = _as_precise_as_written(latest)[1]
    result: Notification = {**candidate, **changes} if changes else candidate  # type: ignore[assignment,typeddict-item]
    if changes or text is None or _is_longer(text, NOTIFICATION_BYTES_MAX):  # or written with much white space
        text = to_text(result)
        if _is_longer(text, NOTIFICATION_BYTES_MAX):
            raise Invalid([f"notification: must be at most {NOTIFICATION_BYTES_MAX} bytes as compact JSON in UTF-8"])
    return result, text


@lru_cache(maxsize=8)
def _as_precise_as_written(instant: datetime) -> tuple[datetime, str]:
    """The instant in whole milliseconds and in UTC, and as text. Everything in one request has the same.

    In UTC, because the cache cannot tell one instant from the same one in another zone.
    """
    instant = instant.astimezone(UTC).replace(microsecond=instant.microsecond // 1000 * 1000)
    return instant, instant.isoformat(timespec="milliseconds")


def _is_longer(text: str, bytes_max: int) -> bool:
    return len(text) * UTF8_BYTES_MAX > bytes_max and len(text.encode()) > bytes_max


def is_id(value: object) -> bool:
    """Whether this can be a notification's id, the idempotency key of all that happens to it."""
    return _id(value) is None


def recipient_of(notification: Notification) -> str:
    """Whose consent counts: the key of the consent table."""
    recipient = notification.get("recipient_id")
    return notification["address"] if recipient is None else canonical_recipient(recipient)


def _faults(candidate: dict[str, Any]) -> list[str]:
    """Every reason why this is no notification, but for what its address has to look like. Values are never shown:
    they may be somebody's data."""
    if _is_right(candidate):
        return []
    unknown = [name for name in candidate if name not in _FIELDS]
    found = {name: fault for name, check in _FIELDS.items() if name in candidate and (fault := check(candidate[name]))}
    allowed = ", ".join(_FIELDS)
    faults = [f"{_shown(name)}: unknown field; allowed are {allowed}" for name in sorted(unknown)]
    del faults[UNKNOWN_FIELDS_NAMED_MAX:]
    if isinstance(candidate, RepeatedKeys):
        faults.append("notification: names a field twice")
    faults += [f"{name}: is required" for name in ("channel", "address", "content") if name not in candidate]
    return faults + [f"{name}: {fault}" for name, fault in found.items()]


def _is_right(candidate: dict[str, Any]) -> bool:
    """Whether there is no fault at all. Nearly always there is none: so this is asked first, and stops at the first."""
    try:
        for name, value in candidate.items():
            if _FIELDS[name](value):
                return False
    except KeyError:
        return False
    is_complete = "channel" in candidate and "address" in candidate and "content" in candidate
    return is_complete and not isinstance(candidate, RepeatedKeys)


def _has_address(candidate: dict[str, Any]) -> bool:
    """Whether the channel's form of addresses can be asked for, whatever else is wrong."""
    return not any(_FIELDS[name](candidate.get(name)) for name in ("channel", "address"))


def _shown(name: str) -> str:
    """A field's name, unless it might be data in the wrong place."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,39}[0-9]{0,2}", name) else f"(a name of {len(name)} characters)"


def _one_of(allowed: tuple[str, ...]) -> Check:
    fault = f"must be one of {', '.join(allowed)}"
    return lambda value: None if isinstance(value, str) and value in allowed else fault


def _text(characters_max: int) -> Check:
    def check(value: object) -> str | None:
        if not isinstance(value, str):
            return "must be text"
        if not 1 <= len(value) <= characters_max:
            return f"must have 1 to {characters_max} characters"
        if not value.isprintable() and _UNSENDABLE.search(value):  # nothing printable is unsendable: soon seen
            return "has a character that cannot be sent (control characters other than newline and tab, surrogates)"
        return None

    return check


_short_text, _address_text, _long_text = _text(128), _text(1024), _text(TEXT_CHARACTERS_MAX)


def _id(value: object) -> str | None:
    return None if isinstance(value, str) and _ID.fullmatch(value) else ID_FAULT


@lru_cache(maxsize=256)
def _instant(text: str) -> datetime | None:
    """What a time says, None where it is none. A bundle's notifications mostly have the same few."""
    try:
        return datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:
        return None


def _time(value: object) -> str | None:
    right = isinstance(value, str) and _instant(value) is not None
    return None if right else "must be a time with an offset, such as 2020-11-12T12:00:00+09:00"


# What the consent registry checks its own fields by.
text_check, time_fault, shown_name = _text, _time, _shown


def _content(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"must be an object with {', '.join(_CONTENT_FIELDS)}"
    for name, part in value.items():
        if name not in _CONTENT_FIELDS:
            return f"{_shown(name)} is an unknown field; allowed are {', '.join(_CONTENT_FIELDS)}"
        if (fault := _CONTENT_FIELDS[name](part)) is not None:
            return f"{name} {fault}"
    if isinstance(value, RepeatedKeys):
        return "names a field twice"
    return None if "body" in value or "template" in value else "needs a body or a template"


def _variables(value: object) -> str | None:
    return _json(value, DEPTH_MAX) if isinstance(value, dict) else "must be an object"


_CONTENT_FIELDS: dict[str, Check] = {
    "title": _long_text,
    "body": _long_text,
    "template": _long_text,
    "variables": _variables,
}


def _metadata(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    if fault := _json(value, DEPTH_MAX):
        return fault
    # What stands as one character in the repr takes at most UTF8_BYTES_MAX as JSON, so that most need no writing.
    if len(repr(value)) * UTF8_BYTES_MAX > METADATA_BYTES_MAX and _is_longer(to_text(value), METADATA_BYTES_MAX):
        return f"must be at most {METADATA_BYTES_MAX} bytes as JSON"
    return None


def _json(value: object, depth: int) -> str | None:
    """The fault of some free-form JSON, if any."""
    if isinstance(value, str):
        return _long_text(value) if value else None
    if value is None or isinstance(value, int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else "has a number that JSON cannot carry (NaN or Infinity)"
    if isinstance(value, RepeatedKeys):
        return "names a field twice"
    if not isinstance(value, (dict, list)):
        return "has a value that JSON cannot carry"
    if depth == 0:
        return f"is nested more than {DEPTH_MAX} levels deep"
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                return "has a field whose name is not text"
            if fault := _json(key, depth - 1):
                return fault
    for inner in value.values() if isinstance(value, dict) else value:
        if fault := _json(inner, depth - 1):
            return fault
    return None


_FIELDS: dict[str, Check] = {
    "id": _id,
    "category": _one_of(CATEGORIES),
    "channel": _one_of(CHANNELS),
    "address": _address_text,
    "recipient_id": _short_text,
    "content": _content,
    "expires_at": _time,
    "accepted_at": _time,
    "source": _short_text,
    "metadata": _metadata,
}


def canonical_address(channel: str, address: str) -> str:
    """The one form of an address, so that one recipient is one recipient however their address was typed.

    Phones become E.164 (a number without a country is Korean), e-mail addresses lower case, the rest is trimmed.
    Raises `ValueError` that says what the channel expects.
    """
    return _ADDRESSES[channel](address.strip())


_E164 = re.compile(r"\+(?:82[1-9][0-9]{7,10}|(?!82)[1-9][0-9]{6,14})")
_KOREAN = re.compile(r"(?:0|\+820)([1-9][0-9]{7,10})")
_WRITTEN_BETWEEN = re.compile(r"[\s().-]")
_MAY_BE_AN_ADDRESS = re.compile(r"[+0(]|[^@]+@")


def canonical_recipient(recipient_id: str) -> str:
    """The one key of a recipient: what reads as a phone number or an e-mail address is one, in its canonical form, and
    anything else is its own. So an opt-out by `010-1234-5678` counts for `+821012345678`, whoever names them how."""
    if _MAY_BE_AN_ADDRESS.match(recipient_id):
        for form in (_phone, _email):
            try:
                return form(recipient_id.strip())
            except ValueError:
                continue
    return recipient_id


def _phone(address: str) -> str:
    digits = address if _E164.fullmatch(address) else _WRITTEN_BETWEEN.sub("", address)
    if _E164.fullmatch(digits):
        return digits
    if korean := _KOREAN.fullmatch(digits):
        return "+82" + korean[1]
    raise ValueError("must be a Korean number such as 010-1234-5678 or an international one such as +14155550100")


_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+")


def _email(address: str) -> str:
    fault = ValueError("must be an e-mail address such as name@example.com")
    local, at, domain = address.rpartition("@")
    try:
        domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        raise fault from None
    if not (
        at and len(local) <= 64 and len(domain) <= 253 and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain)
    ):
        raise fault
    return f"{local.lower()}@{domain}"


def _slack(address: str) -> str:
    if re.fullmatch(r"#[\w.-]{1,80}", channel := address.lower()):
        return channel
    if re.fullmatch(r"[CDGUW][A-Z0-9]{2,20}", address):
        return address
    raise ValueError("must be a channel such as #orders or a Slack id such as C024BE91L")


_OPAQUE = re.compile(r"[!-~]{1,512}")


def _opaque(address: str) -> str:
    if _OPAQUE.fullmatch(address) and "://" not in address:
        return address
    raise ValueError("must have 1 to 512 visible ASCII characters and not be a URL: targets come from configuration")


_ADDRESSES: dict[str, Callable[[str], str]] = {
    "kakao": _phone,
    "sms": _phone,
    "email": _email,
    "push": _opaque,
    "slack": _slack,
    "webhook": _opaque,
    "log": _opaque,
}
