"""The rule decides whether a notification may go out now, is held, or has ended. It knows no clock and no AWS.

A policy is a list of closures (policies/*.toml). A notification is held until the first instant at which no closure
that applies to it is open. A deployment may have several policies: choosing.py says which one judges a notification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from .choosing import chosen
from .closure import CATEGORIES as CATEGORIES
from .closure import CHANNELS as CHANNELS
from .closure import DAY, Closure
from .openings import Closures, opening_rules, wait_queue
from .terms import AdvertisingConsent, Consent, Decision, Drop, Group, Hold, Policy, Send, Span, Start
from .windows import CLOSED_MAX, around, opens_at, starts_after

SPANS_KEPT = 4

_CONSENT_SAID: dict[AdvertisingConsent, str] = {
    "": "",
    "elsewhere": "; advertising consent is kept elsewhere",
    "required": "; the recipient has consented to advertising",
}


def decide(notification: Mapping[str, Any], consent: Consent | None, now: datetime, policy: Policy) -> Decision:
    """Judge one accepted notification at one instant. `consent` None means that the recipient has no record.

    If several policies are deployed, the notification's `policy`, `country` and `timezone` choose the one that judges.
    """
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
    policy, note = chosen(notification, now, policy)
    group = policy.seen.get((category, channel)) or _group(category, channel, policy)
    if not group.closures:
        judgement: Send | Hold = _never_held(category, channel, policy.name, policy.advertising_consent)
    else:
        span = _span_at(now, policy, group)
        judgement = span.with_consent if consent is not None and consent.night_consent else span.judgement
    return replace(judgement, why=f"{judgement.why}; {note}") if note else judgement


@lru_cache(maxsize=64)  # a campaign has the same few reasons for all its notifications
def _never_held(category: str, channel: str, policy_name: str, advertising_consent: AdvertisingConsent) -> Send:
    return _send(f"{category} by {channel} is never held under policy {policy_name}", category, advertising_consent)


def _send(why: str, category: str, advertising_consent: AdvertisingConsent) -> Send:
    """Send, and say of advertising where its consent is."""
    return Send(why + _CONSENT_SAID[advertising_consent] if category == "advertising" else why)


def may_be_held(notification: Mapping[str, Any], now: datetime, policy: Policy) -> bool:
    """True if some closure applies to this notification at all, so that its night consent may matter."""
    policy = chosen(notification, now, policy).policy
    key = notification["category"], notification["channel"]
    return bool((policy.seen.get(key) or _group(*key, policy)).closures)


def is_held(notification: Mapping[str, Any], now: datetime, policy: Policy) -> bool:
    """True if this notification is held now, unless a night consent opens what holds it."""
    policy = chosen(notification, now, policy).policy
    key = notification["category"], notification["channel"]
    group = policy.seen.get(key) or _group(*key, policy)
    return bool(group.closures) and isinstance(_span_at(now, policy, group).judgement, Hold)


@lru_cache(maxsize=64)
def rules_of_queues(policy: Policy, queues: int) -> tuple[Policy, ...]:
    """The rule of each wait queue: a policy with only the closures of what is held there.

    A queue that no closure needs any more has a rule without closures. So it is drained at any time, and what was on it
    is judged anew.
    """
    alone = replace(policy, further=(), deployed=())
    rules = [replace(alone, closures=closures) for closures in opening_rules(policy.closures_of_all)]
    unused = replace(alone, closures=())
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
        for window in around(now - back * DAY, each, policy)
    }
    past = sorted((end for end in ends if end <= now), reverse=True)
    is_free = (end for end in past if opens_at(end + policy.skew, policy.closures, policy) is None)
    return next(is_free, past[-1] if past else now.astimezone(UTC))


def held_from(
    notification: Mapping[str, Any], consent: Consent | None, now: datetime, policy: Policy
) -> datetime | None:
    """The first instant after `now` from which a notification that may go now would be held, guard included; None if
    that is later than it may live."""
    policy = chosen(notification, now, policy).policy
    key = notification["category"], notification["channel"]
    group = policy.seen.get(key) or _group(*key, policy)
    if not group.closures:
        return None
    by_night = consent is not None and consent.night_consent
    start = group.starts.get(by_night)
    if start is None or not start.asked_at <= now < start.asked_until:
        closures = [each for each in group.closures if not (by_night and each.consent_opens)]
        nearest = (starts_after(at, closures, policy) for at in (now, now + 2 * DAY))
        begins = min((each for each in nearest if each is not None), default=None)
        group.starts[by_night] = start = Start(now, min(begins or now + DAY, now + DAY), begins)
    return start.begins


_EVERYTHING = ("", "")
"""The place of all closures together in what a policy has seen."""


def _group(category: str, channel: str, policy: Policy) -> Group:
    """Work out which closures apply. Every further notification of this category and channel finds it done."""
    if (category, channel) == _EVERYTHING:
        applying = tuple(closure for closures in policy.closures_of_all for closure in closures)
    else:
        applying = tuple(each for each in policy.closures if each.applies(category, channel))
    return policy.seen.setdefault((category, channel), Group(applying, category))


def _span_at(now: datetime, policy: Policy, group: Group) -> Span:
    if now.tzinfo is None:
        raise ValueError("the time must carry an offset")
    for span in group.spans:
        if span.begins <= now < span.ends:
            return span
    span = _find_span(now, policy, group)
    group.spans[:] = [span, *group.spans[: SPANS_KEPT - 1]]
    return span


def _find_span(now: datetime, policy: Policy, group: Group) -> Span:
    """Return the span around `now`: from the last instant at which a closure began or ended to the next one. A span
    ends at midnight as well, so that no closure of another day is forgotten."""
    edges = {edge for each in group.closures for window in around(now, each, policy) for edge in window[:2]}
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
    return Span(begins, ends, judgement, with_consent)


def _hold(now: datetime, closures: Sequence[Closure], policy: Policy) -> Hold | None:
    """Hold until no closure is open, and name those that are open now; None if none is."""
    until = opens_at(now, closures, policy)
    if until is None:
        return None
    are_open = [each for each in closures if any(window.covers(now) for window in around(now, each, policy))]
    zone = are_open[0].zone
    opened, stays = (
        "; ".join(dict.fromkeys(_cited(each) for each in are_open if each.consent_opens is opens))
        for opens in (True, False)
    )
    parts = [f"and no night consent: {opened}"] * bool(opened) + [f"whatever the consent: {stays}"] * bool(stays)
    local = until.astimezone(zone)
    why = f"quiet hours until {local:%Y-%m-%d %H:%M} {zone.key}, {'; and '.join(parts)}"
    return Hold(local, why, _queue(now, tuple(closures), policy))


def _queue(now: datetime, closures: Closures, policy: Policy) -> int:
    """The number of the wait queue for what these closures hold.

    Policies that judge together have no queue of their own. What they hold waits for the one that opens last of those
    that are closed now. At that instant it is judged anew, and may then wait for one that has closed meanwhile.
    """
    waits = [
        (until, own)
        for each in policy.members
        if (own := tuple(closure for closure in closures if closure in each.closures))
        and (until := opens_at(now, own, each)) is not None
    ]
    own = max(waits, key=lambda wait: wait[0])[1] if waits else closures
    return wait_queue(own, policy.closures_of_all)


def _cited(closure: Closure) -> str:
    """A closure's name, with where it is from. What is not the text of a law says what it is instead."""
    standing = "" if closure.standing in ("", "text read") else f"; {closure.standing}"
    return f"{closure.name} ({closure.citation}{standing})" if closure.citation else closure.name
