"""The checks of policies that need a calendar. They run when the stack is synthesised, never in a function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from lambdas.quiet_hours.notification.notification import LIFE
from lambdas.quiet_hours.rule.closure import DAY, Closure
from lambdas.quiet_hours.rule.openings import opening_rules
from lambdas.quiet_hours.rule.terms import Hours, Policy
from lambdas.quiet_hours.rule.windows import CLOSED_MAX, opens_at, starts_after

AHEAD = timedelta(days=366)
"""The calendar that is looked at: every night, weekday, change of the clocks and holiday of a year."""


WAIT_QUEUES_MAX = 6
"""More wait queues than this have no room beside the other sources of one dead-letter queue."""

HOLIDAYS_AHEAD = timedelta(days=180)
"""A list of holidays whose last day is nearer than this is probably at its end."""


class Closed(NamedTuple):
    """A time without a gap in which some of the closures were open."""

    begins: datetime
    until: datetime

    @property
    def lasts(self) -> timedelta:
        return self.until - self.begins


def closed_times(closures: Sequence[Closure], policy: Policy, begin: datetime) -> Iterator[Closed]:
    """The times of a year in which one of these closures is open, one after the other."""
    at = begin
    while at < begin + AHEAD:
        until = opens_at(at, closures, policy)
        if until is not None:
            yield Closed(at, until)
            at = until + policy.skew
        else:
            at = starts_after(at, closures, policy) or at + DAY


def check_queues(policy: Policy, wait_queues: int) -> None:
    """Raise `ValueError` if the policies need more wait queues than there are. Nobody gets one by chance: to take one
    away again is to be thought of."""
    needed = len(opening_rules(policy.closures_of_all))
    if needed > wait_queues:
        what, it = ("policies open", "they need") if policy.further else (f"policy {policy.name} opens", "it needs")
        if needed > WAIT_QUEUES_MAX:
            raise ValueError(
                f"{what} at {needed} different times, and a deployment has at most {WAIT_QUEUES_MAX} wait queues: give "
                f"some policies a deployment of their own. {shown_queues(policy, needed)}"
            )
        raise ValueError(
            f"{what} at several times, and what is held on one queue must open together: {it} "
            f"wait_queues to be {needed} (-c waitQueues={needed}), not {wait_queues}: {shown_queues(policy, needed)}"
        )


def shown_policies(policy: Policy) -> str:
    """The policies of a deployment, and which notifications each of them judges, for people."""
    shown = [
        f"{each.place} judges who names {' or '.join(['it', *sorted(each.countries), 'its zone'])}"
        for each in policy.policies
    ]
    return "; ".join([*shown, f"what names no policy, country or timezone is judged by {policy.place}"])


def shown_queues(policy: Policy, wait_queues: int) -> str:
    """The wait queues with their opening rules, for people."""
    rules = opening_rules(policy.closures_of_all)
    shown = []
    for number in range(wait_queues):
        name = f"Wait{number + 1 if number else ''}"
        closures = " and ".join(f"{each.name} ({each.hours})" for each in rules[number]) if number < len(rules) else ""
        shown.append(f"{name} opens after {closures}" if closures else f"{name} is used no more and is drained")
    return "; ".join(shown)


def check_opens(policy: Policy, now: datetime) -> None:
    """Raise `ValueError` if closures of a policy follow each other for more than a week."""
    for each in policy.policies:
        _check_opens(each, now.replace(hour=0, minute=0, second=0, microsecond=0))


@lru_cache(maxsize=64)
def _check_opens(policy: Policy, begin: datetime) -> None:
    for closures, closed in _closed_by_queue(policy, begin):
        if closed.lasts > CLOSED_MAX:
            names = " and ".join(sorted({f"{each.name} ({each.hours})" for each in closures}))
            raise ValueError(
                f"policy {policy.name} does not open within a week from {closed.begins:%Y-%m-%d}: {names} follow each "
                "other without a gap"
            )


def _closed_by_queue(policy: Policy, begin: datetime) -> Iterator[tuple[Sequence[Closure], Closed]]:
    for closures in opening_rules((policy.closures,)):
        for closed in closed_times(closures, policy, begin):
            yield closures, closed


def longest_closed(policy: Policy, now: datetime) -> timedelta:
    """The longest time of the coming year in which something is held."""
    begin = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return max(closed.lasts for _, closed in _closed_by_queue(policy, begin))


def closed_for_too_long(policy: Policy, now: datetime) -> str | None:
    """A sentence about a policy that holds for longer than a notification lives; None where there is none."""
    for each in policy.policies:
        if (longest := longest_closed(each, now)) > LIFE:
            return (
                f"policy {each.name} holds for up to {longest}, and a notification lives for {LIFE.days} days at most: "
                "what is accepted at the beginning of such a time expires before it ends"
            )
    return None


def holidays_end_soon(policy: Policy, today: date) -> str | None:
    """A sentence about a list of holidays that has none for the coming months; None where it has."""
    listed = ((one.name, closure.dates) for one in policy.policies for closure in one.closures if closure.dates)
    for name, dates in listed:
        if max(dates) < today + HOLIDAYS_AHEAD:
            return (
                f"policy {name} knows no holiday after {max(dates)}: `make holidays PLACE=…` lists "
                "those of the coming years"
            )
    return None


def check_use_of_hours(policy: Policy) -> None:
    """Raise `ValueError` if hours are set that no policy uses: nothing may seem to be set."""
    used = {closure.set_by for closures in policy.closures_of_all for closure in closures}
    default = Hours()
    if (policy.hours.start, policy.hours.end) != (default.start, default.end) and "quietHours" not in used:
        raise ValueError("quietHoursStart and quietHoursEnd change nothing here: the policy's file has its own hours")
