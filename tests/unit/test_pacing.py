"""Keeping to a rate with one pacer for each invocation, and calls side by side."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdas.quiet_hours.delivery.pacing import Pacer
from lambdas.quiet_hours.side_by_side import in_threads
from tests.helpers.aws import DAY
from tests.helpers.delivery_world import Clock


def test_the_first_call_starts_at_once_and_each_next_one_an_interval_later() -> None:
    clock = Clock()
    pacer = Pacer(0.5, clock, clock.sleep)
    starts = []
    for _ in range(3):
        pacer.wait(1)
        starts.append((clock() - DAY).total_seconds())
    assert starts == [0, 0.5, 1]


def test_a_call_with_many_notifications_takes_the_time_of_many() -> None:
    clock = Clock()
    pacer = Pacer(0.5, clock, clock.sleep)
    pacer.wait(10)
    pacer.wait(1)
    assert clock() - DAY == timedelta(seconds=5)


def test_time_that_went_by_anyway_is_not_waited_for_again() -> None:
    clock = Clock()
    pacer = Pacer(1, clock, clock.sleep)
    pacer.wait(1)
    clock.sleep(0.7)
    pacer.wait(1)
    assert clock() - DAY == timedelta(seconds=1)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    pacer = Pacer(1, clock, clock.sleep)
    clock.sleep(10)
    starts = []
    for _ in range(3):
        pacer.wait(1)
        starts.append((clock() - DAY).total_seconds())
    assert starts == [10, 11, 12]


def test_to_finish_is_to_wait_for_the_last_call_s_interval() -> None:
    clock = Clock()
    pacer = Pacer(1, clock, clock.sleep)
    pacer.wait(3)
    pacer.finish()
    assert clock() - DAY == timedelta(seconds=3)


def test_without_an_interval_nobody_waits() -> None:
    clock = Clock()
    pacer = Pacer(0, clock, clock.sleep)
    pacer.wait(100)
    pacer.finish()
    assert clock() == DAY


@given(
    interval_ms=st.integers(1, 500),
    invocations=st.lists(
        st.lists(st.tuples(st.integers(1, 5), st.integers(0, 800)), min_size=1, max_size=6), min_size=1, max_size=4
    ),
    window_ms=st.integers(1, 3000),
)
def test_one_invocation_after_another_keeps_the_rate_in_any_window(
    interval_ms: int, invocations: list[list[tuple[int, int]]], window_ms: int
) -> None:
    """In any T seconds: T times the rate, and one call more."""
    clock = Clock()
    calls = []
    for invocation in invocations:
        pacer = Pacer(interval_ms / 1000, clock, clock.sleep)
        for notifications, takes_ms in invocation:
            pacer.wait(notifications)
            calls.append((clock(), notifications))
            clock.sleep(takes_ms / 1000)
        pacer.finish()
    largest = max(notifications for _, notifications in calls)
    for begin, _ in calls:
        inside = sum(n for at, n in calls if begin <= at < begin + timedelta(milliseconds=window_ms))
        assert inside <= window_ms / interval_ms + largest


def test_threads_share_one_pace() -> None:
    """In real time: ten calls at a hundred a second are not over before nine intervals."""

    def now() -> datetime:
        time.sleep(0.002)  # every thread gets its turn between looking at the clock and taking a place
        return datetime.now(UTC)

    pacer = Pacer(0.01, now, time.sleep)
    started = time.monotonic()
    in_threads(lambda _: pacer.wait(1), range(10), 10)
    assert time.monotonic() - started >= 0.089


# --- side by side


def test_results_come_in_the_order_of_the_items() -> None:
    def slowest_first(n: int) -> int:
        time.sleep((3 - n) * 0.01)
        return n

    assert in_threads(slowest_first, range(4), 4) == [0, 1, 2, 3]


@pytest.mark.parametrize(("items", "at_once", "together"), [(8, 3, 3), (2, 8, 2), (4, 1, 1), (1, 4, 1), (4, 0, 1)])
def test_no_more_than_asked_run_at_once(items: int, at_once: int, together: int) -> None:
    running = most = 0
    changed = threading.Condition()

    def work(_: int) -> None:
        nonlocal running, most
        with changed:
            running += 1
            most = max(most, running)
            changed.notify_all()
            changed.wait_for(lambda: most >= together, timeout=20)
        time.sleep(0.02)  # a thread too many would begin now
        with changed:
            running -= 1

    in_threads(work, range(items), at_once)
    assert most == together


def test_calls_that_return_at_once_are_not_made_by_threads_that_fight_for_the_interpreter() -> None:
    tries = (in_threads(lambda _: threading.get_ident(), range(100), 25) for _ in range(50))
    assert any(len(set(threads)) <= 5 for threads in tries)  # a busy machine stops a thread now and then


def test_calls_that_wait_are_soon_all_under_way() -> None:
    all_there = threading.Barrier(25)
    in_threads(lambda _: all_there.wait(10), range(25), 25)  # it would break if one were missing


def test_every_item_is_done_although_another_raises() -> None:
    done: list[int] = []

    def work(n: int) -> None:
        if n == 1:
            raise ValueError("the second")
        done.append(n)

    with pytest.raises(ValueError, match="the second"):
        in_threads(work, range(5), 3)
    assert sorted(done) == [0, 2, 3, 4]


def test_nothing_runs_on_afterwards() -> None:
    """A frozen Lambda process would resume it at night."""
    before = set(threading.enumerate())

    def work(n: int) -> int:
        if n == 0:
            raise ValueError("the first")
        time.sleep(0.05)
        return n

    with pytest.raises(ValueError, match="the first"):
        in_threads(work, range(6), 3)
    assert set(threading.enumerate()) <= before
    assert in_threads(work, [], 3) == []
