"""The rule decides whether a notification may go out now, is held, or has ended. It knows no clock and no AWS.

A policy is a list of closures (policies/*.toml). A notification is held until the first instant at which no closure
that applies to it is open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from .closure import CATEGORIES as CATEGORIES
from .closure import CHANNELS as CHANNELS
from .closure import DAY, EVERY_DAY, Closure
from .openings import opening_rules, wait_queue

SPANS_KEPT = 4

CLOSED_MAX = timedelta(days=7)
"""The longest time that closures may follow each other. Synthesis refuses a policy that is closed for longer."""


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


class Hours(NamedTuple):
    """The deployment's settings that a policy was read with: its quiet hours, and when KakaoTalk takes nothing."""

    start: str = "21:00"
    end: str = "08:00"
    kakao_closed: str = "20:50-08:00"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which notifications are held and when. `zone` and `hours` are the deployment's.

    `guard`: no send starts so shortly before a closure that it could still be in flight when the closure begins.
    `skew`: this clock may run so far ahead of the true time; closures last that much longer.
    `advertising_consent`: `required` ends advertising to those who have not consented to it. A refusal on record ends
    it in any case.
    Raises `ValueError` when a closure of every day leaves no time to send.
    """

    name: str
    closures: tuple[Closure, ...]
    zone: ZoneInfo
    hours: Hours = field(default_factory=Hours)
    guard: timedelta = timedelta(0)
    skew: timedelta = timedelta(0)
    advertising_consent: AdvertisingConsent = ""
    seen: dict[tuple[str, str], _Group] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What the rule has worked out, by category and channel: one span lasts for hours, and every notification asks."""

    def __post_init__(self) -> None:
        for each in self.closures:
            closed = (datetime.combine(date.min, each.end) - datetime.combine(date.min, each.start)) % DAY or DAY
            if each.weekdays == EVERY_DAY and closed + self.guard + self.skew >= DAY:
                hours = f"{each.start:%H:%M} to {each.end:%H:%M}"
                raise ValueError(f"quiet hours {hours} with their guard leave no time to send")


@dataclass(frozen=True, slots=True)
class Send:
    """The notification may go out now."""

    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """The notification waits until no closure is open any more, at `until`. `queue` is the number of the wait queue
    that is drained then, from 0."""

    until: datetime
    why: str
    queue: int = 0


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
    channel = notification["channel"]
    group = policy.seen.get((category, channel)) or _group(category, channel, policy)
    if not group.closures:
        return _never_held(category, channel, policy.name, policy.advertising_consent)
    span = _span_at(now, policy, group)
    return span.with_consent if consent is not None and consent.night_consent else span.judgement


@lru_cache(maxsize=64)  # a campaign has the same few reasons for all its notifications
def _never_held(category: str, channel: str, policy_name: str, advertising_consent: AdvertisingConsent) -> Send:
    return _send(f"{category} by {channel} is never held under policy {policy_name}", category, advertising_consent)


def _send(why: str, category: str, advertising_consent: AdvertisingConsent) -> Send:
    """Send, and say of advertising where its consent is."""
    return Send(why + _CONSENT_SAID[advertising_consent] if category == "advertising" else why)


def may_be_held(notification: Mapping[str, Any], policy: Policy) -> bool:
    """True if some closure applies to this notification at all, so that its night consent may matter."""
    key = notification["category"], notification["channel"]
    return bool((policy.seen.get(key) or _group(*key, policy)).closures)


@lru_cache(maxsize=64)
def rules_of_queues(policy: Policy, queues: int) -> tuple[Policy, ...]:
    """The rule of each wait queue: the policy with only the closures of what is held there.

    A queue that no closure needs any more has a rule without closures. So it is drained at any time, and what was on it
    is judged anew.
    """
    rules = [replace(policy, closures=closures) for closures in opening_rules(policy.closures)]
    unused = replace(policy, closures=())
    return (*rules, *[unused] * (queues - len(rules)))


def quiet_until(now: datetime, policy: Policy) -> datetime | None:
    """Return when no closure is open any more, if one is open at `now`, guard and skew included; else None."""
    judgement = _span_at(now, policy, policy.seen.get(_EVERYTHING) or _group(*_EVERYTHING, policy)).judgement
    return judgement.until if isinstance(judgement, Hold) else None


def quiet_ended(now: datetime, policy: Policy) -> datetime:
    """The instant at which all closures had ended the last time before `now`, in UTC, without the skew. It looks back
    for as long as closures may last, and a day."""
    ends = {
        window.end
        for each in policy.closures
        for back in range(0, CLOSED_MAX.days + 2, 3)
        for window in _around(now - back * DAY, each, policy)
    }
    past = sorted((end for end in ends if end <= now), reverse=True)
    is_free = (end for end in past if opens_at(end + policy.skew, policy.closures, policy) is None)
    return next(is_free, past[-1] if past else now.astimezone(UTC))


def opens_at(now: datetime, closures: Iterable[Closure], policy: Policy) -> datetime | None:
    """The first instant at which none of these closures is open, if one is open at `now`; else None. It is the end of
    the last of them, without the skew. Closures may follow each other, so the end of one is not enough.

    It looks no further than `CLOSED_MAX`: the policies of a deployment all open before that.
    """
    end, at = None, now
    while at - now <= CLOSED_MAX:
        ends = [window.end for closure in closures for window in _around(at, closure, policy) if window.covers(at)]
        if not ends:
            return end
        end = max(ends)
        at = end + policy.skew
    return end


def starts_after(now: datetime, closures: Iterable[Closure], policy: Policy) -> datetime | None:
    """The first instant after `now` at which one of these closures begins, guard included; None if that is more than a
    day ahead."""
    windows = (window for closure in closures for window in _around(now, closure, policy))
    return min((window.begins for window in windows if window.begins > now), default=None)


def held_from(
    notification: Mapping[str, Any], consent: Consent | None, now: datetime, policy: Policy
) -> datetime | None:
    """The first instant after `now` from which a notification that may go now would be held, guard included; None if
    that is later than it may live."""
    key = notification["category"], notification["channel"]
    group = policy.seen.get(key) or _group(*key, policy)
    if not group.closures:
        return None
    by_night = consent is not None and consent.night_consent
    start = group.starts.get(by_night)
    if start is None or not start.asked_at <= now < start.asked_until:
        closures = [each for each in group.closures if not (by_night and each.consent_opens)]
        begins = starts_after(now, closures, policy) or starts_after(now + 2 * DAY, closures, policy)
        group.starts[by_night] = start = _Start(now, min(begins or now + DAY, now + DAY), begins)
    return start.begins


_EVERYTHING = ("", "")
"""The place of all closures together in what a policy has seen."""


@dataclass(slots=True)
class _Group:
    """The closures that apply to notifications of one category and channel, and the newest spans."""

    closures: tuple[Closure, ...]
    category: str
    spans: list[_Span] = field(default_factory=list)
    starts: dict[bool, _Start] = field(default_factory=dict)
    """When the next closure begins, without a night consent and with one."""


def _group(category: str, channel: str, policy: Policy) -> _Group:
    """Work out which closures apply. Every further notification of this category and channel finds it done."""
    if (category, channel) == _EVERYTHING:
        applying = policy.closures
    else:
        applying = tuple(each for each in policy.closures if each.applies(category, channel))
    return policy.seen.setdefault((category, channel), _Group(applying, category))


class _Start(NamedTuple):
    """The first instant after `asked_at` at which a closure begins; the answer is the same before `asked_until`."""

    asked_at: datetime
    asked_until: datetime
    begins: datetime | None


class _Span(NamedTuple):
    """A span of time, `[begins, ends)`, with one judgement without a night consent, and one with it."""

    begins: datetime
    ends: datetime
    judgement: Send | Hold
    with_consent: Send | Hold


def _span_at(now: datetime, policy: Policy, group: _Group) -> _Span:
    if now.tzinfo is None:
        raise ValueError("the time must carry an offset")
    for span in group.spans:
        if span.begins <= now < span.ends:
            return span
    span = _find_span(now, policy, group)
    group.spans[:] = [span, *group.spans[: SPANS_KEPT - 1]]
    return span


def _find_span(now: datetime, policy: Policy, group: _Group) -> _Span:
    """Return the span around `now`: from the last instant at which a closure began or ended to the next one. A span
    ends at midnight as well, so that no closure of another day is forgotten."""
    edges = {edge for each in group.closures for window in _around(now, each, policy) for edge in window[:2]}
    midnight = now.astimezone(policy.zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    edges |= {(midnight + days * DAY).astimezone(UTC) for days in range(-1, 3)}
    begins, ends = max(edge for edge in edges if edge <= now), min(edge for edge in edges if edge > now)
    free: Send | Hold = _send(
        f"outside quiet hours ({' and '.join(each.hours for each in group.closures)})",
        group.category,
        policy.advertising_consent,
    )
    stays = tuple(each for each in group.closures if not each.consent_opens)
    judgement = _hold(now, group.closures, policy) or free
    with_consent = _hold(now, stays, policy) or free
    if isinstance(judgement, Hold) and with_consent is free:
        why = "quiet hours, but the recipient has consented to the night"
        with_consent = _send(why, group.category, policy.advertising_consent)
    return _Span(begins, ends, judgement, with_consent)


def _hold(now: datetime, closures: Sequence[Closure], policy: Policy) -> Hold | None:
    """Hold until no closure is open, and name those that are open now; None if none is."""
    until = opens_at(now, closures, policy)
    if until is None:
        return None
    are_open = [each for each in closures if any(window.covers(now) for window in _around(now, each, policy))]
    zone = are_open[0].zone
    opened, stays = (
        "; ".join(_cited(each) for each in are_open if each.consent_opens is opens) for opens in (True, False)
    )
    parts = [f"and no night consent: {opened}"] * bool(opened) + [f"whatever the consent: {stays}"] * bool(stays)
    local = until.astimezone(zone)
    why = f"quiet hours until {local:%Y-%m-%d %H:%M} {zone.key}, {'; and '.join(parts)}"
    return Hold(local, why, wait_queue(tuple(closures), policy.closures))


def _cited(closure: Closure) -> str:
    """A closure's name, with where it is from. What is not the text of a law says what it is instead."""
    standing = "" if closure.standing in ("", "text read") else f"; {closure.standing}"
    return f"{closure.name} ({closure.citation}{standing})" if closure.citation else closure.name


class _Window(NamedTuple):
    """One time of a closure: it is closed in `[begins, ends)`, guard and skew included. `end` is without the skew."""

    begins: datetime
    ends: datetime
    end: datetime

    def covers(self, at: datetime) -> bool:
        return self.begins <= at < self.ends


def _around(now: datetime, closure: Closure, policy: Policy) -> Iterator[_Window]:
    """The times of a closure that start on the days around `now`, the latest first."""
    today = now.astimezone(closure.zone).date()
    for days in (2, 1, 0, -1, -2):
        day = today + days * DAY
        if day.weekday() in closure.weekdays or day in closure.dates:
            start, end = _window(day, closure)
            yield _Window(start - policy.guard, end + policy.skew, end)


def _window(day: date, closure: Closure) -> tuple[datetime, datetime]:
    """The time of a closure that starts on `day`, in UTC: when the clocks change, local times are an hour off.

    If they change inside the hour that `start` or `end` names, the reading that is closed for longer counts.
    """
    last_day = day + DAY if closure.ends_next_day else day
    start = min(datetime.combine(day, closure.start.replace(fold=f), closure.zone).astimezone(UTC) for f in (0, 1))
    end = max(datetime.combine(last_day, closure.end.replace(fold=f), closure.zone).astimezone(UTC) for f in (0, 1))
    return start, end
