"""The worker and time: quiet hours that begin meanwhile, a run that grows short, a provider's pace."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.pacing import LANE_SHARE, WRAP_UP_S
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy import quiet_until
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.timings import CHANNEL_DEADLINE_MAX_S, CLOCK_SKEW, LONGEST_PAUSE, WORKER_TIMEOUT_S
from tests.helpers.aws import DAY, dynamodb, sqs
from tests.helpers.delivery_world import SETTINGS, World, accepted, consent, many, world

__all__ = ["dynamodb", "sqs", "world"]

QUIET_FROM = datetime(2020, 11, 11, 12, 0, tzinfo=UTC)  # 21:00 in Seoul
QUIET_UNTIL = datetime(2020, 11, 11, 23, 0, tzinfo=UTC)  # 08:00 in Seoul
NIGHT = QUIET_FROM + timedelta(hours=3)
GUARD = timedelta(seconds=CHANNEL_DEADLINE_MAX_S) + CLOCK_SKEW + LONGEST_PAUSE
MICROSECOND = timedelta(microseconds=1)


def ad(id: str = "ad", **fields: Any) -> dict[str, Any]:
    return accepted(id, category="advertising", **fields)


# --- quiet hours


@pytest.mark.parametrize("lane", ["delivery", "schedule"])
def test_at_night_an_advertisement_goes_to_wait_from_either_lane(world: World, lane: str) -> None:
    """Also when it was judged "now" before: nothing consumes wait at night, so that it cannot go round."""
    world.clock.now = NIGHT
    settled, counts = world.invoke(ad(), accepted("order"), lane=lane)
    assert (settled, counts) == (True, {"held": 1, "delivered": 1})
    assert (world.on("wait"), world.provider.ids, world.on(lane)) == ([["ad"]], ["order"], [])
    assert world.state("ad") == "released"


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


def test_quiet_hours_that_begin_between_claim_and_call_are_kept(world: World) -> None:
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=1)

    def slow(real: Any, **parameters: Any) -> Any:
        world.clock.sleep(2)
        return real(**parameters)

    world.faults = {"batch_get_item": slow}
    world.invoke(ad())
    assert (world.provider.ids, world.on("wait"), world.state("ad")) == ([], [["ad"]], "released")


def test_quiet_hours_that_begin_while_a_call_waits_for_its_turn_are_kept(world: World) -> None:
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=5)
    world.provider.rate_per_s, world.provider.deadline_s = 2, 1  # one in two seconds for this invocation
    world.invoke(*(ad(f"ad-{n}") for n in range(5)))
    assert world.provider.ids == ["ad-0", "ad-1", "ad-2"]
    assert world.on("wait") == [["ad-3", "ad-4"]]


def test_quiet_hours_that_begin_while_a_call_is_being_marked_are_kept(world: World) -> None:
    """And it leaves no mark: nothing was sent."""
    world.clock.now = QUIET_FROM - GUARD - timedelta(seconds=1)
    world.provider.can_resend = False

    def slow(real: Any, **parameters: Any) -> Any:
        if "sending" in parameters["TransactItems"][0]["Put"]["Item"]:
            world.clock.sleep(2)
        return real(**parameters)

    world.faults = {"transact_write_items": slow}
    world.invoke(ad())
    assert (world.provider.ids, world.on("wait"), world.state("ad")) == ([], [["ad"]], "released")


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
    world.provider.takes_s = world.provider.deadline_s
    settled, counts = world.invoke(*many(5))
    assert (settled, counts) == (True, {"delivered": 2, "given_back": 3})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s) == (["id-2", "id-3", "id-4"], 0)
    assert world.entry("id-2") is None
    assert world.clock() - DAY < timedelta(seconds=world.remaining_s - WRAP_UP_S)


@pytest.mark.parametrize(
    ("side_by_side", "batch_size", "rate_per_s", "claimed"),
    [(1, 1, None, 5), (4, 1, None, 20), (1, 50, None, 60), (2, 3, None, 30), (25, 1, 8, 50), (25, 1, 4, 30)],
)
def test_how_much_is_claimed_counts_calls_side_by_side_batches_and_pace(
    world: World, side_by_side: int, batch_size: int, rate_per_s: float | None, claimed: int
) -> None:
    world.provider.side_by_side, world.provider.batch_size = side_by_side, batch_size
    world.provider.rate_per_s = rate_per_s
    world.remaining_s = 60
    world.invoke(*many(60))
    assert len(world.provider.ids) == claimed


def test_a_run_that_has_no_time_left_gives_everything_back(world: World) -> None:
    world.remaining_s = WRAP_UP_S
    assert world.invoke(*many(3)) == (True, {"given_back": 3})
    assert (world.on("delivery"), world.entry("id-0")) == ([["id-0", "id-1", "id-2"]], None)


def test_no_call_begins_that_the_run_may_not_outlive(world: World) -> None:
    """Claiming took longer than it should: what is claimed goes back, released."""

    def slow(real: Any, **parameters: Any) -> Any:
        world.clock.sleep(35)
        return real(**parameters)

    world.faults = {"batch_get_item": slow}
    world.provider.takes_s = world.provider.deadline_s
    settled, counts = world.invoke(*(ad(f"ad-{n}") for n in range(4)))
    assert (settled, counts) == (True, {"delivered": 1, "given_back": 3})
    assert world.state("ad-1") == "released"
    assert world.clock() - DAY <= timedelta(seconds=WORKER_TIMEOUT_S - WRAP_UP_S)


# --- pace


def most_in(window_s: int, times: list[datetime]) -> int:
    """The most calls that began in any window of that length."""
    return max(sum(timedelta(0) <= other - at < timedelta(seconds=window_s) for other in times) for at in times)


def test_a_lane_keeps_its_share_of_the_rate_over_many_invocations(world: World) -> None:
    """Run as many event sources as the lane may have; each bundle begins when the one before it has returned."""
    concurrency, rate_per_s, sizes = 3, 20.0, (1, 2, 13, 1, 20, 1, 3)
    world.settings = replace(SETTINGS, release_concurrency=concurrency)
    world.provider.rate_per_s, world.provider.takes_s, world.provider.side_by_side = rate_per_s, 0.001, 25
    times: list[datetime] = []
    for source in range(concurrency):
        world.clock.now = DAY + timedelta(milliseconds=7 * source)
        for bundle, size in enumerate(sizes):
            world.provider.got.clear()
            world.invoke(*(accepted(f"{source}-{bundle}-{n}") for n in range(size)), lane="schedule")
            times += [at for at, _ in world.provider.got]
    assert len(times) == concurrency * sum(sizes)
    for window_s in (1, 3, 10):
        assert most_in(window_s, times) <= window_s * rate_per_s * LANE_SHARE + concurrency


@pytest.mark.parametrize(("lane", "concurrency", "interval_s"), [("delivery", 2, 0.4), ("schedule", 5, 1.0)])
def test_the_pace_of_a_lane_is_shared_by_as_many_as_may_run_at_once(
    world: World, lane: str, concurrency: int, interval_s: float
) -> None:
    world.settings = replace(SETTINGS, delivery_concurrency=2, release_concurrency=5)
    world.provider.rate_per_s = concurrency / LANE_SHARE / interval_s
    world.invoke(*many(4), lane=lane)
    starts = [(at - DAY).total_seconds() for at, _ in world.provider.got]
    assert starts == pytest.approx([0, interval_s, 2 * interval_s, 3 * interval_s])


def test_an_invocation_does_not_return_before_its_last_interval_is_over(world: World) -> None:
    world.provider.rate_per_s = 4
    world.invoke(accepted())
    assert world.clock() - DAY == timedelta(seconds=1)


def test_what_was_done_is_recorded_before_the_interval_is_waited_out(world: World) -> None:
    world.provider.rate_per_s = 4
    recorded_at: list[datetime] = []

    def note(real: Any, **parameters: Any) -> Any:
        recorded_at.append(world.clock())
        return real(**parameters)

    world.faults = {"batch_write_item": note}
    world.invoke(accepted())
    assert recorded_at == [DAY]


def test_a_call_with_many_takes_the_time_of_many(world: World) -> None:
    world.provider.rate_per_s, world.provider.batch_size = 40, 10
    world.invoke(*many(25))
    assert [(at - DAY).total_seconds() for at, _ in world.provider.got] == [0, 1, 2]
    assert world.clock() - DAY == timedelta(seconds=2.5)


@pytest.mark.parametrize(("rate_per_s", "most"), [(400, 25), (40, 10), (12, 3), (4, 1), (1, 1)])
def test_a_call_has_no_more_than_may_go_in_a_second(world: World, rate_per_s: float, most: int) -> None:
    """Otherwise two workers at once would send a hundred each in the same instant, whatever the rate."""
    world.provider.rate_per_s, world.provider.batch_size = rate_per_s, 100
    world.invoke(*many(25))
    assert max(len(ids) for _, ids in world.provider.got) == most


def test_without_a_rate_nothing_is_waited_for(world: World) -> None:
    world.invoke(*many(3))
    assert world.clock() == DAY


def test_a_pace_too_slow_for_one_invocation_to_keep_is_a_fault_of_the_configuration(world: World) -> None:
    """Otherwise the lane would go round for ever without a call."""
    world.provider.rate_per_s = 0.1
    settled, counts = world.invoke(accepted())
    assert (settled, world.provider.ids, counts["dead_lettered"]) == (True, [], 1)
    assert "channel not configured" in world.letter().attributes["reason"]


def test_the_slowest_pace_that_can_be_kept_is_kept(world: World) -> None:
    world.provider.rate_per_s = 2 / LANE_SHARE / 30
    world.put(*many(3))
    world.run()
    assert [(at - DAY).total_seconds() for at, _ in world.provider.got] == pytest.approx([0, 30, 60])


# --- both lanes at once, provider down over the release, in virtual time


def test_a_release_into_a_provider_that_comes_back_is_delivered_at_the_lane_s_rate(world: World) -> None:
    """R13. One event source; the provider is away for the first ten minutes after eight o'clock."""
    world.clock.now = QUIET_UNTIL + CLOCK_SKEW
    opens = world.clock.now
    back_at = opens + timedelta(minutes=10)
    world.settings = replace(SETTINGS, release_concurrency=1)
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
    assert last - back_at <= timedelta(seconds=30 + ceil(30 / (20 * LANE_SHARE)) + 1)


def test_threads_change_nothing_about_what_happens(world: World) -> None:
    """`in_threads` against one after another, with answers of every kind."""
    kinds = ["delivered", "rejected", "retry", "unknown"]
    world.provider.answer = lambda n: Outcome(kinds[int(n["id"].partition("-")[2]) % 4], "code: why")  # type: ignore[arg-type]
    world.provider.side_by_side = 8
    _, alone = world.invoke(*many(16))
    world.side_by_side = in_threads
    _, together = world.invoke(*(accepted(f"next-{n}") for n in range(16)))
    assert alone == together
