"""Turns the calls that tests have recorded into billed units. No other place does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.helpers.aws import Call

CHUNK_BYTES = 64 * 1024
WRITE_UNIT_BYTES = 1024
READ_UNITS = {"ledger": "ledger_read_units", "consent": "read_units"}


class Tally(NamedTuple):
    """Calls and billed units. `benchmarks.counts.Hop` explains them."""

    sqs_calls: int
    sqs_units: int
    ledger_calls: int
    write_units: int
    ledger_read_units: int
    consent_calls: int
    read_units: int
    turns: int


def tally(calls: Iterable[Call]) -> Tally:
    """Add up the calls of `tests.helpers.aws.recorded`. An operation without a price here is an error."""
    found: Counter[str] = Counter()
    for call in calls:
        if call.operation in ("SendMessage", "SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch"):
            found.update(sqs_calls=1, sqs_units=sqs_chunks(payload_bytes(call)))
        elif call.operation in ("TransactWriteItems", "BatchWriteItem"):
            found.update(ledger_calls=1, write_units=_write_units(call))
        elif call.operation == "BatchGetItem":
            ((table, asked),) = call.parameters["RequestItems"].items()
            assert asked["ConsistentRead"] is True, "half the price, and not what is counted here"
            found.update({f"{table}_calls": 1, READ_UNITS[table]: len(asked["Keys"])})
        elif call.operation == "UpdateItem" and call.parameters["TableName"] == "turn":
            found.update(turns=1)
        else:
            raise AssertionError(f"{call.operation} has no price here")
    return Tally(**{name: found[name] for name in Tally._fields})


def sqs_chunks(size_bytes: int) -> int:
    """The number of requests that SQS bills for one call with this payload."""
    return max(1, -(-size_bytes // CHUNK_BYTES))


def payload_bytes(call: Call) -> int:
    """The payload of an SQS call in either direction: bodies and attributes. A delete carries none."""
    messages = [*call.parameters.get("Entries", []), *call.answer.get("Messages", [])]
    if "MessageBody" in call.parameters:
        messages.append(call.parameters)
    return sum(_message_bytes(message) for message in messages)


def _message_bytes(message: dict[str, Any]) -> int:
    body = message.get("MessageBody", message.get("Body", ""))
    attributes = message.get("MessageAttributes", {})
    return len(body.encode()) + sum(
        len((name + value["DataType"] + value["StringValue"]).encode()) for name, value in attributes.items()
    )


def _write_units(call: Call) -> int:
    if call.operation == "TransactWriteItems":
        return sum(2 * _item_units(put["Put"]["Item"]) for put in call.parameters["TransactItems"])
    return sum(_item_units(put["PutRequest"]["Item"]) for put in call.parameters["RequestItems"]["ledger"])


def _item_units(item: dict[str, dict[str, Any]]) -> int:
    """The write units of an item: names and values in UTF-8. Numbers and booleans are counted a little too large."""
    size_bytes = sum(len(name.encode()) + len(str(*value.values()).encode()) for name, value in item.items())
    return -(-size_bytes // WRITE_UNIT_BYTES)
