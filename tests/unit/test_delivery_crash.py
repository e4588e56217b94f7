"""Workers that die, at every call they make, and two that have the same bundle: nothing is lost, nothing ends twice.

Shows R16, and R22, because a message that is not acknowledged becomes visible again.
docs/decisions/0003-order-of-writes.md describes what a crash leaves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.verdicts import ATTEMPTS_MAX
from lambdas.quiet_hours.stores.health import FIRST_REST_S
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import LANE_VISIBILITY_S, LEASE_S
from tests.helpers.aws import dynamodb, sqs
from tests.helpers.delivery_world import Killed, Provider, Queues, World, accepted, consent, make_tables, many, world

__all__ = ["dynamodb", "sqs", "world"]

NIGHT = datetime(2020, 11, 11, 15, 0, tzinfo=UTC)  # midnight in Seoul
REJECTED = Outcome("rejected", "http_400: the webhook answered 400")
RETRY = Outcome("retry", "http_500: the webhook answered 500")
UNKNOWN = Outcome("unknown", "no_answer: the webhook did not answer")
AWAY = EndpointConnectionError(endpoint_url="dynamodb")
UNAVAILABLE = Outcome("unavailable", "http_503: the webhook answered 503")


# --- splitting


def test_a_bundle_that_comes_again_is_split_in_one_call_until_each_stands_alone(world: World) -> None:
    """100, 10, 1."""
    settled, counts = world.invoke(*many(100), receives=2)
    assert (settled, counts) == (True, {"split": 10})
    assert (world.sqs.calls, world.provider.ids) == ({"delivery": 1}, [])
    parts = world.sqs.messages["delivery"]
    assert [len(part.ids) for part in parts] == [10] * 10
    world.sqs.messages["delivery"] = []
    world.receive(parts[3].body, receives=2)
    assert world.on("delivery") == [[f"id-{n}"] for n in range(30, 40)]


@pytest.mark.parametrize("count", [2, 9, 10, 11, 15, 99])
def test_a_split_makes_at_most_ten_smaller_parts_and_loses_none(world: World, count: int) -> None:
    world.invoke(*many(count), receives=2, lane="schedule")
    parts = world.on("schedule")
    assert 2 <= len(parts) <= 10
    assert [id for part in parts for id in part] == [f"id-{n}" for n in range(count)]


def test_one_that_stands_alone_is_tried_however_often_it_comes(world: World) -> None:
    assert world.invoke(accepted(), receives=7) == (True, {"delivered": 1})


def test_copies_of_one_notification_are_one_that_stands_alone(world: World) -> None:
    assert world.invoke(accepted(), accepted(), receives=2) == (True, {"delivered": 1, "repeated": 1})


def test_what_is_no_notification_goes_to_dead_letter_when_its_bundle_is_split(world: World) -> None:
    settled, counts = world.invoke(accepted("a"), {"id": "bad"}, accepted("b"), receives=2)
    assert (settled, counts) == (True, {"refused": 1, "split": 2})
    assert (world.letter().attributes["notification_id"], world.on("delivery")) == ("bad", [["a"], ["b"]])


def test_a_split_that_is_not_taken_is_not_acknowledged(world: World) -> None:
    world.sqs.faults["delivery"] = lambda entries: range(len(entries) // 2)
    assert not world.invoke(*many(8), receives=2)[0]


def test_a_raw_array_keeps_the_ids_given_to_it_through_a_split(world: World) -> None:
    raw = {"channel": "webhook", "address": "user-42", "category": "critical", "content": {"body": "1234"}}
    world.invoke(raw, raw, receives=2)
    assert world.on("delivery") == [["sqs:message-0:0"], ["sqs:message-0:1"]]


def test_a_notification_that_kills_its_worker_ends_alone_in_dead_letter(world: World) -> None:
    def answer(notification: dict[str, Any]) -> Outcome:
        if notification["id"] == "id-7":
            raise Killed
        return DELIVERED

    world.provider.answer = answer
    world.put(*many(30))
    world.run()
    assert world.letter().ids == ["id-7"]
    assert world.letter().attributes["reason"].startswith(f"attempts_exhausted: {ATTEMPTS_MAX}")
    assert world.provider.ids.count("id-7") == ATTEMPTS_MAX
    assert world.states() == {f"id-{n}": "dead_lettered" if n == 7 else "delivered" for n in range(30)}


# --- killed at every call


@dataclass
class Reaper:
    """Kills the worker at its n-th call to anything outside, before the call takes effect or after. `marked` is what
    the worker had last said that it would send in a call."""

    at: int
    after: bool
    calls: int = 0
    marked: set[str] = field(default_factory=set)
    died_over: set[str] = field(default_factory=set)

    def around(self, call: Callable[[], Any]) -> Any:
        self.calls += 1
        if self.calls == self.at and not self.after:
            self._kill()
        result = call()
        if self.calls == self.at:
            self._kill()
        return result

    def _kill(self) -> None:
        self.died_over = set(self.marked)
        raise Killed

    def watch(self, world: World) -> None:
        def transact(real: Callable[..., Any], *, TransactItems: list[Any]) -> Any:
            items = [each["Put"]["Item"] for each in TransactItems]
            self.marked = {item["id"]["S"] for item in items if "sending" in item} or self.marked
            return self.around(lambda: real(TransactItems=TransactItems))

        world.faults["transact_write_items"] = transact
        for operation in ("batch_write_item", "batch_get_item", "get_item", "update_item"):
            world.faults[operation] = lambda real, **parameters: self.around(lambda: real(**parameters))
        put_batch, call_provider = world.sqs.send_message_batch, world.provider.send
        world.sqs.send_message_batch = lambda **entries: self.around(lambda: put_batch(**entries))  # type: ignore[method-assign]
        world.provider.send = lambda them: self.around(lambda: call_provider(them))  # type: ignore[method-assign]


def anew(world: World, **provider: Any) -> None:
    """Everything as if nothing had happened yet, at midnight."""
    for table in ("ledger", "consent", "turn"):
        world.dynamodb.delete_table(TableName=table)
    make_tables()
    world.clock.now = NIGHT
    world.sqs = Queues(world.clock)
    world.provider = Provider(world.clock, **provider)
    world.faults, world.memory = {}, Memory()


def deaths(play: Callable[[Reaper], None]) -> int:
    """Play once for each call that there is, and each side of it. Returns how many calls there are."""
    undisturbed = Reaper(0, after=False)
    play(undisturbed)
    for at in range(1, undisturbed.calls + 1):
        for after in (False, True):
            play(Reaper(at, after))
    return undisturbed.calls


@pytest.mark.slow  # the crash nights of the simulation are played each time
def test_wherever_a_worker_dies_each_notification_ends_as_it_should(world: World) -> None:
    def play(reaper: Reaper) -> None:
        first_answers = [RETRY]

        def answer(notification: dict[str, Any]) -> Outcome:
            if notification["id"] == "retried" and first_answers:
                return first_answers.pop()
            return REJECTED if notification["id"] == "rejected" else DELIVERED

        anew(world, answer=answer, side_by_side=25)
        consent(world, "nobody", opted_out=True)
        reaper.watch(world)
        world.put(
            accepted("rejected"),
            accepted("retried"),
            accepted("held", category="advertising"),
            accepted("opted-out", category="advertising", address="nobody"),
            accepted("expired", expires_at="2020-11-11T14:00:00.000+00:00"),
            accepted("plain"),
        )
        world.run()

        assert world.states() == {
            "rejected": "dead_lettered",
            "retried": "delivered",
            "opted-out": "opted_out",
            "expired": "expired",
            "plain": "delivered",
        }
        assert {id for ids in world.on("wait") for id in ids} == {"held"}, "it waits without a claim"
        letters = world.sqs.messages["dead-letter"]
        assert {id for letter in letters for id in letter.ids} == {"rejected"}
        entry = world.entry("rejected")
        assert entry
        assert entry.ended_at in {letter.attributes["dead_lettered_at"] for letter in letters}
        calls = Counter(world.provider.ids)
        assert calls.keys() == {"rejected", "retried", "plain"}
        assert calls["plain"] <= 2

    assert deaths(play) > 10


def test_wherever_a_worker_dies_a_provider_that_knows_no_repeats_gets_none(world: World) -> None:
    """Only what may have been sent is left unknown, in dead-letter; what was only claimed is tried again."""
    ids = {f"id-{n}" for n in range(4)}

    def play(reaper: Reaper) -> None:
        def answer(notification: dict[str, Any]) -> Outcome:
            return REJECTED if notification["id"] == "id-1" else DELIVERED

        anew(world, answer=answer, batch_size=2, can_resend=False)
        reaper.watch(world)
        world.put(*many(4))
        world.run()

        states = world.states()
        unknown = {id for id in ids if states[id] == "unknown"}
        assert unknown <= reaper.died_over
        assert len(unknown) <= 2
        assert {states[id] for id in ids - unknown - {"id-1"}} == {"delivered"}
        assert "id-1" in unknown or states["id-1"] == "dead_lettered"
        calls = Counter(world.provider.ids)
        assert all(calls[id] == 1 or (id in unknown and calls[id] == 0) for id in ids - {"id-1"})
        lettered = {id for letter in world.sqs.messages["dead-letter"] for id in letter.ids}
        assert lettered == unknown | {"id-1"}

    assert deaths(play) > 8


# --- a provider that takes fifty in a call and knows no repeats


@pytest.fixture
def fifty(world: World) -> World:
    world.provider.batch_size, world.provider.can_resend = 50, False
    return world


def die_in(world: World, *, at: str) -> dict[str, Callable[..., Any]]:
    """Faults: the worker dies after its turn was booked, or before or after the claim that marks its call."""

    def transact(real: Callable[..., Any], **parameters: Any) -> Any:
        claims = parameters["TransactItems"][0]["Put"]["Item"].get("owner")
        if claims and at == "before the claim":
            raise Killed
        answer = real(**parameters)
        if claims and at == "after the claim":
            raise Killed
        return answer

    def update(real: Callable[..., Any], **parameters: Any) -> Any:
        answer = real(**parameters)
        if at == "after the turn":
            raise Killed
        return answer

    return {"transact_write_items": transact, "update_item": update}


def comes_again(world: World, *notifications: Any) -> None:
    """The bundle is received a second time, and everything that follows from it happens."""
    world.faults = {}
    world.clock.sleep(LANE_VISIBILITY_S)
    world.put(*notifications)
    world.sqs.messages["delivery"][-1].receives = 1
    world.run()


def test_one_call_takes_as_many_as_the_provider_does(fifty: World) -> None:
    fifty.invoke(*many(60))
    assert [len(ids) for _, ids in fifty.provider.got] == [50, 10]
    assert fifty.state("id-59") == "delivered"


@pytest.mark.parametrize("at", ["after the turn", "before the claim"])
@pytest.mark.parametrize("can_resend", [True, False])
def test_a_crash_between_turn_and_claim_costs_the_turn_and_nothing_else(
    fifty: World, at: str, can_resend: bool
) -> None:
    fifty.provider.rate_per_s, fifty.provider.can_resend = 50, can_resend
    fifty.faults = die_in(fifty, at=at)
    with pytest.raises(Killed):
        fifty.invoke(*many(3))
    assert fifty.entries() == {}
    comes_again(fifty, *many(3))
    assert sorted(fifty.provider.ids) == ["id-0", "id-1", "id-2"]
    assert not fifty.sqs.messages["dead-letter"]
    assert [(entry.state, entry.attempts) for entry in fifty.entries().values()] == [("delivered", 0)] * 3


def test_what_was_only_claimed_is_tried_again(fifty: World) -> None:
    """A claim for a channel that can send again says nothing about a call."""
    fifty.provider.can_resend = True
    fifty.faults = die_in(fifty, at="after the claim")
    with pytest.raises(Killed):
        fifty.invoke(*many(3))
    comes_again(fifty, *many(3))
    assert sorted(fifty.provider.ids) == ["id-0", "id-1", "id-2"]
    assert not fifty.sqs.messages["dead-letter"]
    assert [(entry.state, entry.attempts) for entry in fifty.entries().values()] == [("delivered", 1)] * 3


def test_what_may_have_been_sent_is_unknown_and_not_sent_again(fifty: World) -> None:
    fifty.faults = die_in(fifty, at="after the claim")
    with pytest.raises(Killed):
        fifty.invoke(*many(2))
    comes_again(fifty, *many(2))
    assert fifty.provider.ids == []
    assert [letter.attributes["reason"] for letter in fifty.sqs.messages["dead-letter"]] == [
        "unknown_outcome: an earlier call had no answer"
    ] * 2
    assert fifty.state("id-0") == fifty.state("id-1") == "unknown"


def test_a_crash_leaves_no_more_in_doubt_than_one_call_holds(fifty: World) -> None:
    fifty.provider.batch_size = 2
    fifty.faults = die_in(fifty, at="after the claim")
    with pytest.raises(Killed):
        fifty.invoke(*many(6))
    assert fifty.entries().keys() == {"id-0", "id-1"}
    comes_again(fifty, *many(6))
    assert fifty.states() == {f"id-{n}": "unknown" if n < 2 else "delivered" for n in range(6)}


@pytest.mark.parametrize(("can_resend", "ends"), [(True, "delivered"), (False, "unknown")])
def test_a_crash_between_call_and_record_is_settled_by_the_channel_s_rule(
    fifty: World, can_resend: bool, ends: str
) -> None:
    def record(real: Callable[..., Any], **parameters: Any) -> Any:
        raise Killed

    fifty.provider.can_resend = can_resend
    fifty.faults = {"batch_write_item": record}
    with pytest.raises(Killed):
        fifty.invoke(*many(2))
    assert fifty.provider.ids == ["id-0", "id-1"]
    comes_again(fifty, *many(2))
    assert fifty.states() == {"id-0": ends, "id-1": ends}
    assert Counter(fifty.provider.ids) == {f"id-{n}": 2 if can_resend else 1 for n in range(2)}


def test_what_the_provider_took_before_the_crash_is_not_sent_again(fifty: World) -> None:
    def dies(notification: dict[str, Any]) -> Outcome:
        raise Killed

    fifty.provider.answer = dies
    with pytest.raises(Killed):
        fifty.invoke(accepted())
    fifty.provider.answer = lambda _: DELIVERED
    comes_again(fifty, accepted())
    assert (fifty.provider.ids, fifty.state("a")) == (["a"], "unknown")


def test_a_crash_in_the_second_call_leaves_the_first_as_it_was_answered(fifty: World) -> None:
    """Delivered stays delivered; what was refused for now was not sent, and is tried again."""
    fifty.provider.batch_size = 3
    first = {"id-0": DELIVERED, "id-1": RETRY, "id-2": UNKNOWN}

    def answer(notification: dict[str, Any]) -> Outcome:
        if notification["id"] not in first:
            raise Killed
        return first[notification["id"]]

    fifty.provider.answer = answer
    with pytest.raises(Killed):
        fifty.invoke(*many(6))
    fifty.provider.answer = lambda _: DELIVERED
    comes_again(fifty, *many(6))
    assert Counter(fifty.provider.ids) == {f"id-{n}": 2 if n == 1 else 1 for n in range(6)}
    assert fifty.states() == {f"id-{n}": "delivered" if n < 2 else "unknown" for n in range(6)}


def test_an_unknown_outcome_is_dead_lettered_at_once_and_not_sent_again(fifty: World) -> None:
    fifty.provider.answer = lambda _: UNKNOWN
    assert fifty.invoke(accepted())[0]
    fifty.clock.sleep(FIRST_REST_S)
    assert fifty.invoke(accepted()) == (True, {"absorbed": 1, "absorbed_dead_lettered": 1})
    assert fifty.letter().attributes["reason"].startswith("unknown_outcome: no_answer")
    assert (fifty.provider.ids, fifty.state("a")) == (["a"], "unknown")


def test_code_that_raises_leaves_an_unknown_outcome(fifty: World) -> None:
    def answer(notification: dict[str, Any]) -> Outcome:
        raise ValueError

    fifty.provider.answer = answer
    fifty.invoke(accepted())
    assert fifty.letter().attributes["reason"] == "unknown_outcome: channel_error: ValueError"


def test_what_cannot_be_marked_is_not_sent(fifty: World) -> None:
    def no_marks(real: Callable[..., Any], **parameters: Any) -> Any:
        if "sending" in parameters["TransactItems"][0]["Put"]["Item"]:
            raise AWAY
        return real(**parameters)

    fifty.faults = {"transact_write_items": no_marks}
    settled, counts = fifty.invoke(*many(2))
    assert (settled, counts, fifty.provider.ids) == (True, {"given_back": 2, "ledger_unavailable": 1}, [])
    assert (fifty.on("delivery"), fifty.entries()) == ([["id-0", "id-1"]], {})


def test_what_another_claims_before_its_turn_is_given_back_and_not_dropped(fifty: World) -> None:
    """The ledger was read before the turn; the claim after it decides."""

    def taken_over(real: Callable[..., Any], **parameters: Any) -> Any:
        if "id-0" not in fifty.entries():
            Ledger(fifty.dynamodb, "ledger", "other", timedelta(seconds=LEASE_S)).claim({"id-0": None}, fifty.clock())
        return real(**parameters)

    fifty.faults = {"transact_write_items": taken_over}
    settled, counts = fifty.invoke(*many(2))
    assert (settled, counts) == (True, {"delivered": 1, "given_back": 1})
    assert (fifty.on("delivery"), fifty.provider.ids) == ([["id-0"]], ["id-1"])
    assert fifty.entries()["id-0"].owner == "other"


def test_a_delivery_that_cannot_be_recorded_at_once_is_recorded_at_the_end(fifty: World) -> None:
    calls = [0]

    def first_fails(real: Callable[..., Any], **parameters: Any) -> Any:
        calls[0] += 1
        if calls[0] == 1:
            raise AWAY
        return real(**parameters)

    fifty.faults = {"batch_write_item": first_fails}
    assert fifty.invoke(accepted())[0]
    assert fifty.state("a") == "delivered"


def test_a_delivery_that_can_never_be_recorded_is_unknown(fifty: World) -> None:
    def down(real: Callable[..., Any], **parameters: Any) -> Any:
        raise AWAY

    fifty.faults = {"batch_write_item": down}
    assert not fifty.invoke(accepted())[0]
    comes_again(fifty, accepted())
    assert (fifty.provider.ids, fifty.state("a")) == (["a"], "unknown")


def test_an_unavailable_provider_leaves_no_marks(fifty: World) -> None:
    fifty.provider.answer = lambda _: UNAVAILABLE
    fifty.provider.batch_size = 1
    fifty.invoke(*many(2))
    assert fifty.entries().keys() == {"id-0"}
    assert [(entry.sending, entry.attempts) for entry in fifty.entries().values()] == [(False, 0)]


def test_a_worker_that_dies_before_it_can_give_back_leaves_no_mark_either(fifty: World) -> None:
    """What was refused was not sent: that is recorded at once, and not with the bundle's end."""
    fifty.provider.answer = lambda _: UNAVAILABLE

    def put_back(entries: Any) -> Any:
        raise Killed

    fifty.sqs.faults["delivery"] = put_back
    with pytest.raises(Killed):
        fifty.invoke(*many(2))
    fifty.sqs.faults.clear()
    fifty.provider.answer = lambda _: DELIVERED
    comes_again(fifty, *many(2))
    assert fifty.states() == {"id-0": "delivered", "id-1": "delivered"}


# --- two workers with the same bundle


@pytest.mark.parametrize("can_resend", [True, False])
def test_a_second_worker_with_the_same_bundle_at_any_moment_sends_nothing_twice(world: World, can_resend: bool) -> None:
    """At each call that the first makes, before it and after it, the second runs from beginning to end."""
    bundle = many(4)

    def play(at: int, after: bool) -> int:
        anew(world, can_resend=can_resend, batch_size=2)
        calls = 0
        second_runs = False

        def second() -> None:
            nonlocal second_runs
            second_runs = True
            assert world.invoke(*bundle)[0]
            second_runs = False

        def around(call: Callable[[], Any]) -> Any:
            nonlocal calls
            if second_runs:
                return call()
            calls += 1
            its_turn = calls == at
            if its_turn and not after:
                second()
            result = call()
            if its_turn and after:
                second()
            return result

        for operation in ("transact_write_items", "batch_write_item"):
            world.faults[operation] = lambda real, **parameters: around(lambda: real(**parameters))
        call_provider = world.provider.send
        world.provider.send = lambda them: around(lambda: call_provider(them))  # type: ignore[method-assign]
        assert world.invoke(*bundle)[0]
        world.run()
        assert Counter(world.provider.ids) == {f"id-{n}": 1 for n in range(4)}
        assert world.states() == {f"id-{n}": "delivered" for n in range(4)}
        assert not world.sqs.messages["dead-letter"]
        return calls

    for at in range(1, play(0, False) + 1):
        for after in (False, True):
            play(at, after)


def test_the_letters_of_one_notification_are_one_for_a_redrive(world: World) -> None:
    """A crash between dead-letter and ledger leaves a letter too many: redriven, only the last one counts."""
    world.provider.answer = lambda _: REJECTED
    ends = [0]

    def dies(real: Callable[..., Any], **parameters: Any) -> Any:
        if parameters["TransactItems"][0]["Put"]["Item"]["state"]["S"] == "dead_lettered" and not ends[0]:
            ends[0] += 1
            raise Killed
        return real(**parameters)

    world.faults = {"transact_write_items": dies}
    world.put(accepted())
    world.run()
    letters = list(world.sqs.messages["dead-letter"])
    assert [letter.ids for letter in letters] == [["a"], ["a"]]
    world.provider.answer = lambda _: DELIVERED
    for letter in letters:
        world.receive(letter.body, attributes=letter.attributes)
    assert Counter(world.provider.ids)["a"] == 3
    assert json.loads(letters[0].body) == json.loads(letters[1].body)
    assert world.state("a") == "delivered"
