"""A ledger on a table in memory, and the faults of DynamoDB."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from lambdas.quiet_hours.stores.entries import Entry
from lambdas.quiet_hours.stores.ledger import Claims, Ledger
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.aws import DAY, Faulty, make_table

LEASE = timedelta(seconds=LEASE_S)
SOON = DAY + timedelta(seconds=1)
LAPSED = DAY + LEASE
LATER = LAPSED + LEASE

NewLedger = Callable[..., Ledger]


@pytest.fixture
def ledger(dynamodb: Any) -> NewLedger:
    """Make the ledger of an invocation. It takes faults in the form of `Faulty`."""
    make_table("ledger")
    return lambda owner="worker-1", **faults: Ledger(Faulty(dynamodb, **faults), "ledger", owner, LEASE)


def stored(dynamodb: Any, id: str = "a") -> Entry:
    return Entry.from_item(dynamodb.get_item(TableName="ledger", Key={"id": {"S": id}}, ConsistentRead=True)["Item"])


def claim(ledger: Ledger, *ids: str, at: Any = DAY, redriven: str | None = None, sending: bool = False) -> Claims:
    return ledger.claim(dict.fromkeys(ids or ("a",), redriven), at, sending=sending)


def held(ledger: Ledger, id: str = "a", at: Any = DAY, redriven: str | None = None, sending: bool = False) -> Entry:
    return claim(ledger, id, at=at, redriven=redriven, sending=sending).held[id]


def put(dynamodb: Any, *entries: Entry) -> None:
    for entry in entries:
        dynamodb.put_item(TableName="ledger", Item=entry.to_item(DAY))


def cancelled(*codes: str) -> ClientError:
    answer: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": [{"Code": code} for code in codes],
    }
    return ClientError(answer, "TransactWriteItems")


def first(
    times: int, fault: Callable[[dict[str, Any]], Exception], when: Callable[[dict[str, Any]], bool] = lambda _: True
) -> Callable[..., Any]:
    """A fault that is raised for the first calls, `times` in number, for whose parameters `when` is true."""
    raised = 0

    def call(real: Callable[..., Any], **parameters: Any) -> Any:
        nonlocal raised
        if raised < times and when(parameters):
            raised += 1
            raise fault(parameters)
        return real(**parameters)

    return call


def conflict_on(id: str, times: int) -> Callable[..., Any]:
    """A fault: another transaction is at work on that id for the first calls, `times` in number."""

    def ids(parameters: dict[str, Any]) -> list[str]:
        return [each["Put"]["Item"]["id"]["S"] for each in parameters["TransactItems"]]

    def fault(parameters: dict[str, Any]) -> ClientError:
        return cancelled(*["TransactionConflict" if each == id else "None" for each in ids(parameters)])

    return first(times, fault, when=lambda parameters: id in ids(parameters))


def answered_but_lost(real: Callable[..., Any], **parameters: Any) -> Any:
    """A fault: the write takes effect, but the answer does not arrive."""
    real(**parameters)
    raise ReadTimeoutError(endpoint_url="dynamodb")
