"""Measures the worker, one bundle per invocation, against the same work with Powertools, one record after another.

Both call the same provider on this machine through the same HTTP client, and both keep their records in a table of the
same embedded AWS. The worker does more: it also reads each recipient's consent and judges again before each call. The
CPU is that of the worker's process; the provider and the embedded AWS have processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)

from lambdas.quiet_hours.channels.channel import DELIVERED, Channel, Outcome
from lambdas.quiet_hours.channels.http import PostClient
from lambdas.quiet_hours.channels.webhook import DEADLINE_S, WebhookChannel
from lambdas.quiet_hours.delivery.calls import Memory
from lambdas.quiet_hours.delivery.delivery import Delivery
from lambdas.quiet_hours.notification.bundle import Message, pack
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.notification.notification import Notification
from lambdas.quiet_hours.side_by_side import SideBySide, in_threads
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import LEASE_S
from local import ROOT, processes

from .measure import counted, headline, spent, spread
from .world import MORNING, World, items, record

BUNDLE = 100
LATENCY_MS = 100
BEGAN = time.monotonic()


class ManyACall:
    """A channel to a provider that takes a hundred notifications in one POST: the webhook's client with another
    body."""

    deadline_s = DEADLINE_S
    rate_per_s = None
    batch_size = 100
    side_by_side = 25
    can_resend = True

    def __init__(self, url: str) -> None:
        self._client = PostClient(url, DEADLINE_S, local=True)

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        answer = self._client.post({"content-type": "application/json"}, to_text(list(notifications)).encode())
        return [DELIVERED if answer.status == 204 else Outcome("retry", f"http_{answer.status}")] * len(notifications)

    def close(self) -> None:
        self._client.close()


def webhook(url: str) -> WebhookChannel:
    """The real channel, to a provider that takes everything."""
    return WebhookChannel({"url": url, "rate_per_s": 100_000}, utc_now, local=True)


@contextmanager
def provider(latency_ms: float) -> Iterator[str]:
    """Run a provider in a process of its own for the length of a block. Gives its URL."""
    with TemporaryDirectory() as directory:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        log = Path(directory) / "provider.log"
        module = ["benchmarks.latent_provider", str(latency_ms)]
        process = processes.start_tethered(sys.executable, module, env=env, log=log, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            processes.end_group(process)


def morning() -> datetime:
    """The time on a clock that showed `MORNING` when this process began."""
    return MORNING + timedelta(seconds=time.monotonic() - BEGAN)


def deliver(
    world: World,
    bundle: Message,
    channel: Channel,
    side_by_side: SideBySide = in_threads,
    memory: Memory | None = None,
    now: Callable[[], datetime] = morning,
) -> None:
    """Invoke the worker once with one bundle. Raises `RuntimeError` if not all of the bundle was delivered."""
    began = time.monotonic()
    delivery = Delivery(
        sqs=world.sqs,
        dynamodb=world.dynamodb,
        ledger=Ledger(world.dynamodb, world.settings.ledger_table, str(uuid4()), timedelta(seconds=LEASE_S)),
        settings=world.settings,
        policy=world.settings.quiet_hours(),
        channel=lambda _: channel,
        now=now,
        remaining_s=lambda: 60 - (time.monotonic() - began),
        sleep=time.sleep,
        side_by_side=side_by_side,
        memory=memory or Memory(),
    )
    settled, counts, _ = delivery.deliver(record(bundle.body, world.settings.schedule_queue_url))
    if not settled or set(counts) != {"delivered"}:
        raise RuntimeError(f"not everything was delivered: {counts}")


def with_powertools(world: World, channel: Channel) -> Callable[[Sequence[Message]], None]:
    """Do the same work with Powertools: a batch processor gives one record after another to an idempotent function,
    which calls the provider. Its records are in the ledger's table, under its own keys."""
    config = IdempotencyConfig(event_key_jmespath="id")
    store = DynamoDBPersistenceLayer(world.settings.ledger_table, boto3_client=world.dynamodb)
    processor = BatchProcessor(EventType.SQS)

    @idempotent_function(data_keyword_argument="notification", config=config, persistence_store=store)
    def send(notification: Notification) -> dict[str, str]:
        (outcome,) = channel.send([notification])
        if outcome.kind != "delivered":
            raise RuntimeError(outcome.reason)
        return {"kind": outcome.kind}

    def invoke(messages: Sequence[Message]) -> None:
        context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
        config.register_lambda_context(context)
        event = {"Records": [record(each.body, world.settings.delivery_queue_url) for each in messages]}
        answer = process_partial_response(
            event=event,
            record_handler=lambda record: send(notification=json.loads(record.body)),
            processor=processor,
            context=context,
        )
        channel.close()
        if answer["batchItemFailures"]:
            raise RuntimeError(f"not everything was delivered: {answer}")

    return invoke


class Arrived(NamedTuple):
    """The counts of a provider."""

    notifications: int
    distinct_ids: int


def _arrived(url: str) -> Arrived:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        counts = json.load(answer)
    return Arrived(counts["notifications"], counts["ids"])


class Sample(NamedTuple):
    """One bundle by one way."""

    cpu_ms_per_notification: float
    wall_ms_per_notification: float
    table_calls_per_1000: float


Way = Callable[[Message, Sequence[Message]], None]
"""Delivers notifications, which it gets as one bundle and as single messages."""


def _ways(world: World, at_once: str, slow: str) -> dict[str, Way]:
    channels: dict[str, Channel] = {
        "one_a_call": webhook(at_once),
        "many_a_call": ManyACall(at_once),
        "one_a_call_100ms": webhook(slow),
        "many_a_call_100ms": ManyACall(slow),
    }
    sequential = with_powertools(world, webhook(at_once))

    def by_worker(channel: Channel) -> Way:
        memory = Memory()
        return lambda bundle, singles: deliver(world, bundle, channel, memory=memory)

    ways = {name: by_worker(channel) for name, channel in channels.items()}
    return ways | {"powertools": lambda bundle, singles: sequential(singles)}


def _sample(world: World, way: Way) -> Sample:
    """Deliver a bundle of notifications that nobody has seen before."""
    given = list(items(BUNDLE))
    (bundle,), singles = pack(given), [Message(item.text) for item in given]
    with counted(world.dynamodb) as calls, spent() as used:
        way(bundle, singles)
    return Sample(used.cpu_s * 1000 / BUNDLE, used.wall_s * 1000 / BUNDLE, 1000 * len(calls) / BUNDLE)


def measure(world: World, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every way in turn, `repeats` times, after one round to warm up."""
    samples: dict[str, list[Sample]] = {}
    with provider(0) as at_once, provider(LATENCY_MS) as slow:
        ways = _ways(world, at_once, slow)
        for repeat in range(1 + repeats):
            say(f"worker: round {repeat} of {repeats}" if repeat else "worker: warming up")
            for name, way in ways.items():
                sample = _sample(world, way)
                if repeat:
                    samples.setdefault(name, []).append(sample)
        arrived = [_arrived(url) for url in (at_once, slow)]
    if any(each.notifications != each.distinct_ids or each.distinct_ids % BUNDLE for each in arrived):
        raise RuntimeError(f"the provider did not get each notification once: {arrived}")
    return _figures(samples, repeats)


def _figures(samples: dict[str, list[Sample]], repeats: int) -> dict[str, Any]:
    cpu_ms = {way: [each.cpu_ms_per_notification for each in done] for way, done in samples.items()}
    side_by_side = webhook("http://127.0.0.1/").side_by_side
    ideal_ms = -(-BUNDLE // side_by_side) * LATENCY_MS / BUNDLE
    pairs = zip(cpu_ms["powertools"], cpu_ms["one_a_call"], strict=True)
    return {
        "bundle": BUNDLE,
        "repeats": repeats,
        "side_by_side": side_by_side,
        **headline(
            ratio_to_powertools=[theirs / ours for theirs, ours in pairs],
            per_second_per_core=[1000 / each for each in cpu_ms["one_a_call"]],
            per_second_per_core_many_a_call=[1000 / each for each in cpu_ms["many_a_call"]],
            share_of_ideal_at_100ms=[ideal_ms / each.wall_ms_per_notification for each in samples["one_a_call_100ms"]],
        ),
        "ways": {
            way: {key: spread([getattr(each, key) for each in done]) for key in Sample._fields}
            for way, done in samples.items()
        },
    }


def utc_now() -> datetime:
    return datetime.now(UTC)
