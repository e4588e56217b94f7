"""The consent record: what a recipient has agreed to, since when, and by what evidence.

Each recipient has one item, and only this item counts when a notification is sent. The history is a table of its own,
written in the same transaction (stores/consents.py). A statement counts from the instant at which it was made: an older
statement that arrives later, from an old file for example, never undoes a newer one.
"""

from __future__ import annotations

import calendar
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from ..errors import StatementRefused
from ..rule.terms import Consent
from .statement import Statement
from .times import LATEST_EXPIRY, OLDEST, iso

RENOTIFY_YEARS = 2
"""Korea asks for consent to be notified again every two years (Network Act art. 50(8), by secondary sources)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One item of the consent table.

    Instants are ISO 8601 in UTC, to the millisecond, so that they sort as text; `renotify_due` is a date. All of them
    are empty if the record was made by other means. The night consent counts until `expires_at`, which is empty if it
    has no end; the table keeps this as `expires`, in seconds since 1970.

    `advertising_consent` is None where nobody has said. `addresses` are the keys of the addresses that the consents are
    for, sorted; none: any address that a sender names for this recipient.

    `stated_at` is the instant of the statement where `changed_at` is a later one: two statements of the same instant
    need two places in the history.
    """

    recipient_id: str
    night_consent: bool = False
    opted_out: bool = False
    changed_at: str = ""
    evidence: str = ""
    renotified_at: str = ""
    renotify_due: str = ""
    expires_at: str = ""
    stated_at: str = ""
    advertising_consent: bool | None = None
    addresses: tuple[str, ...] = ()

    def to_item(self) -> dict[str, Any]:
        item: dict[str, Any] = {name: {"S": value} for name in _TEXTS if (value := getattr(self, name))}
        item |= {name: {"BOOL": getattr(self, name)} for name in ("night_consent", "opted_out")}
        item |= attributes_said(self)
        if self.renotify_due:
            item["due_month"] = {"S": self.renotify_due[:7]}
        if self.expires_at:
            item["expires"] = {"N": str(int(datetime.fromisoformat(self.expires_at).timestamp()))}
        return item

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Record:
        consent = consent_of(item, OLDEST)  # as it was stated: the rule asks whether it has expired since
        texts = {name: item[name]["S"] for name in _TEXTS if name in item}
        return cls(**texts, **consent._asdict(), expires_at=_expiry(item["expires"]) if "expires" in item else "")

    def shown(self, now: datetime) -> dict[str, Any]:
        """The record as the APIs answer it: the consent that counts now, and null for what is not known."""
        counts = self.night_consent and not (self.expires_at and self.expires_at <= iso(now))
        return (
            {"recipient_id": self.recipient_id, "night_consent": counts, "opted_out": self.opted_out}
            | {
                name: getattr(self, name) or None
                for name in ("changed_at", "evidence", "renotified_at", "renotify_due", "expires_at")
            }
            | {"advertising_consent": self.advertising_consent, "addresses": list(self.addresses) or None}
        )


def attributes_said(record: Record) -> dict[str, Any]:
    """The attributes that an item or an entry of the history has only where somebody has said them."""
    found: dict[str, Any] = {}
    if record.advertising_consent is not None:
        found["advertising_consent"] = {"BOOL": record.advertising_consent}
    if record.addresses:
        found["addresses"] = {"SS": list(record.addresses)}
    return found


def _expiry(expires: Mapping[str, str]) -> str:
    """The instant of expiry. A value without a number has expired."""
    return iso(datetime.fromtimestamp(min(max(float(expires.get("N", "0")), 0), LATEST_EXPIRY.timestamp()), UTC))


_TEXTS = ("recipient_id", "changed_at", "evidence", "renotified_at", "renotify_due", "stated_at")


def amended(record: Record | None, recipient_id: str, said: Statement, now: datetime, zone: tzinfo) -> Record:
    """The record once a statement counts; the same record if it says nothing new. Raises `StatementRefused`.

    The date of the next renotification goes by the oldest consent that still stands.
    """
    known = record or Record(recipient_id)
    said = _complete(known, said)
    if _says_nothing_new(known, said):
        return known
    made_at = said.made_at
    if made_at is None:
        at = stated = iso(max(now, _after(known.changed_at), _after(known.renotified_at)))
    else:
        at = stated = iso(made_at)
        if record is not None:
            _refuse_earlier(record, said, stated)
            if stated == _stated(record):
                said = _stricter(record, said)
            at = _free_instant(record, made_at)
    keeps_its_date = record is not None and not record.opted_out and record.renotify_due
    due = said.renotify_due or (known.renotify_due if keeps_its_date else due_after(at, zone))
    return Record(
        recipient_id,
        said.night_consent,
        said.opted_out,
        at,
        said.evidence,
        said.renotified_at or known.renotified_at,
        "" if said.opted_out else due,
        said.expires_at,
        stated if stated != at else "",
        said.advertising_consent,
        said.addresses or (),
    )


def _complete(known: Record, said: Statement) -> Statement:
    """The statement with what it leaves out as the record has it: nothing that is left out grants more.

    An opt-out ends the consent to advertising: opting in again does not bring it back.
    """
    advertising = known.advertising_consent
    if advertising and (said.opted_out or known.opted_out):
        advertising = False
    return replace(
        said,
        advertising_consent=advertising if said.advertising_consent is None else said.advertising_consent,
        addresses=known.addresses if said.addresses is None else said.addresses,
    )


_SAID = ("night_consent", "opted_out", "evidence", "expires_at", "advertising_consent", "addresses")


def _says_nothing_new(known: Record, said: Statement) -> bool:
    is_known = known.changed_at and (said.made_at is None or iso(said.made_at) in (known.changed_at, _stated(known)))
    return bool(is_known) and all(getattr(known, name) == getattr(said, name) for name in _SAID)


def _refuse_earlier(record: Record, said: Statement, stated: str) -> None:
    """Raise `StatementRefused` if a statement that was made at a stated instant must not change the record.

    A statement that is made now is never refused: a withdrawal must not fail because two clocks disagree. Of two
    statements of the same instant, what restricts counts, whichever arrives first. If nobody knows since when the
    record stands, only a statement that is made now may grant more.
    """
    if not record.changed_at and grants_more(said, record):
        raise StatementRefused(
            "changed_at: nobody knows since when the record stands; only what is said now may grant more"
        )
    stands = _stated(record)
    if stated < stands or (stated == stands and not restricts(said, record)):
        raise StatementRefused(f"changed_at: a statement of {stands} stands; an older one does not undo it")
    if stated == record.renotified_at and not restricts(said, record):  # both would be the same entry of the history
        raise StatementRefused("changed_at: is the time of the last renotification; then only what restricts counts")


def _free_instant(record: Record, made_at: datetime) -> str:
    """The first instant from a statement's own on that is later than the record and has no entry in the history."""
    at = iso(max(made_at, _after(record.changed_at)))
    return iso(_after(at)) if at == record.renotified_at else at


def at_free_instant(record: Record, event: str, taken: Collection[str]) -> Record:
    """The record with the instant of its change moved on by milliseconds, until the history has no other entry there.

    `event` is the change: `changed` or `renotified`. An older renotification can have the instant of a statement.
    """
    if event == "renotified":
        return replace(record, renotified_at=_free(record.renotified_at, taken))
    at = _free(record.changed_at, taken)
    return record if at == record.changed_at else replace(record, changed_at=at, stated_at=_stated(record))


def _free(instant: str, taken: Collection[str]) -> str:
    while instant in taken:
        instant = iso(_after(instant))
    return instant


def _stated(record: Record) -> str:
    return record.stated_at or record.changed_at


def grants_more(one: Statement | Record, other: Statement | Record) -> bool:
    """True if the first of two allows anything that the second does not allow."""
    longer = one.expires_at == "" or one.expires_at > other.expires_at
    more_at_night = not other.night_consent or (other.expires_at != "" and longer)
    more_advertising = _extent(one.advertising_consent) > _extent(other.advertising_consent)
    more_addresses = bool(other.addresses) and not (one.addresses and set(one.addresses) <= set(other.addresses or ()))
    grants_any = one.night_consent or bool(one.advertising_consent)
    return (
        (other.opted_out and not one.opted_out)
        or (one.night_consent and more_at_night)
        or more_advertising
        or (grants_any and more_addresses)
    )


def _extent(advertising_consent: bool | None) -> int:
    """The order of the three: a refusal, nothing said, a consent."""
    return 1 if advertising_consent is None else 2 * advertising_consent


def restricts(one: Statement | Record, other: Statement | Record) -> bool:
    """True if the first of two does not allow something that the second allows."""
    return grants_more(other, one)


def _stricter(record: Record, said: Statement) -> Statement:
    """A statement that allows only what both it and the record allow."""
    ends = [each.expires_at for each in (record, said) if each.night_consent and each.expires_at]
    both = set(record.addresses) & set(said.addresses or ())
    is_for_none = bool(record.addresses and said.addresses and not both)
    night_consent = record.night_consent and said.night_consent and not is_for_none
    advertising = min(record.advertising_consent, said.advertising_consent, key=_extent)
    return replace(
        said,
        night_consent=night_consent,
        opted_out=record.opted_out or said.opted_out,
        expires_at=min(ends, default="") if night_consent else said.expires_at,
        advertising_consent=False if advertising and is_for_none else advertising,
        addresses=tuple(sorted(both)) or said.addresses or record.addresses,
    )


def renotified(record: Record | None, at: datetime | None, now: datetime, zone: tzinfo) -> Record:
    """The record once its recipient has been notified again of their consent. Raises `StatementRefused`."""
    if record is None:
        raise StatementRefused("recipient_id: has no record")
    if record.opted_out:
        raise StatementRefused("recipient_id: has opted out: there is no consent to notify of")
    instant = iso(at or max(now, _after(record.changed_at), _after(record.renotified_at)))
    if instant == record.renotified_at:
        return record
    if instant <= max(record.changed_at, record.renotified_at):
        raise StatementRefused("renotified_at: must be later than the last change and the last renotification")
    return replace(record, renotified_at=instant, renotify_due=due_after(instant, zone))


def due_after(instant: str, zone: tzinfo) -> str:
    """The date two years after an instant, in the recipients' time zone; after a 29 February the 28th."""
    day = datetime.fromisoformat(instant).astimezone(zone).date()
    year = day.year + RENOTIFY_YEARS
    return date(year, day.month, min(day.day, calendar.monthrange(year, day.month)[1])).isoformat()


def _after(instant: str) -> datetime:
    """The first instant that sorts after this one."""
    return datetime.fromisoformat(instant) + timedelta(milliseconds=1) if instant else OLDEST


def consent_of(item: Mapping[str, Any], now: datetime) -> Consent:
    """The consent that an item means at an instant. Doubt disturbs nobody.

    Only a stored true is a consent, and anything but a stored false is an opt-out. A stored advertising consent that is
    not true is a refusal. An expired consent is still stored and does not count. An opt-out never expires. Addresses
    that are no set of texts are nobody's: then no consent counts, and a refusal does.
    """
    addresses = item["addresses"].get("SS") if "addresses" in item else ()
    addresses_fit = addresses is not None
    advertising = item["advertising_consent"] == {"BOOL": True} if "advertising_consent" in item else None
    expired = "expires" in item and float(item["expires"].get("N", "0")) <= now.timestamp()
    return Consent(
        night_consent=item.get("night_consent") == {"BOOL": True} and addresses_fit and not expired,
        opted_out=item.get("opted_out", {"BOOL": False}) != {"BOOL": False},
        advertising_consent=None if advertising and not addresses_fit else advertising,
        addresses=tuple(sorted(addresses or ())),
    )
