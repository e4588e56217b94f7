"""The calls and billed units of 1,000 notifications of 400 bytes, hop by hop.

The figures are exact: `tests/docs/test_counts.py` runs the functions on moto, counts through botocore's event hooks and
asserts each figure. Only the pollers' units are inferred, since Lambda's own pollers cannot be observed here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

NOTIFICATION_BYTES = 400
"""The size on the queues, with the fields that the producer adds."""

Way = Literal["bulk", "window", "burst", "trickle"]
Lane = Literal["now", "held"]

WAYS: dict[Way, str] = {
    "bulk": "1,000 in one request to the producer",
    "window": "1,000 single sends that a batching window brings to the consumer together",
    "burst": "single sends, of which the consumer is given ten at a time (no window)",
    "trickle": "single sends, each of which the consumer is given alone",
}
"""The ways in. All notifications are advertising, each to another recipient, none of whom has a consent record."""

LANES: dict[Lane, str] = {"now": "by day, sent at once", "held": "at night, held and released"}


class Hop(NamedTuple):
    """The figures of one hop per 1,000 notifications. A call is a request that our code makes. `units` are billed by
    AWS.

    SQS bills each call once per 64 KiB begun. DynamoDB bills a put of up to 1 KB as one write unit, in a transaction as
    two, and a strongly consistent read of up to 4 KB as one read unit, also where it finds nothing. `read_units` are
    those of consents. `turns` are the turns that are booked: each is a call to the turn table, and one write unit.
    `poller_units` are the least that Lambda's pollers are billed for the messages of the hop: a receive and a delete
    for up to ten of them.
    """

    invocations: float = 0
    sqs_calls: float = 0
    sqs_units: float = 0
    ledger_calls: float = 0
    write_units: float = 0
    ledger_read_units: float = 0
    consent_calls: float = 0
    read_units: float = 0
    turns: float = 0
    poller_units: float = 0


_PRODUCER_BULK = Hop(invocations=1, sqs_calls=1, sqs_units=7)
_PRODUCER_SINGLE = Hop(invocations=1000, sqs_calls=1000, sqs_units=1000)
_CONSUMER: dict[Way, Hop] = {
    "bulk": Hop(invocations=1, sqs_calls=1, sqs_units=7, poller_units=8),
    "window": Hop(invocations=1, sqs_calls=1, sqs_units=7, poller_units=200),
    "burst": Hop(invocations=100, sqs_calls=100, sqs_units=100, poller_units=200),
    "trickle": Hop(invocations=1000, sqs_calls=1000, sqs_units=1000, poller_units=2000),
}


def _worker(bundles: int, ledger_calls: int, poller_units: int) -> Hop:
    """The worker with a thousand notifications in so many bundles, each of them for one turn."""
    return Hop(
        invocations=bundles,
        ledger_calls=ledger_calls,
        write_units=3000,
        ledger_read_units=1000,
        consent_calls=bundles,
        read_units=1000,
        turns=bundles,
        poller_units=poller_units,
    )


_FULL = _worker(bundles=10, ledger_calls=60, poller_units=20)
"""A bundle's entries are read once, claimed in one transaction, and recorded in batches of 25."""
_TENS = _worker(bundles=100, ledger_calls=300, poller_units=200)
_ALONE = _worker(bundles=1000, ledger_calls=3000, poller_units=2000)
_WORKER: dict[Way, Hop] = {"bulk": _FULL, "window": _FULL, "burst": _TENS, "trickle": _ALONE}
"""The way that is sent at once. What was held always comes in full bundles, because the scheduler joins it."""

_SCHEDULER: dict[Way, Hop] = {
    "bulk": Hop(sqs_calls=3, sqs_units=15),
    "window": Hop(sqs_calls=3, sqs_units=15),
    "burst": Hop(sqs_calls=30, sqs_units=30),
    "trickle": Hop(sqs_calls=210, sqs_units=210),
}
"""Empty receives are counted apart. One invocation moves any number of messages."""

_FORECAST: dict[Way, int] = {"bulk": 10, "window": 1000, "burst": 1000, "trickle": 1000}
_NIGHTLY: dict[Way, int] = {"bulk": 10, "window": 10, "burst": 100, "trickle": 1000}
"""Calls that read consents at night: first the producer's for its forecast, then the consumer's."""


def counts(way: Way, lane: Lane) -> dict[str, Hop]:
    """Every hop from acceptance to delivery, in order."""
    producer, consumer = _PRODUCER_BULK if way == "bulk" else _PRODUCER_SINGLE, _CONSUMER[way]
    if lane == "now":
        return {"producer": producer, "consumer": consumer, "worker": _WORKER[way]}
    return {
        "producer": producer._replace(consent_calls=_FORECAST[way], read_units=1000),
        "consumer": consumer._replace(consent_calls=_NIGHTLY[way], read_units=1000),
        "scheduler": _SCHEDULER[way],
        "worker": _FULL,
    }


def with_two_keys(hop: Hop) -> Hop:
    """The hop where every notification names a recipient whose key is not that of its address: both are read."""
    return hop._replace(consent_calls=2 * hop.consent_calls, read_units=2 * hop.read_units)


NOTE_CALLS, NOTE_READ_UNITS, NOTE_WRITE_UNITS = 2, 1, 1
"""The note in the turn table that a channel delivers: a read and a write. The worker's processes together write it at
most once in `SERVED_EVERY_S` for each channel, whatever they deliver meanwhile. So it is counted apart."""

EMPTY_RECEIVES_A_RUN = 12
"""The receives by which a run of the scheduler finds that wait is empty: three by each of four drainers."""
