"""The worker and time: quiet hours that begin meanwhile, a run that grows short, a provider's pace."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import Any

import pytest

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery import calls
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.pacing import AHEAD_S, LATE_TURN_S, WRAP_UP_S
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import quiet_until
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.health import FIRST_REST_S
from lambdas.quiet_hours.stores.turns import EARLY_S, RETURN_FACTOR, Seen, Turn, Turns
from lambdas.quiet_hours.timings import CHANNEL_DEADLINE_MAX_S, CLOCK_SKEW, LONGEST_PAUSE, WORKER_TIMEOUT_S
from tests.helpers.aws import DAY, dynamodb, sqs
from tests.helpers.delivery_world import SETTINGS, World, accepted, consent, many, works, world

__all__ = ["dynamodb", "sqs", "world"]

QUIET_FROM = datetime(2020, 11, 11, 12, 0, tzinfo=UTC)  # 21:00 in Seoul
QUIET_UNTIL = datetime(2020, 11, 11, 23, 0, tzinfo=UTC)  # 08:00 in Seoul
NIGHT = QUIET_FROM + timedelta(hours=3)
GUARD = timedelta(seconds=CHANNEL_DEADLINE_MAX_S) + CLOCK_SKEW + LONGEST_PAUSE
MICROSECOND = timedelta(microseconds=1)


def ad(id: str = "ad", **fields: Any) -> dict[str, Any]:
    return accepted(id, category="advertising", **fields)


# --- quiet hours


def validity(world: World) -> dict[str, str]:
    """Until when the provider may keep trying for each notification: what it gets as `expires_at`."""
    given: dict[str, str] = {}
    world.provider.answer = lambda each: given.update({each["id"]: each["expires_at"]}) or DELIVERED
    return given


LAST = (QUIET_FROM - GUARD).isoformat(timespec="milliseconds")


def test_a_provider_that_keeps_trying_gives_up_before_quiet_hours_begin(world: World) -> None:
    """Otherwise what did not reach a phone by 20:59 rings at 02:00."""
    given = validity(world)
    soon = (DAY + timedelta(hours=1)).isoformat(timespec="milliseconds")
    world.invoke(ad(), ad("soon", expires_at=soon), accepted("order"))
    assert given == {"ad": LAST, "soon": soon, "order": accepted()["expires_at"]}


def test_whoever_has_consented_to_the_night_may_be_reached_in_it(world: World) -> None:
    given = validity(world)
    consent(world, "user-42", night_consent=True, opted_out=False)
    world.invoke(ad())
    assert given == {"ad": ad()["expires_at"]}


def test_the_bound_is_of_the_moment_at_which_it_was_judged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment later quiet hours have begun, and the next ones begin tomorrow."""
    given = validity(world)
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=0.2)
    consent_for = calls.consent_for

    def slow(*arguments: Any) -> Any:
        world.clock.sleep(0.3)
        return consent_for(*arguments)

    monkeypatch.setattr(calls, "consent_for", slow)
    world.invoke(ad())
    assert given == {"ad": LAST}
    assert world.clock() > QUIET_FROM - GUARD


def test_what_goes_back_to_its_lane_keeps_its_own_expiry(world: World) -> None:
    world.provider.answer = lambda _: Outcome("retry", "http_500: no")
    world.invoke(ad())
    (sent,) = world.sqs.messages["delivery"]
    (back,) = json.loads(sent.body) if sent.body.startswith("[") else [json.loads(sent.body)]
    assert back["expires_at"] == ad()["expires_at"]


@pytest.mark.parametrize("lane", ["delivery", "schedule"])
def test_at_night_an_advertisement_goes_to_wait_from_either_lane(world: World, lane: str) -> None:
    """Also when it was judged "now" before: nothing consumes wait at night, so that it cannot go round."""
    world.clock.now = NIGHT
    settled, counts = world.invoke(ad(), accepted("order"), lane=lane)
    assert (settled, counts) == (True, {"held": 1, "delivered": 1})
    assert (world.on("wait"), world.provider.ids, world.on(lane)) == ([["ad"]], ["order"], [])
    assert world.entry("ad") is None, "it is held without a claim"


def test_what_is_held_takes_no_turn(world: World) -> None:
    """A backlog that is being re-held at nine in the evening goes as fast as SQS takes it."""
    world.clock.now = NIGHT
    world.provider.rate_per_s = 1
    world.invoke(*(ad(f"ad-{n}") for n in range(50)), lane="schedule")
    assert world.clock() == NIGHT
    assert world.dynamodb.scan(TableName="turn")["Items"] == []
    assert len(world.on("wait")[0]) == 50


def test_what_is_held_does_not_wait_for_a_channel_that_rests_or_has_no_turn(world: World) -> None:
    world.clock.now = NIGHT
    world.memory.rest("webhook", 5, NIGHT)
    far_us = int(NIGHT.timestamp() * 1_000_000) + 60_000_000
    world.memory.next_turns["webhook"] = Seen(far_us, far_us)
    world.invoke(ad(), lane="schedule")
    assert world.on("wait") == [["ad"]]


def test_what_was_held_again_goes_out_in_the_morning(world: World) -> None:
    world.clock.now = NIGHT
    world.invoke(ad())
    world.clock.now = QUIET_UNTIL + CLOCK_SKEW
    world.receive(world.sqs.messages["wait"][0].body, lane="schedule")
    assert (world.state("ad"), world.provider.ids) == ("delivered", ["ad"])


@pytest.mark.parametrize(
    ("at", "sent"),
    [
        (QUIET_FROM - GUARD - MICROSECOND, True),
        (QUIET_FROM - GUARD, False),
        (QUIET_FROM, False),
        (QUIET_UNTIL, False),
        (QUIET_UNTIL + CLOCK_SKEW - MICROSECOND, False),
        (QUIET_UNTIL + CLOCK_SKEW, True),
    ],
)
def test_nothing_starts_that_could_still_be_in_flight_when_quiet_hours_begin(
    world: World, at: datetime, sent: bool
) -> None:
    world.clock.now = at
    world.invoke(ad())
    assert world.provider.ids == (["ad"] if sent else [])
    assert world.on("wait") == ([] if sent else [["ad"]])


def test_the_guard_covers_the_deadline_the_skew_and_the_longest_pause() -> None:
    policy = SETTINGS.quiet_hours()
    assert policy.guard == GUARD
    assert quiet_until(QUIET_FROM - GUARD, policy) is not None


def test_each_one_is_judged_at_its_own_turn(world: World) -> None:
    """Quiet hours begin while the bundle is being sent: what comes after that is held, and its claim released."""
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=5)
    world.provider.takes_s, world.provider.deadline_s = 2, 2
    settled, counts = world.invoke(*(ad(f"ad-{n}") for n in range(5)), accepted("order"))
    assert (settled, counts) == (True, {"delivered": 4, "held": 2})
    assert world.provider.ids == ["ad-0", "ad-1", "ad-2", "order"]
    assert world.on("wait") == [["ad-3", "ad-4"]]
    assert (world.state("ad-2"), world.state("ad-3"), world.state("ad-4")) == ("delivered", "released", "released")


@pytest.mark.parametrize(
    ("operation", "state"), [("batch_get_item", ""), ("transact_write_items", "released"), ("get_item", "released")]
)
def test_quiet_hours_that_begin_while_tables_answer_slowly_are_kept(world: World, operation: str, state: str) -> None:
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=0.5)

    def slow(real: Any, **parameters: Any) -> Any:
        world.clock.sleep(0.8)
        return real(**parameters)

    world.faults = {operation: slow}
    world.invoke(ad())
    assert (world.provider.ids, world.on("wait"), world.state("ad")) == ([], [["ad"]], state)


def test_quiet_hours_that_begin_while_a_call_waits_for_its_turn_are_kept(world: World) -> None:
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=5)
    world.provider.rate_per_s, world.provider.deadline_s = 0.5, 1
    world.invoke(*(ad(f"ad-{n}") for n in range(5)))
    assert world.provider.ids == ["ad-0", "ad-1", "ad-2"]
    assert world.on("wait") == [["ad-3", "ad-4"]]


def test_quiet_hours_that_begin_while_a_call_is_being_marked_are_kept(world: World) -> None:
    """And it leaves no mark: nothing was sent."""
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=0.5)
    world.provider.can_resend = False

    def slow(real: Any, **parameters: Any) -> Any:
        if "sending" in parameters["TransactItems"][0]["Put"]["Item"]:
            world.clock.sleep(0.8)
        return real(**parameters)

    world.faults = {"transact_write_items": slow}
    world.invoke(ad())
    assert (world.provider.ids, world.on("wait"), world.state("ad")) == ([], [["ad"]], "released")
    assert not world.entries()["ad"].sending


@pytest.mark.parametrize(("flag", "sent"), [("night_consent", True), ("opted_out", False)])
def test_the_consent_of_this_moment_counts(world: World, flag: str, sent: bool) -> None:
    """It was changed after the consumer had judged."""
    world.clock.now = NIGHT
    world.invoke(ad("before"))
    consent(world, "user-42", **{flag: True})
    world.invoke(ad("after"))
    assert world.on("wait") == [["before"]]
    assert world.provider.ids == (["after"] if sent else [])
    assert world.state("after") == ("delivered" if sent else "opted_out")


def test_night_consent_that_was_withdrawn_between_hold_and_release_does_not_count(world: World) -> None:
    world.clock.now = NIGHT
    consent(world, "user-42", night_consent=True)
    consent(world, "user-42", night_consent=False)
    world.invoke(ad())
    assert world.on("wait") == [["ad"]]


def test_under_the_strict_policy_order_messages_wait_too_unless_the_night_is_consented_to(world: World) -> None:
    world.policy = named_policy("strict", guard=GUARD, skew=CLOCK_SKEW)
    world.clock.now = NIGHT
    consent(world, "user-43", night_consent=True)
    world.invoke(accepted("order"), accepted("to-43", address="user-43"), accepted("code", category="critical"))
    assert (world.on("wait"), world.provider.ids) == ([["order"]], ["to-43", "code"])


def test_what_expires_while_the_bundle_is_being_sent_is_not_sent(world: World) -> None:
    world.provider.takes_s = 5
    world.invoke(*many(3, expires_at="2020-11-11T03:00:08.000+00:00"))
    assert world.provider.ids == ["id-0", "id-1"]
    assert world.state("id-2") == "expired"


# --- a run that grows short


def test_only_what_surely_ends_in_the_time_left_is_claimed(world: World) -> None:
    """Even if every call takes all of its deadline. The rest goes back at once, unclaimed."""
    world.remaining_s = WRAP_UP_S + 25  # two calls of ten seconds
    world.provider.takes_s, world.provider.can_resend = world.provider.deadline_s, False
    settled, counts = world.invoke(*many(5))
    assert (settled, counts) == (True, {"delivered": 2, "given_back": 3})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s) == (["id-2", "id-3", "id-4"], 0)
    assert world.entry("id-2") is None
    assert world.clock() - DAY < timedelta(seconds=world.remaining_s - WRAP_UP_S)


def test_what_was_claimed_for_calls_that_the_time_does_not_allow_is_released(world: World) -> None:
    """A channel that can send again claims for several calls at once."""
    world.remaining_s = WRAP_UP_S + 25
    world.provider.takes_s = world.provider.deadline_s
    settled, counts = world.invoke(*many(5))
    assert (settled, counts) == (True, {"delivered": 2, "given_back": 3})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s) == (["id-2", "id-3", "id-4"], 0)
    assert {world.state(id) for id in back.ids} == {"released"}
    assert world.clock() - DAY < timedelta(seconds=world.remaining_s - WRAP_UP_S)


@pytest.mark.parametrize("can_resend", [True, False])
@pytest.mark.parametrize(("batch_size", "sent"), [(1, 5), (3, 15), (10, 50), (50, 60)])
def test_calls_begin_as_long_as_each_may_take_its_whole_deadline(
    world: World, can_resend: bool, batch_size: int, sent: int
) -> None:
    world.provider.batch_size, world.provider.can_resend = batch_size, can_resend
    world.provider.takes_s = world.provider.deadline_s
    world.remaining_s = 60
    world.invoke(*many(60))
    assert len(world.provider.ids) == sent


def test_a_run_that_has_no_time_left_gives_everything_back(world: World) -> None:
    world.remaining_s = WRAP_UP_S
    assert world.invoke(*many(3)) == (True, {"given_back": 3})
    assert (world.on("delivery"), world.entry("id-0")) == ([["id-0", "id-1", "id-2"]], None)


def test_no_call_begins_that_the_run_may_not_outlive(world: World) -> None:
    """Claiming took longer than it should: what is claimed goes back, released."""

    sleeps_s = [35]

    def slow(real: Any, **parameters: Any) -> Any:
        world.clock.sleep(sleeps_s.pop() if sleeps_s else 0)
        return real(**parameters)

    world.faults = {"transact_write_items": slow}
    world.provider.takes_s = world.provider.deadline_s
    settled, counts = world.invoke(*(ad(f"ad-{n}") for n in range(4)))
    assert (settled, counts) == (True, {"delivered": 1, "given_back": 3})
    assert world.state("ad-1") == "released"
    assert world.clock() - DAY <= timedelta(seconds=WORKER_TIMEOUT_S - WRAP_UP_S)


# --- pace


@pytest.mark.parametrize("can_resend", [True, False])
def test_all_lanes_together_keep_to_the_rate_over_many_invocations(world: World, can_resend: bool) -> None:
    """Several event sources for each lane, each with a process of its own; each bundle begins when the one before it
    has returned. What finds no turn goes back."""
    rate_per_s, sizes = 20.0, (1, 2, 7, 1, 10, 1)
    world.provider.rate_per_s, world.provider.takes_s, world.provider.side_by_side = rate_per_s, 0.001, 25
    world.provider.batch_size, world.provider.can_resend = 5, can_resend
    sources = [(lane, number) for number in range(3) for lane in ("schedule", "delivery", "urgent")]
    for place, (lane, number) in enumerate(sources):
        world.clock.now, world.memory = DAY + timedelta(milliseconds=7 * place), Memory()
        for bundle, size in enumerate(sizes):
            ids = (f"{lane}-{number}-{bundle}-{n}" for n in range(size))
            world.invoke(*(accepted(id, category="critical") for id in ids), lane=lane)
    calls = list(world.provider.got)
    assert {id.partition("-")[0] for id in world.provider.ids} == set(AHEAD_S)
    for window_s in (1, 3, 10):
        most = max(
            sum(len(ids) for at, ids in calls if timedelta(0) <= at - begin < timedelta(seconds=window_s))
            for begin, _ in calls
        )
        assert most <= (window_s + EARLY_S) * rate_per_s + 5
        assert most <= 2 * (window_s * rate_per_s + 5)
    left = sum(len(ids) for lane in AHEAD_S for ids in world.on(lane))
    assert len(world.provider.ids) + left == len(sources) * sum(sizes)


@pytest.mark.parametrize("lane", AHEAD_S)
@pytest.mark.parametrize("booked_s", [0.4, 0.8, 1.1, 1.9, 2.1, 4.9, 5.1])
def test_each_lane_waits_for_a_turn_only_as_far_ahead_as_it_may_book(world: World, lane: str, booked_s: float) -> None:
    """So the bulk never owns the near future, and what is urgent finds a turn."""
    world.provider.rate_per_s, world.provider.batch_size = 100, 100
    Turns(world.dynamodb, "turn", world.clock).book("webhook", 1, 1 / booked_s, 60)
    settled, counts = world.invoke(accepted(category="critical"), lane=lane)
    assert settled
    if booked_s <= AHEAD_S[lane]:
        waits_s = max(0, booked_s - EARLY_S) if lane == "urgent" else booked_s
        (call,) = world.provider.got
        assert (call.at - DAY).total_seconds() == pytest.approx(waits_s)
    else:
        assert (counts, world.provider.ids, world.entry("a")) == ({"given_back": 1}, [], None)
        assert world.sqs.messages[lane][0].delay_s == 1


@pytest.mark.parametrize(("booked_s", "goes"), [(0.4, True), (0.6, False)])
def test_the_bulk_waits_less_where_a_turn_is_for_several_calls(world: World, booked_s: float, goes: bool) -> None:
    """Such a turn keeps its worker busy, and a second worker that waited all the time would cost as much."""
    world.provider.rate_per_s = 100
    Turns(world.dynamodb, "turn", world.clock).book("webhook", 1, 1 / booked_s, 60)
    world.invoke(accepted(), lane="schedule")
    assert world.provider.ids == (["a"] if goes else [])


def test_what_finds_no_turn_comes_back_spaced_and_in_its_order(world: World) -> None:
    """A backlog does not come round faster than it can go, nor stay away when it could."""
    world.provider.rate_per_s = 10
    Turns(world.dynamodb, "turn", world.clock).book("webhook", 100, 10, 60)
    for bundle in range(5):
        world.invoke(*(accepted(f"{bundle}-{n}") for n in range(60)), lane="schedule")
    back = world.sqs.messages["schedule"]
    assert [each.ids for each in back] == [[f"{bundle}-{n}" for n in range(60)] for bundle in range(5)]
    assert [each.delay_s for each in back] == [ceil(60 / 10 / RETURN_FACTOR * n) for n in range(1, 6)]
    world.run("schedule")
    assert not world.sqs.messages["schedule"]
    assert world.clock() - DAY < timedelta(seconds=(100 + 300) / 10 * 1.3)


def test_an_invocation_returns_when_its_last_call_is_answered(world: World) -> None:
    """The next one finds in the table when it may call."""
    world.provider.rate_per_s = 4
    world.invoke(accepted("a"))
    assert world.clock() == DAY
    world.invoke(accepted("b"))
    assert [(at - DAY).total_seconds() for at, _ in world.provider.got] == [0, 0.25]


@pytest.mark.parametrize("can_resend", [True, False])
def test_a_call_with_many_takes_the_time_of_many(world: World, can_resend: bool) -> None:
    world.provider.rate_per_s, world.provider.batch_size, world.provider.can_resend = 40, 10, can_resend
    world.invoke(*many(25))
    assert [(at - DAY).total_seconds() for at, _ in world.provider.got] == [0, 0.25, 0.5]
    world.invoke(accepted("next"))
    assert (world.provider.got[-1].at - DAY).total_seconds() == 25 / 40


@pytest.mark.parametrize("can_resend", [True, False])
@pytest.mark.parametrize(("rate_per_s", "most"), [(400, 25), (40, 25), (12.5, 12), (4, 4), (1, 1), (0.5, 1)])
def test_a_call_has_no_more_than_may_go_in_a_second(
    world: World, rate_per_s: float, most: int, can_resend: bool
) -> None:
    """Otherwise a hundred would be sent in the same instant, whatever the rate."""
    world.provider.rate_per_s, world.provider.batch_size, world.provider.can_resend = rate_per_s, 100, can_resend
    world.invoke(*many(25))
    assert max(len(ids) for _, ids in world.provider.got) == most


# --- a turn that is late


def oversleeps(world: World, by_s: float) -> None:
    """Let each sleep take longer than it should: a process that stands still."""
    world.clock.sleep = lambda seconds: setattr(world.clock, "now", world.clock.now + timedelta(seconds=seconds + by_s))  # type: ignore[method-assign]


@pytest.mark.parametrize("can_resend", [True, False])
def test_turns_that_are_late_each_time_are_given_up_and_leave_neither_claim_nor_mark(
    world: World, can_resend: bool
) -> None:
    world.provider.rate_per_s, world.provider.can_resend = 100, can_resend

    def slow(real: Any, **parameters: Any) -> Any:
        answer = real(**parameters)
        world.clock.sleep(LATE_TURN_S + 0.1)
        return answer

    world.faults = {"update_item": slow}
    settled, counts = world.invoke(accepted())
    assert (settled, counts, world.provider.ids) == (True, {"given_back": 1}, [])
    assert (world.state("a"), world.entries()["a"].sending, world.entries()["a"].attempts) == ("released", False, 0)
    world.faults = {}
    world.run()
    assert world.state("a") == "delivered"


def test_a_turn_that_is_overslept_is_given_up_and_a_new_one_is_booked(world: World) -> None:
    """It is never made up for in a burst."""
    world.provider.rate_per_s = 1
    Turns(world.dynamodb, "turn", world.clock).book("webhook", 1, 1, 0)
    oversleeps(world, LATE_TURN_S + 0.1)
    world.invoke(accepted())
    (call,) = world.provider.got
    del world.clock.sleep
    turn = Turns(world.dynamodb, "turn", world.clock).book("webhook", 1, 1, 60)
    assert isinstance(turn, Turn)
    assert turn.at - call.at >= timedelta(seconds=1)


def test_a_turn_that_is_a_little_late_is_used(world: World) -> None:
    world.provider.rate_per_s = 1
    Turns(world.dynamodb, "turn", world.clock).book("webhook", 1, 1, 0)
    oversleeps(world, LATE_TURN_S - 0.1)
    world.invoke(accepted())
    assert world.state("a") == "delivered"


def test_a_claim_that_takes_too_long_wastes_its_turn_and_goes_with_the_next(world: World) -> None:
    """The claim comes after the turn, where it marks the call. If each claim came too late for its own turn, a slow
    ledger would stop everything."""
    world.provider.rate_per_s, world.provider.can_resend = 10, False

    def slow(real: Any, **parameters: Any) -> Any:
        world.clock.sleep(LATE_TURN_S + 0.1)
        return real(**parameters)

    world.faults = {"transact_write_items": slow}
    settled, counts = world.invoke(accepted())
    assert (settled, counts, world.provider.ids) == (True, {"delivered": 1}, ["a"])
    assert (world.provider.got[0].at - DAY).total_seconds() == pytest.approx(LATE_TURN_S + 0.1)


def test_calls_that_get_late_behind_slow_ones_book_turns_anew(world: World) -> None:
    """Late turns are never made up for in a burst."""
    world.provider.rate_per_s, world.provider.takes_s, world.provider.deadline_s = 10, 3, 5
    world.invoke(*many(5))
    starts = [(at - DAY).total_seconds() for at, _ in world.provider.got]
    assert starts == [0, 3, 6, 9, 12]


# --- rates


def test_without_a_rate_nothing_is_waited_for(world: World) -> None:
    world.invoke(*many(3))
    assert world.clock() == DAY


@pytest.mark.parametrize("lane", ["delivery", "schedule"])
def test_the_slowest_rate_is_kept_and_used(world: World, lane: str) -> None:
    """A lane that waits for its turn does not go round for ever without a call."""
    world.provider.rate_per_s = 0.1
    world.put(*many(4), lane=lane)
    world.run(lane)
    starts = [(at - DAY).total_seconds() for at, _ in world.provider.got]
    assert len(starts) == 4
    assert all(10 <= later - earlier <= 15 for earlier, later in pairwise(starts))


# --- both lanes at once, provider down over the release, in virtual time


def test_a_release_into_a_provider_that_comes_back_is_delivered_at_the_lane_s_rate(world: World) -> None:
    """R13. One event source; the provider is away for the first ten minutes after eight o'clock."""
    world.clock.now = QUIET_UNTIL + CLOCK_SKEW
    opens = world.clock.now
    back_at = opens + timedelta(minutes=10)
    world.provider.rate_per_s = 20
    away = Outcome("unavailable", "not_connected: no connection to the webhook (ConnectionRefusedError)")
    world.provider.answer = lambda _: away if world.clock() < back_at else DELIVERED
    for bundle in range(3):
        world.put(*(ad(f"{bundle}-{n}") for n in range(10)), lane="schedule")
    world.run("schedule")
    delivered = Counter(id for at, ids in world.provider.got if at >= back_at for id in ids)
    assert delivered == Counter(f"{bundle}-{n}" for bundle in range(3) for n in range(10))
    assert not world.sqs.messages["dead-letter"]
    last = max(at for at, _ in world.provider.got)
    probes_s = sum(FIRST_REST_S * 2**n for n in range(7))
    assert last - opens <= timedelta(seconds=probes_s + ceil(30 / 20) + 2)


@pytest.mark.parametrize("failure", ["retry", "unknown", "forbidden"])
def test_threads_change_nothing_about_what_happens(world: World, failure: str) -> None:
    """`in_threads` against one after another, with answers of every kind."""
    kinds = {5: failure} | dict.fromkeys((1, 8, 9), "rejected")

    def answer(notification: Any) -> Outcome:
        return Outcome(kinds.get(int(notification["id"].partition("-")[2]), "delivered"), "code: why")  # type: ignore[arg-type]

    world.provider.answer = answer
    world.provider.side_by_side = 8
    works(world)
    _, alone = world.invoke(*many(16))
    world.side_by_side = in_threads
    works(world)
    _, together = world.invoke(*(accepted(f"next-{n}") for n in range(16)))
    assert alone == together
    assert alone["delivered"] == 12
