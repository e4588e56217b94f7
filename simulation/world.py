"""One thread, one heap of events, one virtual clock, one seeded source of randomness.

The handlers are synchronous, so each runs in a greenlet. Wherever a handler would wait (a call, a sleep, a provider),
it hands over to the heap, and it goes on when the clock has reached its time. The heap alone decides which of two live
invocations moves first, so the seed decides it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, NamedTuple, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped]

T = TypeVar("T")
R = TypeVar("R")

STOP_ASKED_EVERY_S = 47.0
"""Longer or shorter than a minute: otherwise the minute's work would be under way at each of these moments."""


class Span(NamedTuple):
    """A stretch of time: its begin is inside, its end is outside."""

    begin: float
    end: float

    def covers(self, t: float) -> bool:
        """Say if a time is inside."""
        return self.begin <= t < self.end


NEVER = Span(0.0, 0.0)


class Died(GreenletExit):  # type: ignore[misc]
    """Thrown into every greenlet of a process that has died. No `except` of the production code catches it."""


_idle: list[greenlet] = []


def _begin(job: Callable[[], None], hub: greenlet) -> greenlet:
    """Return a greenlet that runs the job once it is switched to. Greenlets are used again: a new one costs as much
    time as a simulated minute."""
    worker = _idle.pop() if _idle else greenlet(_work, hub)
    worker.job = job
    return worker


def _work() -> None:
    me = getcurrent()
    while True:
        me.job()
        _idle.append(me)
        me.parent.switch()


class World:
    """The clock and the heap. `t` is the true time, in seconds since `start`."""

    def __init__(self, start: datetime, seed: int) -> None:
        self.seed = seed
        self.start = start
        self.start_s = start.timestamp()
        self.t = 0.0
        self.rng = Random(seed)
        self.hub = getcurrent()
        self.alive = 0
        self.note: Callable[[str, str | None], None] | None = None
        self._heap: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._order = 0

    def at(self, t: float, function: Callable[..., Any], *args: Any) -> None:
        """Call a function at that time. Calls that are due at the same time come in the order of these requests."""
        self._order += 1
        heappush(self._heap, (t, self._order, function, args))

    def run(self, until: float, stop: Callable[[], bool]) -> None:
        """Let time pass until then, or until `stop` returns true. It is asked every 47 seconds."""
        heap, check_at = self._heap, self.t
        while heap and heap[0][0] <= until:
            if heap[0][0] >= check_at:
                if stop():
                    break
                check_at += STOP_ASKED_EVERY_S
            self.t, _, function, args = heappop(heap)
            function(*args)

    @property
    def events(self) -> int:
        """The number of calls that were requested so far."""
        return self._order

    def time(self, t: float | None = None) -> datetime:
        """The true time as a date and time of day."""
        return self.start + timedelta(seconds=self.t if t is None else t)

    def seconds(self, instant: datetime) -> float:
        """An instant in seconds since the start."""
        return (instant - self.start).total_seconds()


class Process:
    """One invocation, or one client: greenlets that live and die together.

    Its clock is `skew_s` ahead of the true time. It is killed `timeout_s` after its start. `began_at` is when it began
    with its present piece of work. `done` gets the value that the function returned, the exception that it raised, or
    `Died()`.
    """

    __slots__ = ("_done", "_function", "_greenlets", "alive", "began_at", "deadline", "name", "owner", "skew", "world")

    def __init__(self, world: World, name: str, skew_s: float = 0.0, timeout_s: float = inf) -> None:
        self.world = world
        self.name = name
        self.owner = ""
        self.began_at = world.t
        self.deadline = world.t + timeout_s
        self.skew = world.start + timedelta(seconds=skew_s) if skew_s else world.start
        self.alive = True
        self._greenlets: list[greenlet] = []
        self._function: Callable[[], Any]
        self._done: Callable[[Any], None]

    def start(self, function: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run the function until it waits for the first time."""
        self.world.alive += 1
        self._function, self._done = function, done
        first = _begin(self._run, self.world.hub)
        self._greenlets.append(first)
        first.switch()

    def _run(self) -> None:
        try:
            result = self._function()
        except Died as died:
            result = died
        except Exception as error:
            result = error
        self.alive = False
        self._greenlets.clear()
        self.world.alive -= 1
        self._done(result)

    def pause(self, seconds: float) -> None:
        """Wait. The handlers get this in place of `time.sleep`."""
        if not self.alive:
            raise Died
        world = self.world
        wake_at = world.t + seconds
        if wake_at >= self.deadline:
            world.at(self.deadline, self._kill, "its time-out ended it")
        else:
            world.at(wake_at, self._wake, getcurrent())
        world.hub.switch()

    def _wake(self, sleeper: greenlet) -> None:
        if self.alive:  # its greenlets may be someone else's by now
            sleeper.switch()

    def die(self, why: str) -> None:
        """End at once, from within the process."""
        self.world.at(self.world.t, self._kill, why)
        self.world.hub.switch()

    def _kill(self, why: str) -> None:
        if not self.alive:
            return
        self.alive = False
        if self.world.note:
            self.world.note(f"{self.name} died: {why}", None)
        for each in reversed(self._greenlets):
            each.throw(Died)

    def now(self) -> datetime:
        """The time that the clock of this process shows."""
        return self.skew + timedelta(seconds=self.world.t)

    def remaining_s(self) -> float:
        """The seconds that are left until the time-out."""
        return self.deadline - self.world.t

    def side_by_side(self, function: Callable[[T], R], items: Iterable[T], at_once: int) -> list[R]:
        """`SideBySide` with greenlets. They all end before this returns, and they die with their process."""
        if at_once <= 1 or (isinstance(items, list) and len(items) <= 1):
            return [function(item) for item in items]
        caller = getcurrent()
        results: dict[int, Any] = {}
        waiting = enumerate(items)
        working = min(at_once, len(items)) if isinstance(items, list) else at_once
        errors: list[Exception] = []
        taking: list[greenlet] = []  # the one that takes the next item, and those that wait for it

        def take() -> tuple[int, T] | None:
            taking.append(getcurrent())
            if len(taking) > 1:
                self.world.hub.switch()
            try:
                return next(waiting, None)
            finally:
                taking.pop(0)
                if taking and self.alive:
                    self.world.at(self.world.t, self._wake, taking[0])

        def work() -> None:
            nonlocal working
            try:
                while (taken := take()) is not None:
                    index, item = taken
                    results[index] = function(item)
            except Died:
                return
            except Exception as error:
                errors.append(error)
            self._greenlets.remove(getcurrent())
            working -= 1
            if not working:
                self.world.at(self.world.t, self._wake, caller)

        for _ in range(working):
            child = _begin(work, self.world.hub)
            self._greenlets.append(child)
            self.world.at(self.world.t, self._wake, child)
        self.world.hub.switch()
        if errors:
            raise errors[0]
        return [results[index] for index in range(len(results))]
