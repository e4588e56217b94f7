"""The times at which closures are open: when they begin, and when none of them is open any more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from .closure import DAY, Closure
from .terms import Policy

CLOSED_MAX = timedelta(days=7)
"""The longest time that closures may follow each other. Synthesis refuses a policy that is closed for longer."""


def opens_at(now: datetime, closures: Iterable[Closure], policy: Policy) -> datetime | None:
    """The first instant at which none of these closures is open, if one is open at `now`; else None. It is the end of
    the last of them, without the skew. Closures may follow each other, so the end of one is not enough.

    It looks no further than `CLOSED_MAX`: the policies of a deployment all open before that.
    """
    end, at = None, now
    while at - now <= CLOSED_MAX:
        ends = [window.end for closure in closures for window in around(at, closure, policy) if window.covers(at)]
        if not ends:
            return end
        end = max(ends)
        at = end + policy.skew
    return end


def starts_after(now: datetime, closures: Iterable[Closure], policy: Policy) -> datetime | None:
    """The first instant after `now` at which one of these closures begins, guard included; None if that is more than a
    day ahead."""
    windows = (window for closure in closures for window in around(now, closure, policy))
    return min((window.begins for window in windows if window.begins > now), default=None)


class Window(NamedTuple):
    """One time of a closure: it is closed in `[begins, ends)`, guard and skew included. `end` is without the skew."""

    begins: datetime
    ends: datetime
    end: datetime

    def covers(self, at: datetime) -> bool:
        return self.begins <= at < self.ends


def around(now: datetime, closure: Closure, policy: Policy) -> Iterator[Window]:
    """The times of a closure that start on the days around `now`, the latest first."""
    today = now.astimezone(closure.zone).date()
    for days in (2, 1, 0, -1, -2):
        day = today + days * DAY
        if day.weekday() in closure.weekdays or day in closure.dates:
            start, end = _window(day, closure)
            yield Window(start - policy.guard, end + policy.skew, end)


def _window(day: date, closure: Closure) -> tuple[datetime, datetime]:
    """The time of a closure that starts on `day`, in UTC: when the clocks change, local times are an hour off.

    If they change inside the hour that `start` or `end` names, the reading that is closed for longer counts.
    """
    last_day = day + DAY if closure.ends_next_day else day
    start = min(datetime.combine(day, closure.start.replace(fold=f), closure.zone).astimezone(UTC) for f in (0, 1))
    end = max(datetime.combine(last_day, closure.end.replace(fold=f), closure.zone).astimezone(UTC) for f in (0, 1))
    return start, end
