"""The whole path, by hop: calls, billed units, ledger and consent units for a thousand notifications.

The functions' own code runs in this process against the queues and tables of an embedded AWS; what Lambda's event
sources do is done here in their place: a receive of up to ten messages, the function, a delete. How they poll on AWS,
idle polls above all, is up to AWS: none is counted. Three ways to come in, and the lane by day and by night:

- `bulk`: one request to the producer;
- `single_high_rate`: one request each, so fast that the consumer gets ten at once, its batch without a window;
- `single_high_rate_window`: the same with a batching window, by which the consumer gets them all at once;
- `single_trickle`: one at a time, nothing to pack.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.notification.bundle import Message
from lambdas.quiet_hours.stores.queues import BATCH_MESSAGES_MAX
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S

from .measure import Call, counted
from .release import scheduler
from .worker import deliver, provider, webhook
from .world import EVENING, MORNING, World, candidates, record

DAY = MORNING + timedelta(hours=4)
CONSUMER_BATCH_WITH_WINDOW = 1_000

WAYS = {  # how many notifications a request has, and how many messages the consumer gets at most
    "bulk": (10_000, BATCH_MESSAGES_MAX),
    "single_high_rate": (1, BATCH_MESSAGES_MAX),
    "single_high_rate_window": (1, CONSUMER_BATCH_WITH_WINDOW),
    "single_trickle": (1, 1),
}


@dataclass
class Tally:
    """The calls of each hop, in the order in which the hops were first reached."""

    calls: list[Call]
    hops: dict[str, list[Call]] = field(default_factory=dict)
    _began: int = 0

    @contextmanager
    def hop(self, name: str) -> Iterator[None]:
        self._began = len(self.calls)
        yield
        self.hops.setdefault(name, []).extend(self.since_hop())

    def since_hop(self) -> list[Call]:
        """The calls of the hop that is under way."""
        return self.calls[self._began :]


def travel(world: World, way: str, lane: str, notifications: int, provider_url: str) -> dict[str, dict[str, float]]:
    """Send so many along the whole path. Raises `RuntimeError` where one does not arrive. Figures for each thousand."""
    here = world.new_queues()
    sqs, settings, policy = here.sqs, here.settings, here.settings.quiet_hours()
    now = EVENING if lane == "night" else DAY
    request_size, consumer_batch = WAYS[way]
    given = list(candidates(notifications))
    channel = webhook(provider_url)
    with counted(sqs, here.dynamodb) as calls:
        tally = Tally(calls)
        for start in range(0, notifications, request_size):
            with tally.hop("producer"):
                request = {"notifications": given[start : start + request_size]}
                accept_all(request, now, sqs, here.dynamodb, settings, policy, lambda: "")

        def judge(records: Sequence[dict[str, Any]]) -> None:
            failed, _ = consume(records, now, sqs, here.dynamodb, settings, policy)
            if failed:
                raise RuntimeError(f"{len(failed)} records were not passed on")

        def call_provider(records: Sequence[dict[str, Any]]) -> None:
            for each in records:
                deliver(here, Message(each["body"]), channel, DAY)

        _feed(tally, sqs, settings.notification_queue_url, consumer_batch, now, "consumer", judge, notifications)
        if lane == "night":
            held = sum(call.items for call in calls if call.queue == settings.wait_queue_url.rpartition("/")[2])
            with tally.hop("scheduler"):  # ended when all has been moved: how long it looks for more is counted nowhere
                scheduler(here, lambda: SCHEDULER_TIMEOUT_S if _deleted(tally.since_hop()) < held else 0)
        lane_url = settings.schedule_queue_url if lane == "night" else settings.delivery_queue_url
        _feed(tally, sqs, lane_url, 1, now, "worker", call_provider, notifications)
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
    """What an event source does, until so many notifications have gone through."""
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
    """Empty receives are left out: they depend on how long nothing came, not on how much did."""
    per_1000 = 1000 / notifications
    figures = {}
    for name, calls in tally.hops.items():
        queues = [call for call in calls if call.queue and call.items]
        tables = [call for call in calls if not call.queue]
        figures[name] = {
            "sqs_calls": len(queues) * per_1000,
            "sqs_units": sum(call.units for call in queues) * per_1000,
            "table_calls": len(tables) * per_1000,
            "read_units": sum(call.units for call in tables if call.operation == "BatchGetItem") * per_1000,
            "write_units": sum(call.units for call in tables if call.operation != "BatchGetItem") * per_1000,
        }
    names = next(iter(figures.values())).keys()
    return figures | {"total": {name: sum(hop[name] for hop in figures.values()) for name in names}}


def measure(world: World, notifications: int, trickle: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every way in, by both lanes. Counts are exact and need no repeating."""
    figures: dict[str, Any] = {}
    with provider(0) as url:
        for way in WAYS:
            for lane in ("day", "night"):
                size = trickle if way == "single_trickle" else notifications
                say(f"whole path: {size:,} {way.replace('_', ' ')}, {lane} lane")
                figures.setdefault(way, {"notifications": size})[lane] = travel(world, way, lane, size, url)
    return figures
