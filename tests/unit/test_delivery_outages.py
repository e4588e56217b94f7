"""The worker through outages and slips of every kind: they cost time, and neither attempts nor more in doubt than what
was under way (issue 10's table)."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.pacing import AHEAD_S
from lambdas.quiet_hours.delivery.verdicts import ATTEMPTS_MAX
from lambdas.quiet_hours.stores.health import FIRST_REST_S, PROBE_LEASE_S, REST_S_MAX
from lambdas.quiet_hours.stores.turns import Turn, Turns
from tests.helpers.aws import DAY, dynamodb, record, sqs
from tests.helpers.delivery_world import Killed, Sent, World, accepted, consent, health, many, works, world

__all__ = ["dynamodb", "sqs", "world"]

BAD_GATEWAY = Outcome("retry", "http_502: the provider answered 502")
NO_ANSWER = Outcome("unknown", "no_answer: the provider did not answer within 10 s")
NOT_CONNECTED = Outcome("unavailable", "not_connected: no connection to the provider")
FORBIDDEN = Outcome("forbidden", "http_403: the provider answered 403")
NO_SETTINGS = Outcome("misconfigured", "channel_not_configured: channel not configured")
REFUSED = Outcome("unauthorized", "http_401: the provider answered 401")
OUTAGES = [BAD_GATEWAY, NO_ANSWER, NOT_CONNECTED, FORBIDDEN, NO_SETTINGS, REFUSED]


def is_down_for(world: World, outage: Outcome, **duration: float) -> Any:
    """Let the provider answer so for that long from now on. Returns the instant of its return."""
    back_at = world.clock() + timedelta(**duration)
    world.provider.answer = lambda _: outage if world.clock() < back_at else DELIVERED
    return back_at


def bundles(world: World, count: int, size: int, lane: str = "schedule") -> set[str]:
    ids = [f"{bundle}-{n}" for bundle in range(count) for n in range(size)]
    for bundle in range(count):
        world.put(*(accepted(f"{bundle}-{n}") for n in range(size)), lane=lane)
    return set(ids)


# --- where the provider can be asked twice


@pytest.mark.parametrize("has_worked", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("outage", "size"),
    [
        pytest.param(BAD_GATEWAY, 100, marks=pytest.mark.slow, id="http_502 for 500"),
        *(pytest.param(outage, 8, id=outage.reason.partition(":")[0]) for outage in OUTAGES),
    ],
)
def test_ninety_minutes_over_a_release_dead_letter_nothing(
    world: World, outage: Outcome, size: int, has_worked: bool
) -> None:
    """500 notifications for a webhook that answers 502 all the while; fewer for the other kinds of outages."""
    if has_worked:
        works(world)
    world.provider.rate_per_s = 200
    back_at = is_down_for(world, outage, minutes=90)
    ids = bundles(world, 5, size)
    world.run("schedule")
    assert not world.sqs.messages["dead-letter"]
    assert world.states() == dict.fromkeys(ids, "delivered")
    assert world.clock() - back_at <= timedelta(seconds=REST_S_MAX + 30)
    assert max(entry.attempts for entry in world.entries().values()) <= 1
    assert sum(len(call.ids) for call in world.provider.got if call.at < back_at) < 30


def test_an_outage_shows_as_a_rest_whatever_its_kind(world: World) -> None:
    """The alarm is made of it, and not of the kinds of answers alone."""
    works(world)
    world.provider.answer = lambda _: BAD_GATEWAY
    assert world.invoke(*many(3))[1]["rested"] == 1
    assert health(world).rests


def test_a_failing_item_is_blamed_while_its_neighbours_go_on_and_not_in_an_outage(world: World) -> None:
    """502 for one text all the time, and for all in between."""
    works(world)
    world.provider.takes_s = 0.01
    world.provider.rate_per_s = 2
    down_from, down_until = DAY + timedelta(minutes=2), DAY + timedelta(minutes=8)

    def answer(notification: dict[str, Any]) -> Outcome:
        is_down = down_from <= world.clock() < down_until
        return BAD_GATEWAY if is_down or notification["id"] == "poison" else DELIVERED

    world.provider.answer = answer
    world.put(accepted("poison"))
    for number in range(60):  # one every ten seconds
        at = DAY + timedelta(seconds=10 * number)
        world.sqs.put("delivery", Sent(json.dumps(accepted(f"id-{number}")), {}, 0, at, f"id-{number}"))
    world.run(for_s=120)
    before = world.entry("poison")
    assert before
    assert before.attempts >= 3, "found within minutes"
    world.run(for_s=360)
    during = world.entry("poison")
    assert during
    assert during.attempts <= before.attempts + 1
    assert max(entry.attempts for id, entry in world.entries().items() if id != "poison") <= 1
    world.run(for_s=3600)
    assert {state for id, state in world.states().items() if id != "poison"} == {"delivered"}
    assert len(world.states()) == 61
    after = world.entry("poison")
    assert after
    assert during.attempts <= after.attempts < ATTEMPTS_MAX


def test_a_source_whose_texts_are_refused_again_and_again_does_not_stop_the_others(world: World) -> None:
    """Every second text is refused by a firewall."""
    works(world)
    world.provider.takes_s = 0.01
    world.provider.answer = lambda each: FORBIDDEN if int(each["id"].partition("-")[2]) % 2 else DELIVERED
    world.put(*many(60))
    world.run(for_s=2)
    assert list(world.states().values()).count("delivered") == 30
    assert not health(world).rests


# --- where it cannot


@pytest.mark.parametrize(("batch_size", "size"), [(1, 8), (10, 20), (50, 60)])
@pytest.mark.parametrize("outage", [NO_ANSWER, Outcome("unknown", "http_502: the provider answered 502")])
def test_what_ends_as_unknown_is_bounded_by_the_calls_under_way_and_the_probes(
    world: World, outage: Outcome, batch_size: int, size: int
) -> None:
    """SMS: the provider answers 502, or hangs, for five minutes over the release."""
    world.provider.can_resend, world.provider.batch_size = False, batch_size
    world.provider.rate_per_s = 200
    is_down_for(world, outage, minutes=5)
    ids = bundles(world, 4, size)
    world.run("schedule")
    probes = 6  # after 5, 15, 35, 75 and 155 seconds, and perhaps one more
    states = Counter(world.states().values())
    assert states["unknown"] <= batch_size + probes
    assert states["unknown"] + states["delivered"] == len(ids) == len(world.entries())
    assert {id for letter in world.on("dead-letter") for id in letter} == {
        id for id, state in world.states().items() if state == "unknown"
    }


@pytest.mark.parametrize("outage", [BAD_GATEWAY, NOT_CONNECTED, NO_SETTINGS, REFUSED, FORBIDDEN])
def test_what_the_provider_says_it_did_not_take_is_not_in_doubt(world: World, outage: Outcome) -> None:
    world.provider.can_resend, world.provider.batch_size = False, 50
    is_down_for(world, outage, minutes=30)
    ids = bundles(world, 2, 30)
    world.run("schedule")
    assert world.states() == dict.fromkeys(ids, "delivered")
    assert not world.sqs.messages["dead-letter"]


# --- probes


@pytest.mark.parametrize("can_resend", [True, False])
def test_a_probe_is_one_notification_however_many_a_call_takes(world: World, can_resend: bool) -> None:
    world.provider.batch_size, world.provider.can_resend = 50, can_resend
    is_down_for(world, NOT_CONNECTED, seconds=FIRST_REST_S)
    world.put(*many(100))
    world.run()
    assert [len(call.ids) for call in world.provider.got] == [50, 1, 50, 49]
    assert (world.provider.got[1].at - DAY).total_seconds() == FIRST_REST_S
    assert set(world.states().values()) == {"delivered"}


def test_a_probe_that_fails_sends_the_bundle_s_others_back_unclaimed(world: World) -> None:
    world.provider.batch_size = 50
    is_down_for(world, NOT_CONNECTED, minutes=1)
    world.invoke(accepted("first"))
    world.clock.sleep(FIRST_REST_S)
    settled, counts = world.invoke(*many(40))
    assert (settled, counts["given_back"], counts["rested"]) == (True, 40, 0)
    assert world.provider.got[-1].ids == ["id-0"]
    assert world.entries().keys() == {"first", "id-0"}
    assert {back.delay_s for back in world.sqs.messages["delivery"]} == {FIRST_REST_S, 2 * FIRST_REST_S}


def test_while_one_worker_probes_no_other_calls(world: World) -> None:
    is_down_for(world, NOT_CONNECTED, seconds=FIRST_REST_S)
    world.invoke(accepted("a"))
    world.clock.sleep(FIRST_REST_S)
    call, seconds = world.provider.send, []

    def meanwhile(notifications: Any) -> Any:
        world.provider.send = call  # type: ignore[method-assign]
        mine, world.memory = world.memory, Memory()
        seconds.append(world.invoke(accepted("other"))[1])
        world.memory = mine
        return call(notifications)

    world.provider.send = meanwhile  # type: ignore[method-assign]
    world.invoke(accepted("probe"))
    assert seconds == [{"given_back": 1}]
    assert world.provider.ids == ["a", "probe"]


def test_a_worker_that_dies_over_its_probe_is_followed_by_another(world: World) -> None:
    world.provider.answer = lambda _: NOT_CONNECTED
    world.invoke(accepted("a"))
    world.clock.sleep(FIRST_REST_S)

    def dies(_: Any) -> Outcome:
        raise Killed

    world.provider.answer = dies
    with pytest.raises(Killed):
        world.invoke(accepted("b"))
    world.memory = Memory()
    world.provider.answer = lambda _: DELIVERED
    assert world.invoke(accepted("c"))[1] == {"given_back": 1}
    world.clock.sleep(PROBE_LEASE_S)
    assert world.invoke(accepted("d"))[1] == {"delivered": 1}
    assert not health(world).rests


def test_a_probe_that_is_held_or_dropped_or_another_s_probes_nothing_and_the_next_one_does(world: World) -> None:
    """What sends nothing says nothing: the lease passes to whoever comes when it is over."""
    is_down_for(world, NOT_CONNECTED, seconds=1)
    world.invoke(accepted("a"))
    world.clock.sleep(FIRST_REST_S)
    consent(world, "nobody", opted_out=True)
    world.put(accepted("dropped", category="advertising", address="nobody"), accepted("b"))
    world.run(for_s=PROBE_LEASE_S + FIRST_REST_S + 1)
    assert (world.state("dropped"), world.state("b")) == ("opted_out", "delivered")


# --- the urgent lane


def test_what_is_not_critical_moves_off_the_urgent_lane_unread_and_unclaimed(world: World) -> None:
    settled, counts = world.invoke(
        accepted("code", category="critical"),
        accepted("order"),
        accepted("ad", category="advertising"),
        accepted("order-2"),
        lane="urgent",
    )
    assert (settled, counts) == (True, {"delivered": 1, "moved": 3})
    assert world.provider.ids == ["code"]
    assert (world.on("urgent"), world.on("delivery"), world.on("schedule")) == ([], [["order", "order-2"]], [["ad"]])
    assert world.entries().keys() == {"code"}


def test_what_moves_keeps_its_redrive(world: World) -> None:
    at = "2020-11-11T02:00:00.000+00:00"
    world.invoke(accepted("order"), lane="urgent", dead_lettered_at=at)
    (moved,) = world.sqs.messages["delivery"]
    assert moved.attributes == {"dead_lettered_at": at}


def test_what_cannot_be_moved_is_not_acknowledged(world: World) -> None:
    world.sqs.faults["delivery"] = lambda entries: range(len(entries))
    assert not world.invoke(accepted("order"), lane="urgent")[0]


def test_a_critical_one_on_another_lane_is_delivered_from_there(world: World) -> None:
    """Somebody's own message: nothing is lost by it."""
    world.invoke(accepted("code", category="critical"), lane="schedule")
    assert world.provider.ids == ["code"]


def test_a_critical_one_finds_a_turn_where_the_bulk_finds_none(world: World) -> None:
    world.provider.rate_per_s = 10
    turns = Turns(world.dynamodb, "turn", world.clock)
    while isinstance(turns.book("webhook", 5, 10, AHEAD_S["schedule"]), Turn):
        pass
    assert world.invoke(*many(5), lane="schedule")[1] == {"given_back": 5}
    world.memory = Memory()
    began = world.clock()
    world.invoke(accepted("code", category="critical"), lane="urgent")
    assert world.provider.got[-1].ids == ["code"]
    assert world.provider.got[-1].at - began <= timedelta(seconds=2)


@pytest.mark.parametrize(
    ("category", "accepted_at", "waited_s"),
    [
        ("critical", "2020-11-11T02:59:57.500+00:00", 2.5),
        ("critical", "2020-11-11T03:00:30.000+00:00", 0),  # another clock is ahead
        ("informational", "2020-11-11T02:00:00.000+00:00", None),
    ],
)
def test_a_critical_one_s_wait_for_its_call_is_measured(
    world: World, category: str, accepted_at: str, waited_s: float | None
) -> None:
    body = json.dumps(accepted(category=category, accepted_at=accepted_at))
    delivered = world.delivery().deliver(arrived(body, world, "urgent" if category == "critical" else "delivery"))
    assert delivered.counts == {"delivered": 1}
    assert delivered.urgent_wait_s == waited_s


def test_of_several_waits_the_longest_is_told_and_only_of_what_was_called(world: World) -> None:
    codes = [
        accepted(f"code-{second}", category="critical", accepted_at=f"2020-11-11T02:59:{second}.000+00:00")
        for second in (50, 40, 55)
    ]
    old = {"accepted_at": "2020-11-10T00:00:00.000+00:00", "expires_at": "2020-11-10T01:00:00.000+00:00"}
    expired = accepted("old", category="critical", **old)
    assert world.delivery().deliver(arrived(json.dumps([*codes, expired]), world)).urgent_wait_s == 20


def arrived(body: str, world: World, lane: str = "urgent") -> dict[str, Any]:
    return record(body, "message-0", world.clock(), queue=lane)
