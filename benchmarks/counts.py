"""What 1,000 notifications of 400 bytes cost in calls and billed units, hop by hop.

Exact: `tests/test_counts.py` runs the functions on moto, counts through botocore's event hooks and asserts each figure.
Inferred are the pollers' units alone, since Lambda's own pollers cannot be watched here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

NOTIFICATION_BYTES = 400
"""As it travels, with the fields that the producer adds."""

Way = Literal["bulk", "window", "burst", "trickle"]
Lane = Literal["now", "held"]

WAYS: dict[Way, str] = {
    "bulk": "1,000 in one request to the producer",
    "window": "1,000 single sends that a batching window brings to the consumer together",
    "burst": "single sends, of which the consumer is given ten at a time (no window)",
    "trickle": "single sends, each of which the consumer is given alone",
}
"""How they are accepted. Advertising to as many recipients, none of whom has a consent record."""

LANES: dict[Lane, str] = {"now": "by day, sent at once", "held": "at night, held and released"}


class Hop(NamedTuple):
    """For each 1,000 notifications. A call is one request that our code makes; `units` are the requests that AWS bills.

    SQS bills each call once for every 64 KiB begun. DynamoDB bills a put of up to 1 KB as one write unit, in a
    transaction as two, and a strongly consistent read of up to 4 KB as one read unit. `poller_units` are what Lambda's
    pollers are billed at least for bringing the hop its messages: a receive and a delete for ten of them or fewer.
    """

    invocations: int = 0
    sqs_calls: int = 0
    sqs_units: int = 0
    ledger_calls: int = 0
    write_units: int = 0
    consent_calls: int = 0
    read_units: int = 0
    poller_units: int = 0


_PRODUCER_BULK = Hop(invocations=1, sqs_calls=1, sqs_units=7)
_PRODUCER_SINGLE = Hop(invocations=1000, sqs_calls=1000, sqs_units=1000)
_CONSUMER: dict[Way, Hop] = {
    "bulk": Hop(invocations=1, sqs_calls=1, sqs_units=7, poller_units=8),
    "window": Hop(invocations=1, sqs_calls=1, sqs_units=7, poller_units=200),
    "burst": Hop(invocations=100, sqs_calls=100, sqs_units=100, poller_units=200),
    "trickle": Hop(invocations=1000, sqs_calls=1000, sqs_units=1000, poller_units=2000),
}
_FULL = Hop(invocations=10, ledger_calls=50, write_units=3000, consent_calls=10, read_units=1000, poller_units=20)
_TENS = Hop(invocations=100, ledger_calls=200, write_units=3000, consent_calls=100, read_units=1000, poller_units=200)
_ALONE = Hop(
    invocations=1000, ledger_calls=2000, write_units=3000, consent_calls=1000, read_units=1000, poller_units=2000
)
_WORKER: dict[Way, Hop] = {"bulk": _FULL, "window": _FULL, "burst": _TENS, "trickle": _ALONE}
_SCHEDULER: dict[Way, Hop] = {
    "bulk": Hop(sqs_calls=3, sqs_units=15),
    "window": Hop(sqs_calls=3, sqs_units=15),
    "burst": Hop(sqs_calls=30, sqs_units=30),
    "trickle": Hop(sqs_calls=300, sqs_units=300),
}
"""Receives that find nothing are apart; an invocation is for as many as there are."""

_FORECAST: dict[Way, int] = {"bulk": 10, "window": 1000, "burst": 1000, "trickle": 1000}
_NIGHTLY: dict[Way, int] = {"bulk": 10, "window": 10, "burst": 100, "trickle": 1000}
"""Calls that read consents at night: by the producer for its forecast, and by the consumer."""


def counts(way: Way, lane: Lane) -> dict[str, Hop]:
    """Every hop from acceptance to delivery, in order."""
    producer, consumer = _PRODUCER_BULK if way == "bulk" else _PRODUCER_SINGLE, _CONSUMER[way]
    if lane == "now":
        return {"producer": producer, "consumer": consumer, "worker": _WORKER[way]}
    return {
        "producer": producer._replace(consent_calls=_FORECAST[way], read_units=1000),
        "consumer": consumer._replace(consent_calls=_NIGHTLY[way], read_units=1000),
        "scheduler": _SCHEDULER[way],
        "worker": _WORKER[way],
    }


EMPTY_RECEIVES_A_RUN = 12
"""What a scheduler's run adds to find out that wait is empty: three receives by each of four drainers."""
