"""Measures the whole path by hop: calls, billed units and the tables' units for a thousand notifications.

The functions' own code runs in this process against the queues and tables of an embedded AWS. This code also does the
work of Lambda's event sources: a receive of up to ten messages, the function, a delete. Empty polls are not counted,
since their number is up to AWS. Nor are the notes that the channel delivers, since their number depends on time. There
are four ways in, each by the day's lane and by the night's:

- `bulk`: one request to the producer;
- `single_high_rate`: one request each, so fast that the consumer gets ten at once, its batch without a window;
- `single_high_rate_window`: the same with a batching window, so that the consumer gets all of them at once;
- `single_trickle`: one at a time, so that there is nothing to pack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.notification.bundle import Message
from lambdas.quiet_hours.stores.queues import BATCH_MESSAGES_MAX
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S

from .measure import Call, counted
from .release import scheduler
from .worker import deliver, provider, webhook
from .world import EVENING, MORNING, World, candidates, record

DAY = MORNING + timedelta(hours=4)
CONSUMER_BATCH_WITH_WINDOW = 1_000


class WayIn(NamedTuple):
    """Notifications per request, and the most messages that the consumer gets at once."""

    request_size: int
    consumer_batch: int


WAYS = {
    "bulk": WayIn(10_000, BATCH_MESSAGES_MAX),
    "single_high_rate": WayIn(1, BATCH_MESSAGES_MAX),
    "single_high_rate_window": WayIn(1, CONSUMER_BATCH_WITH_WINDOW),
    "single_trickle": WayIn(1, 1),
}


@dataclass
class Tally:
    """The calls of each hop, in the order in which the hops were reached first."""

    calls: list[Call]
    hops: dict[str, list[Call]] = field(default_factory=dict)
    _began: int = 0

    @contextmanager
    def hop(self, name: str) -> Iterator[None]:
        self._began = len(self.calls)
        yield
        self.hops.setdefault(name, []).extend(self.since_hop())

    def since_hop(self) -> list[Call]:
        """The calls of the current hop so far."""
        return self.calls[self._began :]


def travel(world: World, way: str, lane: str, notifications: int, provider_url: str) -> dict[str, dict[str, float]]:
    """Send notifications along the whole path and return the figures per thousand, by hop. Raises `RuntimeError` if one
    does not arrive."""
    here = world.new_queues()
    sqs, settings, policy = here.sqs, here.settings, here.settings.quiet_hours()
    now = EVENING if lane == "night" else DAY
    way_in = WAYS[way]
    given = list(candidates(notifications))
    channel = webhook(provider_url)
    memory = Memory(served_at={"webhook": datetime.max.replace(tzinfo=UTC)})  # nothing is noted
    with counted(sqs, here.dynamodb) as calls:
        tally = Tally(calls)
        for start in range(0, notifications, way_in.request_size):
            with tally.hop("producer"):
                request = {"notifications": given[start : start + way_in.request_size]}
                accept_all(request, now, sqs, here.dynamodb, settings, policy, lambda: "")

        def judge(records: Sequence[dict[str, Any]]) -> None:
            failed, _ = consume(records, now, sqs, here.dynamodb, settings, policy)
            if failed:
                raise RuntimeError(f"{len(failed)} records were not passed on")

        def call_provider(records: Sequence[dict[str, Any]]) -> None:
            for each in records:
                deliver(here, Message(each["body"]), channel, memory=memory, now=lambda: DAY)  # no turn is late

        _feed(tally, sqs, settings.notification_queue_url, way_in.consumer_batch, now, "consumer", judge, notifications)
        if lane == "night":
            held = sum(call.items for call in calls if call.queue == settings.wait_queue_url.rpartition("/")[2])
            with tally.hop("scheduler"):  # ended when all has been moved: empty receives are not counted
                scheduler(here, lambda: SCHEDULER_TIMEOUT_S if _deleted(tally.since_hop()) < held else 0)
        # Advertising has one lane, by day and in the morning.
        _feed(tally, sqs, settings.schedule_queue_url, 1, now, "worker", call_provider, notifications)
    here.drop_queues()
    return _figures(tally, notifications)


def _feed(
    tally: Tally,
    sqs: Any,
    queue_url: str,
    batch: int,
    now: datetime,
    name: str,
    function: Callable[[Sequence[dict[str, Any]]], None],
    notifications: int,
) -> None:
    """Do the work of an event source until so many notifications have gone through the function."""
    left = notifications
    while left:
        received: list[dict[str, Any]] = []
        with tally.hop(f"{name}'s event source"):
            while len(received) < batch:
                most = min(BATCH_MESSAGES_MAX, batch - len(received))
                answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=most)
                more = answer.get("Messages", [])
                received += more
                if len(more) < most:
                    break
        if not received:
            raise RuntimeError(f"{left} notifications never reached the {name}")
        with tally.hop(name):
            function([record(each["Body"], queue_url, now, each["MessageId"]) for each in received])
        with tally.hop(f"{name}'s event source"):
            for start in range(0, len(received), BATCH_MESSAGES_MAX):
                some = received[start : start + BATCH_MESSAGES_MAX]
                entries = [{"Id": each["MessageId"], "ReceiptHandle": each["ReceiptHandle"]} for each in some]
                sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
        left -= sum(_notifications(each["Body"]) for each in received)


def _deleted(calls: Sequence[Call]) -> int:
    return sum(call.items for call in calls if call.operation == "DeleteMessageBatch")


def _notifications(body: str) -> int:
    parsed = json.loads(body)
    return len(parsed) if isinstance(parsed, list) else 1


def _figures(tally: Tally, notifications: int) -> dict[str, dict[str, float]]:
    """Leave out empty receives: their number depends on time, not on the number of notifications."""
    per_1000 = 1000 / notifications
    figures = {}
    for name, calls in tally.hops.items():
        queues = [call for call in calls if call.queue and call.items]
        tables = [call for call in calls if not call.queue]
        figures[name] = {
            "sqs_calls": len(queues) * per_1000,
            "sqs_units": sum(call.units for call in queues) * per_1000,
            "table_calls": len(tables) * per_1000,
            "read_units": units(tables, "consent", "BatchGetItem") * per_1000,
            "ledger_read_units": units(tables, "ledger", "BatchGetItem") * per_1000,
            "write_units": units(tables, "ledger", "TransactWriteItems", "BatchWriteItem") * per_1000,
            "turns": units(tables, "turn", "UpdateItem") * per_1000,
        }
    names = next(iter(figures.values())).keys()
    return figures | {"total": {name: sum(hop[name] for hop in figures.values()) for name in names}}


def units(calls: Sequence[Call], table: str, *operations: str) -> int:
    """The units that these operations on a table are billed."""
    return sum(call.units for call in calls if call.table == table and call.operation in operations)


def measure(world: World, notifications: int, trickle: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every way in by both lanes. The counts are exact, so once is enough."""
    figures: dict[str, Any] = {}
    with provider(0) as url:
        for way in WAYS:
            for lane in ("day", "night"):
                size = trickle if way == "single_trickle" else notifications
                say(f"whole path: {size:,} {way.replace('_', ' ')}, {lane} lane")
                figures.setdefault(way, {"notifications": size})[lane] = travel(world, way, lane, size, url)
    return figures
