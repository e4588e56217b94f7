"""Isolation: measures how much a release delays a password code on the deployed stack.

A hundred thousand notifications are released while codes go onto the notification queue one by one. The time of a code
runs until the provider has it. Rounds during a release and rounds on an idle system take turns. The provider's rate
paces the release, so that two cores have time to spare: the figure is that of the lanes and not of the machine.

For comparison the same load then stands on the codes' own lane, as if there were only one lane: notifications that
are critical themselves. A code waits there behind everything before it, longer than anybody wants to measure. A code
that does not arrive in time counts with the time that was spent waiting for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from statistics import median, quantiles
from typing import Any, NamedTuple
from uuid import uuid4

from lambdas.quiet_hours.notification.bundle import pack
from local import aws, status

from .measure import headline
from .stack import Stack, code, deployed
from .world import items, put

RATE_PER_S = 80
"""The provider's rate, for all lanes together. A release at this rate leaves most of two cores idle."""

BETWEEN_CODES_S = 0.4
WARM_UP = 10
BUNDLE_PAUSE_S = 2
"""Longer than any pause that a paced worker makes within a bundle."""

WAITED_FOR_S = 20
"""The time after which a code counts as not arrived."""


class Codes(NamedTuple):
    """Milliseconds from the send of each code to its arrival, and the number of codes that did not arrive in time."""

    ms: list[float]
    missing: int


class Round(NamedTuple):
    """Milliseconds from the send of a code to its arrival: on an idle system, then during a release. The `first` codes
    of the release are apart."""

    idle: list[float]
    first: list[float]
    during: list[float]


def measure(rounds: int, released: int, codes: int, shared_wait_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure rounds of an idle system and of a release, with so many codes each. Then measure codes on one shared lane
    with the same load, and wait at most `shared_wait_s` for the last of them."""
    say("isolation: deploying the stack")
    with deployed("isolation", RATE_PER_S) as stack:
        _without_minute_rule(stack)
        done = []
        for number in range(1, rounds + 1):
            say(f"isolation: round {number} of {rounds}, {codes} codes idle and {codes} with {released:,} released")
            if done:
                _until_idle(stack)
            done.append(_round(stack, released, codes))
        say("isolation: the same load on one shared lane")
        _fill(stack, "Urgent", released, "critical")
        _until_delivering(stack)
        shared = _codes(stack, max(5, codes // 4), give_up_s=shared_wait_s)
    return figures(released, done, shared, shared_wait_s)


def _round(stack: Stack, released: int, codes: int) -> Round:
    _codes(stack, WARM_UP, 0.1)
    idle = _codes(stack, codes)

    _fill(stack, "Wait", released)
    answer = aws.client(stack.endpoint, "lambda").invoke(
        FunctionName=stack.outputs["SchedulerFunctionName"], Payload=b"{}"
    )
    moved = answer["Payload"].read().decode()
    _until_delivering(stack)
    # The release may take the day's warm processes, so its first codes wait for a cold start. They are kept apart.
    first = _codes(stack, WARM_UP, 0.1)
    during = _codes(stack, codes)
    left = status.depth(stack.sqs, stack.outputs["ScheduleQueueUrl"]).total
    if idle.missing or during.missing or not left or f'"released": {released}' not in moved:
        raise RuntimeError(
            f"no fair measurement: {idle.missing} and {during.missing} codes missing, {left} bundles left, "
            f"release: {moved}"
        )
    stack.sqs.purge_queue(QueueUrl=stack.outputs["ScheduleQueueUrl"])
    return Round(idle.ms, first.ms, during.ms)


def figures(released: int, rounds: Sequence[Round], shared: Codes, shared_wait_s: float) -> dict[str, Any]:
    """The JSON of the rounds, and of the codes on one shared lane."""
    ratio = headline(isolation_p95_ratio=[_p95(each.during) / _p95(each.idle) for each in rounds])
    return ratio | {
        "isolation": {
            "rounds": len(rounds),
            "released": released,
            "provider_rate_per_s": RATE_PER_S,
            "idle": _codes_figures([each.idle for each in rounds]),
            "during_release": _codes_figures([each.during for each in rounds])
            | {"slowest_of_first_codes_ms": max(max(each.first) for each in rounds)},
            "one_shared_lane": _codes_figures([shared.ms], shared.missing)
            | {"behind_s": released / RATE_PER_S, "waited_for_s": shared_wait_s},
        }
    }


def _without_minute_rule(stack: Stack) -> None:
    """Switch the minute rule off, so that only this benchmark starts the scheduler."""
    events = aws.client(stack.endpoint, "events")
    for rule in events.list_rules()["Rules"]:
        if "ScheduleExpression" in rule:
            events.disable_rule(Name=rule["Name"])


def _fill(stack: Stack, queue: str, count: int, category: str = "advertising") -> None:
    given = items(count, category=category)
    while part := list(islice(given, 10_000)):
        put(stack.sqs, stack.outputs[f"{queue}QueueUrl"], pack(part))


def _until_delivering(stack: Stack) -> None:
    """Wait until released notifications arrive at their pace, so that the workers have started."""
    began, before = time.monotonic(), len(stack.provider.arrivals())
    while len(stack.provider.arrivals()) < before + RATE_PER_S:
        if time.monotonic() - began > 60:
            raise RuntimeError("nothing is delivered: is the embedded AWS overloaded?")
        time.sleep(0.2)


def _until_idle(stack: Stack) -> None:
    """Wait until the workers have delivered the bundles that they have. What they give back is dropped."""
    began, before = time.monotonic(), -1
    lane = stack.outputs["ScheduleQueueUrl"]
    while (now := len(stack.provider.arrivals())) != before or status.depth(stack.sqs, lane).total:
        if time.monotonic() - began > 60:
            raise RuntimeError("the release does not end although its lane was emptied")
        before = now
        stack.sqs.purge_queue(QueueUrl=lane)
        time.sleep(BUNDLE_PAUSE_S)


def _codes(stack: Stack, count: int, between_s: float = BETWEEN_CODES_S, give_up_s: float = WAITED_FOR_S) -> Codes:
    """Send codes at a steady pace and wait for all of them."""
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
    ms = [(arrived.get(id, now) - at).total_seconds() * 1000 for id, at in sent.items()]
    return Codes(ms, count - len(arrived))


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[-1]


def _codes_figures(rounds: Sequence[Sequence[float]], not_arrived: int = 0) -> dict[str, Any]:
    of_rounds = headline(median_ms=[median(each) for each in rounds], p95_ms=[_p95(each) for each in rounds])
    return {"codes": sum(map(len, rounds)), "not_arrived": not_arrived} | of_rounds
