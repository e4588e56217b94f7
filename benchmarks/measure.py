"""What every benchmark measures with: calls and what AWS bills for them, CPU, wall time, medians with their spread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

UNIT_BYTES = 64 * 1024
"""SQS bills a request for each 64 KiB of its payload, of all messages together: https://aws.amazon.com/sqs/pricing/"""

CALL_S = 0.02
"""What a call to SQS is taken to last where something is derived from counts: a stated assumption, not measured."""


@dataclass(slots=True)
class Call:
    """One call that was answered. `items` are messages, or items of a table; `units` what AWS bills: requests of 64 KiB
    for SQS; for DynamoDB write units (1 for each KB, 2 in a transaction) and read units (1 for each 4 KB, read
    strongly; what does not exist costs one as well). `began` and `ended` are `time.perf_counter()`; `began_cpu_s` and
    `ended_cpu_s` are this process's CPU then."""

    operation: str
    queue: str
    items: int
    units: int
    payload_bytes: int
    began: float
    ended: float
    began_cpu_s: float
    ended_cpu_s: float


@contextmanager
def counted(*clients: Any) -> Iterator[list[Call]]:
    """Every call that the clients make within the block and that AWS answered, by botocore's event hooks."""
    calls: list[Call] = []

    def asked(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = params, time.perf_counter(), time.process_time()

    def answered(parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        ended, ended_cpu_s = time.perf_counter(), time.process_time()
        params, began, began_cpu_s = context["asked"]
        queue = params.get("QueueUrl", "").rpartition("/")[2]
        billed = _billed(model.name, params, parsed)
        calls.append(Call(model.name, queue, *billed, began, ended, began_cpu_s, ended_cpu_s))

    for client in clients:
        client.meta.events.register("provide-client-params", asked)
        client.meta.events.register("after-call", answered)
    try:
        yield calls
    finally:
        for client in clients:
            client.meta.events.unregister("provide-client-params", asked)
            client.meta.events.unregister("after-call", answered)


def _billed(operation: str, asked: dict[str, Any], answered: dict[str, Any]) -> tuple[int, int, int]:
    """How many items a call carried, what is billed for it, and its payload in bytes."""
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
        return len(asked["Entries"]), 1, 0
    if operation == "TransactWriteItems":
        sizes = [_item_bytes(each["Put"]["Item"]) for each in asked["TransactItems"]]
        return len(sizes), sum(2 * -(-size // 1024) for size in sizes), sum(sizes)
    if operation == "BatchWriteItem":
        (puts,) = asked["RequestItems"].values()
        sizes = [_item_bytes(each["PutRequest"]["Item"]) for each in puts]
        return len(sizes), sum(-(-size // 1024) for size in sizes), sum(sizes)
    if operation == "BatchGetItem":
        ((table, wanted),) = asked["RequestItems"].items()
        sizes = [_item_bytes(each) for each in answered["Responses"].get(table, [])]
        missing = len(wanted["Keys"]) - len(sizes)
        return len(wanted["Keys"]), missing + sum(-(-size // 4096) for size in sizes), sum(sizes)
    return 1, 1, 0


def _requests(message_bytes: Sequence[int]) -> tuple[int, int, int]:
    return len(message_bytes), max(1, -(-sum(message_bytes) // UNIT_BYTES)), sum(message_bytes)


def _message_bytes(body: str, attributes: dict[str, Any] | None) -> int:
    named = (attributes or {}).items()
    return len(body.encode()) + sum(
        len((name + value["DataType"] + value["StringValue"]).encode()) for name, value in named
    )


def _item_bytes(item: dict[str, Any]) -> int:
    """About what DynamoDB counts: names and values as they are written, a number at most as long as its digits."""
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
    """Measure a block: filled in when it ends."""
    result = Spent()
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield result
    finally:
        result.cpu_s, result.wall_s = time.process_time() - cpu, time.perf_counter() - wall


def cpu_s(function: Callable[[], object], at_least_s: float = 0.05) -> float:
    """CPU seconds of one run of a short function: run as often as it takes to be well above the clock's grain."""
    runs = 0
    began = time.process_time()
    while (used := time.process_time() - began) < at_least_s:
        function()
        runs += 1
    return used / runs


def spread(values: Sequence[float]) -> dict[str, float]:
    """A median with the least and the most, as they stand in the JSON."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def headline(**figures: Sequence[float]) -> dict[str, Any]:
    """Figures as they are published: the median under each name, and under `<name>_spread` with the least and the most.

    A ratio's values are those of pairs measured in one round, so that both had the same machine.
    """
    return {name: median(values) for name, values in figures.items()} | {
        f"{name}_spread": spread(values) for name, values in figures.items()
    }
