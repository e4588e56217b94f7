"""The worker while the ledger, the consents, the secret or a queue is away, and while others have an item."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.channels import NotConfigured
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import STORE_REST_S
from lambdas.quiet_hours.stores.entries import released
from lambdas.quiet_hours.stores.health import FIRST_REST_S, REST_S_MAX
from lambdas.quiet_hours.stores.ledger import LOOK_AGAIN_S, Ledger
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.aws import DAY, dynamodb, sqs
from tests.helpers.delivery_world import (
    REJECTED,
    RETRY,
    UNAVAILABLE,
    World,
    accepted,
    answers,
    down,
    half,
    health,
    many,
    unreachable,
    works,
    world,
)

__all__ = ["dynamodb", "sqs", "world"]


# --- what is away


def test_without_the_ledger_nothing_is_sent_and_all_goes_back(world: World) -> None:
    world.faults = {"transact_write_items": down}
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"given_back": 3, "ledger_unavailable": 1})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s, world.provider.ids) == (["id-0", "id-1", "id-2"], STORE_REST_S, [])


def test_a_ledger_that_cannot_be_read_is_no_ledger(world: World) -> None:
    world.faults = {"batch_get_item": down}
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"given_back": 3, "ledger_unavailable": 1})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s, world.provider.ids) == (["id-0", "id-1", "id-2"], STORE_REST_S, [])
    assert world.entries() == {}


def of_consents(fault: Callable[..., Any]) -> Callable[..., Any]:
    """A fault of `batch_get_item` for the consent table alone."""
    return lambda real, RequestItems: (fault if "consent" in RequestItems else real)(RequestItems=RequestItems)


def unprocessed(RequestItems: Any) -> Any:
    return {"Responses": {}, "UnprocessedKeys": RequestItems}


def test_without_consents_nothing_is_sent_and_nothing_is_claimed(world: World) -> None:
    world.faults = {"batch_get_item": of_consents(down)}
    settled, counts = world.invoke(accepted("ad", category="advertising"), accepted("order"))
    assert (settled, counts) == (True, {"given_back": 2, "consent_unavailable": 2})
    assert (world.provider.ids, world.on("delivery")) == ([], [["ad", "order"]])
    assert world.entries() == {}


def test_consents_that_stay_unprocessed_are_no_answer(world: World) -> None:
    world.faults = {"batch_get_item": of_consents(unprocessed)}
    assert world.invoke(accepted(category="advertising"))[1]["consent_unavailable"] == 1
    assert world.provider.ids == []


def test_a_consent_that_stays_unprocessed_delays_only_who_needs_it(world: World) -> None:
    def without_one(RequestItems: Any) -> Any:
        keys = RequestItems["consent"]["Keys"]
        left = [key for key in keys if key["recipient_id"]["S"] == "slow"]
        return {"Responses": {"consent": []}, "UnprocessedKeys": {"consent": {"Keys": left}} if left else {}}

    world.faults = {"batch_get_item": of_consents(without_one)}
    settled, counts = world.invoke(
        accepted("slow", category="advertising", address="slow"),
        accepted("quick", category="advertising", address="quick"),
        accepted("order", address="slow"),
    )
    assert (settled, counts) == (True, {"delivered": 2, "given_back": 1, "consent_unavailable": 1})
    assert sorted(world.provider.ids) == ["order", "quick"]
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s, world.entry("slow")) == (["slow"], STORE_REST_S, None)


def test_a_consent_that_is_stored_malformed_delays_only_who_needs_it(world: World) -> None:
    """Until somebody mends it: nobody guesses."""
    odd = {"recipient_id": {"S": "odd"}, "expires": {"N": "soon"}}
    world.faults = {"batch_get_item": of_consents(lambda RequestItems: {"Responses": {"consent": [odd]}})}
    ads = [accepted(name, category="advertising", address=name) for name in ("odd", "fine")]
    settled, counts = world.invoke(*ads)
    assert (settled, counts) == (True, {"delivered": 1, "given_back": 1, "consent_unavailable": 1})
    assert (world.provider.ids, world.on("delivery")) == (["fine"], [["odd"]])


# --- the table of turns


def of_turns(fault: Callable[..., Any]) -> Callable[..., Any]:
    return lambda real, **parameters: (fault if parameters["TableName"] == "turn" else real)(**parameters)


@pytest.mark.parametrize("rate_per_s", [None, 10.0])
@pytest.mark.parametrize("can_resend", [True, False])
def test_no_turn_table_no_send(world: World, rate_per_s: float | None, can_resend: bool) -> None:
    world.provider.rate_per_s, world.provider.can_resend = rate_per_s, can_resend
    world.faults = {"get_item": of_turns(down), "update_item": of_turns(down)}
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"given_back": 3})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s, world.provider.ids) == (["id-0", "id-1", "id-2"], STORE_REST_S, [])
    assert world.entries() == {}, "nothing is claimed for which there is no turn"
    world.faults = {}
    world.run()
    assert set(world.states().values()) == {"delivered"}


def test_without_the_turn_table_what_takes_no_turn_still_ends(world: World) -> None:
    world.faults = {"get_item": of_turns(down), "update_item": of_turns(down)}
    world.provider.rate_per_s = 10
    settled, counts = world.invoke(accepted("old", expires_at="2020-11-11T03:00:00.000+00:00"), accepted("order"))
    assert (settled, counts) == (True, {"expired": 1, "given_back": 1})
    assert (world.state("old"), world.provider.ids) == ("expired", [])


@pytest.mark.parametrize("outcome", [DELIVERED, REJECTED, RETRY, UNAVAILABLE])
def test_an_outcome_that_cannot_be_noted_in_the_table_of_turns_counts_all_the_same(
    world: World, outcome: Outcome
) -> None:
    """The table goes away between a turn and the answer. A failure is nobody's fault then."""
    away: list[bool] = []

    def answer(_: Any) -> Outcome:
        away.append(True)
        return outcome

    def while_away(real: Callable[..., Any], **parameters: Any) -> Any:
        return (down if away and parameters["TableName"] == "turn" else real)(**parameters)

    world.provider.answer = answer
    world.faults = {"get_item": while_away, "update_item": while_away}
    assert world.invoke(accepted())[0]
    becomes = {"delivered": "delivered", "rejected": "dead_lettered"}.get(outcome.kind, "released")
    entry = world.entry("a")
    assert entry
    assert (world.state("a"), entry.attempts) == (becomes, 0)


def test_without_the_secret_nothing_is_claimed_and_all_goes_back(world: World) -> None:
    def no_secret(name: str) -> Any:
        raise RuntimeError("Secrets Manager is away")

    world.channel = no_secret
    settled, counts = world.invoke(*many(2))
    assert (settled, counts) == (True, {"given_back": 2, "secret_unavailable": 2, "rested": 1, "rest_s": FIRST_REST_S})
    assert world.sqs.messages["delivery"][0].delay_s == FIRST_REST_S
    assert world.entry("id-0") is None
    assert health(world).rests, "every process leaves it alone"


@pytest.mark.parametrize("of", ["the secret", "the channel"])
def test_a_channel_that_cannot_be_used_for_hours_costs_nothing_but_time(world: World, of: str) -> None:
    """The secret cannot be read or parsed, or lacks the channel's part: it rests, and recovers by itself."""
    mended_at = DAY + timedelta(hours=2)

    def channel(name: str) -> Any:
        if world.clock() >= mended_at:
            return world.provider
        if of == "the secret":
            raise RuntimeError("Secrets Manager is away")
        return NotConfigured("the channel secret needs more")

    world.channel = channel
    world.put(*many(20), lane="schedule")
    world.put(*many(20, category="critical")[:3], lane="urgent")
    world.run("schedule", for_s=2 * 3600 - 1)
    assert (world.provider.ids, world.on("dead-letter")) == ([], [])
    assert {entry.attempts for entry in world.entries().values()} <= {0}
    assert world.invocations < 30, "it is looked at again more and more rarely"
    world.run("schedule", for_s=REST_S_MAX + 1)
    assert world.states() == {f"id-{n}": "delivered" for n in range(20)}


def test_one_channel_s_trouble_is_not_another_s(world: World) -> None:
    def channel(name: str) -> Any:
        if name == "log":
            raise RuntimeError("away")
        return world.provider

    world.channel = channel
    settled, _ = world.invoke(accepted("a", channel="log"), accepted("b"))
    assert settled
    assert (world.on("delivery"), world.state("b")) == ([["a"]], "delivered")


def test_an_item_that_another_worker_has_is_given_back_to_be_looked_at_soon(world: World) -> None:
    other = Ledger(world.dynamodb, "ledger", "other", timedelta(seconds=LEASE_S))
    other.claim({"id-1": None}, DAY)
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"delivered": 2, "given_back": 1})
    (back,) = world.sqs.messages["delivery"]
    assert (back.ids, back.delay_s) == (["id-1"], LOOK_AGAIN_S)


def test_each_busy_item_waits_only_for_itself(world: World) -> None:
    other = Ledger(world.dynamodb, "ledger", "other", timedelta(seconds=LEASE_S))
    live = other.claim({"id-0": None, "id-1": None}, DAY).held
    other.release([released(live["id-1"], 1, not_before=DAY + timedelta(seconds=60))], DAY)
    world.invoke(*many(2))
    waits = [(back.ids, back.delay_s) for back in world.sqs.messages["delivery"]]
    assert waits == [(["id-0"], LOOK_AGAIN_S), (["id-1"], 60)]


# --- what is not taken


def test_when_sending_back_fails_the_bundle_is_not_acknowledged(world: World) -> None:
    world.provider.answer = lambda _: RETRY
    world.sqs.faults["delivery"] = unreachable
    assert not world.invoke(*many(2))[0]


def test_when_sending_back_fails_in_part_the_bundle_is_not_acknowledged(world: World) -> None:
    """Two messages go back, SQS takes one of them: the bundle comes again and what was taken is absorbed later."""
    works(world)
    world.provider.answer = answers(a=RETRY, b=UNAVAILABLE)
    world.sqs.faults["delivery"] = half
    settled, _ = world.invoke(accepted("a"), accepted("b", channel="log"))
    assert not settled


def test_when_wait_does_not_take_what_is_held_the_bundle_is_not_acknowledged(world: World) -> None:
    world.clock.now = DAY + timedelta(hours=10)
    world.sqs.faults["wait"] = unreachable
    assert not world.invoke(accepted(category="advertising"))[0]


def test_what_dead_letter_does_not_take_is_not_ended_and_the_bundle_comes_again(world: World) -> None:
    world.provider.answer = lambda _: REJECTED
    world.sqs.faults["dead-letter"] = half
    assert not world.invoke(*many(4))[0]
    taken = [sent.ids[0] for sent in world.sqs.messages["dead-letter"]]
    assert taken == ["id-0", "id-2", "id-1"]
    assert world.states() == {f"id-{n}": "claimed" if n == 3 else "dead_lettered" for n in range(4)}
    world.sqs.faults.clear()
    world.put(*many(4))
    world.sqs.messages["delivery"][0].receives = 1
    world.run()
    assert sorted(sent.ids[0] for sent in world.sqs.messages["dead-letter"]) == ["id-0", "id-1", "id-2", "id-3"]


def test_what_cannot_be_read_is_not_acknowledged_before_dead_letter_has_it(world: World) -> None:
    world.sqs.faults["dead-letter"] = unreachable
    assert not world.receive("not JSON")[0]


def test_when_a_delivery_cannot_be_recorded_the_bundle_comes_again(world: World) -> None:
    """The provider is asked again with the same ids, which it knows; each time costs an attempt."""
    world.faults = {"batch_write_item": down}
    settled, counts = world.invoke(*many(2))
    assert (settled, counts["ledger_unavailable"]) == (False, 1)
    world.faults = {}
    world.clock.sleep(360)
    world.invoke(*many(2), receives=2)
    world.run()
    assert world.provider.ids == ["id-0", "id-1", "id-0", "id-1"]
    assert [(entry.state, entry.attempts) for entry in world.entries().values()] == [("delivered", 1)] * 2


@pytest.mark.parametrize("outcome", [REJECTED, RETRY, UNAVAILABLE])
def test_when_a_claim_cannot_be_settled_the_bundle_comes_again(world: World, outcome: Outcome) -> None:
    """Nothing is put on a lane as long as its claim would keep it from being tried."""
    calls = [0]

    def second_call_fails(real: Callable[..., Any], **parameters: Any) -> Any:
        calls[0] += 1
        return real(**parameters) if calls[0] == 1 else down()

    world.provider.answer = lambda _: outcome
    world.faults = {"transact_write_items": second_call_fails}
    assert not world.invoke(accepted())[0]
    assert not world.sqs.messages["delivery"]
