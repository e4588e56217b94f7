"""The ledger's rules, each on a table in memory: who may claim, what absorbs, what an attempt costs. (R16)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.notification.notification import LIFE
from lambdas.quiet_hours.stores.backoff import TRIES_MAX
from lambdas.quiet_hours.stores.entries import KEEP, Entry, ended, released
from lambdas.quiet_hours.stores.ledger import LOOK_AGAIN_S, Claims, Ledger, Reopening
from lambdas.quiet_hours.timings import LANE_VISIBILITY_S, LEASE_S, WORKER_TIMEOUT_S
from tests.helpers.aws import DAY, dynamodb, sqs
from tests.helpers.ledger_world import LAPSED, LATER, SOON, NewLedger, claim, conflict_on, held, ledger, put, stored

__all__ = ["dynamodb", "ledger", "sqs"]


# --- claiming


def test_a_new_id_is_claimed_with_owner_lease_and_no_attempts(ledger: NewLedger, dynamodb: Any) -> None:
    entry = held(ledger())
    assert entry == stored(dynamodb) == Entry("a", "claimed", "worker-1", int(LAPSED.timestamp() * 1000))


def test_an_owner_claims_again_what_it_has_at_no_cost(ledger: NewLedger) -> None:
    first_claim = held(ledger())
    again = held(ledger(), at=SOON)
    assert again == replace(first_claim, lease_until_ms=first_claim.lease_until_ms + 1000)


def test_an_owner_that_claims_again_still_knows_that_a_call_may_have_begun(ledger: NewLedger) -> None:
    held(ledger(), sending=True)
    assert list(claim(ledger(), at=SOON).interrupted) == ["a"]


def test_another_s_live_claim_is_busy_and_soon_looked_at_again(ledger: NewLedger, dynamodb: Any) -> None:
    """The wait is not the whole lease: the owner is done in a second or two."""
    held(ledger())
    claims = claim(ledger("worker-2"), at=SOON)
    assert claims == Claims({}, {}, {"a": LOOK_AGAIN_S}, {})
    assert LOOK_AGAIN_S < LEASE_S
    assert stored(dynamodb).owner == "worker-1"


def test_a_claim_is_live_to_the_last_millisecond_of_its_lease(ledger: NewLedger) -> None:
    held(ledger())
    assert claim(ledger("worker-2"), at=LAPSED - timedelta(milliseconds=1)).busy == {"a": 0.001}
    assert claim(ledger("worker-2"), at=LAPSED).held


def test_a_lapsed_claim_is_taken_over_and_costs_an_attempt(ledger: NewLedger, dynamodb: Any) -> None:
    held(ledger())
    assert held(ledger("worker-2"), at=LAPSED).attempts == 1
    assert held(ledger("worker-3"), at=LATER).attempts == 2
    assert stored(dynamodb).owner == "worker-3"


def test_of_two_that_take_over_a_lapsed_claim_one_gets_it(ledger: NewLedger, dynamodb: Any) -> None:
    """Both have read the same lapsed claim; the second write finds that it has changed."""
    held(ledger())

    def overtaken(real: Callable[..., Any], **parameters: Any) -> Any:
        if "#lease" in parameters["TransactItems"][0]["Put"]["ExpressionAttributeNames"]:
            claim(ledger("worker-3"), at=LAPSED)
        return real(**parameters)

    assert claim(ledger("worker-2", transact_write_items=overtaken), at=LAPSED).busy == {"a": LOOK_AGAIN_S}
    assert (stored(dynamodb).owner, stored(dynamodb).attempts) == ("worker-3", 1)


def test_an_owner_that_renews_its_lapsed_claim_in_time_keeps_it(ledger: NewLedger, dynamodb: Any) -> None:
    worker = ledger()
    held(worker)

    def renewed(real: Callable[..., Any], **parameters: Any) -> Any:
        if "#lease" in parameters["TransactItems"][0]["Put"]["ExpressionAttributeNames"]:
            held(worker, at=LAPSED)
        return real(**parameters)

    assert claim(ledger("worker-2", transact_write_items=renewed), at=LAPSED).busy == {"a": LOOK_AGAIN_S}


def test_a_call_that_begins_while_its_lapsed_claim_is_taken_over_is_not_overlooked(ledger: NewLedger) -> None:
    worker = ledger()
    held(worker)
    left = [1]

    def begun(real: Callable[..., Any], **parameters: Any) -> Any:
        if left and "#lease" in parameters["TransactItems"][0]["Put"]["ExpressionAttributeNames"]:
            left.pop()
            held(worker, at=DAY, sending=True)
        return real(**parameters)

    assert list(claim(ledger("worker-2", transact_write_items=begun), at=LAPSED).interrupted) == ["a"]


def test_a_released_claim_is_free_and_keeps_its_attempts(ledger: NewLedger) -> None:
    worker = ledger()
    worker.release([released(held(worker), attempts=3)], DAY)
    assert held(ledger("worker-2"), at=DAY).attempts == 3


def test_a_duplicate_cannot_cut_short_the_wait_before_a_retry(ledger: NewLedger) -> None:
    """However often the message comes: there is one attempt for each wait."""
    worker = ledger()
    worker.release([released(held(worker), attempts=1, not_before=DAY + timedelta(seconds=15))], DAY)
    assert claim(ledger("worker-2"), at=SOON).busy == {"a": 14.0}
    assert held(ledger("worker-3"), at=DAY + timedelta(seconds=15)).attempts == 1


@pytest.mark.parametrize("state", ["delivered", "expired", "cancelled", "opted_out", "dead_lettered", "unknown"])
def test_every_ending_absorbs(ledger: NewLedger, dynamodb: Any, state: Any) -> None:
    ending = ended(Entry("a", "claimed"), state, DAY, "why")
    put(dynamodb, ending)
    assert claim(ledger(), at=LATER) == Claims({}, {}, {}, {"a": ending})


def test_each_id_of_a_bundle_is_claimed_by_itself(ledger: NewLedger, dynamodb: Any) -> None:
    """A refused put takes no neighbour with it."""
    put(dynamodb, ended(Entry("done", "claimed"), "delivered", DAY))
    held(ledger("worker-2"), "busy")
    worker = ledger("worker-3")
    worker.release([released(held(worker, "free"))], DAY)
    dead = ended(Entry("dead", "claimed"), "dead_lettered", DAY)
    put(dynamodb, dead)
    claims = ledger().claim({"done": None, "busy": None, "free": None, "new": None, "dead": dead.ended_at}, SOON)
    assert set(claims.held) == {"free", "new", "dead"}
    assert set(claims.busy) == {"busy"}
    assert set(claims.ended) == {"done"}
    owners = {id: stored(dynamodb, id).owner for id in ("free", "new", "dead", "busy", "done")}
    assert owners == {"free": "worker-1", "new": "worker-1", "dead": "worker-1", "busy": "worker-2", "done": ""}


def test_more_than_a_transaction_holds_is_claimed_in_several(ledger: NewLedger) -> None:
    sizes: list[int] = []

    def count(real: Callable[..., Any], *, TransactItems: list[Any]) -> Any:
        sizes.append(len(TransactItems))
        return real(TransactItems=TransactItems)

    ids = [f"id-{n}" for n in range(101)]
    assert list(claim(ledger(transact_write_items=count), *ids).held) == ids
    assert sizes == [100, 1]


# --- a call that may have begun


def test_a_lapsed_claim_whose_call_may_have_begun_is_interrupted(ledger: NewLedger) -> None:
    worker = ledger()
    claim(worker, "tried", sending=True)
    claim(worker, "only-claimed")
    claims = claim(ledger("worker-2"), "tried", "only-claimed", at=LAPSED)
    assert (list(claims.interrupted), list(claims.held)) == (["tried"], ["only-claimed"])
    assert claims.interrupted["tried"].attempts == 1


def test_it_stays_interrupted_when_the_next_owner_dies_too(ledger: NewLedger) -> None:
    held(ledger(), sending=True)
    claim(ledger("worker-2"), at=LAPSED)
    assert list(claim(ledger("worker-3"), at=LATER).interrupted) == ["a"]


def test_a_call_that_is_over_leaves_no_mark(ledger: NewLedger) -> None:
    worker = ledger()
    worker.unmark([held(worker, sending=True)], DAY)
    assert list(claim(ledger("worker-2"), at=LAPSED).held) == ["a"]


def test_releasing_takes_the_mark_away(ledger: NewLedger, dynamodb: Any) -> None:
    worker = ledger()
    worker.release([released(held(worker, sending=True))], DAY)
    assert not stored(dynamodb).sending


def test_only_what_is_still_ours_is_unmarked(ledger: NewLedger, dynamodb: Any) -> None:
    """Whoever has taken over a claim may have a call of its own under way."""
    worker = ledger()
    entries = claim(worker, "lost", "ours", sending=True).held
    claim(ledger("worker-2"), "lost", at=LAPSED)
    taken_over = stored(dynamodb, "lost")
    worker.unmark(entries.values(), LAPSED)
    assert stored(dynamodb, "lost") == taken_over
    assert taken_over.sending
    assert not stored(dynamodb, "ours").sending


def test_a_claim_and_its_mark_are_one_write(ledger: NewLedger, dynamodb: Any) -> None:
    """So a claim at the call costs a channel that cannot send again no more than any other claim."""
    calls = [0]

    def count(real: Callable[..., Any], **parameters: Any) -> Any:
        calls[0] += 1
        return real(**parameters)

    entry = held(ledger(transact_write_items=count), sending=True)
    assert entry == stored(dynamodb) == Entry("a", "claimed", "worker-1", int(LAPSED.timestamp() * 1000), sending=True)
    assert calls == [1]


def test_what_is_another_s_is_not_marked(ledger: NewLedger, dynamodb: Any) -> None:
    held(ledger("worker-2"))
    assert list(claim(ledger(), at=SOON, sending=True).busy) == ["a"]
    assert not stored(dynamodb).sending


def test_a_claim_that_is_free_again_is_marked_by_whoever_claims_it_to_send(ledger: NewLedger, dynamodb: Any) -> None:
    worker = ledger()
    worker.release([released(held(worker))], DAY)
    assert held(ledger("worker-2"), at=SOON, sending=True).sending
    assert stored(dynamodb).sending


def test_it_is_too_late_to_cancel_what_is_marked(ledger: NewLedger) -> None:
    held(ledger(), sending=True)
    assert ledger("api").cancel("a", LATER) == "claimed"


# --- reading before claiming


def test_many_entries_are_read_at_once_and_those_without_one_are_missing(ledger: NewLedger, dynamodb: Any) -> None:
    put(dynamodb, ended(Entry("done", "claimed"), "delivered", DAY))
    held(ledger(), "claimed")
    found = ledger().read_all(["done", "claimed", "new"])
    assert found == {id: stored(dynamodb, id) for id in ("done", "claimed")}


def test_entries_are_read_strongly_and_a_hundred_at_a_time(ledger: NewLedger) -> None:
    asked: list[Any] = []

    def note(real: Callable[..., Any], *, RequestItems: Any) -> Any:
        asked.append((len(RequestItems["ledger"]["Keys"]), RequestItems["ledger"]["ConsistentRead"]))
        return real(RequestItems=RequestItems)

    assert ledger(batch_get_item=note).read_all(f"id-{n}" for n in range(101)) == {}
    assert asked == [(100, True), (1, True)]


# --- giving back and ending


def test_what_another_has_taken_over_is_neither_released_nor_ended(ledger: NewLedger, dynamodb: Any) -> None:
    worker = ledger()
    entry = held(worker)
    taken_over = held(ledger("worker-2"), at=LAPSED)
    worker.release([released(entry)], LAPSED)
    worker.end([ended(entry, "expired", LAPSED)], LAPSED)
    assert stored(dynamodb) == taken_over


def test_an_ending_is_not_ended_again(ledger: NewLedger, dynamodb: Any) -> None:
    worker = ledger()
    entry = held(worker)
    worker.end([ended(entry, "expired", DAY)], DAY)
    worker.end([ended(entry, "opted_out", SOON)], SOON)
    assert stored(dynamodb).state == "expired"


def test_a_delivery_is_recorded_even_when_another_has_taken_over(ledger: NewLedger, dynamodb: Any) -> None:
    """It is true whatever else happened."""
    worker = ledger()
    entry = held(worker)
    claim(ledger("worker-2"), at=LAPSED)
    worker.delivered([entry], LAPSED)
    assert stored(dynamodb).state == "delivered"


def test_an_ending_says_when_why_and_after_how_many_attempts(ledger: NewLedger, dynamodb: Any) -> None:
    worker = ledger()
    worker.end([ended(replace(held(worker), attempts=2), "expired", DAY, "expired at noon")], DAY)
    assert stored(dynamodb) == Entry(
        "a", "expired", attempts=2, ended_at="2020-11-11T03:00:00.000+00:00", reason="expired at noon"
    )


def test_an_entry_outlasts_the_longest_life_of_its_message(ledger: NewLedger, dynamodb: Any) -> None:
    """It may lie in dead-letter for 14 days, and after a redrive on three queues for 4 days each."""
    held(ledger())
    item = dynamodb.get_item(TableName="ledger", Key={"id": {"S": "a"}})["Item"]
    lives = timedelta(seconds=int(item["expires"]["N"]) - DAY.timestamp())
    assert lives == KEEP > LIFE + timedelta(days=14 + 3 * 4)


def test_an_entry_that_should_be_gone_already_still_counts(ledger: NewLedger, dynamodb: Any) -> None:
    """DynamoDB deletes late: until then an ending absorbs, and a claim is judged by its lease."""
    put(dynamodb, ended(Entry("done", "claimed"), "delivered", DAY), Entry("lapsed", "claimed", "worker-0", 1))
    claims = claim(ledger(), "done", "lapsed", at=DAY + 2 * KEEP)
    assert (set(claims.ended), set(claims.held)) == ({"done"}, {"lapsed"})


def test_a_lease_is_longer_than_the_worker_lives_and_shorter_than_its_bundle_is_hidden() -> None:
    assert WORKER_TIMEOUT_S < LEASE_S < LANE_VISIBILITY_S


# --- redrive


def dead_lettered(ledger: Ledger, at: Any = DAY, redriven: str | None = None) -> str:
    """Claim and dead-letter; returns the instant that a redrive has to name."""
    ending = ended(held(ledger, at=at, redriven=redriven), "dead_lettered", at, "http_400")
    ledger.end([ending], at)
    return ending.ended_at


def test_a_redrive_that_names_the_ending_claims_again_with_no_attempts(ledger: NewLedger) -> None:
    worker = ledger()
    worker.release([released(held(worker), attempts=9)], DAY)
    dead_lettered_at = dead_lettered(worker)
    assert held(ledger("worker-2"), at=SOON, redriven=dead_lettered_at).attempts == 0


@pytest.mark.parametrize("named", [None, "2020-11-11T02:59:59.999+00:00", ""])
def test_a_dead_lettered_one_absorbs_all_that_does_not_name_its_ending(ledger: NewLedger, named: str | None) -> None:
    dead_lettered(ledger())
    assert list(claim(ledger("worker-2"), at=SOON, redriven=named).ended) == ["a"]


def test_a_duplicate_of_the_redriven_message_is_absorbed_after_the_second_dead_lettering(ledger: NewLedger) -> None:
    dead_lettered_at = dead_lettered(ledger())
    again_at = dead_lettered(ledger("worker-2"), at=SOON, redriven=dead_lettered_at)
    assert list(claim(ledger("worker-3"), at=LATER, redriven=dead_lettered_at).ended) == ["a"]
    assert held(ledger("worker-3"), at=LATER, redriven=again_at)


def test_a_duplicate_of_the_redriven_message_is_busy_while_it_is_being_sent(ledger: NewLedger) -> None:
    dead_lettered_at = dead_lettered(ledger())
    held(ledger("worker-2"), at=SOON, redriven=dead_lettered_at)
    assert list(claim(ledger("worker-3"), at=SOON, redriven=dead_lettered_at).busy) == ["a"]


@pytest.mark.parametrize("state", ["delivered", "expired", "cancelled", "opted_out", "unknown"])
def test_no_other_ending_is_undone_by_a_redrive(ledger: NewLedger, dynamodb: Any, state: Any) -> None:
    ending = ended(Entry("a", "claimed"), state, DAY)
    put(dynamodb, ending)
    assert list(claim(ledger(), at=SOON, redriven=ending.ended_at).ended) == ["a"]


def test_an_unknown_outcome_is_claimed_again_once_an_operator_has_reopened_it(ledger: NewLedger) -> None:
    worker = ledger()
    ending = ended(held(worker), "unknown", DAY)
    worker.end([ending], DAY)
    assert ledger("operator").reopen([Reopening(ending, "")], SOON) == {"a"}
    assert held(ledger("worker-2"), at=SOON, redriven=ending.ended_at)


def test_reopening_needs_the_very_ending(ledger: NewLedger, dynamodb: Any) -> None:
    put(dynamodb, ended(Entry("a", "claimed"), "unknown", DAY), ended(Entry("b", "claimed"), "delivered", DAY))
    for id in ("a", "b", "never-heard-of"):
        another = ended(Entry(id, "claimed"), "unknown", SOON)
        assert ledger("operator").reopen([Reopening(another, "")], SOON) == set()
    assert (stored(dynamodb).state, stored(dynamodb, "b").state) == ("unknown", "delivered")


# --- cancelling


def test_cancelling_ahead_of_the_claim_absorbs_the_notification(ledger: NewLedger) -> None:
    assert ledger("api").cancel("a", DAY) == "cancelled"
    assert claim(ledger(), at=SOON).ended["a"].state == "cancelled"


def test_cancelling_twice_says_that_it_is_cancelled(ledger: NewLedger) -> None:
    ledger("api").cancel("a", DAY)
    assert ledger("api").cancel("a", SOON) == "cancelled"


def test_what_waits_for_its_retry_can_still_be_cancelled(ledger: NewLedger) -> None:
    worker = ledger()
    worker.release([released(held(worker), attempts=1, not_before=LATER)], DAY)
    assert ledger("api").cancel("a", SOON) == "cancelled"
    assert list(claim(ledger("worker-2"), at=LATER).ended) == ["a"]


@pytest.mark.parametrize("at", [SOON, LATER])
def test_it_is_too_late_to_cancel_once_a_worker_has_claimed(ledger: NewLedger, dynamodb: Any, at: Any) -> None:
    """Also when its lease is over: nobody knows what it had begun."""
    entry = held(ledger())
    assert ledger("api").cancel("a", at) == "claimed"
    assert stored(dynamodb) == entry


def test_it_is_too_late_to_cancel_what_has_ended(ledger: NewLedger) -> None:
    worker = ledger()
    worker.delivered([held(worker)], DAY)
    assert ledger("api").cancel("a", SOON) == "delivered"


def test_cancelling_says_so_when_a_worker_is_claiming_at_this_very_moment(ledger: NewLedger) -> None:
    assert ledger("api", transact_write_items=conflict_on("a", TRIES_MAX)).cancel("a", DAY) == "claimed"


def test_cancelling_what_is_claimed_in_between_is_too_late(ledger: NewLedger) -> None:
    worker = ledger()
    worker.release([released(held(worker))], DAY)

    def overtaken(real: Callable[..., Any], **parameters: Any) -> Any:
        if "#lease" in parameters["TransactItems"][0]["Put"]["ExpressionAttributeNames"]:
            held(worker)
        return real(**parameters)

    assert ledger("api", transact_write_items=overtaken).cancel("a", DAY) == "claimed"
