"""The notification: its closed schema, its canonical form, and one form for each channel's addresses."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, TypedDict

from .policy import CATEGORIES

CHANNELS = ("kakao", "sms", "email", "push", "slack", "webhook", "log")
NOTIFICATION_BYTES_MAX = 32 * 1024
METADATA_BYTES_MAX = 2 * 1024
TEXT_CHARACTERS_MAX = 10_000
DEPTH_MAX = 5
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


_ID = re.compile(r"[A-Za-z0-9._:@+=/-]{1,128}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})")
_UNSENDABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_CONTENT_FIELDS = ("title", "body", "template", "variables")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def to_text(value: object) -> str:
    """Compact JSON, Korean as it is: 3 bytes a character in UTF-8 instead of 6 escaped."""
    return _encode(value)


def accept(candidate: object, *, default_id: str, now: datetime, keep_accepted_at: bool = False) -> Notification:
    """The canonical notification that `candidate` stands for; the same object where it is canonical already.

    `now` becomes `accepted_at`; with `keep_accepted_at` an earlier one is believed, a later one never.
    Raises `Invalid` with every fault found.
    """
    if not isinstance(candidate, dict):
        raise Invalid(["notification: must be a JSON object"])
    errors = list(_faults(candidate))
    if errors:
        raise Invalid(errors)

    now = now.replace(microsecond=now.microsecond // 1000 * 1000)  # as precise as it is written
    accepted_at = now
    if keep_accepted_at and "accepted_at" in candidate:
        accepted_at = min(datetime.fromisoformat(candidate["accepted_at"]), now)
    latest = accepted_at + LIFE
    expires_at = datetime.fromisoformat(candidate["expires_at"]) if "expires_at" in candidate else latest
    canonical: dict[str, Any] = {
        **candidate,
        "id": candidate.get("id", default_id),
        "category": candidate.get("category", "advertising"),
        "address": canonical_address(candidate["channel"], candidate["address"]),
    }
    # What already says the same instant stays as it was written, so that a canonical one comes back untouched.
    if not keep_accepted_at or "accepted_at" not in candidate or accepted_at is now:
        canonical["accepted_at"] = accepted_at.isoformat(timespec="milliseconds")
    if "expires_at" not in candidate or expires_at > latest:
        canonical["expires_at"] = latest.isoformat(timespec="milliseconds")
    result: Notification = candidate if canonical == candidate else canonical  # type: ignore[assignment]
    if len(to_text(result).encode()) > NOTIFICATION_BYTES_MAX:
        raise Invalid([f"notification: must be at most {NOTIFICATION_BYTES_MAX} bytes as compact JSON in UTF-8"])
    return result


def is_id(value: object) -> bool:
    """Whether this can be a notification's id, the idempotency key of all that happens to it."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def recipient_of(notification: Notification) -> str:
    """Whose consent counts: the key of the consent table."""
    return notification.get("recipient_id", notification["address"])


def _faults(candidate: dict[str, Any]) -> Iterator[str]:
    """Every reason why this is no notification. Values are never shown: they may be somebody's data."""
    for name in sorted(candidate.keys() - _FIELDS.keys())[:UNKNOWN_FIELDS_NAMED_MAX]:
        yield f"{_shown(name)}: unknown field; allowed are {', '.join(_FIELDS)}"
    if isinstance(candidate, RepeatedKeys):
        yield "notification: names a field twice"
    for name in ("channel", "address", "content"):
        if name not in candidate:
            yield f"{name}: is required"
    for name, check in _FIELDS.items():
        if name in candidate and (fault := check(candidate[name])):
            yield f"{name}: {fault}"
    channel, address = candidate.get("channel"), candidate.get("address")
    if channel in CHANNELS and isinstance(address, str) and _text(address, 1024) is None:
        try:
            canonical_address(str(channel), address)
        except ValueError as fault:
            yield f"address: {fault}"


def _shown(name: str) -> str:
    """A field's name, unless it might be data in the wrong place."""
    return name if re.fullmatch(r"[A-Za-z][A-Za-z_-]{0,39}[0-9]{0,2}", name) else f"(a name of {len(name)} characters)"


def _one_of(allowed: tuple[str, ...]) -> Callable[[object], str | None]:
    fault = f"must be one of {', '.join(allowed)}"
    return lambda value: None if isinstance(value, str) and value in allowed else fault


def _text(value: object, characters_max: int) -> str | None:
    if not isinstance(value, str):
        return "must be text"
    if not 1 <= len(value) <= characters_max:
        return f"must have 1 to {characters_max} characters"
    if _UNSENDABLE.search(value):
        return "has a character that cannot be sent (control characters other than newline and tab, surrogates)"
    return None


def _short_text(value: object) -> str | None:
    return _text(value, 128)


def _id(value: object) -> str | None:
    allowed = "must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = / -"
    return None if is_id(value) else allowed


def _time(value: object) -> str | None:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value) and datetime.fromisoformat(value):
            return None
    except ValueError:
        pass
    return "must be a time with an offset, such as 2020-11-12T12:00:00+09:00"


def _content(value: object) -> str | None:
    if not isinstance(value, dict) or not value:
        return f"must be an object with {', '.join(_CONTENT_FIELDS)}"
    if unknown := value.keys() - set(_CONTENT_FIELDS):
        return f"{_shown(min(unknown))} is an unknown field; allowed are {', '.join(_CONTENT_FIELDS)}"
    if "body" not in value and "template" not in value:
        return "needs a body or a template"
    if isinstance(value, RepeatedKeys):
        return "names a field twice"
    for name in ("title", "body", "template"):
        if name in value and (fault := _text(value[name], TEXT_CHARACTERS_MAX)):
            return f"{name} {fault}"
    if not isinstance(value.get("variables", {}), dict):
        return "variables must be an object"
    fault = _json(value.get("variables", {}), DEPTH_MAX)
    return f"variables {fault}" if fault else None


def _metadata(value: object) -> str | None:
    if not isinstance(value, dict):
        return "must be an object"
    if fault := _json(value, DEPTH_MAX):
        return fault
    size = len(to_text(value).encode())
    return f"must be at most {METADATA_BYTES_MAX} bytes as JSON" if size > METADATA_BYTES_MAX else None


def _json(value: object, depth: int) -> str | None:
    """The fault of some free-form JSON, if any."""
    if isinstance(value, str):
        return _text(value, TEXT_CHARACTERS_MAX) if value else None
    if value is None or isinstance(value, bool | int):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else "has a number that JSON cannot carry (NaN or Infinity)"
    if isinstance(value, RepeatedKeys):
        return "names a field twice"
    if not isinstance(value, dict | list):
        return "has a value that JSON cannot carry"
    if depth == 0:
        return f"is nested more than {DEPTH_MAX} levels deep"
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return "has a field whose name is not text"
    inner = [*value.keys(), *value.values()] if isinstance(value, dict) else value
    return next((fault for part in inner if (fault := _json(part, depth - 1))), None)


_FIELDS: dict[str, Callable[[object], str | None]] = {
    "id": _id,
    "category": _one_of(CATEGORIES),
    "channel": _one_of(CHANNELS),
    "address": lambda value: _text(value, 1024),
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


def _phone(address: str) -> str:
    digits = re.sub(r"[\s().-]", "", address)
    if re.fullmatch(r"0[1-9][0-9]{7,10}", digits):
        return "+82" + digits[1:]
    if korean := re.fullmatch(r"\+820?([1-9][0-9]{7,10})", digits):
        return "+82" + korean[1]
    if re.fullmatch(r"\+(?!82)[1-9][0-9]{6,14}", digits):
        return digits
    raise ValueError("must be a Korean number such as 010-1234-5678 or an international one such as +14155550100")


def _email(address: str) -> str:
    fault = ValueError("must be an e-mail address such as name@example.com")
    local, at, domain = address.rpartition("@")
    try:
        domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        raise fault from None
    label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    if not (
        at
        and len(local) <= 64
        and len(domain) <= 253
        and re.fullmatch(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", local)
        and re.fullmatch(rf"{label}(\.{label})+", domain)
    ):
        raise fault
    return f"{local.lower()}@{domain}"


def _slack(address: str) -> str:
    if re.fullmatch(r"#[\w.-]{1,80}", channel := address.lower()):
        return channel
    if re.fullmatch(r"[CDGUW][A-Z0-9]{2,20}", address):
        return address
    raise ValueError("must be a channel such as #orders or a Slack id such as C024BE91L")


def _opaque(address: str) -> str:
    if re.fullmatch(r"[!-~]{1,512}", address) and "://" not in address:
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
