"""The turns of a channel in its shared item: booking at the whole rate, returns, rests and probes, on a table in
memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lambdas.quiet_hours.delivery.pacing import AHEAD_S, LATE_TURN_S, TURN_S
from lambdas.quiet_hours.errors import TurnsUnavailable
from lambdas.quiet_hours.stores.health import FIRST_REST_S, PROBE_LEASE_S, REST_S_MAX, Failure, Health
from lambdas.quiet_hours.stores.turns import (
    EARLY_S,
    RETURN_FACTOR,
    ROUNDS_MAX,
    NoTurn,
    Probe,
    Resting,
    Seen,
    Turn,
    Turns,
)
from lambdas.quiet_hours.timings import CLOCK_SKEW
from tests.helpers.aws import DAY, Faulty, dynamodb, make_table, sqs
from tests.helpers.delivery_world import Clock, down

__all__ = ["dynamodb", "sqs"]

Worker = Callable[..., Turns]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def worker(dynamodb: Any, clock: Clock) -> Worker:
    """Make the turns as one process sees them. It takes faults in the form of `Faulty`, and a clock of its own."""
    make_table("turn")

    def make(now: Callable[[], datetime] = clock, **faults: Any) -> Turns:
        return Turns(Faulty(dynamodb, **faults), "turn", now)  # type: ignore[arg-type]

    return make


def stored(dynamodb: Any, channel: str = "sms") -> dict[str, Any]:
    found = dynamodb.get_item(TableName="turn", Key={"channel": {"S": channel}}, ConsistentRead=True)
    return {name: next(iter(value.values())) for name, value in found.get("Item", {}).items()}


def at_s(booking: Any) -> float:
    """The instant of a turn, in seconds since the day's beginning."""
    assert isinstance(booking, Turn), booking
    return (booking.at - DAY).total_seconds()


def failed(turns: Turns, clock: Clock, **fields: Any) -> Any:
    """A call that says that the channel is at fault."""
    now_ms = int(clock().timestamp() * 1000)
    given: dict[str, Any] = {"id": "a", "began_ms": now_ms, "ended_ms": now_ms, "is_certain": True}
    return turns.has_failed("sms", Failure(**(given | fields)))


# --- booking


def test_the_first_turn_is_now(worker: Worker) -> None:
    assert at_s(worker().book("sms", 1, 10, 0)) == 0


def test_turns_follow_each_other_at_the_rate_whoever_books_them(worker: Worker) -> None:
    workers = [worker(), worker(), worker()]
    booked = [at_s(workers[n % 3].book("sms", 1, 10, 5)) for n in range(12)]
    assert booked == pytest.approx([n / 10 for n in range(12)])


def test_a_turn_for_many_takes_the_time_of_many(worker: Worker) -> None:
    turns = worker()
    assert [at_s(turns.book("sms", number, 100, 5)) for number in (50, 1, 100, 1)] == [0, 0.5, 0.51, 1.51]


def test_time_that_went_by_unused_is_not_saved_up(worker: Worker, clock: Clock) -> None:
    turns = worker()
    turns.book("sms", 1, 10, 5)
    clock.sleep(60)
    assert [at_s(turns.book("sms", 1, 10, 5)) for _ in range(3)] == pytest.approx([60, 60.1, 60.2])


def test_channels_have_turns_of_their_own(worker: Worker) -> None:
    turns = worker()
    turns.book("email", 100, 10, 5)
    assert at_s(turns.book("sms", 1, 10, 0)) == 0


def test_without_a_rate_every_turn_is_now_and_nothing_is_written(worker: Worker, dynamodb: Any) -> None:
    turns = worker()
    assert [at_s(turns.book("sms", 100, None, 0)) for _ in range(3)] == [0, 0, 0]
    assert stored(dynamodb) == {}


@pytest.mark.parametrize(("ahead_s", "finds"), [(0.0, False), (0.9, False), (1.0, True), (5.0, True)])
def test_a_turn_is_found_only_as_far_ahead_as_the_caller_may_book(
    worker: Worker, dynamodb: Any, ahead_s: float, finds: bool
) -> None:
    worker().book("sms", 10, 10, 0)
    before = stored(dynamodb)
    booking = worker().book("sms", 1, 10, ahead_s)
    assert isinstance(booking, Turn if finds else NoTurn)
    assert finds or stored(dynamodb) == before


def book_all(turns: Turns, lane: str, rate: float = 10, most: int = 100) -> list[float]:
    """Book as much as a lane may."""
    booked: list[float] = []
    while len(booked) < most:
        booking = turns.book("sms", 1, rate, AHEAD_S[lane], is_urgent=lane == "urgent")
        if not isinstance(booking, Turn):
            break
        booked.append(at_s(booking))
    return booked


def test_the_bulk_leaves_turns_for_the_day_and_neither_books_beyond_what_it_may(worker: Worker) -> None:
    turns = worker()
    bulk, day = book_all(turns, "schedule"), book_all(turns, "delivery")
    assert bulk == pytest.approx([n / 10 for n in range(len(bulk))])
    assert bulk + day == pytest.approx([n / 10 for n in range(len(bulk + day))])
    assert AHEAD_S["schedule"] - 0.11 < bulk[-1] <= AHEAD_S["schedule"] + 1e-6
    assert AHEAD_S["delivery"] - 0.11 < day[-1] <= AHEAD_S["delivery"] + 1e-6


def test_what_is_urgent_waits_for_nothing_that_another_lane_has_booked(worker: Worker) -> None:
    turns = worker()
    book_all(turns, "schedule")
    book_all(turns, "delivery")
    assert book_all(turns, "urgent", most=10) == pytest.approx([n / 10 for n in range(10)])


def test_what_goes_early_is_paid_for_by_the_others(worker: Worker) -> None:
    """The schedule moves on by every turn, so that the rate holds again soon."""
    turns = worker()
    book_all(turns, "delivery", most=10)
    book_all(turns, "urgent", most=8)
    assert at_s(turns.book("sms", 1, 10, 5)) == pytest.approx(1.8)


def test_urgent_turns_among_themselves_keep_to_the_rate(worker: Worker) -> None:
    turns = [worker(), worker()]
    booked = [at_s(turns[n % 2].book("sms", 1, 10, 5, is_urgent=True)) for n in range(30)]
    assert booked == pytest.approx([n / 10 for n in range(30)])


def test_no_urgent_turn_is_earlier_than_it_may_be(worker: Worker) -> None:
    turns = worker()
    turns.book("sms", 45, 10, 0)
    assert at_s(turns.book("sms", 1, 10, 5, is_urgent=True)) == pytest.approx(4.5 - EARLY_S)


def test_the_other_lanes_book_no_further_ahead_than_an_urgent_turn_may_be_early() -> None:
    """And one turn of theirs reaches a second beyond what they may book."""
    assert max(AHEAD_S["schedule"], AHEAD_S["delivery"]) + TURN_S <= EARLY_S


def test_a_lane_s_share_that_it_does_not_use_is_used_by_the_others(worker: Worker, clock: Clock) -> None:
    """The bulk alone gets the whole rate."""
    turns, number = worker(), 0
    for _ in range(100):  # ten seconds
        while isinstance(turns.book("sms", 1, 20, AHEAD_S["schedule"]), Turn):
            number += 1
        clock.sleep(0.1)
    assert number >= 0.95 * 10 * 20


def test_one_booking_is_one_write(worker: Worker) -> None:
    calls: list[str] = []

    def count(real: Callable[..., Any], **parameters: Any) -> Any:
        calls.append(parameters["UpdateExpression"])
        return real(**parameters)

    turns = worker(update_item=count, get_item=down)
    for _ in range(5):
        turns.book("sms", 1, 10, 5)
    assert len(calls) == 5


def test_a_process_that_does_not_know_the_schedule_learns_it_from_its_first_write(worker: Worker) -> None:
    worker().book("sms", 5, 10, 5)
    calls: list[str] = []

    def count(real: Callable[..., Any], **parameters: Any) -> Any:
        calls.append(parameters["UpdateExpression"])
        return real(**parameters)

    other = worker(update_item=count)
    assert [at_s(other.book("sms", 1, 10, 5)) for _ in range(3)] == pytest.approx([0.5, 0.6, 0.7])
    assert len(calls) == 4


def test_known_turns_need_no_call(worker: Worker, clock: Clock) -> None:
    """A schedule only moves on: what was seen of it is a lower bound."""
    turns = worker()
    assert not turns.are_taken("sms", 0)
    turns.book("sms", 20, 10, 0)
    assert (turns.are_taken("sms", 1.9), turns.are_taken("sms", 2.0)) == (True, False)
    clock.sleep(0.2)
    assert not turns.are_taken("sms", 1.9)
    assert not worker().are_taken("sms", 1.9), "another process knows nothing yet"


def test_what_was_seen_of_a_schedule_outlives_an_invocation(dynamodb: Any, worker: Worker, clock: Clock) -> None:
    memory: dict[str, Seen] = {}
    Turns(dynamodb, "turn", clock, memory).book("sms", 20, 10, 0)
    assert Turns(dynamodb, "turn", clock, memory).are_taken("sms", 1)


# --- several workers at one moment


def interfering(change: Callable[[], Any], times: int = 1) -> Callable[..., Any]:
    """A fault of `update_item`: somebody else changes the item just before, the first `times` times."""
    left = [times]

    def update(real: Callable[..., Any], **parameters: Any) -> Any:
        if left[0]:
            left[0] -= 1
            change()
        return real(**parameters)

    return update


def test_of_two_that_book_the_first_turn_at_once_each_gets_its_own(worker: Worker) -> None:
    other, its = worker(), []
    turns = worker(update_item=interfering(lambda: its.append(at_s(other.book("sms", 1, 10, 5)))))
    mine = at_s(turns.book("sms", 1, 10, 5))
    assert (its, mine) == ([0], 0.1)


def test_a_turn_that_another_takes_in_between_is_not_given_twice(worker: Worker) -> None:
    other, turns_of_other = worker(), []
    for _ in range(3):
        other.book("sms", 1, 10, 5)
    turns = worker(update_item=interfering(lambda: turns_of_other.append(at_s(other.book("sms", 1, 10, 5))), times=3))
    mine = [at_s(turns.book("sms", 1, 10, 5)) for _ in range(3)]
    assert len({round(at, 3) for at in mine + turns_of_other}) == 6


def test_who_is_overtaken_beyond_what_it_may_book_finds_no_turn(worker: Worker) -> None:
    other = worker()
    turns = worker(update_item=interfering(lambda: other.book("sms", 10, 10, 5)))
    assert turns.book("sms", 1, 10, 0.5) == NoTurn()


def test_an_item_that_keeps_changing_is_no_turn(worker: Worker, dynamodb: Any) -> None:
    """Nothing is sent where nothing was booked."""

    def change() -> None:
        now_us = str(int(DAY.timestamp() * 1_000_000) - next(number))
        dynamodb.put_item(TableName="turn", Item={"channel": {"S": "sms"}, "next_us": {"N": now_us}})

    number = iter(range(100))

    def refuse(real: Callable[..., Any], **parameters: Any) -> Any:
        change()
        answer: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, "Item": {}}
        raise ClientError(answer, "UpdateItem")

    with pytest.raises(TurnsUnavailable):
        worker(update_item=refuse).book("sms", 1, 10, 5)
    assert next(number) == ROUNDS_MAX


@pytest.mark.parametrize("rate_per_s", [None, 10.0])
def test_a_table_that_gives_no_answer_gives_no_turn(worker: Worker, rate_per_s: float | None) -> None:
    with pytest.raises(ReadTimeoutError):
        worker(update_item=down, get_item=down).book("sms", 1, rate_per_s, 5)


def test_a_booking_whose_answer_was_lost_wastes_its_turn_and_adds_none(worker: Worker) -> None:
    def lost(real: Callable[..., Any], **parameters: Any) -> Any:
        real(**parameters)
        raise ReadTimeoutError(endpoint_url="dynamodb")

    with pytest.raises(ReadTimeoutError):
        worker(update_item=lost).book("sms", 1, 10, 5)
    assert at_s(worker().book("sms", 1, 10, 5)) == pytest.approx(0.1)


# --- the bound

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # who books
        st.sampled_from(sorted(AHEAD_S)),
        st.integers(1, 20),  # for how many
        st.sampled_from([0, 0, 1, 50, 300, 2000]),  # milliseconds that pass before it
    ),
    min_size=1,
    max_size=25,
)


class Booked:
    """Workers with clocks of their own, and the turns that they have booked, in the real time of each call."""

    def __init__(self, dynamodb: Any, skews_s: tuple[float, ...]) -> None:
        for item in dynamodb.scan(TableName="turn")["Items"]:
            dynamodb.delete_item(TableName="turn", Key={"channel": item["channel"]})
        self.clock = Clock()
        self.calls: list[tuple[float, int]] = []
        self.skews_s = skews_s
        self.workers = [
            Turns(dynamodb, "turn", lambda skew_s=skew_s: self.clock() + timedelta(seconds=skew_s))  # type: ignore[misc]
            for skew_s in skews_s
        ]

    def play(self, steps: list[tuple[int, str, int, int]], rate: float, late_s: float = 0) -> None:
        for who, lane, number, wait_ms in steps:
            self.clock.sleep(wait_ms / 1000)
            number = min(number, max(1, int(rate)))
            booking = self.workers[who].book("sms", number, rate, AHEAD_S[lane], is_urgent=lane == "urgent")
            if isinstance(booking, Turn):
                real_s = (booking.at - DAY).total_seconds() - self.skews_s[who]
                self.calls.append((max(real_s, (self.clock() - DAY).total_seconds()) + late_s * (who == 0), number))

    def most_in(self, window_s: float) -> float:
        """The most notifications whose calls began within any window of that length."""
        begins = [at for at, _ in self.calls]
        return max(sum(n for at, n in self.calls if begin <= at < begin + window_s) for begin in begins)


def largest(booked: Booked) -> int:
    return max(number for _, number in booked.calls)


on_one_table = hypothesis_settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


RATES = st.sampled_from([0.5, 7, 14, 20, 100])
WINDOWS_S = st.sampled_from([0.3, 1, 2.5, 10])
BURST: list[Any] = [(n % 3, "schedule" if n < 12 else "delivery", 20, 0) for n in range(25)]
URGENT_BURST: list[Any] = [(n % 3, "delivery" if n < 12 else "urgent", 20, 0) for n in range(25)]


@on_one_table
@given(STEPS, RATES, WINDOWS_S)
@example(BURST, 20, 1)
def test_in_any_time_no_more_than_the_rate_and_one_call(
    worker: Worker, dynamodb: Any, steps: Any, rate: float, window_s: float
) -> None:
    """In any T seconds: T times the rate, and one call. Where nothing is urgent, or nothing else."""
    for only in ({"schedule", "delivery"}, {"urgent"}):
        if those := [step for step in steps if step[1] in only]:
            booked = Booked(dynamodb, (0, 0, 0))
            booked.play(those, rate)
            assert not booked.calls or booked.most_in(window_s) <= window_s * rate + largest(booked) + 1e-3


@on_one_table
@given(STEPS, RATES, WINDOWS_S)
@example(URGENT_BURST, 20, 1)
def test_what_is_urgent_adds_what_it_may_be_early_and_no_more_than_the_rate_again(
    worker: Worker, dynamodb: Any, steps: Any, rate: float, window_s: float
) -> None:
    """In any T seconds: (T + EARLY_S) times the rate, and one call; and twice what one lane alone may send."""
    booked = Booked(dynamodb, (0, 0, 0))
    booked.play(steps, rate)
    if booked.calls:
        most = booked.most_in(window_s)
        assert most <= (window_s + EARLY_S) * rate + largest(booked) + 1e-3
        assert most <= 2 * (window_s * rate + largest(booked)) + 1e-3


@on_one_table
@given(STEPS, st.sampled_from([7, 20, 100]), WINDOWS_S)
@example(BURST, 20, 1)
def test_with_late_turns_and_skewed_clocks_no_more_than_the_bound(
    worker: Worker, dynamodb: Any, steps: Any, rate: float, window_s: float
) -> None:
    """(T + late turns + twice the skew) times the rate, and one call; with urgent ones EARLY_S more."""
    skew_s = CLOCK_SKEW.total_seconds()
    early_s = EARLY_S if any(step[1] == "urgent" for step in steps) else 0
    booked = Booked(dynamodb, (skew_s, -skew_s, 0))
    booked.play(steps, rate, late_s=LATE_TURN_S)
    if booked.calls:
        bound = (window_s + LATE_TURN_S + 2 * skew_s + early_s) * rate + largest(booked)
        assert booked.most_in(window_s) <= bound + 1e-3


def test_a_clock_that_is_ahead_is_not_overtaken_by_one_that_is_behind(worker: Worker, clock: Clock) -> None:
    ahead = worker(lambda: clock() + CLOCK_SKEW)
    behind = worker(lambda: clock() - CLOCK_SKEW)
    assert at_s(ahead.book("sms", 1, 10, 0.5)) == 2
    assert behind.book("sms", 1, 10, 0.5) == NoTurn()
    assert at_s(behind.book("sms", 1, 10, 5)) == pytest.approx(2.1)


# --- returns


def test_returns_are_spaced_so_that_they_come_faster_than_they_can_go(worker: Worker) -> None:
    turns = worker()
    delays = [turns.space("sms", "schedule", 100, 25) for _ in range(5)]
    assert delays == pytest.approx([n * 100 / 25 / RETURN_FACTOR for n in range(1, 6)])
    assert RETURN_FACTOR > 1


def test_lanes_are_spaced_each_by_itself(worker: Worker) -> None:
    turns = worker()
    for _ in range(50):
        turns.space("sms", "schedule", 100, 50)
    assert turns.space("sms", "delivery", 4, 1) == pytest.approx(4 / RETURN_FACTOR)


@pytest.mark.parametrize(
    ("number", "rate", "delay_s"), [(1, 100, 1.0), (1, 0.002, 500 / RETURN_FACTOR), (100, 0.01, 900.0)]
)
def test_a_return_is_after_a_second_at_least_and_a_quarter_of_an_hour_at_most(
    worker: Worker, number: int, rate: float, delay_s: float
) -> None:
    assert worker().space("sms", "schedule", number, rate) == pytest.approx(delay_s)


@on_one_table
@given(st.lists(st.tuples(st.integers(1, 100), st.sampled_from([0, 1, 30, 1000])), min_size=1, max_size=15))
def test_every_return_is_within_its_bounds_and_none_is_a_booking(worker: Worker, dynamodb: Any, steps: Any) -> None:
    booked = Booked(dynamodb, (0,))
    for number, wait_s in steps:
        booked.clock.sleep(wait_s)
        assert 1 <= booked.workers[0].space("sms", "schedule", number, 0.3) <= 900
    assert at_s(booked.workers[0].book("sms", 1, 10, 0)) == (booked.clock() - DAY).total_seconds()


def test_returns_that_are_long_past_do_not_delay_the_next(worker: Worker, clock: Clock) -> None:
    turns = worker()
    for _ in range(10):
        turns.space("sms", "schedule", 100, 50)
    clock.sleep(3600)
    assert turns.space("sms", "schedule", 3, 3) == 1


def test_returns_that_are_spaced_as_far_as_a_message_can_be_delayed_begin_again(worker: Worker) -> None:
    turns = worker()
    delays = [turns.space("sms", "schedule", 150, 1) for _ in range(40)]
    assert max(delays) <= 900
    assert delays[:3] == pytest.approx([n * 150 / RETURN_FACTOR for n in (1, 2, 3)])
    assert sum(later < earlier for earlier, later in pairwise(delays)) >= 1


# --- rests and probes


@pytest.mark.parametrize("rate_per_s", [None, 10.0])
def test_a_channel_that_rests_gives_no_turn_to_any_worker(
    worker: Worker, clock: Clock, dynamodb: Any, rate_per_s: float | None
) -> None:
    worker().book("sms", 1, 10, 5)
    assert failed(worker(), clock).begins_rest
    next_us = stored(dynamodb)["next_us"]
    clock.sleep(2)
    for turns in (worker(), worker()):
        assert turns.book("sms", 1, rate_per_s, 5) == Resting(FIRST_REST_S - 2)
    assert stored(dynamodb)["next_us"] == next_us


@pytest.mark.parametrize("rate_per_s", [None, 10.0])
def test_a_channel_that_has_rested_is_probed_by_one_worker(
    worker: Worker, clock: Clock, rate_per_s: float | None
) -> None:
    failed(worker(), clock)
    clock.sleep(FIRST_REST_S)
    bookings = [worker().book("sms", 50, rate_per_s, 5) for _ in range(5)]
    assert [type(each) for each in bookings] == [Probe, Resting, Resting, Resting, Resting]


def test_of_two_that_would_probe_at_once_one_does(worker: Worker, clock: Clock) -> None:
    failed(worker(), clock)
    clock.sleep(FIRST_REST_S)
    other, got = worker(), []
    left = [2]

    def overtaken(real: Callable[..., Any], **parameters: Any) -> Any:
        left[0] -= 1
        if not left[0]:  # the second write is the one that takes the lease
            got.append(other.book("sms", 1, 10, 5))
        return real(**parameters)

    mine = worker(update_item=overtaken).book("sms", 1, 10, 5)
    assert [type(each) for each in (mine, *got)] == [Resting, Probe]


def test_a_probe_that_fails_doubles_the_rest_and_one_that_delivers_ends_it(worker: Worker, clock: Clock) -> None:
    failed(worker(), clock)
    clock.sleep(FIRST_REST_S)
    probe = worker().book("sms", 1, 10, 5)
    assert isinstance(probe, Probe)
    failed(worker(), clock, probe=probe.health)
    assert worker().book("sms", 1, 10, 5) == Resting(2 * FIRST_REST_S)
    clock.sleep(2 * FIRST_REST_S)
    probe = worker().book("sms", 1, 10, 5)
    assert isinstance(probe, Probe)
    worker().has_served("sms", probe.health, clock())
    assert isinstance(worker().book("sms", 1, 10, 5), Turn)
    assert worker().health("sms") == Health(served_ms=int(clock().timestamp() * 1000))


def test_a_probe_whose_worker_dies_is_another_s_when_its_lease_is_over(worker: Worker, clock: Clock) -> None:
    failed(worker(), clock)
    clock.sleep(FIRST_REST_S)
    lapsed = worker().book("sms", 1, 10, 5)
    assert isinstance(lapsed, Probe)
    clock.sleep(PROBE_LEASE_S - 1)
    assert worker().book("sms", 1, 10, 5) == Resting(1)
    clock.sleep(1)
    probe = worker().book("sms", 1, 10, 5)
    assert isinstance(probe, Probe)
    failed(worker(), clock, probe=lapsed.health)
    assert worker().health("sms") == probe.health, "the dead one's word comes too late"
    worker().has_served("sms", lapsed.health, clock())
    assert worker().health("sms").rests
    worker().has_served("sms", probe.health, clock())
    assert not worker().health("sms").rests


def probes_in(worker: Worker, clock: Clock, hours: float, fleet: int = 3) -> list[float]:
    """The instants of the probes while a channel delivers nothing and several workers ask all the time."""
    workers = [worker() for _ in range(fleet)]
    failed(workers[0], clock)
    probes: list[float] = []
    end = clock() + timedelta(hours=hours)
    while clock() < end:
        asked = [each.book("sms", 1, 10, 5) for each in workers]
        for booking in asked:
            if isinstance(booking, Probe):
                probes.append((clock() - DAY).total_seconds())
                failed(workers[0], clock, probe=booking.health)
        waits = [each.delay_s for each in asked if isinstance(each, Resting)]
        clock.sleep(min([*waits, REST_S_MAX]) if len(waits) == fleet else 0.5)
    return probes


def test_twelve_hours_are_probed_some_fifty_five_times_by_all_workers_together(worker: Worker, clock: Clock) -> None:
    """And not 1,440 times by each."""
    probes = probes_in(worker, clock, 12)
    assert 50 <= len(probes) <= 60
    gaps = [later - earlier for earlier, later in pairwise(probes)]
    assert max(gaps) < REST_S_MAX + 2
    assert gaps[-1] >= REST_S_MAX


def test_after_a_rest_turns_begin_anew_and_none_are_made_up(worker: Worker, clock: Clock) -> None:
    worker().book("sms", 10, 10, 5)
    failed(worker(), clock)
    clock.sleep(FIRST_REST_S)
    probe = worker().book("sms", 1, 10, 5)
    assert isinstance(probe, Probe)
    worker().has_served("sms", probe.health, clock())
    turns = worker()
    assert [at_s(turns.book("sms", 1, 10, 5)) for _ in range(3)] == pytest.approx([5, 5.1, 5.2])


def test_a_failure_that_another_notes_at_the_same_moment_is_not_lost(worker: Worker, clock: Clock) -> None:
    """Two different notifications fail at once: the channel is at fault, whoever writes first."""
    other = worker()
    turns = worker(update_item=interfering(lambda: failed(other, clock, id="b", is_certain=False)))
    judgement = failed(turns, clock, id="a", is_certain=False)
    assert judgement.begins_rest
    assert worker().health("sms").rests


@pytest.mark.parametrize("note", ["failure", "success"])
def test_a_health_that_keeps_changing_is_not_noted(worker: Worker, clock: Clock, note: str) -> None:
    def refuse(real: Callable[..., Any], **parameters: Any) -> Any:
        answer: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, "Item": {}}
        raise ClientError(answer, "UpdateItem")

    turns = worker(update_item=refuse)
    with pytest.raises(TurnsUnavailable):
        failed(turns, clock) if note == "failure" else turns.has_served("sms", None, clock())


def test_a_note_leaves_the_schedule_and_the_returns_as_they_are(worker: Worker, clock: Clock, dynamodb: Any) -> None:
    turns = worker()
    turns.book("sms", 1, 10, 5)
    turns.space("sms", "schedule", 100, 50)
    before = stored(dynamodb)
    failed(turns, clock)
    turns.has_served("sms", worker().health("sms"), clock())
    after = stored(dynamodb)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"served_ms"}


@pytest.mark.parametrize("fault", ["update_item", "get_item"])
def test_other_errors_are_the_caller_s(worker: Worker, clock: Clock, fault: str) -> None:
    with pytest.raises(ReadTimeoutError):
        failed(worker(**{fault: down}), clock)
    with pytest.raises(ReadTimeoutError):
        worker(**{fault: down}).has_served("sms", None, clock())
