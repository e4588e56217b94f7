"""How large a turn and a call may be, waiting for a turn, and calls side by side."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from lambdas.quiet_hours.delivery.pacing import in_a_call, in_a_turn, sleep_until
from lambdas.quiet_hours.side_by_side import in_threads
from tests.helpers.aws import DAY
from tests.helpers.delivery_world import Clock, Provider

# --- turns and calls


@pytest.mark.parametrize("can_resend", [True, False])
@pytest.mark.parametrize(
    ("rate_per_s", "batch_size", "turn", "call"),
    [
        (None, 1, 100, 1),
        (None, 50, 100, 50),
        (None, 1000, 100, 100),
        (1000, 50, 100, 50),
        (200, 1, 100, 1),
        (100, 100, 100, 100),
        (50, 100, 50, 50),
        (14, 1, 14, 1),
        (14.9, 50, 14, 14),
        (1, 50, 1, 1),
        (0.1, 50, 1, 1),
    ],
)
def test_a_turn_is_for_at_most_a_second_of_the_rate_and_a_call_for_no_more_than_a_turn(
    rate_per_s: float | None, batch_size: int, turn: int, call: int, can_resend: bool
) -> None:
    channel = Provider(Clock(), rate_per_s=rate_per_s, batch_size=batch_size, can_resend=can_resend)
    assert (in_a_turn(channel), in_a_call(channel)) == (turn, call)


def test_a_rate_that_is_a_whole_number_but_for_rounding_is_one() -> None:
    assert in_a_turn(Provider(Clock(), rate_per_s=0.1 * 3 * 10)) == 3


@pytest.mark.parametrize(("ahead_s", "slept_s"), [(2.5, 2.5), (0.001, 0.001), (0, 0), (-3, 0)])
def test_one_sleeps_until_a_turn_and_not_at_all_when_it_has_come(ahead_s: float, slept_s: float) -> None:
    clock = Clock()
    slept: list[float] = []
    sleep_until(DAY + timedelta(seconds=ahead_s), clock, slept.append)
    assert sum(slept) == slept_s
    assert len(slept) == (slept_s > 0)


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


# --- items that are made as they are asked for


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_generator_is_asked_for_each_item_once_and_the_results_keep_its_order(at_once: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for n in range(20):
            made.append(n)
            yield n

    assert in_threads(lambda n: n * n, items(), at_once) == [n * n for n in range(20)]
    assert made == list(range(20))


def test_a_generator_is_asked_by_one_at_a_time() -> None:
    """So what it books and claims needs no lock of its own."""
    asking = most = 0

    def items() -> Iterator[int]:
        nonlocal asking, most
        for n in range(20):
            asking += 1
            most = max(most, asking)
            time.sleep(0.002)
            asking -= 1
            yield n

    in_threads(lambda n: time.sleep(0.005), items(), 8)
    assert most == 1


def test_a_generator_is_asked_no_sooner_than_somebody_can_take_the_item() -> None:
    """A turn is booked shortly before its call, and not for the whole bundle at once."""
    busy = ahead = 0
    changed = threading.Condition()

    def items() -> Iterator[int]:
        nonlocal ahead
        for n in range(12):
            with changed:
                ahead = max(ahead, busy)
            yield n

    def work(_: int) -> None:
        nonlocal busy
        with changed:
            busy += 1
        time.sleep(0.01)
        with changed:
            busy -= 1

    in_threads(work, items(), 3)
    assert ahead < 3


def test_slow_calls_of_a_generator_get_threads_too() -> None:
    all_there = threading.Barrier(5)
    in_threads(lambda _: all_there.wait(10), (n for n in range(5)), 5)  # it would break if one were missing


def test_a_generator_that_raises_ends_the_work_and_is_told_of() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the second")

    with pytest.raises(ValueError, match="the second"):
        in_threads(lambda n: n, items(), 4)
