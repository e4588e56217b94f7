"""Measures the release: the reference loop against the scheduler, then the scheduler alone with larger backlogs.

Both move the same notifications between queues of one embedded AWS, in turn, several times. The wall time runs from the
first call to the last message moved. The empty receives after that, by which each side finds that it is done, are
reported apart. The wait queue is filled as it would be: with the consumer's bundles for the scheduler, with one message
per notification for the reference.

Wall time is measured a second time against an SQS that takes 8 ms for any call (`latent_sqs`). The embedded AWS needs
more time the more a call carries, and both sides would be compared by its speed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from typing import Any

from lambdas.quiet_hours.notification.bundle import Item, Message, pack
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import CONFIG, DRAINERS, STOP_BEFORE_S, release
from local.aws import client

from .measure import CALL_S, UNIT_BYTES, Call, counted, headline, spread
from .world import MORNING, NOTIFICATION_BYTES, World, items, put

HELD = 2_000
PREFILL_AT_ONCE = 10_000
LATENCY_MS = 8
SCHEDULERS_A_LOOP = 3
"""The scheduler's releases for each of the loop's, which takes some hundred times as long: their medians count."""

VERIFIED_MAX = 10_000
"""Up to this number every body that arrived is compared. Above it messages and notifications are only counted."""


def reference_loop(sqs: Any, wait_url: str, schedule_url: str) -> int:
    """The published loop (Brandi, 2020), unchanged. It receives ten messages by a short poll with all attributes, sends
    each on by itself with its body encoded once more, and deletes the ten, until a receive is empty."""
    moved = 0
    while True:
        answer = sqs.receive_message(
            QueueUrl=wait_url, MaxNumberOfMessages=10, AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        messages = answer.get("Messages", [])
        if not messages:
            return moved
        for message in messages:
            sqs.send_message(QueueUrl=schedule_url, MessageBody=json.dumps(message["Body"]))
        entries = [{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in messages]
        deleted = sqs.delete_message_batch(QueueUrl=wait_url, Entries=entries)
        if len(deleted["Successful"]) != len(messages):
            raise RuntimeError("not every message was deleted")
        moved += len(messages)


def for_scheduler(world: World) -> World:
    """The same world, seen through a client with the scheduler's configuration."""
    return replace(world, sqs=client(world.sqs.meta.endpoint_url, "sqs", CONFIG))


def scheduler(world: World, remaining_s: Callable[[], float] = lambda: 10 * SCHEDULER_TIMEOUT_S) -> int:
    """Run the scheduler's own function in the morning, by default without a limit of time."""
    answer = release(
        world.sqs,
        world.settings,
        world.settings.quiet_hours(),
        now=lambda: MORNING,
        remaining_s=remaining_s,
        sleep=time.sleep,
        side_by_side=in_threads,
    )
    return int(answer["released"])


def run(world: World, held: int, side: str) -> dict[str, float]:
    """Fill wait, move everything, check. Raises `RuntimeError` if something was lost or changed."""
    here = world.new_queues()
    here = for_scheduler(here) if side == "scheduler" else here
    settings = here.settings
    bodies = []
    for part in _in_parts(items(held), PREFILL_AT_ONCE):
        messages = pack(part) if side == "scheduler" else [Message(item.text) for item in part]
        put(here.sqs, settings.wait_queue_url, messages)
        if held <= VERIFIED_MAX:
            bodies += [message.body for message in messages]
    with counted(here.sqs) as calls:
        if side == "scheduler":
            moved = scheduler(here)
        else:
            moved = reference_loop(here.sqs, settings.wait_queue_url, settings.schedule_queue_url)
    _check(here, moved, held, sorted(bodies), calls, json.loads if side == "reference" else str)
    here.drop_queues()
    return figures(calls, held)


def figures(calls: Sequence[Call], held: int) -> dict[str, float]:
    """The figures of moving `held` notifications, from the first call to the end of the last one that moved something.
    Empty receives are counted apart."""
    first = min(calls, key=lambda call: call.began)
    working = [call for call in calls if call.items]
    last = max(working, key=lambda call: call.ended)
    moved_bytes = sum(call.payload_bytes for call in working if call.operation == "ReceiveMessage")
    deletes = sum(call.operation == "DeleteMessageBatch" for call in working)
    per_1000 = 1000 / held
    lasted_ms = {
        f"{operation}_ms": median((call.ended - call.began) * 1000 for call in working if call.operation == operation)
        for operation in sorted({call.operation for call in working})
    }
    return lasted_ms | {
        "wall_s": last.ended - first.began,
        "wall_with_empty_receives_s": max(call.ended for call in calls) - first.began,
        "empty_receives": len(calls) - len(working),
        "cpu_ms_per_1000": (last.ended_cpu_s - first.began_cpu_s) * 1000 * per_1000,
        "calls_per_1000": len(working) * per_1000,
        "units_per_1000": sum(call.units for call in working) * per_1000,
        "units_limit_per_1000": (2 * -(-moved_bytes // UNIT_BYTES) + deletes) * per_1000,
    }


def several(world: World) -> dict[str, float]:
    """The medians of some releases by the scheduler."""
    return {
        name: median(values)
        for name, values in _columns([run(world, HELD, "scheduler") for _ in range(SCHEDULERS_A_LOOP)]).items()
    }


def measure_at_latency(world: World, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both sides in turn, `repeats` times, where any call takes `LATENCY_MS`."""
    pairs: list[tuple[float, float]] = []
    for repeat in range(repeats):
        say(f"release: {HELD:,} by both sides, {LATENCY_MS} ms a call, {repeat + 1} of {repeats}")
        reference = run(world, HELD, "reference")
        pairs.append((reference["wall_s"], several(world)["wall_s"]))
    return {
        "latency_ms": LATENCY_MS,
        **headline(
            wall_ratio=[reference / own for reference, own in pairs],
            reference_wall_s=[reference for reference, _ in pairs],
            scheduler_wall_s=[own for _, own in pairs],
        ),
    }


def measure(world: World, repeats: int, growth: Mapping[int, int], say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both sides in turn, `repeats` times, and the scheduler alone with the sizes and repeats of `growth`."""
    runs: dict[str, list[dict[str, float]]] = {"reference": [], "scheduler": []}
    for repeat in range(repeats):
        for side, done in runs.items():
            say(f"release: {HELD:,} by the {side}, {repeat + 1} of {repeats}")
            done.append(several(world) if side == "scheduler" else run(world, HELD, side))
    by_size: dict[str, list[dict[str, float]]] = {str(size): [] for size in growth}
    for repeat in range(max(growth.values())):
        for size in (size for size, times in growth.items() if repeat < times):
            say(f"release: {size:,} by the scheduler, {repeat + 1} of {growth[size]}")
            by_size[str(size)].append(run(world, size, "scheduler"))
    grown = {size: headline(**_columns(done)) for size, done in by_size.items()}
    sides = {side: {name: spread(each) for name, each in _columns(done).items()} for side, done in runs.items()}
    ours, pairs = runs["scheduler"], list(zip(runs["reference"], runs["scheduler"], strict=True))
    every_size = [headline(**_columns(ours)), *grown.values()]
    cpu = [each["cpu_ms_per_1000"] for each in every_size]
    return {
        "held": HELD,
        "notification_bytes": NOTIFICATION_BYTES,
        "repeats": repeats,
        **headline(
            wall_ratio=[theirs["wall_s"] / own["wall_s"] for theirs, own in pairs],
            cpu_ratio=[theirs["cpu_ms_per_1000"] / own["cpu_ms_per_1000"] for theirs, own in pairs],
            wall_ratio_at_20ms_a_call=[_alone_s(theirs) / _alone_s(own) for theirs, own in pairs],
            cpu_ms_per_1000=[each["cpu_ms_per_1000"] for each in ours],
            calls_per_1000=[each["calls_per_1000"] for each in ours],
            units_per_1000=[each["units_per_1000"] for each in ours],
            units_limit_per_1000=[each["units_limit_per_1000"] for each in ours],
            units_over_limit=[each["units_per_1000"] / each["units_limit_per_1000"] for each in ours],
        ),
        "cpu_growth": max(cpu) / min(cpu),
        "sides": sides,
        "growth": grown,
        "one_run": one_run(cpu, [each["calls_per_1000"] for each in every_size]),
    }


def _columns(runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """The values of each figure in all runs."""
    return {name: [each[name] for each in runs] for name in runs[0]}


def _alone_s(run: dict[str, float]) -> float:
    """Seconds per thousand, derived: one call after another at `CALL_S`, and the CPU between them."""
    return run["calls_per_1000"] * CALL_S + run["cpu_ms_per_1000"] / 1000


def one_run(cpu_ms_per_1000: Sequence[float], calls_per_1000: Sequence[float]) -> dict[str, float]:
    """The notifications that one run of the scheduler moves on one vCPU, derived. Its drainers wait for their calls
    side by side, their CPU does not overlap, and the run stops `STOP_BEFORE_S` before its time-out."""
    cpu_s = median(cpu_ms_per_1000) / 1000
    waiting_s = median(calls_per_1000) * CALL_S
    per_1000_s = max(cpu_s, (waiting_s + cpu_s) / DRAINERS)
    return {
        "notifications": 1000 * (SCHEDULER_TIMEOUT_S - STOP_BEFORE_S) / per_1000_s,
        "seconds": SCHEDULER_TIMEOUT_S - STOP_BEFORE_S,
        "call_s": CALL_S,
        "drainers": DRAINERS,
        "cpu_ms_per_1000": cpu_s * 1000,
        "calls_per_1000": median(calls_per_1000),
    }


def _check(
    world: World, moved: int, held: int, bodies: Sequence[str], calls: Sequence[Call], decode: Callable[[str], str]
) -> None:
    if moved != held:
        raise RuntimeError(f"{moved} notifications were moved instead of {held}")
    sent = sum(call.items for call in calls if call.operation.startswith("SendMessage"))
    deleted = sum(call.items for call in calls if call.operation == "DeleteMessageBatch")
    if sent != deleted:
        raise RuntimeError(f"{sent} messages were sent on and {deleted} deleted")
    if bodies and sorted(map(decode, _received(world.sqs, world.settings.schedule_queue_url))) != list(bodies):
        raise RuntimeError("what arrived on schedule is not what was held")


def _received(sqs: Any, queue_url: str) -> Iterator[str]:
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        yield from (message["Body"] for message in messages)


def _in_parts(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while part := list(islice(items, size)):
        yield part
