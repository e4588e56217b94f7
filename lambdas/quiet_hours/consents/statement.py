"""Statements about a recipient's consent, and the checks that they must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from ..errors import Invalid
from ..notification.cleaning import clean_json
from ..notification.fields import UNKNOWN_FIELDS_NAMED_MAX, shown_name, text_check, time_fault
from ..notification.json_text import RepeatedKeys
from ..timings import CLOCK_SKEW
from .times import FIRST_DUE, LATEST_EXPIRY, OLDEST, iso

EVIDENCE_CHARACTERS_MAX = 256

_words_fault = text_check(EVIDENCE_CHARACTERS_MAX)

DUE_YEARS_AHEAD_MAX = 10
"""The furthest that a due date may lie ahead. With the oldest date possible, this bounds the months to search."""

STATEMENT_FIELDS = ("night_consent", "opted_out", "evidence", "changed_at", "expires_at")

RENOTIFICATION_FIELDS = ("evidence", "renotified_at")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement about one recipient's consent. `made_at` None means now. `expires_at` is as in a record.
    `renotified_at` and `renotify_due` come only from files, where an earlier system has kept them."""

    night_consent: bool
    opted_out: bool
    evidence: str
    made_at: datetime | None = None
    expires_at: str = ""
    renotified_at: str = ""
    renotify_due: str = ""


def statement(candidate: object, now: datetime) -> Statement:
    """Read a request: `night_consent`, `opted_out`, `evidence`, `changed_at` if it was not made now, and `expires_at`
    if the night consent has an end. A statement of a clock that runs ahead is made now.

    Raises `Invalid` with every fault found.
    """
    said = _checked(candidate, STATEMENT_FIELDS, now)
    made_at = _past_instant(said, "changed_at", now)
    expires_at = iso(datetime.fromisoformat(said["expires_at"])) if "expires_at" in said else ""
    return Statement(said["night_consent"], said["opted_out"], said["evidence"], made_at, expires_at)


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


OPTIONAL_FIELDS = ("changed_at", "expires_at", "renotified_at")

_FAULTS: dict[str, Callable[[object, datetime], str | None]] = {
    "night_consent": _flag_fault,
    "opted_out": _flag_fault,
    "evidence": _evidence_fault,
    "changed_at": instant_fault,
    "expires_at": _expiry_fault,
    "renotified_at": instant_fault,
}
