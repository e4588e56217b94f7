"""Keeping to a provider's rate with any number of workers, which do not talk to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from math import ceil, floor

from ..channels.channel import Channel
from ..timings import WORKER_TIMEOUT_S

WRAP_UP_S = 10
"""The time kept free at the end of an invocation, for recording and handing back."""

TURN_S_MAX = WORKER_TIMEOUT_S - 2 * WRAP_UP_S
"""The longest that one call and the interval after it may take, so that every invocation has time for at least one."""

LANE_SHARE = 0.5
"""Each lane's part of a provider's rate: the release can never take the day's half."""

CALL_S = 1.0
"""The time for which an invocation may save up its share of a rate for one call, so that a large call is no burst."""


def interval_s(channel: Channel, at_once: int) -> float:
    """The time between one invocation's notifications, so that `at_once` invocations keep to the lane's share."""
    return 0 if channel.rate_per_s is None else at_once / (channel.rate_per_s * LANE_SHARE)


def batch_size(channel: Channel, interval_s: float) -> int:
    """Return how many notifications a call takes: on a paced channel at most as many as `CALL_S` allows, or one."""
    if interval_s == 0:
        return channel.batch_size
    return max(1, min(channel.batch_size, floor(CALL_S / interval_s + 1e-9)))


def affordable(channel: Channel, interval_s: float, batch_size: int, wanted: int, remaining_s: float) -> int:
    """Return how many of the wanted items surely end within the time left, even if every call takes its whole
    deadline."""
    at_once = channel.side_by_side * batch_size
    while wanted and wanted * interval_s + ceil(wanted / at_once) * channel.deadline_s > remaining_s - WRAP_UP_S:
        wanted -= 1
    return wanted


class Pacer:
    """Spreads one invocation's calls by `interval_s` for each notification.

    An event source runs at most MaximumConcurrency invocations at once. Each keeps to its share of the rate, and does
    not return before the interval of its last call is over. So the sum holds, whichever processes they run in: in any T
    seconds a lane starts at most T times its rate, plus one call for each invocation that runs at once.
    """

    def __init__(self, interval_s: float, now: Callable[[], datetime], sleep: Callable[[float], None]) -> None:
        self._interval_s = interval_s
        self._now = now
        self._sleep = sleep
        self._next = now()
        self._lock = threading.Lock()

    def wait(self, notifications: int) -> None:
        """Return when a call with that many notifications may start."""
        with self._lock:
            slot = max(self._next, self._now())
            self._next = slot + timedelta(seconds=notifications * self._interval_s)
        self._sleep_until(slot)

    def finish(self) -> None:
        """Return when the next call may start: after this the invocation may end."""
        self._sleep_until(self._next)

    def _sleep_until(self, instant: datetime) -> None:
        left_s = (instant - self._now()).total_seconds()
        if left_s > 0:
            self._sleep(left_s)
