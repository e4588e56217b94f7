"""Isolation: what a release does to a password code that is sent meanwhile, on the deployed stack.

A hundred thousand notifications are released while codes are put on the notification queue, one by one, and the time
is taken until the provider has each. The provider's rate paces the release, so that two cores have time to spare: what
is measured is the lanes and not the machine. Beside it the same released load on the day's own lane, as if there were
only one: a code then waits behind all that stands before it, far longer than anybody measures. A code that has not
arrived in time counts with the time that it was waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median, quantiles
from typing import Any
from uuid import uuid4

from lambdas.quiet_hours.bundle import pack
from local import aws, status

from .stack import Stack, code, deployed
from .world import items, put

RATE_PER_S = 160
"""The provider's, half of it for each lane: the release then leaves most of two cores idle."""

BETWEEN_CODES_S = 0.4
WARM_UP = 10
WAITED_FOR_S = 20
"""Before a code counts as not arrived."""


def measure(released: int, codes: int, shared_wait_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Idle, then with a release, then with the same on one shared lane, where nobody waits longer than that for the
    last code. Milliseconds from the send to the arrival."""
    say("isolation: deploying the stack")
    with deployed("isolation", RATE_PER_S) as stack:
        _without_minute_rule(stack)
        _codes(stack, WARM_UP, 0.1)
        say(f"isolation: {codes} codes on an idle system")
        idle, _ = _codes(stack, codes)

        say(f"isolation: releasing {released:,}")
        _fill(stack, "Wait", released)
        answer = aws.client(stack.endpoint, "lambda").invoke(
            FunctionName=stack.outputs["SchedulerFunctionName"], Payload=b"{}"
        )
        moved = answer["Payload"].read().decode()
        _until_delivering(stack)
        # The release's workers may have taken the day's warm processes: its first codes wait for a cold start. Apart.
        first, _ = _codes(stack, WARM_UP, 0.1)
        say(f"isolation: {codes} codes during the release")
        during, missing = _codes(stack, codes)
        left = status.depth(stack.sqs, stack.outputs["ScheduleQueueUrl"]).total
        if missing or not left or f'"released": {released}' not in moved:
            raise RuntimeError(f"no fair measurement: {missing} codes missing, {left} bundles left, release: {moved}")

        say("isolation: the same load on one shared lane")
        stack.sqs.purge_queue(QueueUrl=stack.outputs["ScheduleQueueUrl"])
        _fill(stack, "Delivery", released)
        _until_delivering(stack)
        shared, shared_missing = _codes(stack, max(5, codes // 4), give_up_s=shared_wait_s)
        return {
            "isolation_p95_ratio": _p95(during) / _p95(idle),
            "released": released,
            "provider_rate_per_s": RATE_PER_S,
            "idle": _figures(idle, 0),
            "during_release": _figures(during, missing) | {"slowest_of_first_codes_ms": max(first)},
            "one_shared_lane": _figures(shared, shared_missing)
            | {"behind_s": released / (RATE_PER_S / 2), "waited_for_s": shared_wait_s},
        }


def _without_minute_rule(stack: Stack) -> None:
    """Only we start the scheduler meanwhile."""
    events = aws.client(stack.endpoint, "events")
    for rule in events.list_rules()["Rules"]:
        if "ScheduleExpression" in rule:
            events.disable_rule(Name=rule["Name"])


def _fill(stack: Stack, queue: str, count: int) -> None:
    given = items(count)
    while part := list(islice(given, 10_000)):
        put(stack.sqs, stack.outputs[f"{queue}QueueUrl"], pack(part))


def _until_delivering(stack: Stack) -> None:
    """Wait until released notifications arrive at their pace: the workers have started."""
    began, before = time.monotonic(), len(stack.provider.arrivals())
    while len(stack.provider.arrivals()) < before + RATE_PER_S:
        if time.monotonic() - began > 60:
            raise RuntimeError("nothing is delivered: is the embedded AWS overloaded?")
        time.sleep(0.2)


def _codes(
    stack: Stack, count: int, between_s: float = BETWEEN_CODES_S, give_up_s: float = WAITED_FOR_S
) -> tuple[list[float], int]:
    """Send codes at a steady pace and wait for all of them; their milliseconds, and how many never came."""
    sent: dict[str, datetime] = {}
    for _ in range(count):
        id = f"code-{uuid4()}"
        sent[id] = datetime.now(UTC)
        stack.sqs.send_message(QueueUrl=stack.outputs["NotificationQueueUrl"], MessageBody=code(id, sent[id]))
        time.sleep(between_s)
    give_up_at = max(sent.values()) + timedelta(seconds=give_up_s)
    arrived: dict[str, datetime] = {}
    while len(arrived) < count and datetime.now(UTC) < give_up_at:
        arrived = {each.id: each.at for each in stack.provider.arrivals() if each.id in sent}
        time.sleep(0.05)
    now = datetime.now(UTC)
    return [(arrived.get(id, now) - at).total_seconds() * 1000 for id, at in sent.items()], count - len(arrived)


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def _figures(values: Sequence[float], missing: int) -> dict[str, Any]:
    return {"codes": len(values), "median_ms": median(values), "p95_ms": _p95(values), "not_arrived": missing}
