"""The worker, where a provider refuses one notification and not its neighbours, and where it may have one already."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.api.status import cancel
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.verdicts import ATTEMPTS_MAX
from lambdas.quiet_hours.notification.bundle import REDRIVEN
from lambdas.quiet_hours.stores.entries import released
from lambdas.quiet_hours.stores.health import FIRST_REST_S
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.aws import DAY, dynamodb, sqs
from tests.helpers.delivery_world import Killed, Sent, World, accepted, deliver_others, health, many, works, world

__all__ = ["dynamodb", "sqs", "world"]

FORBIDDEN = Outcome("forbidden", "http_403: the webhook answered 403; check its credentials")
UNAUTHORIZED = Outcome("unauthorized", "http_401: the webhook answered 401; check its credentials")
UNKNOWN = Outcome("unknown", "no_answer: the webhook did not answer within 10 s")
MAY_HAVE_IT = "; an earlier call had no answer, so that the provider may have it"


def refusing(*ids: str) -> Any:
    return lambda notification: FORBIDDEN if notification["id"] in ids else DELIVERED


def cancelled(world: World, id: str) -> str:
    ledger = Ledger(world.dynamodb, "ledger", "client", timedelta(seconds=LEASE_S))
    return str(cancel([id], world.clock(), ledger)[0]["outcome"])


# --- one that is refused by itself


def test_the_neighbours_of_one_that_is_always_refused_are_delivered_at_their_next_turn(world: World) -> None:
    world.provider.answer = refusing("id-0")
    world.put(*many(60))
    world.run(for_s=FIRST_REST_S + 1)
    assert sorted(set(world.provider.ids)) == sorted(f"id-{number}" for number in range(60))
    assert list(world.states().values()).count("delivered") == 59


def test_it_is_dead_lettered_alone_after_its_attempts_while_others_are_delivered(world: World) -> None:
    works(world)
    world.provider.answer = refusing("id-0")
    world.put(*many(3))
    for number in range(60):  # one every twenty seconds
        at = world.clock() + timedelta(seconds=20 * number)
        world.sqs.put("delivery", Sent(json.dumps(accepted(f"other-{number}")), {}, 0, at, f"other-{number}"))
    world.run()
    assert ATTEMPTS_MAX <= world.provider.ids.count("id-0") <= ATTEMPTS_MAX + 2
    assert world.letter().attributes["reason"] == f"attempts_exhausted: {ATTEMPTS_MAX}, the last: {FORBIDDEN.reason}"
    assert world.letter().visible_at - DAY < timedelta(minutes=16)
    states = world.states()
    assert states.pop("id-0") == "dead_lettered"
    assert len(states) == 62 and set(states.values()) == {"delivered"}
    assert len(world.provider.ids) - world.provider.ids.count("id-0") == 62


def test_one_that_fails_where_nothing_else_is_sent_is_tried_more_and_more_rarely_and_not_dead_lettered(
    world: World,
) -> None:
    """Nobody can tell then who is at fault."""
    works(world)
    world.provider.answer = lambda _: FORBIDDEN
    world.put(accepted())
    world.run(for_s=12 * 3600)
    assert world.on("dead-letter") == []
    assert len(world.provider.ids) < 65
    entry = world.entry("a")
    assert entry
    assert entry.attempts == 1


def test_a_release_goes_on_past_those_that_are_refused_by_themselves(world: World) -> None:
    """A firewall that dislikes one text in a hundred: the others do not wait for each of its refusals."""
    world.provider.answer = refusing(*(f"id-{number}" for number in range(7, 300, 50)))
    world.provider.takes_s = 0.01
    for start in range(0, 300, 50):
        world.put(*many(300)[start : start + 50])
    world.run(for_s=10)
    assert list(world.states().values()).count("delivered") == 294
    assert not health(world).rests


def test_what_is_forbidden_to_all_makes_the_channel_rest(world: World) -> None:
    world.provider.answer = lambda _: FORBIDDEN
    world.put(*many(50))
    world.run(for_s=4)
    assert world.provider.ids == ["id-0", "id-1"], "the second failure says that it is the channel"
    world.run(for_s=10)
    assert len(world.provider.ids) == 3, "one notification probes it"
    assert {entry.attempts for entry in world.entries().values()} == {0}


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 100])
def test_credentials_that_are_wrong_for_hours_cost_nothing_but_time(world: World, batch_size: int) -> None:
    world.provider.batch_size = batch_size
    world.provider.answer = lambda _: UNAUTHORIZED
    world.put(*many(4))
    world.run(for_s=2 * 3600)
    assert world.on("dead-letter") == []
    world.provider.answer = lambda _: DELIVERED
    world.run()
    assert set(world.states().values()) == {"delivered"}


def test_what_was_redriven_and_cannot_be_read_any_more_can_be_redriven_again(world: World) -> None:
    world.receive('{"id":"a","channel":"none"}', attributes={REDRIVEN: "2020-11-11T03:00:00.000+00:00"})
    assert world.letter().attributes[REDRIVEN] == "2020-11-11T03:00:00.000+00:00"


# --- one that the provider may have


def test_what_a_provider_may_have_is_not_answered_as_cancelled(world: World) -> None:
    world.provider.answer = lambda _: UNKNOWN
    world.invoke(accepted("a"))
    assert world.states() == {"a": "released"}
    assert cancelled(world, "a") == "too_late"
    world.provider.answer = lambda _: DELIVERED
    world.run()
    assert world.states() == {"a": "delivered"}


def test_what_a_provider_has_refused_can_still_be_cancelled(world: World) -> None:
    world.provider.answer = lambda _: Outcome("retry", "http_500: the webhook answered 500")
    world.invoke(accepted("a"))
    assert cancelled(world, "a") == "cancelled"
    world.run()
    assert len(world.provider.ids) == 1


def test_a_later_call_that_is_refused_does_not_make_the_earlier_one_undone(world: World) -> None:
    world.provider.answer = lambda _: UNKNOWN
    world.invoke(accepted("a"))
    world.provider.answer = lambda _: Outcome("unavailable", "http_503: the webhook answered 503")
    world.run(for_s=60)
    assert world.entries()["a"].sending
    assert cancelled(world, "a") == "too_late"


def test_an_expiry_says_that_the_provider_may_have_it(world: World) -> None:
    world.provider.answer = lambda _: UNKNOWN
    world.invoke(accepted("a", expires_at=(DAY + timedelta(seconds=10)).isoformat()))
    world.run()
    entry = world.entries()["a"]
    assert (entry.state, entry.reason.endswith(MAY_HAVE_IT)) == ("expired", True)


@pytest.mark.parametrize("outcome", [FORBIDDEN, Outcome("rejected", "http_400: the webhook answered 400")])
def test_a_dead_letter_says_that_the_provider_may_have_it(world: World, outcome: Outcome) -> None:
    deliver_others(world)
    world.provider.answer = lambda _: UNKNOWN if not world.provider.got[1:] else outcome
    world.put(accepted("a"))
    world.run()
    assert world.letter().attributes["reason"].endswith(MAY_HAVE_IT)


def test_what_is_held_again_for_the_night_is_still_known_to_be_open(world: World) -> None:
    world.clock.now = DAY + timedelta(hours=9) - world.policy.guard - timedelta(seconds=5)
    world.provider.answer = lambda _: UNKNOWN
    world.put(accepted("a", category="advertising"))
    world.run()
    assert world.on("wait") == [["a"]]
    assert cancelled(world, "a") == "too_late"


def test_a_worker_that_died_may_have_called(world: World) -> None:
    """A provider that can be asked twice is called without a mark in the ledger: whoever takes over cannot know."""

    def dies(_: Any) -> Outcome:
        raise Killed

    world.provider.answer = dies
    with pytest.raises(Killed):
        world.invoke(accepted("a"))
    world.put(accepted("a"))
    world.provider.answer = lambda _: Outcome("unavailable", "http_503: the webhook answered 503")
    world.run(for_s=LEASE_S + 300)
    assert world.entries()["a"].sending
    assert cancelled(world, "a") == "too_late"


def test_a_channel_that_is_not_to_be_asked_twice_any_more_is_not(world: World) -> None:
    """The setting `unknown_outcome` was changed while an outcome was open: the rule in force counts."""
    world.provider.answer = lambda _: UNKNOWN
    world.put(accepted("a"))
    world.run(for_s=1)
    world.provider.can_resend = False
    world.run()
    assert world.provider.ids == ["a"]
    assert world.states() == {"a": "unknown"}


def test_a_redrive_forgets_no_open_call(world: World) -> None:
    deliver_others(world)
    world.provider.answer = lambda _: UNKNOWN if not world.provider.got[1:] else FORBIDDEN
    world.put(accepted("a"))
    world.run()
    letter = world.letter()
    world.clock.sleep(FIRST_REST_S)
    world.provider.answer = lambda _: Outcome("unavailable", "http_503: the webhook answered 503")
    world.receive(letter.body, attributes={REDRIVEN: letter.attributes[REDRIVEN]})
    assert cancelled(world, "a") == "too_late"


def test_giving_a_claim_back_forgets_no_open_call(world: World) -> None:
    ledger = Ledger(world.dynamodb, "ledger", "worker", timedelta(seconds=LEASE_S))
    (entry,) = ledger.claim({"a": None}, DAY).held.values()
    ledger.release([released(entry, sending=True)], DAY)
    assert ledger.claim({"a": None}, DAY).interrupted["a"].sending
