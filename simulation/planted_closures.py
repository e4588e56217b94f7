"""Planted mistakes about closures. A year of nights has to find each of them (year.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

from lambdas import scheduler
from lambdas.quiet_hours.rule import choosing
from lambdas.quiet_hours.rule import policy as rule
from lambdas.quiet_hours.rule.closure import Closure
from lambdas.quiet_hours.rule.openings import opening_rules, wait_queue
from lambdas.quiet_hours.rule.terms import Choice, Policy
from lambdas.quiet_hours.rule.windows import around
from lambdas.quiet_hours.settings import Settings
from lambdas.scheduler import release_each

from .year_settings import SIX_ZONES, TAKEN_AWAY, THREE_PLACES, Setting


@dataclass(frozen=True, slots=True)
class ClosurePlant:
    """A mistake in a policy's closures: where it is looked for, and the promises that it may break."""

    setting: Setting
    caught_by: tuple[str, ...]
    change: Callable[[Closure], Closure] = lambda each: each
    patches: tuple[tuple[Any, str, Any], ...] = ()
    name: str = ""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Put the mistake into the production code for the length of a block."""
        quiet_hours = Settings.quiet_hours

        def mistaken(settings: Settings) -> Policy:
            right = quiet_hours(settings)
            # Another name, and objects of their own: nothing that the rule has worked out rightly may be found again.
            closures = tuple(self.change(each) for each in right.closures)
            further = tuple(replace(each) for each in right.further)
            return replace(right, name=f"{right.name} with {self.name}", closures=closures, further=further)

        with ExitStack() as stack:
            stack.enter_context(patch.object(Settings, "quiet_hours", mistaken))
            for target, name, value in self.patches:
                stack.enter_context(patch.object(target, name, value))
            yield


def _opens_at_the_first_end(now: datetime, closures: Any, policy: Policy) -> datetime | None:
    """The earlier of two ends."""
    covering = [each for closure in closures for each in around(now, closure, policy) if each.covers(now)]
    return min((each.end for each in covering), default=None)


def _at_the_offset_of_january(closure: Closure) -> Closure:
    """A zone's offset, looked up once and kept over a change of the clocks."""
    offset = datetime(2027, 1, 1, tzinfo=closure.zone).astimezone(closure.zone).utcoffset()
    hours = int(offset.total_seconds() // 3600) if offset is not None else 0
    return replace(closure, zone=ZoneInfo(f"Etc/GMT{-hours:+d}"))


def _opens_at_eight_by_the_clock_of_summer(closure: Closure) -> Closure:
    """The end of a closure in the zone of the machine."""
    return replace(closure, zone=ZoneInfo("UTC")) if closure.start >= time(20) else closure


def _exchanged(policy: Policy, queues: int) -> tuple[Policy, ...]:
    return rule.rules_of_queues(policy, queues)[::-1]


def _judged_by_the_first(notification: Any, now: datetime, policy: Policy) -> Choice:
    return Choice(policy)


def _same_clock_in_january(one: str, other: str, year: int) -> bool:
    day = datetime(year, 1, 15, tzinfo=UTC)
    return day.astimezone(ZoneInfo(one)).utcoffset() == day.astimezone(ZoneInfo(other)).utcoffset()


def _numbered_in_the_first(group: Any, policies: Any) -> int:
    return wait_queue(group, policies[:1])


def _needed_only(settings: Settings, policy: Policy, side_by_side: Any, release_one: Any) -> list[dict[str, Any]]:
    needed = len(opening_rules(policy.closures_of_all))
    return release_each(replace(settings, wait_queues=needed), policy, side_by_side, release_one)


def _first_only(settings: Any, policy: Policy, _: Any, release_one: Any) -> list[dict[str, Any]]:
    return [release_one(settings, policy)]


KOREA, FRANCE = Setting("korea", "Asia/Seoul"), Setting("france", "Europe/Paris")
TEXAS = Setting("us-texas", "America/Chicago")
LATE_KAKAO = Setting("korea", "Asia/Seoul", 8, "20:00-09:00", 2)

_PLANTS = {
    "consent_opens_what_it_must_not": ClosurePlant(
        KOREA, ("never_when_closed",), lambda each: replace(each, consent_opens=True)
    ),
    "a_holiday_is_missed": ClosurePlant(
        FRANCE,
        ("never_when_closed",),
        lambda each: replace(each, dates=frozenset(day for day in each.dates if day.month != 5)),
    ),
    "the_earlier_of_two_ends": ClosurePlant(
        TEXAS, ("forecast",), patches=((rule, "opens_at", _opens_at_the_first_end),)
    ),
    "an_offset_is_kept_over_a_change": ClosurePlant(
        FRANCE, ("never_when_closed", "on_time"), _at_the_offset_of_january
    ),
    "a_day_is_that_of_the_machine": ClosurePlant(
        TEXAS, ("never_when_closed", "on_time"), _opens_at_eight_by_the_clock_of_summer
    ),
    "a_night_begins_on_the_day_it_ends": ClosurePlant(
        TEXAS,
        ("never_when_closed", "on_time"),
        lambda each: replace(each, weekdays=frozenset((day + 1) % 7 for day in each.weekdays)),
    ),
    "one_queue_for_all_openings": ClosurePlant(
        LATE_KAKAO, ("on_time",), patches=((rule, "wait_queue", lambda group, closures: 0),)
    ),
    "each_queue_by_the_rule_of_another": ClosurePlant(
        LATE_KAKAO, ("held_again",), patches=((scheduler, "rules_of_queues", _exchanged),)
    ),
    "one_run_for_the_first_queue_only": ClosurePlant(
        LATE_KAKAO, ("settled", "on_time"), patches=((scheduler, "release_each", _first_only),)
    ),
    "everybody_is_judged_by_the_first_policy": ClosurePlant(
        THREE_PLACES, ("never_when_closed",), patches=((rule, "chosen", _judged_by_the_first),)
    ),
    "a_clock_is_compared_on_one_day": ClosurePlant(
        SIX_ZONES, ("never_when_closed", "on_time"), patches=((choosing, "same_clock", _same_clock_in_january),)
    ),
    "the_first_of_several_policies_judges_alone": ClosurePlant(
        THREE_PLACES,
        ("never_when_closed", "never_early"),
        patches=((choosing, "joined", lambda policies: policies[0]),),
    ),
    "other_policies_hold_on_the_first_queue": ClosurePlant(
        THREE_PLACES, ("on_time", "held_again"), patches=((rule, "wait_queue", _numbered_in_the_first),)
    ),
    "the_queue_of_a_policy_that_is_gone_is_forgotten": ClosurePlant(
        TAKEN_AWAY, ("settled",), patches=((scheduler, "release_each", _needed_only),)
    ),
}
CLOSURE_PLANTS = {name: replace(each, name=name) for name, each in _PLANTS.items()}
"""The mistakes, by name."""
