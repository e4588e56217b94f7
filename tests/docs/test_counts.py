"""Calls, billed units and ledger operations for each 1,000 notifications, exactly, hop by hop: a performance regression
that no slow machine can hide and no fast one can excuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from math import ceil
from typing import Any

import pytest

from benchmarks.counts import (
    EMPTY_RECEIVES_A_RUN,
    LANES,
    NOTE_CALLS,
    NOTE_READ_UNITS,
    NOTE_WRITE_UNITS,
    NOTIFICATION_BYTES,
    WAYS,
    Hop,
    Lane,
    Way,
    counts,
    with_two_keys,
)
from lambdas import scheduler
from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.channels.webhook import RATE_PER_S, WebhookChannel
from lambdas.quiet_hours.delivery.calls import SERVED_EVERY_S
from lambdas.quiet_hours.delivery.delivery import Delivery
from lambdas.quiet_hours.notification.notification import accept
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.entries import epoch_ms
from lambdas.quiet_hours.stores.health import Failure
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.queues import BATCH_MESSAGES_MAX
from lambdas.quiet_hours.stores.turns import Turns
from lambdas.quiet_hours.stores.unprocessed import BATCH_ITEMS_MAX
from lambdas.quiet_hours.timings import LEASE_S
from lambdas.scheduler import EMPTY_RECEIVES, release
from tests.helpers.aws import (
    DAY,
    NIGHT,
    Call,
    dynamodb,
    notification,
    one_after_another,
    record,
    recorded,
    settings,
    sqs,
    take_records,
)
from tests.helpers.delivery_world import Clock, Provider
from tests.helpers.tally import sqs_chunks, tally

__all__ = ["dynamodb", "settings", "sqs"]

MORNING = datetime.fromisoformat("2020-11-12T08:00:10+09:00")
PER = 1000
SINGLES = 100
"""The work for a notification alone is always the same: a hundred of them show it."""

CONSUMED: dict[Way, tuple[int, int]] = {
    "bulk": (PER, 10),
    "window": (PER, 1000),
    "burst": (SINGLES, 10),
    "trickle": (SINGLES, 1),
}
"""The number of notifications that the consumer gets in all, and of messages that it gets at a time."""


class Journey:
    """Notifications on their way through the functions, one hop after another; `hops` is what each cost."""

    def __init__(self, way: Way, lane: Lane, sqs: Any, dynamodb: Any, settings: Settings) -> None:
        self.way = way
        self.sqs, self.dynamodb = sqs, dynamodb
        self.settings = settings
        self.policy = settings.quiet_hours()
        self.held = lane == "held"
        self.accepted_at = NIGHT if self.held else DAY
        self.hops: dict[str, Hop] = {}
        self.empty_receives = self.rounds = 0
        self.names_recipients = False
        self.channel: dict[str, Any] = {"rate_per_s": RATE_PER_S, "side_by_side": WebhookChannel.side_by_side}

    def run(self) -> None:
        self.produce()
        self.consume()
        if self.held:
            self.release()
        self.deliver()

    def produce(self) -> None:
        number = PER if self.way == "bulk" else SINGLES
        wanted = [
            sized(n, recipient_id=f"customer-{n:04}") if self.names_recipients else sized(n) for n in range(number)
        ]
        requests = [{"notifications": wanted}] if self.way == "bulk" else [{"notifications": [each]} for each in wanted]
        with self.counted("producer", number, invocations=len(requests)):
            for request in requests:
                _, answer = accept_all(
                    request, self.accepted_at, self.sqs, self.dynamodb, self.settings, self.policy, str
                )
                assert not answer["rejected"]

    def consume(self) -> None:
        number, batch = CONSUMED[self.way]
        records = take_records(self.sqs, self.settings.notification_queue_url)
        if self.way == "window":  # a thousand messages are shaped as AWS shapes them: moto would take a minute
            records = [record(f"[{text(n)}]") for n in range(number)]
        events = [records[start : start + batch] for start in range(0, len(records), batch)]
        with self.counted("consumer", number, invocations=len(events), poller_units=poller_units(events)):
            for event in events:
                failed, _ = consume(event, self.accepted_at, self.sqs, self.dynamodb, self.settings, self.policy)
                assert not failed

    def release(self) -> None:
        """A run is for as many as there are, so that its invocation counts for nothing here."""
        number, _ = CONSUMED[self.way]
        with self.counted("scheduler", number):
            answer = release(
                self.sqs,
                self.settings,
                self.policy,
                now=lambda: MORNING,
                remaining_s=lambda: 300.0,
                sleep=lambda _: None,
                side_by_side=one_after_another,
            )
        assert (answer["released"], answer["remaining"]) == (number, False)
        self.rounds = ceil(answer["messages"] / BATCH_MESSAGES_MAX)

    def deliver(self) -> None:
        """One of the lane's messages: they are all alike, and moto's transactions get slow with many items. All of it
        is advertising, which has one lane, by day and in the morning."""
        records = take_records(self.sqs, self.settings.schedule_queue_url)
        items = {len(json.loads(each["body"])) for each in records}
        assert len(items) == 1
        clock = Clock(MORNING if self.held else DAY)
        provider = Provider(clock, **self.channel)
        note_served(self.dynamodb, clock())
        with self.counted("worker", *items, invocations=1, poller_units=poller_units([records[:1]])):
            settled = self.worker(provider, clock).deliver(records[0]).settled
        assert settled
        assert {len(set(provider.ids)), len(provider.ids)} == items

    def worker(self, provider: Provider, clock: Clock) -> Delivery:
        return Delivery(
            sqs=self.sqs,
            dynamodb=self.dynamodb,
            ledger=Ledger(self.dynamodb, "ledger", "worker-1", timedelta(seconds=LEASE_S)),
            settings=self.settings,
            policy=self.policy,
            channel=lambda _: provider,
            now=clock,
            remaining_s=lambda: 60.0,
            sleep=clock.sleep,
            side_by_side=one_after_another,
        )

    @contextmanager
    def counted(self, hop: str, notifications: int, **more: int) -> Iterator[None]:
        """Count what happens within the block, for so many notifications, and put it down for each thousand."""
        with recorded(self.sqs) as sqs_calls, recorded(self.dynamodb) as dynamodb_calls:
            yield
        calls = [call for call in sqs_calls if not empty_receive(call)]
        self.empty_receives += len(sqs_calls) - len(calls)
        times, left = divmod(PER, notifications)
        assert left == 0
        found = tally([*calls, *dynamodb_calls])._asdict() | more
        self.hops[hop] = Hop(**{name: value * times for name, value in found.items()})


def note_served(dynamodb: Any, at: datetime) -> None:
    """Note in the turn table that the channel delivers. The worker writes this itself, at most every few seconds."""
    served = {"N": str(epoch_ms(at))}
    dynamodb.put_item(TableName="turn", Item={"channel": {"S": "webhook"}, "served_ms": served})


def sized(n: int, **fields: str) -> dict[str, Any]:
    """Advertising that has 400 bytes as it travels, each to a recipient of its own."""
    fields |= {"channel": "webhook", "address": f"user-{n:04}", "category": "advertising"}
    given = notification(id=f"sale-20201111-{n:04}", **fields)
    _, bare = accept(given | {"content": {"body": "."}}, default_id="", now=NIGHT)
    body = "." * (NOTIFICATION_BYTES - len(bare.encode()) + 1)
    return given | {"content": {"body": body}}


def text(n: int) -> str:
    """It, as it travels."""
    return accept(sized(n), default_id="", now=NIGHT)[1]


def empty_receive(call: Call) -> bool:
    return call.operation == "ReceiveMessage" and not call.answer.get("Messages")


def poller_units(events: Sequence[Sequence[dict[str, Any]]]) -> int:
    """Return what Lambda's pollers are billed at least for these events: a receive and a delete for ten messages or
    fewer."""
    units = 0
    for event in events:
        for start in range(0, len(event), 10):
            units += sqs_chunks(sum(len(record["body"].encode()) for record in event[start : start + 10])) + 1
    return units


@pytest.fixture
def journey(sqs: Any, dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Journey]:
    monkeypatch.setattr(scheduler, "POLL_S", 0)
    return lambda way, lane: Journey(way, lane, sqs, dynamodb, settings)


def test_the_notifications_that_are_counted_have_the_stated_size() -> None:
    for n in (0, 999):
        assert len(text(n).encode()) == NOTIFICATION_BYTES


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("way", WAYS)
def test_each_hop_costs_what_is_stated(journey: Callable[..., Journey], way: Way, lane: Lane) -> None:
    played = journey(way, lane)
    played.run()
    assert played.hops == counts(way, lane)
    # The first drainer alone looks three times, and then four of them until each has found nothing three times.
    fewer = max(0, EMPTY_RECEIVES - played.rounds)
    assert played.empty_receives == (EMPTY_RECEIVES_A_RUN + fewer if lane == "held" else 0)


@pytest.mark.parametrize("lane", LANES)
def test_a_recipient_with_another_key_than_the_address_costs_a_second_read(
    journey: Callable[..., Journey], lane: Lane
) -> None:
    played = journey("bulk", lane)
    played.names_recipients = True
    played.run()
    assert played.hops == {name: with_two_keys(hop) for name, hop in counts("bulk", lane).items()}


ASKED_ONCE = {"can_resend": False, "rate_per_s": 100.0, "side_by_side": 2}


@pytest.mark.parametrize(("way", "batch_size"), [("bulk", 100), ("bulk", 10), ("trickle", 100)])
def test_a_provider_that_cannot_be_asked_twice_costs_no_more_write_units(
    journey: Callable[..., Journey], way: Way, batch_size: int
) -> None:
    """A claim is made for one call, and carries the mark of that call. What was delivered is recorded after each."""
    played = journey(way, "now")
    played.channel = ASKED_ONCE | {"batch_size": batch_size}
    played.run()
    in_a_call = batch_size if way == "bulk" else 1
    bundles = counts(way, "now")["worker"].invocations
    assert played.hops["worker"] == counts(way, "now")["worker"]._replace(
        ledger_calls=bundles + PER // in_a_call * (1 + ceil(in_a_call / BATCH_ITEMS_MAX)),  # read; claim, record
        write_units=3000,
    )


@pytest.mark.parametrize("channel", [ASKED_ONCE, {"rate_per_s": 100.0}])
def test_that_a_channel_delivers_is_noted_by_one_process_and_only_now_and_then(
    sqs: Any, dynamodb: Any, settings: Settings, channel: dict[str, Any]
) -> None:
    journey = Journey("trickle", "now", sqs, dynamodb, settings)
    clock = Clock(DAY)
    provider = Provider(clock, **channel)
    processes = [journey.worker(provider, clock) for _ in range(2)]

    def turn_calls(process: int, n: int) -> list[str]:
        with recorded(dynamodb) as calls:
            assert processes[process].deliver(record(text(n), queue="schedule")).settled
        return [call.operation for call in calls if call.parameters.get("TableName") == "turn"]

    booked, noted = ["UpdateItem"], ["UpdateItem", "GetItem", "UpdateItem"]
    assert len(noted) - len(booked) == NOTE_CALLS == NOTE_READ_UNITS + NOTE_WRITE_UNITS
    assert turn_calls(0, 0) == noted
    clock.sleep(1)
    assert turn_calls(0, 1) == booked
    clock.sleep(1)
    assert turn_calls(1, 2) == booked
    clock.sleep(1 + SERVED_EVERY_S)
    assert turn_calls(1, 3) == noted
    clock.sleep(1)
    failed_ms = epoch_ms(clock())
    Turns(dynamodb, "turn", clock).has_failed("webhook", Failure("another", failed_ms, failed_ms, is_certain=False))
    clock.sleep(1)
    assert turn_calls(1, 4) == noted, "a call has failed since then"
    clock.sleep(1)
    assert turn_calls(0, 5) == booked
