"""The ledger where DynamoDB refuses, conflicts, does not answer, or takes a part."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas.quiet_hours.errors import LedgerUnavailable
from lambdas.quiet_hours.stores.backoff import FIRST_PAUSE_S, RECORD_TRIES_MAX, RESERVE_S, TRIES_MAX
from lambdas.quiet_hours.stores.entries import Entry, ended, released
from lambdas.quiet_hours.stores.ledger import Claims, Ledger
from tests.helpers.aws import DAY, Faulty, dynamodb, fail, sqs
from tests.helpers.delivery_world import Clock
from tests.helpers.ledger_world import (
    LAPSED,
    LEASE,
    SOON,
    NewLedger,
    answered_but_lost,
    cancelled,
    claim,
    conflict_on,
    first,
    held,
    ledger,
    put,
    stored,
)

__all__ = ["dynamodb", "ledger", "sqs"]


# --- what DynamoDB may answer


def test_a_conflict_with_another_transaction_is_tried_again_at_once(ledger: NewLedger) -> None:
    claims = claim(ledger(transact_write_items=conflict_on("a", 1)), "a", "b")
    assert set(claims.held) == {"a", "b"}


def test_what_keeps_conflicting_is_busy_and_takes_no_neighbour_with_it(ledger: NewLedger) -> None:
    claims = claim(ledger(transact_write_items=conflict_on("a", 100)), "a", "b")
    assert (claims.busy, set(claims.held)) == ({"a": 1}, {"b"})


@pytest.mark.parametrize("write", ["end", "release"])
def test_an_ending_and_a_release_survive_a_conflict(ledger: NewLedger, dynamodb: Any, write: str) -> None:
    entry = held(ledger())
    worker = ledger(transact_write_items=conflict_on("a", TRIES_MAX - 1))
    getattr(worker, write)([ended(entry, "expired", DAY) if write == "end" else released(entry)], DAY)
    assert stored(dynamodb).owner == ""


@pytest.mark.parametrize("write", ["end", "release"])
def test_an_ending_or_a_release_that_keeps_conflicting_is_not_passed_over(ledger: NewLedger, write: str) -> None:
    entry = held(ledger())
    worker = ledger(transact_write_items=conflict_on("a", TRIES_MAX))
    with pytest.raises(LedgerUnavailable):
        getattr(worker, write)([released(entry)], DAY)


@pytest.mark.parametrize("code", ["ItemCollectionSizeLimitExceeded", "ValidationError", "AccessDenied"])
def test_any_other_reason_means_that_nothing_is_settled(ledger: NewLedger, code: str) -> None:
    busy = ledger(transact_write_items=first(1, lambda _: cancelled("ConditionalCheckFailed", code)))
    with pytest.raises(LedgerUnavailable, match=code):
        claim(busy, "a", "b")
    assert set(claim(ledger("worker-2"), "a", "b").held) == {"a", "b"}


def test_a_cancellation_without_reasons_means_that_nothing_is_settled(ledger: NewLedger) -> None:
    with pytest.raises(LedgerUnavailable):
        claim(ledger(transact_write_items=first(1, lambda _: cancelled())))


def test_an_entry_that_is_gone_when_it_is_looked_at_is_claimed_later(ledger: NewLedger, dynamodb: Any) -> None:
    held(ledger())

    def deleted(real: Callable[..., Any], **parameters: Any) -> Any:
        if "#lease" in parameters["TransactItems"][0]["Put"]["ExpressionAttributeNames"]:
            dynamodb.delete_item(TableName="ledger", Key={"id": {"S": "a"}})
        return real(**parameters)

    assert claim(ledger("worker-2", transact_write_items=deleted), at=LAPSED).busy == {"a": 1}
    assert held(ledger("worker-2"), at=LAPSED)


def test_an_entry_that_keeps_changing_is_busy(ledger: NewLedger, dynamodb: Any) -> None:
    put(dynamodb, Entry("a", "claimed", "", 0, 0))

    def changing(real: Callable[..., Any], **parameters: Any) -> Any:
        put(dynamodb, replace(stored(dynamodb), attempts=stored(dynamodb).attempts + 1))
        return real(**parameters)

    assert claim(ledger(transact_write_items=changing)).busy == {"a": 1}


def test_other_errors_are_the_caller_s(ledger: NewLedger) -> None:
    def denied(_: Any) -> ClientError:
        return ClientError({"Error": {"Code": "AccessDeniedException"}}, "TransactWriteItems")

    with pytest.raises(ClientError):
        claim(ledger(transact_write_items=first(1, denied)))


def throttled(_: Any) -> ClientError:
    return ClientError({"Error": {"Code": "ThrottlingException"}}, "TransactWriteItems")


BUSY = {
    "the call": throttled,
    "one item of it": lambda _: cancelled("None", "ThrottlingError"),
    "each item of it": lambda _: cancelled("ProvisionedThroughputExceeded", "ProvisionedThroughputExceeded"),
    "one, beside a conflict": lambda _: cancelled("TransactionConflict", "ThrottlingError"),
}


@pytest.mark.parametrize("fault", BUSY.values(), ids=BUSY)
def test_a_throttled_transaction_is_tried_again_after_a_pause(
    ledger: NewLedger, dynamodb: Any, fault: Callable[[Any], ClientError]
) -> None:
    pauses: list[float] = []
    busy = Faulty(dynamodb, transact_write_items=first(1, fault))
    worker = Ledger(busy, "ledger", "worker-1", LEASE, pauses.append)  # type: ignore[arg-type]
    assert set(claim(worker, "a", "b").held) == {"a", "b"}
    assert [0 <= pause <= FIRST_PAUSE_S for pause in pauses] == [True]


def test_a_ledger_that_stays_throttled_is_unavailable_and_nothing_is_said_to_be_busy(ledger: NewLedger) -> None:
    worker = ledger(transact_write_items=first(TRIES_MAX, throttled))
    with pytest.raises(LedgerUnavailable, match=f"DynamoDB has throttled the ledger {TRIES_MAX} times"):
        claim(worker, "a", "b")
    assert set(claim(worker, "a", "b").held) == {"a", "b"}


def test_neighbours_of_a_refused_put_do_not_wait_for_a_pause(ledger: NewLedger, dynamodb: Any) -> None:
    held(ledger("other"))
    pauses: list[float] = []
    worker = Ledger(dynamodb, "ledger", "worker-1", LEASE, sleep=pauses.append)
    assert set(claim(worker, "a", "b").held) == {"b"}
    assert pauses == []


def test_a_claim_whose_answer_was_lost_is_made_again_at_no_cost(ledger: NewLedger) -> None:
    with pytest.raises(ReadTimeoutError):
        claim(ledger(transact_write_items=answered_but_lost))
    assert held(ledger(), at=SOON).attempts == 0


def test_a_claim_whose_answer_was_lost_for_good_lapses(ledger: NewLedger) -> None:
    with pytest.raises(ReadTimeoutError):
        claim(ledger(transact_write_items=answered_but_lost))
    assert claim(ledger("worker-2"), at=SOON).busy
    assert held(ledger("worker-2"), at=LAPSED)


def test_a_transaction_that_the_client_repeats_is_one(ledger: NewLedger) -> None:
    """AWS knows it again by the ClientRequestToken; where that is not so, the owner finds its own claim."""

    def twice(real: Callable[..., Any], **parameters: Any) -> Any:
        real(**parameters)
        return real(**parameters)

    worker = ledger(transact_write_items=twice)
    assert held(worker).attempts == 0
    assert held(ledger("worker-2", transact_write_items=twice), at=LAPSED).attempts == 1
    worker = ledger("worker-2")
    worker.release([released(held(worker, at=LAPSED), attempts=4)], LAPSED)
    assert held(ledger("worker-3", transact_write_items=twice), at=LAPSED).attempts == 4


def test_each_transaction_carries_a_token_of_its_own(ledger: NewLedger, dynamodb: Any) -> None:
    """botocore makes it once for a call, and its retries repeat it."""
    tokens: list[str] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        tokens.append(json.loads(params["body"])["ClientRequestToken"])

    dynamodb.meta.events.register("before-call.dynamodb.TransactWriteItems", note)
    try:
        claim(ledger())
        claim(ledger("worker-2"), at=LAPSED)
    finally:
        dynamodb.meta.events.unregister("before-call.dynamodb.TransactWriteItems", note)
    assert len(set(tokens)) == len(tokens) == 3


# --- recording deliveries in batches


def unprocessed(times: int) -> tuple[Callable[..., Any], list[int]]:
    """A fault: BatchWriteItem leaves all but the first item of a call, so many times. And how much each call had."""
    left = [times]
    sizes: list[int] = []

    def call(real: Callable[..., Any], *, RequestItems: dict[str, list[Any]]) -> Any:
        requests = RequestItems["ledger"]
        sizes.append(len(requests))
        if not left[0]:
            return real(RequestItems=RequestItems)
        left[0] -= 1
        real(RequestItems={"ledger": requests[:1]})
        return {"UnprocessedItems": {"ledger": requests[1:]} if requests[1:] else {}}

    return call, sizes


def test_deliveries_are_recorded_by_twenty_five(ledger: NewLedger, dynamodb: Any) -> None:
    call, sizes = unprocessed(0)
    worker = ledger(batch_write_item=call)
    worker.delivered([Entry(f"id-{n}", "claimed", "worker-1") for n in range(60)], DAY)
    assert sizes == [25, 25, 10]
    assert all(stored(dynamodb, f"id-{n}").state == "delivered" for n in range(60))


def test_what_a_batch_leaves_unprocessed_is_written_again(ledger: NewLedger, dynamodb: Any) -> None:
    call, sizes = unprocessed(2)
    ledger(batch_write_item=call).delivered([Entry(f"id-{n}", "claimed", "worker-1") for n in range(5)], DAY)
    assert sizes == [5, 4, 3]
    assert all(stored(dynamodb, f"id-{n}").state == "delivered" for n in range(5))


def test_deliveries_that_stay_unwritten_are_an_error(ledger: NewLedger) -> None:
    call, sizes = unprocessed(100)
    with pytest.raises(LedgerUnavailable, match=f"deliveries were left unprocessed after {RECORD_TRIES_MAX} tries"):
        ledger(batch_write_item=call).delivered([Entry(f"id-{n}", "claimed", "worker-1") for n in range(25)], DAY)
    assert len(sizes) == RECORD_TRIES_MAX


def test_deliveries_are_recorded_although_the_table_is_throttled_for_seconds(ledger: NewLedger, dynamodb: Any) -> None:
    """A provider has them: what is not recorded may be sent twice. The batch call refuses as a whole when it can do
    nothing at all."""
    clock = Clock(DAY)

    def busy_for_seconds(real: Callable[..., Any], **parameters: Any) -> Any:
        if clock() < DAY + timedelta(seconds=4):
            raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "BatchWriteItem")
        return real(**parameters)

    busy = Faulty(dynamodb, batch_write_item=busy_for_seconds)
    worker = Ledger(busy, "ledger", "worker-1", LEASE, clock.sleep)  # type: ignore[arg-type]
    worker.delivered([Entry(f"id-{n}", "claimed", "worker-1") for n in range(30)], DAY)
    assert all(stored(dynamodb, f"id-{n}").state == "delivered" for n in range(30))


def test_a_batch_that_stays_unwritten_keeps_no_later_one_from_being_tried(ledger: NewLedger, dynamodb: Any) -> None:
    def one_is_stuck(real: Callable[..., Any], *, RequestItems: dict[str, list[Any]]) -> Any:
        stuck = [each for each in RequestItems["ledger"] if each["PutRequest"]["Item"]["id"]["S"] == "id-0"]
        others = [each for each in RequestItems["ledger"] if each not in stuck]
        if others:
            real(RequestItems={"ledger": others})
        return {"UnprocessedItems": {"ledger": stuck} if stuck else {}}

    with pytest.raises(LedgerUnavailable, match="1 deliveries"):
        ledger(batch_write_item=one_is_stuck).delivered([Entry(f"id-{n}", "claimed") for n in range(60)], DAY)
    assert all(stored(dynamodb, f"id-{n}").state == "delivered" for n in range(1, 60))


def test_a_pause_ends_before_the_time_that_is_left(ledger: NewLedger, dynamodb: Any) -> None:
    clock = Clock(DAY)
    ends_at = DAY + timedelta(seconds=RESERVE_S + 2)
    busy = Faulty(dynamodb, batch_write_item=fail("ThrottlingException"))
    worker = Ledger(
        busy,
        "ledger",
        "worker-1",
        LEASE,
        clock.sleep,
        lambda: (ends_at - clock()).total_seconds(),  # type: ignore[arg-type]
    )
    with pytest.raises(LedgerUnavailable):
        worker.delivered([Entry("a", "claimed", "worker-1")], DAY)
    assert timedelta(seconds=0.5) < clock() - DAY <= timedelta(seconds=2)


def test_entries_that_are_left_unread_are_asked_for_again(ledger: NewLedger) -> None:
    """What was read is never taken for the whole."""
    held(ledger(), "a")
    held(ledger(), "b")
    left = [1]

    def half(real: Callable[..., Any], *, RequestItems: Any) -> Any:
        keys = RequestItems["ledger"]["Keys"]
        if not left:
            return real(RequestItems=RequestItems)
        left.pop()
        answer = real(RequestItems={"ledger": {"Keys": keys[:1], "ConsistentRead": True}})
        return answer | {"UnprocessedKeys": {"ledger": {"Keys": keys[1:], "ConsistentRead": True}}}

    assert set(ledger(batch_get_item=half).read_all(["a", "b"])) == {"a", "b"}


def test_entries_that_stay_unread_are_no_answer(ledger: NewLedger) -> None:
    def none(_: Any, *, RequestItems: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    with pytest.raises(LedgerUnavailable):
        ledger(batch_get_item=none).read_all(["a"])


def test_nothing_to_write_makes_no_call(ledger: NewLedger) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a call")

    worker = ledger(transact_write_items=never, batch_write_item=never, batch_get_item=never)
    worker.delivered([], DAY)
    worker.end([], DAY)
    worker.release([], DAY)
    worker.unmark([], DAY)
    assert worker.read_all([]) == {}
    assert worker.claim({}, DAY) == Claims({}, {}, {}, {})
