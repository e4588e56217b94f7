"""The rule decides whether a notification may go out now, is held, or has ended. It knows no clock and no AWS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

CATEGORIES = ("advertising", "informational", "critical")
SPANS_KEPT = 4


class Consent(NamedTuple):
    """A recipient's consent. No record means the default: no night consent.

    `advertising_consent` None means that nobody has said. `addresses`: the keys of the addresses that a record is for,
    or none if it does not say. The rule does not read them: it is given what counts for the one address.
    """

    night_consent: bool = False
    opted_out: bool = False
    advertising_consent: bool | None = None
    addresses: tuple[str, ...] = ()


AdvertisingConsent = Literal["", "elsewhere", "required"]
"""The place of the consent to advertising, which the law asks for by day, too (Network Act art. 50(1)): elsewhere, or
here, where it is then required. Empty: nobody has said, which counts as elsewhere."""

_CONSENT_SAID: dict[AdvertisingConsent, str] = {
    "": "",
    "elsewhere": "; advertising consent is kept elsewhere",
    "required": "; the recipient has consented to advertising",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """Which notifications are held and when. Quiet hours are `[start, end)` of each day in `zone`; they may cross
    midnight.

    `guard`: no send starts so shortly before quiet hours that it could still be in flight when they begin.
    `advertising_consent`: `required` ends advertising to those who have not consented to it. A refusal on record ends
    it in any case.
    `skew`: this clock may run so far ahead of the true time; quiet hours last that much longer.
    Raises `ValueError` when the window is empty or leaves no time to send.
    """

    name: str
    start: time
    end: time
    zone: ZoneInfo
    held_categories: frozenset[str]
    exempt_channels: frozenset[str] = frozenset()
    guard: timedelta = timedelta(0)
    skew: timedelta = timedelta(0)
    advertising_consent: AdvertisingConsent = ""
    spans_seen: list[_Span] = field(default_factory=list, init=False, repr=False, compare=False)
    """The newest results of the rule: one span lasts for hours, and every notification asks for it."""

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError(f"quiet hours must not start and end at the same time ({self.start:%H:%M})")
        quiet = (datetime.combine(date.min, self.end) - datetime.combine(date.min, self.start)) % timedelta(days=1)
        if quiet + self.guard + self.skew >= timedelta(days=1):
            raise ValueError(
                f"quiet hours {self.start:%H:%M} to {self.end:%H:%M} with their guard leave no time to send"
            )


@dataclass(frozen=True, slots=True)
class Send:
    """The notification may go out now."""

    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The notification waits for the end of quiet hours, at `until`."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Drop:
    """The notification has ended without being sent."""

    reason: Literal["expired", "opted_out", "superseded"]
    why: str


Decision = Send | Hold | Drop


def decide(notification: Mapping[str, Any], consent: Consent | None, now: datetime, policy: Policy) -> Decision:
    """Judge one accepted notification at one instant. `consent` None means that the recipient has no record."""
    if datetime.fromisoformat(notification["expires_at"]) <= now:
        return Drop("expired", f"expired at {notification['expires_at']}")
    category = notification["category"]
    if category == "advertising":
        if consent is not None and consent.opted_out:
            return Drop("opted_out", "the recipient has opted out of advertising")
        if policy.advertising_consent == "required" and not (consent is not None and consent.advertising_consent):
            return Drop("opted_out", "the recipient has not consented to advertising, which is required here")
        if consent is not None and consent.advertising_consent is False:
            return Drop("opted_out", "the recipient has refused advertising")
    if not may_be_held(notification, policy):
        return _never_held(category, notification["channel"], policy.name, policy.advertising_consent)
    span = _span_at(now, policy)
    if consent is not None and consent.night_consent and isinstance(span.judgement, Hold):
        return _send("quiet hours, but the recipient has consented to the night", category, policy.advertising_consent)
    return span.of_advertising if category == "advertising" else span.judgement


@lru_cache(maxsize=64)  # a campaign has the same few reasons for all its notifications
def _never_held(category: str, channel: str, policy_name: str, advertising_consent: AdvertisingConsent) -> Send:
    return _send(f"{category} by {channel} is never held under policy {policy_name}", category, advertising_consent)


def _send(why: str, category: str, advertising_consent: AdvertisingConsent) -> Send:
    """Send, and say of advertising where its consent is."""
    return Send(why + _CONSENT_SAID[advertising_consent] if category == "advertising" else why)


def may_be_held(notification: Mapping[str, Any], policy: Policy) -> bool:
    """True if quiet hours apply to this notification at all, so that its night consent matters."""
    return notification["category"] in policy.held_categories and notification["channel"] not in policy.exempt_channels


def quiet_until(now: datetime, policy: Policy) -> datetime | None:
    """Return the end of the quiet hours that `now` is in, guard and skew included; None outside them."""
    judgement = _span_at(now, policy).judgement
    return judgement.until if isinstance(judgement, Hold) else None


class _Span(NamedTuple):
    """A span of time, `[begins, ends)`, with one judgement for everybody who has not consented to the night. That of
    advertising also says where its own consent is."""

    begins: datetime
    ends: datetime
    judgement: Send | Hold
    of_advertising: Send | Hold


def _span_at(now: datetime, policy: Policy) -> _Span:
    if now.tzinfo is None:
        raise ValueError("the time must carry an offset")
    for span in policy.spans_seen:
        if span.begins <= now < span.ends:
            return span
    span = _find_span(now, policy)
    policy.spans_seen[:] = [span, *policy.spans_seen[: SPANS_KEPT - 1]]
    return span


def _find_span(now: datetime, policy: Policy) -> _Span:
    """Return the span around `now`: from the last instant at which quiet hours began or ended to the next one."""
    today = now.astimezone(policy.zone).date()
    windows = [_window(today + timedelta(days=days), policy) for days in (2, 1, 0, -1, -2)]
    quiet = [(start - policy.guard, end + policy.skew, end) for start, end in windows]
    edges = [edge for begins, ends, _ in quiet for edge in (begins, ends)]
    why = f"outside quiet hours ({policy.start:%H:%M} to {policy.end:%H:%M} {policy.zone.key})"
    judgement: Send | Hold = Send(why)
    of_advertising: Send | Hold = _send(why, "advertising", policy.advertising_consent)
    for begins, ends, end in quiet:
        if begins <= now < ends:
            until = end.astimezone(policy.zone)
            why = f"quiet hours until {until:%Y-%m-%d %H:%M} {policy.zone.key}, and no night consent"
            judgement = of_advertising = Hold(until, why)
            break
    begins, ends = max(edge for edge in edges if edge <= now), min(edge for edge in edges if edge > now)
    return _Span(begins, ends, judgement, of_advertising)


def quiet_ended(now: datetime, policy: Policy) -> datetime:
    """The instant at which the last quiet hours before `now` ended, in UTC, without the skew."""
    today = now.astimezone(policy.zone).date()
    ends = (_window(today - timedelta(days=back), policy)[1] for back in range(3))
    return max(end for end in ends if end <= now)


def _window(day: date, policy: Policy) -> tuple[datetime, datetime]:
    """The quiet hours that start on `day`, in UTC: when the clocks change, local times are an hour off.

    If they change inside the hour that `start` or `end` names, the reading with the longer quiet hours counts.
    """
    last_day = day if policy.start < policy.end else day + timedelta(days=1)
    start = min(datetime.combine(day, policy.start.replace(fold=f), policy.zone).astimezone(UTC) for f in (0, 1))
    end = max(datetime.combine(last_day, policy.end.replace(fold=f), policy.zone).astimezone(UTC) for f in (0, 1))
    return start, end
