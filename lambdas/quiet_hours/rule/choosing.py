"""Which of a deployment's policies judges a notification.

A notification may say it: by the policy's name, or by its recipient's country and time zone. If no policy fits all that
it says, or several do, all that are left judge together, and it goes when none of them holds it. Policies that would
never let it go together leave it to the strictest of them. The reason says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from .closure import DAY
from .openings import Closures
from .terms import Choice, Policy, Wanted, joined
from .windows import opens_at, starts_after

CHOICES_KEPT = 1024
"""A sender cannot fill the memory with names."""

NOTE_CHARACTERS_MAX = 250
"""So much of a note stands in the producer's answer, for each notification."""

CLOSED_TOGETHER_MAX = timedelta(days=2)
"""Policies that judge together hold for no longer than this at a time: a notification lives for three days."""

_TWO_WEEKS = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 19, tzinfo=UTC)
"""The weeks by which policies are compared. They are fixed, so that the answer is always the same."""


def chosen(notification: Mapping[str, Any], now: datetime, policy: Policy) -> Choice:
    """The policy that judges this notification. One that asks for none is judged by the deployment's own."""
    if "policy" not in notification and "country" not in notification and "timezone" not in notification:
        return policy.own_choice
    says = notification.get("policy"), notification.get("country"), notification.get("timezone")
    wanted = Wanted(*says, notification["category"], notification["channel"], now.astimezone(UTC).year)
    choice = policy.choices.get(wanted)
    if choice is None:
        if len(policy.choices) >= CHOICES_KEPT:
            policy.choices.clear()
        choice = policy.choices[wanted] = _choose(wanted, policy)
    return choice


def _choose(wanted: Wanted, policy: Policy) -> Choice:
    every = policy.policies
    fits = _fits(wanted, every)
    left = [each for each in every if all(each in fitting for fitting in fits.values())]
    if len(left) == 1:
        return Choice(left[0])
    why = "several policies fit"
    if not left:
        left = [each for each in every if any(each in fitting for fitting in fits.values())] or list(every)
        why = f"no policy fits its {' and '.join([name for name, fitting in fits.items() if not fitting] or fits)}"
    if len(left) == 1:
        return _noted(left[0], f"{why}, so this one judges: {left[0].place}")
    all_of_them = joined(left)
    applying = tuple(each for each in all_of_them.closures if each.applies(wanted.category, wanted.channel))
    if max(_closed_times(applying, all_of_them), default=timedelta(0)) <= CLOSED_TOGETHER_MAX:
        return _noted(all_of_them, f"{why}, so all of these judge: {all_of_them.place}")
    found = strictest(left, wanted)
    return _noted(found, f"{why}, so the strictest judges: {found.place}")


def _noted(policy: Policy, note: str) -> Choice:
    return Choice(policy, note if len(note) <= NOTE_CHARACTERS_MAX else f"{note[: NOTE_CHARACTERS_MAX - 1]}…")


def _fits(wanted: Wanted, policies: Sequence[Policy]) -> dict[str, list[Policy]]:
    """The policies that fit each thing that a notification says. Its country says nothing beside a policy's name."""
    fits = {}
    if wanted.policy is not None:
        fits["policy"] = [each for each in policies if each.name == wanted.policy]
    if wanted.country is not None and not fits.get("policy"):
        fits["country"] = [each for each in policies if wanted.country in each.countries]
    if wanted.timezone is not None:
        fits["timezone"] = [
            each
            for each in policies
            if each.zones and all(same_clock(wanted.timezone, zone, wanted.year) for zone in each.zones)
        ]
    return fits


def strictest(policies: Sequence[Policy], wanted: Wanted) -> Policy:
    """The policy that holds such a notification for the longest time: in two weeks, without a night consent and with
    one. Of several, it is the first."""
    return max(policies, key=lambda each: held_for(each, wanted.category, wanted.channel))


def held_for(policy: Policy, category: str, channel: str) -> timedelta:
    """For how long a policy holds such notifications in two weeks, without a night consent and with one together."""
    closures = tuple(each for each in policy.closures if each.applies(category, channel))
    stays = tuple(each for each in closures if not each.consent_opens)
    return sum((closed for group in (closures, stays) for closed in _closed_times(group, policy)), timedelta(0))


def _closed_times(closures: Closures, policy: Policy) -> Iterator[timedelta]:
    """The lengths of the times of two weeks in which one of these closures of a policy is open."""
    at, end = _TWO_WEEKS
    while at < end:
        until = opens_at(at, closures, policy)
        if until is not None:
            yield min(until, end) - at
            at = until + policy.skew
        else:
            at = starts_after(at, closures, policy) or at + DAY


@lru_cache(maxsize=4096)
def same_clock(one: str, other: str, year: int) -> bool:
    """Say if two zones show the same time in every hour of a year, as America/Detroit and America/New_York do. Raises
    `ValueError` or `KeyError` for a zone that is none."""
    if one == other:
        return True
    zones = ZoneInfo(one), ZoneInfo(other)
    begin = datetime(year, 1, 1, tzinfo=UTC) - 2 * DAY
    before = None
    for number in range(370):
        day = begin + number * DAY
        offset = day.astimezone(zones[0]).utcoffset()
        # The hours count on the days on which the clocks change: America/Havana changes at midnight.
        hours = (0,) if offset == before or before is None else range(-24, 1)
        times = (day + timedelta(hours=hour) for hour in hours)
        if any(at.astimezone(zones[0]).utcoffset() != at.astimezone(zones[1]).utcoffset() for at in times):
            return False
        before = offset
    return True
