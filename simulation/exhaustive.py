"""One small night, played once for each of its calls with a crash before it, and once with a crash after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import NamedTuple

from . import night as night_module
from .checks import Violation
from .drawing import OTHER_TEXT, TEXT
from .faults import CrashAt
from .plan import Plan, Redrive, Request, Wanted, quiet_night

SEED = 1


class Point(NamedTuple):
    """A point at which a process dies: before or after the n-th call of the night."""

    call: int
    operation: str
    after: bool


def small_night() -> Plan:
    """Eight notifications, one for each way through: by day, at night, over an edge, refused, by every way in; one that
    has the id of another; and two with one collapse key."""
    plan = quiet_night(Random(0))
    begin, end = plan.begins[0], plan.begins[0] + 2 * 3600
    plan.end_hour, plan.ends = 23, [end]
    evening = [
        wanted(0, "kakao", "advertising"),
        wanted(1, "sms", "informational"),
        wanted(2, "push", "critical"),
        wanted(3, "push", "critical"),
    ]
    held = [wanted(4, "kakao", "advertising"), wanted(5, "sms", "advertising"), wanted(6, "slack", "advertising")]
    plan.requests = [
        Request(begin - 200, "producer", tuple(evening)),
        Request(begin + 60, "bundle", tuple(held), invalid='{"id":"invalid"}'),
        Request(end - 5, "event", (wanted(7, "sms", "advertising"),)),
    ]
    other = wanted(8, "kakao", "informational")
    other.id = other.body["id"] = "n0"
    other.body["content"] = {"body": f"{other.body['content']['body']} 8"}
    plan.requests.append(Request(begin - 190, "sqs", (other,)))
    for number, at in ((9, begin + 61), (10, begin + 70)):
        one = replace(wanted(number, "kakao", "advertising"), recipient="user-9")
        one.body |= {"recipient_id": "user-9", "source": "shop", "collapse_key": "price"}
        plan.requests.append(Request(at, "sqs", (one,)))
    plan.letters = ['{"id":"invalid"}']
    plan.refused = frozenset([3])
    plan.redrives = [Redrive(begin + 3600, resend_unknown=False)]
    plan.faults_until = end
    plan.calm = True
    plan.record_held = True
    return plan


def wanted(number: int, channel: str, category: str) -> Wanted:
    """A notification to a recipient of its own, without a consent record."""
    address = {"push": "token", "slack": "#room"}.get(channel, "010-1234-5678")
    body = {
        "id": f"n{number}",
        "channel": channel,
        "category": category,
        "address": address,
        "recipient_id": f"user-{number}",
        "content": {"body": TEXT if category == "advertising" else OTHER_TEXT},
        "metadata": {"n": number},
    }
    key = {"push": "token", "slack": "#room"}.get(channel, "+821012345678")
    return Wanted(number, f"n{number}", category, channel, f"user-{number}", None, body, key)


def calls() -> list[str]:
    """The operations of all calls of the small night when nothing fails."""
    night = _night(None, after=False)
    night.run()
    assert isinstance(night.faults, CrashAt)
    return night.faults.operations


def crash(call: int, after: bool) -> list[Violation]:
    """Play the small night with one crash."""
    return _night(call, after=after).run().violations


def points() -> Iterator[Point]:
    """Every point at which to crash."""
    for call, operation in enumerate(calls()):
        yield Point(call, operation, after=False)
        yield Point(call, operation, after=True)


def _night(call: int | None, *, after: bool) -> night_module.Night:
    return night_module.Night(SEED, plan=small_night(), faults=lambda rng, until: CrashAt(rng, call, after=after))
