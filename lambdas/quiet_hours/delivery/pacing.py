"""Keeping to a provider's rate over any number of workers, without their talking to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta


class Pacer:
    """Spreads one invocation's calls by `interval_s` for each notification.

    An event source runs at most MaximumConcurrency invocations at once. Each keeps to the rate's share and does not
    return before the interval of its last call is over, so the sum holds whichever processes they run in: in any T
    seconds a lane starts at most T times its rate, plus one call an invocation that runs at once.
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
