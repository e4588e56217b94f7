"""The worker with a bundle by day: endings, retries, dead letters, and what goes back where.

Shows R12 and R13, in today's form: one worker for each invocation, which acknowledges what it has processed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas.quiet_hours.channels import NotConfigured
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.verdicts import ATTEMPTS_MAX, FIRST_RETRY_S
from lambdas.quiet_hours.stores.entries import Entry, ended
from lambdas.quiet_hours.stores.health import FIRST_REST_S, REST_S_MAX
from lambdas.quiet_hours.stores.ledger import Ledger, Reopening
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.aws import DAY, Faulty, dynamodb, sqs
from tests.helpers.delivery_world import (
    QUEUE_BYTES_MAX,
    REJECTED,
    RETRY,
    UNAVAILABLE,
    UNKNOWN,
    World,
    accepted,
    answers,
    consent,
    deliver_others,
    down,
    health,
    many,
    unreachable,
    works,
    world,
)

__all__ = ["dynamodb", "sqs", "world"]


# --- delivering


def test_every_notification_of_a_bundle_is_delivered_and_recorded(world: World) -> None:
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"delivered": 3})
    assert world.provider.ids == ["id-0", "id-1", "id-2"]
    assert world.states() == {f"id-{n}": "delivered" for n in range(3)}
    assert not any(world.sqs.messages.values())


@pytest.mark.parametrize("lane", ["urgent", "delivery", "schedule"])
def test_a_single_object_is_a_bundle_of_one(world: World, lane: str) -> None:
    assert world.invoke(accepted(category="critical"), lane=lane)[0]
    assert world.provider.ids == ["a"]


def test_a_raw_object_without_an_id_gets_one_that_redelivery_keeps(world: World) -> None:
    """A client that puts a plain object on a lane itself; SQS brings it twice, and it is one."""
    body = '{"channel": "webhook", "address": "user-42", "category": "critical", "content": {"body": "1234"}}'
    for _ in range(2):
        assert world.receive(body)[0]
    assert world.provider.ids == ["sqs:message-0"]


def test_duplicate_ids_in_one_bundle_are_one_notification(world: World) -> None:
    settled, counts = world.invoke(accepted(), accepted(), accepted("b"))
    assert (settled, counts) == (True, {"delivered": 2, "repeated": 1})
    assert world.provider.ids == ["a", "b"]


def test_a_bundle_that_comes_twice_is_delivered_once(world: World) -> None:
    """R16."""
    world.invoke(*many(3))
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"absorbed": 3})
    assert len(world.provider.ids) == 3


def test_each_channel_of_a_mixed_array_is_served(world: World) -> None:
    """The lanes' bundles are of one channel each, but nobody is forced to send such."""
    world.channel = lambda name: (
        NotConfigured(f"{name} is not built in", "rejected") if name == "sms" else world.provider
    )
    settled, counts = world.invoke(
        accepted("a"), accepted("b", channel="sms", address="+821012345678"), accepted("c", channel="log")
    )
    assert settled
    assert (world.provider.ids, world.letter().ids) == (["a", "c"], ["b"])
    assert counts["delivered"] == 2


def test_a_channel_that_is_not_built_in_dead_letters_and_says_so(world: World) -> None:
    world.channel = lambda name: NotConfigured(f"{name} is not built in", "rejected")
    assert world.invoke(accepted(channel="sms", address="+821012345678"))[0]
    assert "channel not configured" in world.letter().attributes["reason"]
    assert world.state("a") == "dead_lettered"


def test_the_channel_s_connections_are_closed_after_the_bundle(world: World) -> None:
    world.invoke(*many(2))
    assert world.provider.closed == 1


# --- endings other than delivery


def test_what_has_expired_ends_so_without_a_call(world: World) -> None:
    settled, counts = world.invoke(accepted(expires_at="2020-11-11T03:00:00.000+00:00"), accepted("b"))
    assert (settled, counts) == (True, {"expired": 1, "delivered": 1})
    assert (world.state("a"), world.provider.ids) == ("expired", ["b"])


def test_an_advertisement_to_somebody_who_opted_out_ends_so_without_a_call(world: World) -> None:
    consent(world, "user-42", opted_out=True)
    settled, counts = world.invoke(accepted("ad", category="advertising"), accepted("order"))
    assert (settled, counts) == (True, {"opted_out": 1, "delivered": 1})
    assert (world.state("ad"), world.provider.ids) == ("opted_out", ["order"])


def test_whose_consent_counts_is_said_by_the_recipient_id(world: World) -> None:
    consent(world, "customer-7", opted_out=True)
    world.invoke(accepted(category="advertising", recipient_id="customer-7"))
    assert world.state("a") == "opted_out"


def test_what_was_cancelled_ahead_is_absorbed(world: World) -> None:
    Ledger(world.dynamodb, "ledger", "api", timedelta(seconds=LEASE_S)).cancel("a", DAY)
    settled, counts = world.invoke(accepted())
    assert (settled, counts, world.provider.ids) == (True, {"absorbed": 1}, [])


# --- dead letters


def test_a_rejected_one_goes_to_dead_letter_alone_and_unchanged(world: World) -> None:
    """R22, by the worker's own decision and with the reason."""
    world.provider.answer = answers(**{"id-1": REJECTED})
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"delivered": 2, "dead_lettered": 1, "rejected: webhook http_400": 1})
    letter = world.letter()
    assert json.loads(letter.body) == accepted("id-1")
    entry = world.entry("id-1")
    assert entry
    assert entry.state == "dead_lettered"
    assert letter.attributes == {
        "reason": "http_400: the webhook answered 400",
        "notification_id": "id-1",
        "dead_lettered_at": entry.ended_at,
    }


def test_a_dead_letter_has_the_text_that_arrived_to_the_byte(world: World) -> None:
    world.provider.answer = answers(a=REJECTED)
    text = json.dumps(accepted(), ensure_ascii=False, indent=1)
    world.receive(f"[ {text} ]")
    assert world.letter().body == text


def test_a_raw_one_is_dead_lettered_with_the_id_given_to_it(world: World) -> None:
    world.provider.answer = lambda _: REJECTED
    world.receive('{"channel": "webhook", "address": "user-42", "content": {"body": "가을 세일"}}')
    assert json.loads(world.letter().body)["id"] == "sqs:message-0"


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (accepted("bad", surprise=1), "surprise"),
        (accepted("bad", channel="fax"), "channel"),
        (accepted("bad", content={"body": 7}), "body"),
    ],
)
def test_what_is_no_notification_goes_to_dead_letter_and_its_neighbours_go_out(
    world: World, bad: Any, named: str
) -> None:
    settled, counts = world.invoke(accepted("a"), bad, accepted("b"))
    assert (settled, counts) == (True, {"delivered": 2, "refused": 1})
    letter = world.letter()
    assert json.loads(letter.body) == bad
    assert letter.attributes["notification_id"] == "bad"
    assert letter.attributes["reason"].startswith("invalid: ")
    assert named in letter.attributes["reason"]


@pytest.mark.parametrize("body", ["not JSON", "[]", '[{"id": "a"}', "[1,"])
def test_what_cannot_be_read_goes_to_dead_letter_as_it_came(world: World, body: str) -> None:
    settled, counts = world.receive(body)
    assert (settled, counts) == (True, {"refused": 1})
    assert world.letter().body == body
    assert world.letter().attributes["reason"].startswith("unreadable: ")


# --- retries


@pytest.mark.parametrize("lane", ["delivery", "schedule"])
@pytest.mark.parametrize("outcome", [RETRY, UNKNOWN])
def test_what_fails_for_now_goes_back_to_its_own_lane_later(world: World, lane: str, outcome: Outcome) -> None:
    works(world)
    world.provider.answer = answers(**{"id-1": outcome})
    settled, counts = world.invoke(*many(3), lane=lane)
    assert settled
    assert counts == {"delivered": 2, "given_back": 1, f"{outcome.kind}: webhook {outcome.reason.partition(':')[0]}": 1}
    (back,) = world.sqs.messages[lane]
    assert (back.ids, back.delay_s) == (["id-1"], FIRST_RETRY_S)
    assert world.state("id-1") == "released"


def test_what_goes_back_together_goes_back_in_one_smaller_bundle(world: World) -> None:
    works(world)
    world.provider.takes_s = 0.01
    world.provider.answer = answers(**{"id-1": RETRY, "id-3": RETRY})
    world.invoke(*many(5))
    assert world.on("delivery") == [["id-1", "id-3"]]


def test_the_delay_doubles_with_each_attempt_up_to_two_minutes(world: World) -> None:
    """R22."""
    deliver_others(world)
    world.provider.answer = lambda _: RETRY
    world.put(accepted())
    world.run()
    times = [at for at, _ in world.provider.got]
    delays = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert delays == [15, 30, 60, 120, 120, 120, 120, 120, 120]


def test_what_keeps_failing_while_others_are_delivered_is_dead_lettered_after_its_last_attempt(world: World) -> None:
    deliver_others(world)
    world.provider.answer = answers(**{"id-0": RETRY})
    world.put(*many(3))
    world.run()
    assert world.provider.ids.count("id-0") == ATTEMPTS_MAX
    assert world.letter().ids == ["id-0"]
    assert world.letter().attributes["reason"].startswith("attempts_exhausted: 10, the last: http_500")
    assert world.state("id-0") == "dead_lettered"


def test_a_duplicate_of_the_message_during_the_wait_is_no_attempt(world: World) -> None:
    """R16. Attempts are counted once, however often the message comes."""
    works(world)
    world.provider.answer = lambda _: RETRY
    world.invoke(accepted())
    for _ in range(20):
        assert world.invoke(accepted())[0]
    assert len(world.provider.ids) == 1
    entry = world.entry("a")
    assert entry
    assert entry.attempts == 1
    assert {back.delay_s for back in world.sqs.messages["delivery"]} == {FIRST_RETRY_S}


def test_a_duplicate_during_a_wait_that_costs_no_attempt_makes_no_call_either(world: World) -> None:
    """Nothing is known of the channel yet: the failure counts against nobody, and is waited out all the same."""
    world.provider.answer = lambda _: RETRY
    world.invoke(accepted())
    for _ in range(20):
        assert world.invoke(accepted())[0]
    assert len(world.provider.ids) == 1
    entry = world.entry("a")
    assert entry
    assert entry.attempts == 0
    assert {back.delay_s for back in world.sqs.messages["delivery"]} == {FIRST_REST_S}


def test_many_copies_of_a_failing_message_make_no_more_attempts_than_one(world: World) -> None:
    """R16. Nor do they end it twice."""
    deliver_others(world)
    world.provider.answer = lambda _: RETRY
    for _ in range(3):
        world.put(accepted())
    world.run()
    assert len(world.provider.ids) == ATTEMPTS_MAX
    assert world.letter().ids == ["a"]


def test_a_retry_that_succeeds_ends_it(world: World) -> None:
    left = [RETRY, UNKNOWN, UNAVAILABLE]
    world.provider.answer = lambda _: left.pop() if left else DELIVERED
    world.put(accepted())
    world.run()
    assert (world.state("a"), world.provider.ids) == ("delivered", ["a"] * 4)


# --- the channel's fault


def test_an_unavailable_channel_costs_no_attempt_and_the_rest_goes_back_unclaimed(world: World) -> None:
    world.provider.can_resend = False
    world.provider.answer = answers(**{"id-1": UNAVAILABLE})
    settled, counts = world.invoke(*many(4))
    assert (settled, counts) == (
        True,
        {"delivered": 1, "given_back": 3, "unavailable: webhook http_503": 1, "rested": 1, "rest_s": 5},
    )
    assert world.provider.ids == ["id-0", "id-1"]
    (back,) = world.sqs.messages["delivery"]
    assert (sorted(back.ids), back.delay_s) == (["id-1", "id-2", "id-3"], FIRST_REST_S)
    entry = world.entry("id-1")
    assert entry
    assert (entry.owner, entry.attempts, entry.sending) == ("", 0, False)
    assert world.entries().keys() == {"id-0", "id-1"}


def test_what_was_claimed_for_a_channel_that_then_rests_is_released_unattempted(world: World) -> None:
    """A channel that can send again claims for several calls at once."""
    world.provider.answer = answers(**{"id-1": UNAVAILABLE})
    settled, counts = world.invoke(*many(4))
    assert (settled, counts["given_back"], world.provider.ids) == (True, 3, ["id-0", "id-1"])
    (back,) = world.sqs.messages["delivery"]
    assert (sorted(back.ids), back.delay_s) == (["id-1", "id-2", "id-3"], FIRST_REST_S)
    assert {world.states()[id] for id in back.ids} == {"released"}
    assert {world.entries()[id].attempts for id in back.ids} == {0}


def test_a_resting_channel_is_left_alone_by_the_next_invocation_too(world: World) -> None:
    world.provider.answer = lambda _: UNAVAILABLE
    world.invoke(accepted("a"))
    world.clock.sleep(3)
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"given_back": 3})
    assert world.provider.ids == ["a"]
    back = world.sqs.messages["delivery"][-1]
    assert (back.ids, back.delay_s) == (["id-0", "id-1", "id-2"], FIRST_REST_S - 3)
    assert world.entry("id-0") is None


def test_a_resting_channel_is_left_alone_by_every_other_process_too(world: World) -> None:
    """The rest is the channel's, and not one process's."""
    world.provider.answer = lambda _: UNAVAILABLE
    world.invoke(accepted("a"))
    world.clock.sleep(3)
    world.memory = Memory()
    settled, counts = world.invoke(*many(3))
    assert (settled, counts, world.provider.ids) == (True, {"given_back": 3}, ["a"])
    back = world.sqs.messages["delivery"][-1]
    assert (back.ids, back.delay_s) == (["id-0", "id-1", "id-2"], FIRST_REST_S - 3)
    assert world.entry("id-0") is None


def test_a_rested_channel_is_called_again(world: World) -> None:
    world.provider.answer = lambda _: UNAVAILABLE
    world.invoke(accepted("a"))
    world.clock.sleep(FIRST_REST_S)
    world.invoke(accepted("b"))
    assert world.provider.ids == ["a", "b"]


def test_other_channels_do_not_rest_with_it(world: World) -> None:
    world.provider.answer = answers(a=UNAVAILABLE)
    world.invoke(accepted("a"))
    world.invoke(accepted("b", channel="log"))
    assert world.state("b") == "delivered"


@pytest.mark.parametrize(
    ("asked_s", "rests_s"),
    [(7.0, 7), (0.2, 5), (0.0, 5), (-5.0, 5), (86_400.0, 900), (float("inf"), 900), (None, 5), (float("nan"), 5)],
)
def test_a_channel_rests_as_long_as_it_asks_within_bounds(world: World, asked_s: float | None, rests_s: int) -> None:
    world.provider.answer = lambda _: Outcome("unavailable", "http_429: too many", asked_s)
    world.invoke(accepted("a"))
    (back,) = world.sqs.messages["delivery"]
    assert back.delay_s == rests_s
    assert health(world).rest_until_ms == (DAY.timestamp() + rests_s) * 1000


def test_of_several_rests_the_longest_counts(world: World) -> None:
    """Calls that were under way together answer in any order."""
    world.provider.batch_size = 3
    asked = {"id-0": 5.0, "id-1": 60.0, "id-2": 20.0}
    world.provider.answer = lambda notification: Outcome("unavailable", "http_429: too many", asked[notification["id"]])
    world.invoke(*many(3))
    assert health(world).rest_until_ms == (DAY.timestamp() + 60) * 1000


def test_a_provider_that_is_down_for_ten_minutes_costs_time_and_nothing_else(world: World) -> None:
    """No dead letter, no attempt, each delivered once, soon after it is back."""
    back_at = DAY + timedelta(minutes=10)
    world.provider.answer = lambda _: UNAVAILABLE if world.clock() < back_at else DELIVERED
    ids = [f"{bundle}-{n}" for bundle in range(3) for n in range(5)]
    for bundle in range(3):
        world.put(*(accepted(f"{bundle}-{n}") for n in range(5)), lane="schedule")
    world.run("schedule", for_s=599)
    assert {entry.attempts for entry in world.entries().values()} == {0}
    asked = len(world.provider.ids)
    probes_at_s = [0, 5, 15, 35, 75, 155, 315]
    assert [(at - DAY).total_seconds() for at, _ in world.provider.got] == probes_at_s, "one call finds out for all"
    world.run("schedule", for_s=37)
    assert sorted(world.provider.ids[asked:]) == ids
    assert not world.sqs.messages["dead-letter"]
    assert not world.sqs.messages["schedule"]


def test_no_outage_is_longer_by_more_than_the_longest_rest(world: World) -> None:
    """Whatever its length: 12 hours are probed some 55 times."""
    back_at = DAY + timedelta(hours=12)
    world.provider.answer = lambda _: UNAVAILABLE if world.clock() < back_at else DELIVERED
    world.put(*many(5), lane="schedule")
    world.run("schedule", for_s=2 * 86_400)
    assert set(world.states().values()) == {"delivered"}
    before = [at for at, _ in world.provider.got if at < back_at]
    assert 50 <= len(before) <= 60
    assert world.clock() - back_at <= timedelta(seconds=REST_S_MAX + 1)


def test_a_provider_that_answers_500_for_ten_minutes_dead_letters_nothing(world: World) -> None:
    back_at = DAY + timedelta(minutes=10)
    world.provider.answer = lambda _: RETRY if world.clock() < back_at else DELIVERED
    world.put(*many(5), lane="schedule")
    world.run("schedule")
    assert not world.sqs.messages["dead-letter"]
    assert world.states() == {f"id-{n}": "delivered" for n in range(5)}


# --- the channel's code


def test_channel_code_that_raises_takes_no_neighbour_with_it(world: World) -> None:
    def answer(notification: dict[str, Any]) -> Outcome:
        if notification["id"] == "id-1":
            raise KeyError(notification["address"])
        return DELIVERED

    world.provider.answer = answer
    settled, counts = world.invoke(*many(3))
    assert (settled, counts) == (True, {"delivered": 2, "given_back": 1, "unknown: webhook channel_error": 1})


@pytest.mark.parametrize("outcomes", [[], [DELIVERED], [DELIVERED] * 3, None])
def test_a_channel_that_does_not_answer_for_each_has_said_nothing(world: World, outcomes: Any) -> None:
    world.provider.batch_size = 2
    world.provider.send = lambda _: outcomes  # type: ignore[method-assign]
    settled, counts = world.invoke(*many(2))
    assert (settled, counts) == (True, {"given_back": 2, "unknown: webhook channel_error": 2})


def test_a_channel_that_cannot_close_does_not_undo_what_it_did(world: World) -> None:
    def close() -> None:
        raise OSError

    world.provider.close = close  # type: ignore[method-assign]
    assert world.invoke(accepted())[0]
    assert world.state("a") == "delivered"


# --- redrive


def redriven(world: World, sent: Any) -> None:
    world.receive(sent.body, attributes=sent.attributes)


def test_a_redriven_one_is_sent_again(world: World) -> None:
    world.provider.answer = lambda _: REJECTED
    world.invoke(accepted())
    world.provider.answer = lambda _: DELIVERED
    redriven(world, world.letter())
    assert (world.state("a"), world.provider.ids) == ("delivered", ["a", "a"])


def test_a_copy_of_a_dead_lettered_one_that_no_redrive_names_is_absorbed(world: World) -> None:
    world.provider.answer = lambda _: REJECTED
    world.invoke(accepted())
    assert world.invoke(accepted()) == (True, {"absorbed": 1, "absorbed_dead_lettered": 1})


def test_a_redriven_one_keeps_its_word_through_a_retry(world: World) -> None:
    world.provider.answer = lambda _: REJECTED
    world.invoke(accepted())
    letter = world.letter()
    world.provider.answer = lambda _: RETRY
    redriven(world, letter)
    (back,) = world.sqs.messages["delivery"]
    assert back.attributes == {"dead_lettered_at": letter.attributes["dead_lettered_at"]}
    assert back.body == letter.body


def test_a_redrive_of_an_unknown_outcome_goes_back_to_dead_letter_with_what_to_do(world: World) -> None:
    world.provider.can_resend = False
    world.provider.answer = lambda _: UNKNOWN
    world.invoke(accepted())
    first = world.letter()
    assert first.attributes["reason"] == "unknown_outcome: no_answer: the webhook did not answer"
    world.sqs.messages["dead-letter"].clear()
    world.clock.sleep(FIRST_REST_S)
    redriven(world, first)
    again = world.letter()
    assert (again.body, world.provider.ids, world.state("a")) == (first.body, ["a"], "unknown")
    assert again.attributes == first.attributes | {
        "reason": "unknown_outcome: to send it again, redrive with RESEND_UNKNOWN=1"
    }


def test_a_reopened_unknown_outcome_is_sent_again_by_a_redrive(world: World) -> None:
    world.provider.can_resend = False
    world.provider.answer = lambda _: UNKNOWN
    world.invoke(accepted())
    letter = world.letter()
    operator = Ledger(world.dynamodb, "ledger", "operator", timedelta(seconds=LEASE_S))
    found = world.entry("a")
    assert found is not None
    assert operator.reopen([Reopening(found, found.fingerprint)], world.clock()) == {"a"}
    world.provider.answer = lambda _: DELIVERED
    world.clock.sleep(FIRST_REST_S)
    redriven(world, letter)
    assert (world.state("a"), world.provider.ids) == ("delivered", ["a", "a"])


# --- size


def test_a_full_bundle_of_large_korean_notifications_goes_back_within_the_bound(world: World) -> None:
    world.provider.answer = lambda _: RETRY
    body = json.dumps(many(100, content={"body": "가" * 150}), ensure_ascii=False, separators=(",", ":"))
    assert QUEUE_BYTES_MAX * 0.95 < len(body.encode()) <= QUEUE_BYTES_MAX
    assert world.receive(body)[0]
    assert sum(map(len, world.on("delivery"))) == 100


def test_the_faulty_client_is_the_one_that_the_ledger_uses(world: World) -> None:
    """Guards these tests: a fault that is not wired up would prove nothing."""
    entry = ended(Entry("a", "claimed"), "delivered", DAY)
    faulty: Any = Faulty(world.dynamodb, batch_write_item=down)
    with pytest.raises(ReadTimeoutError):
        Ledger(faulty, "ledger", "w", timedelta(seconds=1)).delivered([replace(entry)], DAY)
    with pytest.raises(ClientError):
        unreachable([])
