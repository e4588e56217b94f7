"""Statements about a recipient's consent, and the checks that they must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ..errors import Invalid
from ..notification.addresses import canonical_recipient, recipient_fault
from ..notification.cleaning import clean_json
from ..notification.fields import UNKNOWN_FIELDS_NAMED_MAX, shown_name, text_check, time_fault
from ..notification.json_text import RepeatedKeys
from ..timings import CLOCK_SKEW
from .times import FIRST_DUE, LATEST_EXPIRY, OLDEST, iso

EVIDENCE_CHARACTERS_MAX = 256

_words_fault = text_check(EVIDENCE_CHARACTERS_MAX)

DUE_YEARS_AHEAD_MAX = 10
"""The furthest that a due date may lie ahead. With the oldest date possible, this bounds the months to search."""

ADDRESSES_MAX = 10
ADDRESSES_CHARACTERS_MAX = 2048
"""Of all addresses of a record together. With the largest other attributes it stays one read unit of 4 KB, as long as
addresses and recipient are ASCII."""

STATEMENT_FIELDS = (
    "night_consent",
    "opted_out",
    "evidence",
    "changed_at",
    "expires_at",
    "advertising_consent",
    "addresses",
)

RENOTIFICATION_FIELDS = ("evidence", "renotified_at")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement about one recipient's consent. `made_at` None means now. `expires_at` is as in a record.
    `renotified_at` and `renotify_due` come only from files, where an earlier system has kept them.

    `advertising_consent` and `addresses` None say nothing, so that the record's stay. Addresses are keys, sorted; an
    empty tuple: any address."""

    night_consent: bool
    opted_out: bool
    evidence: str
    made_at: datetime | None = None
    expires_at: str = ""
    renotified_at: str = ""
    renotify_due: str = ""
    advertising_consent: bool | None = None
    addresses: tuple[str, ...] | None = None


def statement(candidate: object, now: datetime) -> Statement:
    """Read a request: `night_consent`, `opted_out`, `evidence`, `changed_at` if it was not made now, and `expires_at`
    if the night consent has an end; `advertising_consent` and `addresses` if it says something about them. A statement
    of a clock that runs ahead is made now.

    Raises `Invalid` with every fault found.
    """
    said = _checked(candidate, STATEMENT_FIELDS, now)
    made_at = _past_instant(said, "changed_at", now)
    if made_at is None and "changed_at" in said and not said["opted_out"]:
        # The clock that wrote it runs ahead by up to the skew. An opt-out is made as late as it may be, anything else
        # as early: an older consent must not undo an opt-out because two clocks disagree.
        made_at = datetime.fromisoformat(said["changed_at"]) - CLOCK_SKEW
    expires_at = iso(datetime.fromisoformat(said["expires_at"])) if "expires_at" in said else ""
    addresses = sorted({address_key(each) for each in said["addresses"]}) if "addresses" in said else None
    return Statement(
        said["night_consent"],
        said["opted_out"],
        said["evidence"],
        made_at,
        expires_at,
        advertising_consent=said.get("advertising_consent"),
        addresses=None if addresses is None else tuple(addresses),
    )


def address_key(address: str) -> str:
    """The key by which an address is looked up, of an address in any form."""
    return canonical_recipient(address.strip())


def renotification(candidate: object, now: datetime) -> tuple[str, datetime | None]:
    """Read a request about a renotification: `evidence`, and `renotified_at` if it was not now.

    Raises `Invalid` with every fault found.
    """
    said = _checked(candidate, RENOTIFICATION_FIELDS, now)
    return said["evidence"], _past_instant(said, "renotified_at", now)


def _past_instant(said: dict[str, Any], name: str, now: datetime) -> datetime | None:
    """The instant of a field. None means now: the field is missing, or the clock that wrote it runs ahead."""
    at = datetime.fromisoformat(said[name]) if name in said else None
    return at if at is not None and at <= now else None


def _checked(candidate: object, fields: tuple[str, ...], now: datetime) -> dict[str, Any]:
    if not isinstance(candidate, dict):
        raise Invalid(["request: must be a JSON object"])
    unknown = sorted(candidate.keys() - set(fields))[:UNKNOWN_FIELDS_NAMED_MAX]
    errors = [f"{shown_name(name)}: unknown field; allowed are {', '.join(fields)}" for name in unknown]
    if isinstance(candidate, RepeatedKeys):
        errors.append("request: names a field twice")
    for name in fields:
        if name in candidate:
            fault = _FAULTS[name](candidate[name], now)
        else:
            fault = None if name in OPTIONAL_FIELDS else "is required"
        errors += [f"{name}: {fault}"] if fault else []
    if errors:
        raise Invalid(errors)
    return {name: clean_json(value) for name, value in candidate.items()}


def _flag_fault(value: object, now: datetime) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _evidence_fault(value: object, now: datetime) -> str | None:
    return _words_fault(clean_json(value))


def instant_fault(value: object, now: datetime) -> str | None:
    """The fault of the time at which a statement was made, if any. Two clocks may disagree by `CLOCK_SKEW`."""
    if fault := time_fault(value):
        return fault
    if not OLDEST <= datetime.fromisoformat(str(value)) <= now + CLOCK_SKEW:
        return f"must lie between {OLDEST:%Y-%m-%d} and now"
    return None


def _expiry_fault(value: object, now: datetime) -> str | None:
    if fault := time_fault(value):
        return fault
    at = datetime.fromisoformat(str(value))
    if not OLDEST <= at <= LATEST_EXPIRY or at.microsecond:
        return f"must lie between {OLDEST:%Y-%m-%d} and {LATEST_EXPIRY:%Y-%m-%d}, in whole seconds"
    return None


def due_fault(value: str, now: datetime) -> str | None:
    """The fault of a date by which somebody must be notified again, if any."""
    try:
        day = date.fromisoformat(value)
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        return "must be a date such as 2027-11-01"
    if day < FIRST_DUE or day.year - now.year > DUE_YEARS_AHEAD_MAX:
        return f"must not lie before {FIRST_DUE} nor more than {DUE_YEARS_AHEAD_MAX} years ahead"
    return None


def _addresses_fault(value: object, now: datetime) -> str | None:
    if not isinstance(value, list) or len(value) > ADDRESSES_MAX:
        return f"must be an array of at most {ADDRESSES_MAX} addresses"
    for number, each in enumerate(value):
        if fault := recipient_fault(each):
            return f"number {number} {fault}"
        if ";" in each:
            return f"number {number} must have no semicolon"
    if sum(len(address_key(each)) for each in value) > ADDRESSES_CHARACTERS_MAX:
        return f"must have at most {ADDRESSES_CHARACTERS_MAX} characters together"
    return None


OPTIONAL_FIELDS = ("changed_at", "expires_at", "renotified_at", "advertising_consent", "addresses")

_FAULTS: dict[str, Callable[[object, datetime], str | None]] = {
    "night_consent": _flag_fault,
    "opted_out": _flag_fault,
    "evidence": _evidence_fault,
    "changed_at": instant_fault,
    "expires_at": _expiry_fault,
    "renotified_at": instant_fault,
    "advertising_consent": _flag_fault,
    "addresses": _addresses_fault,
}
