"""Which of a deployment's policies judges a notification.

A notification may say it: by the policy's name, or by its recipient's country and time zone. What it says and no policy
fits is left aside; of several policies that are left, the strictest one judges. The reason then says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from .closure import DAY
from .openings import groups
from .terms import Choice, Policy, Wanted
from .windows import opens_at, starts_after

CHOICES_KEPT = 1024
"""More than all zones of all countries: a sender cannot fill the memory with names."""

_TWO_WEEKS = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 19, tzinfo=UTC)
"""The weeks by which policies are compared. They are fixed, so that the strictest policy is always the same one."""


def chosen(notification: Mapping[str, Any], now: datetime, policy: Policy) -> Choice:
    """The policy that judges this notification. One that asks for none is judged by the deployment's own."""
    says = notification.get("policy"), notification.get("country"), notification.get("timezone")
    if says == (None, None, None):
        return Choice(policy)
    wanted = Wanted(*says, now.astimezone(UTC).year)
    if wanted not in policy.choices:
        if len(policy.choices) >= CHOICES_KEPT:
            policy.choices.clear()
        policy.choices[wanted] = _choose(wanted, policy)
    return policy.choices[wanted]


def _choose(wanted: Wanted, policy: Policy) -> Choice:
    left = list(policy.policies)
    fits: dict[str, Callable[[Policy], bool]] = {}
    if wanted.policy is not None:
        fits["policy"] = lambda each: each.name == wanted.policy
    if wanted.country is not None and not any(each.name == wanted.policy for each in left):
        fits["country"] = lambda each: wanted.country in each.countries
    if wanted.timezone is not None:
        zone = wanted.timezone
        fits["timezone"] = lambda each: all(same_clock(zone, own.zone.key, wanted.year) for own in each.closures)
    fits_none = []
    for name, is_fit in fits.items():
        fitting = [each for each in left if is_fit(each)]
        left = fitting or left
        fits_none += [] if fitting else [name]
    found = strictest(left)
    if len(left) == 1 and not fits_none:
        return Choice(found)
    why = f"no deployed policy fits its {' and '.join(fits_none)}" if fits_none else "several policies fit"
    return Choice(found, f"{why}, so {'the strictest' if len(left) > 1 else 'this one'} judges: {found.place}")


def strictest(policies: Sequence[Policy]) -> Policy:
    """The policy that holds for the longest time: two weeks of every kind of notification, with a night consent and
    without. Of several, it is the first."""
    return max(policies, key=held_for)


@lru_cache(maxsize=64)
def held_for(policy: Policy) -> timedelta:
    """For how long a policy holds in two weeks, summed over every kind of notification."""
    begin, end = _TWO_WEEKS
    held = timedelta(0)
    for group, times in Counter(groups(policy.closures)).items():
        at = begin
        while at < end:
            until = opens_at(at, group, policy)
            if until is not None:
                held += times * (min(until, end) - at)
                at = until + policy.skew
            else:
                at = starts_after(at, group, policy) or at + DAY
    return held


@lru_cache(maxsize=4096)
def same_clock(one: str, other: str, year: int) -> bool:
    """Say if two zones show the same time on every day of a year, as America/Detroit and America/New_York do. Raises
    `ValueError` or `KeyError` for a zone that is none."""
    if one == other:
        return True
    zones = ZoneInfo(one), ZoneInfo(other)
    days = (datetime(year, 1, 1, tzinfo=UTC) + number * DAY for number in range(-2, 368))
    return all(day.astimezone(zones[0]).utcoffset() == day.astimezone(zones[1]).utcoffset() for day in days)
