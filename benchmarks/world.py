"""The surroundings of the benchmarks: an embedded AWS with queues and tables but no functions, and notifications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from lambdas import worker
from lambdas.quiet_hours.notification.bundle import Item, Message
from lambdas.quiet_hours.notification.notification import accept
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.timings import LANE_VISIBILITY_S, WAIT_VISIBILITY_S
from local import server
from local.aws import client

NOTIFICATION_BYTES = 400
SENTENCE = "(광고) 가을 세일이 오늘 밤 시작됩니다. 전 품목 30% 할인 쿠폰을 받아 보세요. 무료 수신거부 080-000-0000 "
QUEUES = ("notification", "urgent", "delivery", "wait", "schedule", "dead_letter")
TABLES = {"ledger": "id", "consent": "recipient_id", "turn": "channel"}
VISIBILITY_S = {"wait": WAIT_VISIBILITY_S} | dict.fromkeys(("urgent", "delivery", "schedule"), LANE_VISIBILITY_S)

EVENING = datetime.now(UTC).replace(hour=12, minute=3, second=0, microsecond=0) - timedelta(days=2)
"""21:03 in Seoul: quiet hours. Before any message's SentTimestamp, so that `accepted_at` is believed."""
MORNING = EVENING + timedelta(hours=11)
"""08:03 in Seoul."""


@dataclass(frozen=True)
class World:
    """Clients of one embedded AWS and the settings that name its queues and tables."""

    sqs: Any
    dynamodb: Any
    settings: Settings

    def new_queues(self) -> World:
        """The same world with new queues, so that one run cannot slow the next by what it leaves."""
        return replace(self, settings=make_queues(self.sqs))

    def drop_queues(self) -> None:
        """Delete the queues, which frees their memory."""
        for name in QUEUES:
            self.sqs.delete_queue(QueueUrl=getattr(self.settings, f"{name}_queue_url"))


@contextmanager
def embedded() -> Iterator[World]:
    """Run a new embedded AWS for the length of a block."""
    with TemporaryDirectory() as directory:
        aws = server.start(server.free_port(), Path(directory) / "aws")
        try:
            sqs, dynamodb = client(aws.endpoint, "sqs"), client(aws.endpoint, "dynamodb", worker.CONFIG)
            for table, key in TABLES.items():
                make_table(dynamodb, table, key)
            yield World(sqs, dynamodb, make_queues(sqs))
        finally:
            aws.stop()


def make_table(dynamodb: Any, table: str, key: str) -> None:
    """Make a table that reads and writes like the stack's."""
    dynamodb.create_table(
        TableName=table,
        KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def make_queues(sqs: Any) -> Settings:
    urls = {}
    for name in QUEUES:
        attributes = {"VisibilityTimeout": str(VISIBILITY_S.get(name, 60))}
        urls[f"{name}_queue_url"] = sqs.create_queue(QueueName=f"{name}-{uuid4()}", Attributes=attributes)["QueueUrl"]
    return Settings(**urls, ledger_table="ledger", consent_table="consent", turn_table="turn", channel_secret="none")


def candidates(
    count: int, prefix: str = "", category: str = "advertising", size_bytes: int = NOTIFICATION_BYTES
) -> Iterator[dict[str, Any]]:
    """Notifications as a client sends them, mostly Korean text. Each has `size_bytes` once it is accepted."""
    prefix = prefix or f"campaign-{uuid4().hex[:8]}"

    def candidate(number: int, body: str) -> dict[str, Any]:
        fields = {"channel": "webhook", "address": f"user-{number:07}", "category": category}
        return {"id": f"{prefix}:{number:07}", **fields, "content": {"title": "(광고) 가을 세일", "body": body}}

    _, bare = accept(candidate(0, "."), default_id="", now=EVENING)
    left_bytes = size_bytes - len(bare.encode())
    body = (SENTENCE * (1 + left_bytes // len(SENTENCE))).encode()[:left_bytes].decode(errors="ignore")
    body += "." * (1 + left_bytes - len(body.encode()))
    for number in range(count):
        yield candidate(number, body)


def items(count: int, prefix: str = "", category: str = "advertising") -> Iterator[Item]:
    """The same notifications as the producer puts them on the queue. Only one is really accepted, and the others are
    numbered copies of it, since accepting a million takes long."""
    (candidate,) = candidates(1, prefix, category)
    first, text = accept(candidate, default_id="", now=EVENING)
    for number in range(count):
        digits = f"{number:07}"
        own = {name: first[name].replace("0000000", digits) for name in ("id", "address")}  # type: ignore[literal-required]
        yield Item({**first, **own}, text.replace("0000000", digits))  # type: ignore[typeddict-item]


def put(sqs: Any, queue_url: str, messages: Sequence[Message]) -> None:
    """Put messages on a queue. Raises `RuntimeError` if some were not taken."""
    if refused := send(sqs, queue_url, messages):
        raise RuntimeError(f"{len(refused)} of {len(messages)} messages were not taken: {set(refused.values())}")


def record(body: str, queue_url: str, sent_at: datetime = EVENING, message_id: str = "") -> dict[str, Any]:
    """A message in the form in which Lambda hands it to a function, at its first receive."""
    return {
        "messageId": message_id or str(uuid4()),
        "receiptHandle": "handle",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(int(sent_at.timestamp() * 1000)),
        },
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:us-east-1:000000000000:{queue_url.rpartition('/')[2]}",
    }
