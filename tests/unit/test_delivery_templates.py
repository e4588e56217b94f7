"""A template that the provider refuses: it rests for its source, and everything else goes on (issue 10, item 4)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.templates import KNOWN_MAX, KNOWN_S, Known, Templates, pair_of
from lambdas.quiet_hours.stores.health import (
    FIRST_REST_S,
    PROBE_LEASE_S,
    REFUSALS_MAX,
    REST_S_MAX,
    Health,
    Refusals,
    after_refusals,
    after_success,
)
from lambdas.quiet_hours.stores.turns import Turns
from tests.helpers.aws import DAY, dynamodb, sqs
from tests.helpers.delivery_world import Killed, World, accepted, down, health, world

__all__ = ["dynamodb", "sqs", "world"]

REFUSED = Outcome("rejected", "solapi_1042: Solapi's status 1042, no such template", refuses_template=True)
REJECTED = Outcome("rejected", "solapi_1061: Solapi's status 1061")
NOT_CONNECTED = Outcome("unavailable", "not_connected: no connection to the provider")
NOW = 1_605_063_600_000
BELOW = REFUSALS_MAX - 1


def talk(id: str, template: str = "spring", source: str = "shop", **fields: Any) -> dict[str, Any]:
    return accepted(id, content={"template": template}, source=source, **fields)


def talks(count: int, name: str = "id", **fields: Any) -> list[dict[str, Any]]:
    return [talk(f"{name}-{n}", **fields) for n in range(count)]


def refuses(world: World, template: str = "spring", source: str = "shop", **duration: float) -> None:
    """Let the provider refuse a template of one source, for that long from now on, or for good."""
    until = world.clock() + timedelta(**duration) if duration else None

    def answer(notification: dict[str, Any]) -> Outcome:
        is_refused = until is None or world.clock() < until
        named = (notification["content"].get("template"), notification.get("source"))
        return REFUSED if is_refused and named == (template, source) else DELIVERED

    world.provider.answer = answer


def state_of(world: World, *ids: str) -> set[str]:
    states = world.states()
    return {states[id] for id in ids}


def pair_health(world: World, **fields: Any) -> Health:
    pair = pair_of(talk("any", **fields))  # type: ignore[arg-type]
    assert pair
    return health(world, pair)


# --- the decision, as a table

RESTS = Health(rest_s=20, rest_until_ms=NOW + 12_000)
LEASED = Health(rest_s=20, rest_until_ms=NOW + 25_000)


@pytest.mark.parametrize(
    ("before", "ids", "probe", "after", "dead_lettered", "wait_s"),
    [
        pytest.param(Health(), "a", None, Health(refused=("a",)), "a", 0, id="the first one"),
        pytest.param(Health(refused=("a",)), "b", None, Health(refused=("a", "b")), "b", 0, id="the second one"),
        pytest.param(Health(refused=("a", "b")), "a", None, Health(refused=("a", "b")), "a", 0, id="one of them again"),
        pytest.param(
            Health(refused=("a", "b"), served_ms=7), "c", None,
            Health(served_ms=7, rest_s=FIRST_REST_S, rest_until_ms=NOW + 5000), "", FIRST_REST_S, id="the third one",
        ),
        pytest.param(
            Health(), "abcde", None, Health(rest_s=FIRST_REST_S, rest_until_ms=NOW + 5000), "ab", FIRST_REST_S,
            id="five in one call",
        ),
        pytest.param(
            Health(refused=("a", "b")), "ac", None, Health(rest_s=FIRST_REST_S, rest_until_ms=NOW + 5000), "a",
            FIRST_REST_S, id="one of them again, and a third one",
        ),
        pytest.param(RESTS, "xy", None, RESTS, "", 12, id="it rests: their call began before"),
        pytest.param(
            LEASED, "x", LEASED, Health(rest_s=40, rest_until_ms=NOW + 40_000), "", 40, id="a probe: twice as long",
        ),
        pytest.param(
            replace(LEASED, rest_s=800), "x", LEASED, Health(rest_s=REST_S_MAX, rest_until_ms=NOW + 900_000), "",
            REST_S_MAX, id="a probe: at most 15 minutes",
        ),
        pytest.param(RESTS, "x", LEASED, RESTS, "", 12, id="a probe whose lease another one has"),
        pytest.param(Health(), "x", LEASED, Health(refused=("x",)), "x", 0, id="a probe, and another one has ended it"),
    ],
)  # fmt: skip
def test_a_refusal_is_judged(
    before: Health, ids: str, probe: Health | None, after: Health, dead_lettered: str, wait_s: float
) -> None:
    refused = after_refusals(before, Refusals(tuple(ids), NOW, probe))
    assert refused == (after, frozenset(dead_lettered), wait_s)
    assert Health.from_item({k: v for k, v in after.fields().items() if v}) == after


def test_a_delivery_forgets_the_refusals() -> None:
    assert after_success(Health(refused=("a", "b")), None, NOW) == Health(served_ms=NOW)


# --- the threshold


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("can_resend", [True, False])
def test_the_first_refused_ones_are_dead_lettered_and_the_others_wait(
    world: World, can_resend: bool, batch_size: int
) -> None:
    world.provider.can_resend, world.provider.batch_size = can_resend, batch_size
    refuses(world)
    settled, counts = world.invoke(*talks(20))
    assert settled
    assert counts["dead_lettered"] == BELOW
    assert counts["given_back"] == 20 - BELOW
    assert counts["rejected: webhook solapi_1042"] == BELOW
    assert counts["misconfigured: webhook solapi_1042"] == min(20, max(batch_size, REFUSALS_MAX)) - BELOW
    letters = world.sqs.messages["dead-letter"]
    assert [letter.ids for letter in letters] == [["id-0"], ["id-1"]]
    assert {letter.attributes["reason"] for letter in letters} == {REFUSED.reason}
    assert {back.delay_s for back in world.sqs.messages["delivery"]} == {FIRST_REST_S}
    assert {entry.attempts for entry in world.entries().values() if entry.state == "claimed"} <= {0}
    assert not [entry for entry in world.entries().values() if entry.state == "claimed" and entry.sending]
    assert len(world.provider.ids) <= max(batch_size, REFUSALS_MAX), "what is known to rest is not called"


def test_below_the_threshold_all_are_dead_lettered_with_the_reason(world: World) -> None:
    refuses(world)
    for number in range(BELOW):
        world.invoke(talk(f"id-{number}"))
    assert set(world.states().values()) == {"dead_lettered"}
    assert not world.sqs.messages["delivery"]
    assert pair_health(world).refused == ("id-0", "id-1")


def test_refusals_are_counted_over_all_workers(world: World) -> None:
    refuses(world)
    for number in range(REFUSALS_MAX):
        world.memory = Memory()
        world.invoke(talk(f"id-{number}"))
    assert state_of(world, "id-0", "id-1") == {"dead_lettered"}
    assert world.state("id-2") == "released"
    assert pair_health(world).rests


def test_a_delivery_between_two_refusals_begins_to_count_again(world: World) -> None:
    world.provider.answer = lambda each: REFUSED if each["id"].startswith("bad") else DELIVERED
    for number in range(2 * REFUSALS_MAX):
        world.memory = Memory()
        world.invoke(talk(f"bad-{number}"))
        if number % BELOW:
            world.memory = Memory()
            world.invoke(talk(f"good-{number}"))
    assert state_of(world, *(f"bad-{number}" for number in range(2 * REFUSALS_MAX))) == {"dead_lettered"}
    assert not pair_health(world).rests


def test_a_call_that_delivers_some_of_a_template_dead_letters_what_is_refused(world: World) -> None:
    world.provider.batch_size = 100
    world.provider.answer = lambda each: DELIVERED if each["id"] == "id-9" else REFUSED
    assert world.invoke(*talks(10))[1]["dead_lettered"] == 9
    assert pair_health(world) == Health()


def test_what_is_rejected_for_another_reason_or_has_no_template_never_rests(world: World) -> None:
    world.provider.answer = lambda each: REJECTED if "template" in each["content"] else REFUSED
    world.invoke(*talks(8), *(accepted(f"text-{n}") for n in range(8)))
    assert list(world.states().values()) == ["dead_lettered"] * 16
    assert [item["channel"]["S"] for item in world.dynamodb.scan(TableName="turn")["Items"]] == ["webhook"]


# --- the others


def test_other_sources_other_templates_and_texts_go_on(world: World) -> None:
    refuses(world)
    others = [
        talk("other-source", source="bank"),
        accepted("no-source", content={"template": "spring"}),
        talk("other-template", template="autumn"),
        accepted("text", source="shop"),
    ]
    world.provider.batch_size = 100
    world.invoke(*talks(10))
    at = world.clock()
    world.invoke(*talks(10, "more"), *others)
    assert world.clock() == at
    assert state_of(world, *(each["id"] for each in others)) == {"delivered"}
    assert not {id for id in world.provider.ids if id.startswith("more")}
    assert not health(world).rests


def test_what_rests_takes_no_turn(world: World) -> None:
    world.provider.rate_per_s = 10
    refuses(world)
    world.invoke(*talks(REFUSALS_MAX))
    booked = world.dynamodb.get_item(TableName="turn", Key={"channel": {"S": "webhook"}})["Item"]["next_us"]
    world.invoke(*talks(50, "more"))
    assert world.dynamodb.get_item(TableName="turn", Key={"channel": {"S": "webhook"}})["Item"]["next_us"] == booked
    assert not {id for id in world.states() if id.startswith("more")}, "nor is it claimed"


# --- rest and probe


@pytest.mark.parametrize("can_resend", [True, False])
@pytest.mark.parametrize("batch_size", [1, 100])
def test_a_template_that_is_mended_costs_time_only(world: World, batch_size: int, can_resend: bool) -> None:
    """A night of one source, for 90 minutes by a template that is not registered yet."""
    world.provider.batch_size, world.provider.can_resend = batch_size, can_resend
    refuses(world, minutes=90)
    for bundle in range(4):
        world.put(*talks(20, f"night-{bundle}"), lane="schedule")
    world.put(*(accepted(f"text-{n}") for n in range(20)), lane="schedule")
    world.run("schedule", for_s=60)
    assert state_of(world, *(f"text-{n}" for n in range(20))) == {"delivered"}
    world.run("schedule")
    states = list(world.states().values())
    assert (states.count("dead_lettered"), states.count("delivered"), len(states)) == (BELOW, 98, 100)
    assert len([call for call in world.provider.got if call.at - DAY > timedelta(seconds=60)]) < 100
    assert world.clock() - DAY < timedelta(minutes=90 + 16)
    assert not pair_health(world).rests


def test_one_notification_probes_after_each_rest_and_goes_back_when_it_is_refused(world: World) -> None:
    refuses(world)
    world.invoke(*talks(20))
    got: list[int] = []
    for _ in range(12):
        assert len({id for sent in world.sqs.messages["delivery"] for id in sent.ids}) == 20 - BELOW
        calls = len(world.provider.got)
        world.clock.sleep(min(pair_health(world).rest_s, REST_S_MAX))
        world.memory = Memory()
        world.sqs.messages["delivery"].clear()
        counts = world.invoke(*talks(20)[BELOW:])[1]
        assert counts["misconfigured: webhook solapi_1042"] == 1
        assert counts["given_back"] == 20 - BELOW
        got.append(len(world.provider.got) - calls)
        assert {sent.delay_s for sent in world.sqs.messages["delivery"]} == {round(pair_health(world).rest_s)}
    assert got == [1] * 12
    assert pair_health(world).rest_s == REST_S_MAX
    assert len(world.sqs.messages["dead-letter"]) == BELOW
    assert {entry.attempts for entry in world.entries().values()} == {0}


def test_while_one_worker_probes_no_other_does(world: World) -> None:
    refuses(world, seconds=FIRST_REST_S)
    world.invoke(*talks(REFUSALS_MAX))
    world.clock.sleep(FIRST_REST_S)
    call, others = world.provider.send, []

    def meanwhile(notifications: Any) -> Any:
        world.provider.send = call  # type: ignore[method-assign]
        mine, world.memory = world.memory, Memory()
        others.append(world.invoke(talk("other"))[1])
        world.memory = mine
        return call(notifications)

    world.provider.send = meanwhile  # type: ignore[method-assign]
    assert world.invoke(talk("probe"), talk("next"))[1] == {"delivered": 1, "given_back": 1}
    assert others == [{"given_back": 1}]
    assert [back.delay_s for back in world.sqs.messages["delivery"] if back.ids == ["next"]] == [1]
    assert world.invoke(talk("next"))[1] == {"delivered": 1}


def test_a_worker_that_dies_over_its_probe_is_followed_by_another(world: World) -> None:
    refuses(world)
    world.invoke(*talks(REFUSALS_MAX))
    world.clock.sleep(FIRST_REST_S)

    def dies(_: Any) -> Outcome:
        raise Killed

    world.provider.answer = dies
    with pytest.raises(Killed):
        world.invoke(talk("probe"))
    world.memory = Memory()
    world.provider.answer = lambda _: DELIVERED
    assert world.invoke(talk("b"))[1] == {"given_back": 1}
    world.clock.sleep(PROBE_LEASE_S)
    assert world.invoke(talk("c"))[1] == {"delivered": 1}
    assert not pair_health(world).rests


def test_nobody_mends_it_and_it_expires(world: World) -> None:
    refuses(world)
    world.put(*talks(6, expires_at="2020-11-11T07:00:00.000+00:00"))
    world.run()
    assert sorted(world.states().values()) == ["dead_lettered"] * BELOW + ["expired"] * (6 - BELOW)


def test_a_probe_that_does_not_reach_the_provider_is_the_channel_s_failure(world: World) -> None:
    refuses(world)
    world.invoke(*talks(REFUSALS_MAX))
    world.clock.sleep(FIRST_REST_S)
    world.provider.answer = lambda _: NOT_CONNECTED
    assert world.invoke(talk("probe"))[1]["rested"] == 1
    assert health(world).rests
    world.provider.answer = lambda _: DELIVERED
    world.run()
    assert state_of(world, "probe", "id-2") == {"delivered"}


# --- cost, and a table that gives no answer


def test_a_bundle_reads_each_pair_once_and_one_without_templates_none(world: World) -> None:
    reads: list[str] = []

    def get_item(real: Any, **options: Any) -> Any:
        if _is_of_a_pair(options):
            reads.append(options["Key"]["channel"]["S"])
        return real(**options)

    world.faults["get_item"] = get_item
    world.invoke(*(accepted(f"text-{n}") for n in range(20)))
    assert reads == []
    world.invoke(*talks(20), *talks(20, "other", source="bank"))
    assert len(reads) == len(set(reads)) == 2
    world.invoke(*talks(20, "more"))
    assert len(reads) == 2, "it is believed for some seconds"
    world.clock.sleep(KNOWN_S)
    world.invoke(*talks(20, "late"))
    assert len(reads) == 3
    assert len(world.dynamodb.scan(TableName="turn")["Items"]) == 1, "what is delivered writes nothing of its pair"


def _is_of_a_pair(options: dict[str, Any]) -> bool:
    return options["TableName"] == "turn" and "#" in options["Key"]["channel"]["S"]


def _gives_no_answer(real: Any, **options: Any) -> Any:
    """A fault of the table for the items of sources and templates alone."""
    return down() if _is_of_a_pair(options) else real(**options)


@pytest.mark.parametrize("name", ["get_item", "update_item"])
def test_without_the_table_refused_ones_are_dead_lettered_and_others_delivered(world: World, name: str) -> None:
    world.faults[name] = _gives_no_answer
    refuses(world)
    world.invoke(*talks(8), talk("other", source="bank"))
    assert list(world.states().values()).count("dead_lettered") == 8
    assert world.state("other") == "delivered"
    assert not world.sqs.messages["delivery"]


def test_without_the_table_a_refused_probe_comes_again(world: World) -> None:
    refuses(world)
    world.invoke(*talks(REFUSALS_MAX))
    world.clock.sleep(FIRST_REST_S)
    is_down: list[bool] = []
    world.faults["get_item"] = lambda real, **options: (_gives_no_answer if is_down else _asks)(real, **options)

    def answer(_: dict[str, Any]) -> Outcome:
        is_down.append(True)
        return REFUSED

    world.provider.answer = answer
    assert world.invoke(talk("probe"))[1]["given_back"] == 1
    assert is_down
    assert world.state("probe") == "released"


def _asks(real: Any, **options: Any) -> Any:
    return real(**options)


def test_a_process_remembers_no_more_than_some(world: World) -> None:
    known: dict[str, Known] = {}
    turns = Turns(world.dynamodb, "turn", world.clock)
    templates = Templates("webhook", turns, known, world.clock)
    for number in range(KNOWN_MAX + 5):
        templates._learn(f"webhook#{number}", Health())
    assert len(known) <= KNOWN_MAX


# --- what is shown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (talk("a", source="shop#a", template="b"), talk("a", source="shop", template="a#b")),
        (talk("a", source="", template="b"), talk("a", source="b", template="")),
        (talk("a"), talk("a", channel="kakao")),
        (talk("a", template="가" * 1000), talk("a", template="가" * 1001)),
    ],
)
def test_each_source_and_template_has_a_key_of_its_own_that_shows_neither(one: Any, other: Any) -> None:
    first, second = pair_of(one), pair_of(other)
    assert first
    assert second
    assert first != second
    assert len(first) <= len("webhook#") + 32
    assert "shop" not in first


def test_without_a_source_the_template_is_nobody_s() -> None:
    assert pair_of(accepted(content={"template": "a"})) == pair_of(accepted(content={"template": "a"}, source=""))  # type: ignore[arg-type]


def test_neither_table_nor_letter_nor_count_shows_source_or_template(world: World) -> None:
    refuses(world, "secret-template", "secret-source")
    counts = world.invoke(*talks(9, template="secret-template", source="secret-source"))[1]
    shown = [json.dumps(dict(counts)), json.dumps(world.dynamodb.scan(TableName="turn")["Items"], default=str)]
    shown += [json.dumps(sent.attributes) for sent in world.sqs.messages["dead-letter"]]
    assert "secret" not in "".join(shown)
