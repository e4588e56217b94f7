"""Isolation: what a release does to a password code that is sent meanwhile, on the deployed stack.

A hundred thousand notifications are released while codes are put on the notification queue, one by one, and the time
is taken until the provider has each; in turn with codes on an idle system, several rounds of both. The provider's rate
paces the release, so that two cores have time to spare: what is measured is the lanes and not the machine. Beside it
the same released load on the day's own lane, as if there were only one: a code then waits behind all that stands before
it, far longer than anybody measures. A code that has not arrived in time counts with the time that it was waited for.
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

RATE_PER_S = 160
"""The provider's, half of it for each lane: the release then leaves most of two cores idle."""

BETWEEN_CODES_S = 0.4
WARM_UP = 10
BUNDLE_PAUSE_S = 2
"""A paced worker is never silent for so long within a bundle."""

WAITED_FOR_S = 20
"""Before a code counts as not arrived."""


class Round(NamedTuple):
    """Milliseconds from the send of a code to its arrival: on an idle system, then during a release, whose `first`
    codes are apart."""

    idle: list[float]
    first: list[float]
    during: list[float]


def measure(rounds: int, released: int, codes: int, shared_wait_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Idle and with a release in turn, so many rounds with so many codes each; then with the same load on one shared
    lane, where nobody waits longer than that for the last code."""
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
        _fill(stack, "Delivery", released)
        _until_delivering(stack)
        shared, not_arrived = _codes(stack, max(5, codes // 4), give_up_s=shared_wait_s)
    return figures(released, done, shared, not_arrived, shared_wait_s)


def _round(stack: Stack, released: int, codes: int) -> Round:
    _codes(stack, WARM_UP, 0.1)
    idle, missing_idle = _codes(stack, codes)

    _fill(stack, "Wait", released)
    answer = aws.client(stack.endpoint, "lambda").invoke(
        FunctionName=stack.outputs["SchedulerFunctionName"], Payload=b"{}"
    )
    moved = answer["Payload"].read().decode()
    _until_delivering(stack)
    # The release's workers may have taken the day's warm processes: its first codes wait for a cold start. Apart.
    first, _ = _codes(stack, WARM_UP, 0.1)
    during, missing = _codes(stack, codes)
    left = status.depth(stack.sqs, stack.outputs["ScheduleQueueUrl"]).total
    if missing_idle or missing or not left or f'"released": {released}' not in moved:
        raise RuntimeError(
            f"no fair measurement: {missing_idle} and {missing} codes missing, {left} bundles left, release: {moved}"
        )
    stack.sqs.purge_queue(QueueUrl=stack.outputs["ScheduleQueueUrl"])
    return Round(idle, first, during)


def figures(
    released: int, rounds: Sequence[Round], shared: Sequence[float], not_arrived: int, shared_wait_s: float
) -> dict[str, Any]:
    """What is written of the rounds, and of the codes on one shared lane, of which some were waited for in vain."""
    ratio = headline(isolation_p95_ratio=[_p95(each.during) / _p95(each.idle) for each in rounds])
    return ratio | {
        "isolation": {
            "rounds": len(rounds),
            "released": released,
            "provider_rate_per_s": RATE_PER_S,
            "idle": _codes_figures([each.idle for each in rounds]),
            "during_release": _codes_figures([each.during for each in rounds])
            | {"slowest_of_first_codes_ms": max(max(each.first) for each in rounds)},
            "one_shared_lane": _codes_figures([shared], not_arrived)
            | {"behind_s": released / (RATE_PER_S / 2), "waited_for_s": shared_wait_s},
        }
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


def _until_idle(stack: Stack) -> None:
    """Wait until the workers have delivered the bundles that they had."""
    began, before = time.monotonic(), -1
    while (now := len(stack.provider.arrivals())) != before:
        if time.monotonic() - began > 60:
            raise RuntimeError("the release does not end although its lane was emptied")
        before = now
        time.sleep(BUNDLE_PAUSE_S)


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


def _codes_figures(rounds: Sequence[Sequence[float]], not_arrived: int = 0) -> dict[str, Any]:
    of_rounds = headline(median_ms=[median(each) for each in rounds], p95_ms=[_p95(each) for each in rounds])
    return {"codes": sum(map(len, rounds)), "not_arrived": not_arrived} | of_rounds
