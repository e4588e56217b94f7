"""The worker: one bundle an invocation, against the same work done with Powertools one record after another.

Both call the same provider on this machine through the same HTTP client and keep their record in a table of the same
embedded AWS. The worker does more: it reads each recipient's consent and judges again before each call, which the other
side is spared. CPU is that of the worker's process; the provider and the embedded AWS are processes of their own.
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
from typing import Any
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


class ManyACall:
    """A provider that takes a hundred notifications in one POST. Real ones are the channels' business; this is the
    webhook's client with another body."""

    deadline_s = DEADLINE_S
    rate_per_s = None
    batch_size = 100
    side_by_side = 25
    can_resend = True

    def __init__(self, url: str) -> None:
        self._poster = PostClient(url, DEADLINE_S, local=True)

    def send(self, notifications: Sequence[Notification]) -> list[Outcome]:
        answer = self._poster.post({"content-type": "application/json"}, to_text(list(notifications)).encode())
        return [DELIVERED if answer.status == 204 else Outcome("retry", f"http_{answer.status}")] * len(notifications)

    def close(self) -> None:
        self._poster.close()


def webhook(url: str) -> WebhookChannel:
    """The real channel, with a provider that takes all that comes."""
    return WebhookChannel({"url": url, "rate_per_s": 100_000}, utc_now, local=True)


@contextmanager
def provider(latency_ms: float) -> Iterator[str]:
    """A provider's URL; its process ends with the block."""
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


def deliver(
    world: World,
    bundle: Message,
    channel: Channel,
    start: datetime = MORNING,
    side_by_side: SideBySide = in_threads,
) -> None:
    """One invocation of the worker with one bundle, on a clock that shows `start` and runs. Raises `RuntimeError` where
    not all of it was delivered."""
    began = time.monotonic()

    def now() -> datetime:
        return start + timedelta(seconds=time.monotonic() - began)

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
        resting={},
    )
    settled, counts = delivery.deliver(record(bundle.body, world.settings.schedule_queue_url))
    if not settled or set(counts) != {"delivered"}:
        raise RuntimeError(f"not everything was delivered: {counts}")


def with_powertools(world: World, channel: Channel) -> Callable[[Sequence[Message]], None]:
    """The same work as Powertools has it: a batch processor gives one record after another to an idempotent function
    that calls the provider. Its records are in the ledger's table, under keys of its own."""
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


def _arrived(url: str) -> dict[str, int]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return json.load(answer)


def measure(world: World, repeats: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Every way in turn, `repeats` times, each time with a bundle of notifications that nobody has seen before."""
    samples: dict[str, list[dict[str, float]]] = {}
    with provider(0) as at_once, provider(LATENCY_MS) as slow:
        sequential = with_powertools(world, webhook(at_once))
        channels: dict[str, Channel] = {
            "one_a_call": webhook(at_once),
            "many_a_call": ManyACall(at_once),
            "one_a_call_100ms": webhook(slow),
            "many_a_call_100ms": ManyACall(slow),
        }
        for repeat in range(1 + repeats):
            say(f"worker: round {repeat} of {repeats}" if repeat else "worker: warming up")
            for name in (*channels, "powertools"):
                given = list(items(BUNDLE))
                (bundle,), singles = pack(given), [Message(item.text) for item in given]
                with counted(world.dynamodb) as calls, spent() as used:
                    if name == "powertools":
                        sequential(singles)
                    else:
                        deliver(world, bundle, channels[name])
                if repeat:
                    each = {
                        "cpu_ms_per_notification": used.cpu_s * 1000 / BUNDLE,
                        "wall_ms_per_notification": used.wall_s * 1000 / BUNDLE,
                        "table_calls_per_1000": 1000 * len(calls) / BUNDLE,
                    }
                    samples.setdefault(name, []).append(each)
        sent = {name: _arrived(url) for name, url in (("0 ms", at_once), ("100 ms", slow))}
    if any(each["notifications"] != each["ids"] or each["ids"] % BUNDLE for each in sent.values()):
        raise RuntimeError(f"the provider did not get each notification once: {sent}")
    ways_measured = {
        name: {key: spread([each[key] for each in done]) for key in done[0]} for name, done in samples.items()
    }
    cpu_ms = {way: [each["cpu_ms_per_notification"] for each in done] for way, done in samples.items()}
    at_once_of_ours = webhook("http://127.0.0.1/").side_by_side
    ideal_ms = -(-BUNDLE // at_once_of_ours) * LATENCY_MS / BUNDLE
    return {
        "bundle": BUNDLE,
        "repeats": repeats,
        "side_by_side": at_once_of_ours,
        **headline(
            ratio_to_powertools=[
                theirs / ours for theirs, ours in zip(cpu_ms["powertools"], cpu_ms["one_a_call"], strict=True)
            ],
            per_second_per_core=[1000 / each for each in cpu_ms["one_a_call"]],
            per_second_per_core_many_a_call=[1000 / each for each in cpu_ms["many_a_call"]],
            share_of_ideal_at_100ms=[
                ideal_ms / each["wall_ms_per_notification"] for each in samples["one_a_call_100ms"]
            ],
        ),
        "ways": ways_measured,
    }


def utc_now() -> datetime:
    return datetime.now(UTC)
