"""The consent registry: what a recipient has agreed to, since when, by what evidence; and every change that led there.

One item a recipient is what counts, and what is read at the moment of sending (consent.py). The history is a table of
its own, written in the same transaction. A statement counts from the instant at which it was made: an older one that
comes later, out of an old file for example, never undoes a newer one.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from ..errors import StatementRefused
from ..rule.policy import Consent
from .statement import Statement
from .times import LATEST_EXPIRY, OLDEST, iso

RENOTIFY_YEARS = 2
"""Korea asks for consent to be notified again every two years (Network Act art. 50(8), by secondary sources)."""


@dataclass(frozen=True, slots=True)
class Record:
    """What stands in the consent table. Instants are ISO 8601 in UTC, to the millisecond, so that they sort as text;
    `renotify_due` is a date. All of them are empty where a record was made by other means. `expires_at`: until when the
    night consent counts, empty where it has no end; the table has it as `expires`, in seconds since 1970."""

    recipient_id: str
    night_consent: bool = False
    opted_out: bool = False
    changed_at: str = ""
    evidence: str = ""
    renotified_at: str = ""
    renotify_due: str = ""
    expires_at: str = ""

    def to_item(self) -> dict[str, Any]:
        item: dict[str, Any] = {name: {"S": value} for name in _TEXTS if (value := getattr(self, name))}
        item |= {name: {"BOOL": getattr(self, name)} for name in ("night_consent", "opted_out")}
        if self.renotify_due:
            item["due_month"] = {"S": self.renotify_due[:7]}
        if self.expires_at:
            item["expires"] = {"N": str(int(datetime.fromisoformat(self.expires_at).timestamp()))}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Record:
        consent = consent_of(item, OLDEST)  # as it was said: whether it has expired since is the rule's question
        texts = {name: item[name]["S"] for name in _TEXTS if name in item}
        return cls(**texts, **consent._asdict(), expires_at=_expiry(item["expires"]) if "expires" in item else "")

    def shown(self, now: datetime) -> dict[str, Any]:
        """The record as the APIs answer it: what counts now, and null for what is not known."""
        counts = self.night_consent and not (self.expires_at and self.expires_at <= iso(now))
        return {"recipient_id": self.recipient_id, "night_consent": counts, "opted_out": self.opted_out} | {
            name: getattr(self, name) or None
            for name in ("changed_at", "evidence", "renotified_at", "renotify_due", "expires_at")
        }


def _expiry(expires: Mapping[str, str]) -> str:
    """The instant that consent.py judges by: what is no number has expired."""
    return iso(datetime.fromtimestamp(min(max(float(expires.get("N", "0")), 0), LATEST_EXPIRY.timestamp()), UTC))


_TEXTS = ("recipient_id", "changed_at", "evidence", "renotified_at", "renotify_due")


def amended(record: Record | None, recipient_id: str, said: Statement, now: datetime, zone: tzinfo) -> Record:
    """The record once the statement counts; the same one where it says nothing new. Raises `Refused`.

    What is said now always counts: a withdrawal is not refused because two clocks disagree. Where nobody knows since
    when the record stands, only what is said now may grant more. The date of the next notification goes by the oldest
    consent that still stands.
    """
    known = record or Record(recipient_id)
    same = all(getattr(known, name) == getattr(said, name) for name in _SAID)
    if said.made_at is None:
        if record and record.changed_at and same:
            return record
        at = iso(max(now, _after(known.changed_at), _after(known.renotified_at)))
    else:
        at = iso(said.made_at)
        if record and not record.changed_at and _grants_more(said, record):
            raise StatementRefused(
                "changed_at: nobody knows since when the record stands; only what is said now may grant more"
            )
        if at == known.changed_at and same:
            return known
        if at <= known.changed_at:
            raise StatementRefused(
                f"changed_at: a statement of {known.changed_at} stands; an older one does not undo it"
            )
        if at == known.renotified_at:  # both would be the same entry of the history
            raise StatementRefused("changed_at: is the very instant of the last renotification")
    consents = record is not None and not record.opted_out and record.renotify_due
    due = said.renotify_due or (record.renotify_due if record and consents else due_after(at, zone))
    return Record(
        recipient_id,
        said.night_consent,
        said.opted_out,
        at,
        said.evidence,
        said.renotified_at or known.renotified_at,
        "" if said.opted_out else due,
        said.expires_at,
    )


_SAID = ("night_consent", "opted_out", "evidence", "expires_at")


def _grants_more(said: Statement, record: Record) -> bool:
    longer = said.expires_at == "" or said.expires_at > record.expires_at
    more_at_night = not record.night_consent or (record.expires_at != "" and longer)
    return (record.opted_out and not said.opted_out) or (said.night_consent and more_at_night)


def renotified(record: Record | None, at: datetime | None, now: datetime, zone: tzinfo) -> Record:
    """The record once its recipient has been told again what they consent to. Raises `Refused`."""
    if record is None:
        raise StatementRefused("recipient_id: has no record")
    if record.opted_out:
        raise StatementRefused("recipient_id: has opted out: there is no consent to notify of")
    instant = iso(at or max(now, _after(record.changed_at), _after(record.renotified_at)))
    if instant == record.renotified_at:
        return record
    if instant <= max(record.changed_at, record.renotified_at):
        raise StatementRefused("renotified_at: lies before the last change or notification")
    return replace(record, renotified_at=instant, renotify_due=due_after(instant, zone))


def due_after(instant: str, zone: tzinfo) -> str:
    """Two years after an instant, as a date where the recipients live; after a 29 February the 28th."""
    day = datetime.fromisoformat(instant).astimezone(zone).date()
    year = day.year + RENOTIFY_YEARS
    return date(year, day.month, min(day.day, calendar.monthrange(year, day.month)[1])).isoformat()


def _after(instant: str) -> datetime:
    """The first instant that sorts after this one."""
    return datetime.fromisoformat(instant) + timedelta(milliseconds=1) if instant else OLDEST


def consent_of(item: Mapping[str, Any], now: datetime) -> Consent:
    """Read so that doubt disturbs nobody: only a stored true is a consent, anything but a stored false an opt-out.

    A consent that has expired is still stored, and does not count. An opt-out stays.
    """
    expired = "expires" in item and float(item["expires"].get("N", "0")) <= now.timestamp()
    return Consent(
        night_consent=item.get("night_consent") == {"BOOL": True} and not expired,
        opted_out=item.get("opted_out", {"BOOL": False}) != {"BOOL": False},
    )
