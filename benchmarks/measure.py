"""Measures calls and the units that AWS bills for them, CPU and wall time, and medians with their spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

UNIT_BYTES = 64 * 1024
"""SQS bills one request per 64 KiB of payload, all messages of a call together: https://aws.amazon.com/sqs/pricing/"""

CALL_S = 0.02
"""The assumed time of a call to SQS, where a figure is derived from counts. It is stated, not measured."""


@dataclass(slots=True)
class Call:
    """One call that was answered.

    `queue` or `table` names its place. `items` are messages, or items of a table. `units` are what AWS bills: requests
    of 64 KiB for SQS; for DynamoDB
    write units (1 per KB, 2 in a transaction) and read units (1 per 4 KB read strongly; a missing item costs one as
    well). `began` and `ended` are `time.perf_counter()`; `began_cpu_s` and `ended_cpu_s` are this process's CPU then,
    without the CPU of counting.
    """

    operation: str
    queue: str
    table: str
    items: int
    units: int
    payload_bytes: int
    began: float
    ended: float
    began_cpu_s: float
    ended_cpu_s: float


@contextmanager
def counted(*clients: Any) -> Iterator[list[Call]]:
    """Collect every answered call that the clients make within the block, through botocore's event hooks."""
    calls: list[Call] = []
    counting_s = 0.0

    def asked(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = params, time.perf_counter(), time.process_time() - counting_s

    def answered(parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        nonlocal counting_s
        ended, ended_cpu_s, counting_began_s = time.perf_counter(), time.process_time() - counting_s, time.thread_time()
        params, began, began_cpu_s = context["asked"]
        queue = params.get("QueueUrl", "").rpartition("/")[2]
        billed = _billed(model.name, params, parsed)
        calls.append(Call(model.name, queue, _table(params), *billed, began, ended, began_cpu_s, ended_cpu_s))
        counting_s += time.thread_time() - counting_began_s

    for client in clients:
        client.meta.events.register("provide-client-params", asked)
        client.meta.events.register("after-call", answered)
    try:
        yield calls
    finally:
        for client in clients:
            client.meta.events.unregister("provide-client-params", asked)
            client.meta.events.unregister("after-call", answered)


def _table(asked: dict[str, Any]) -> str:
    """The table of a call to DynamoDB; empty for SQS. No call of ours is to two tables."""
    if "TransactItems" in asked:
        return str(asked["TransactItems"][0]["Put"]["TableName"])
    return str(next(iter(asked.get("RequestItems", ())), asked.get("TableName", "")))


class Billed(NamedTuple):
    """The items that a call carried, the units that AWS bills for it, and its payload."""

    items: int
    units: int
    payload_bytes: int


def _billed(operation: str, asked: dict[str, Any], answered: dict[str, Any]) -> Billed:
    if operation == "SendMessage":
        return _requests([_message_bytes(asked["MessageBody"], asked.get("MessageAttributes"))])
    if operation == "SendMessageBatch":
        return _requests(
            [_message_bytes(each["MessageBody"], each.get("MessageAttributes")) for each in asked["Entries"]]
        )
    if operation == "ReceiveMessage":
        received = answered.get("Messages", [])
        return _requests([_message_bytes(each["Body"], each.get("MessageAttributes")) for each in received])
    if operation == "DeleteMessageBatch":
        return Billed(len(asked["Entries"]), 1, 0)
    if operation == "TransactWriteItems":
        sizes = [_item_bytes(each["Put"]["Item"]) for each in asked["TransactItems"]]
        return Billed(len(sizes), sum(2 * -(-size // 1024) for size in sizes), sum(sizes))
    if operation == "BatchWriteItem":
        (puts,) = asked["RequestItems"].values()
        sizes = [_item_bytes(each["PutRequest"]["Item"]) for each in puts]
        return Billed(len(sizes), sum(-(-size // 1024) for size in sizes), sum(sizes))
    if operation == "BatchGetItem":
        ((table, wanted),) = asked["RequestItems"].items()
        sizes = [_item_bytes(each) for each in answered["Responses"].get(table, [])]
        missing = len(wanted["Keys"]) - len(sizes)
        return Billed(len(wanted["Keys"]), missing + sum(-(-size // 4096) for size in sizes), sum(sizes))
    return Billed(1, 1, 0)


def _requests(message_bytes: Sequence[int]) -> Billed:
    return Billed(len(message_bytes), max(1, -(-sum(message_bytes) // UNIT_BYTES)), sum(message_bytes))


def _message_bytes(body: str, attributes: dict[str, Any] | None) -> int:
    named = (attributes or {}).items()
    return len(body.encode()) + sum(
        len((name + value["DataType"] + value["StringValue"]).encode()) for name, value in named
    )


def _item_bytes(item: dict[str, Any]) -> int:
    """The size as DynamoDB counts it, or a little more: names and values as text; a number counts its digits."""
    return sum(
        len(name.encode()) + sum(len(str(part).encode()) for part in value.values()) for name, value in item.items()
    )


@dataclass(slots=True)
class Spent:
    """CPU of this process, all threads together, and wall time."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


@contextmanager
def spent() -> Iterator[Spent]:
    """Measure a block. The result is filled in when the block ends."""
    result = Spent()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield result
    finally:
        result.cpu_s, result.wall_s = time.process_time() - cpu, time.perf_counter() - wall


def cpu_s(function: Callable[[], object], at_least_s: float = 0.05) -> float:
    """CPU seconds of one run of a short function, which runs until the sum is well above the clock's resolution."""
    runs = 0
    began = time.process_time()
    while (used := time.process_time() - began) < at_least_s:
        function()
        runs += 1
    return used / runs


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median, the minimum and the maximum, in the form of the JSON."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def headline(**figures: Sequence[float]) -> dict[str, Any]:
    """Figures in the form in which they are published: the median under each name, and `<name>_spread` beside it.

    The values of a ratio come from pairs that were measured in one round, so that both had the same machine.
    """
    return {name: median(values) for name, values in figures.items()} | {
        f"{name}_spread": spread(values) for name, values in figures.items()
    }
