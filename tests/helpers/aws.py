"""AWS in memory (moto): six queues, five tables, the settings that name them, and helpers to use and break them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlparse
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.consents import DUE_INDEX
from lambdas.quiet_hours.stores.held import OLD_SOURCE_INDEX, SOURCE_INDEX
from lambdas.quiet_hours.timings import WAIT_VISIBILITY_S
from tests.helpers.cheap_moto import make_cheap

make_cheap()

REGION = "ap-northeast-2"
QUEUES = ("notification", "urgent", "delivery", "wait", "schedule", "dead-letter")


class Index(NamedTuple):
    """A global secondary index: its name and its keys."""

    name: str
    partition_key: str
    sort_key: str


class TableKeys(NamedTuple):
    """The keys of a table, and its indexes."""

    keys: tuple[str, ...]
    indexes: tuple[Index, ...] = ()


TABLES = {
    "ledger": TableKeys(("id",)),
    "consent": TableKeys(("recipient_id",), (Index(DUE_INDEX, "due_month", "renotify_due"),)),
    "consent-history": TableKeys(("recipient_id", "changed_at")),
    "turn": TableKeys(("channel",)),
    "held": TableKeys(
        ("id",), (Index(SOURCE_INDEX, "source_shard", "until"), Index(OLD_SOURCE_INDEX, "source", "until"))
    ),
}

NIGHT = datetime(2020, 11, 11, 12, 3, tzinfo=UTC)  # 21:03 in Seoul
DAY = datetime(2020, 11, 11, 3, 0, tzinfo=UTC)  # 12:00 in Seoul


@cache
def aws(service: str) -> Any:
    """Make a client once, since loading its model takes longer than most tests."""
    return boto3.client(service)


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An SQS client that reaches only memory."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield aws("sqs")


@pytest.fixture
def dynamodb(sqs: Any) -> Any:
    return aws("dynamodb")


@pytest.fixture
def settings(sqs: Any) -> Settings:
    """Empty queues and tables, made within moto: by boto3, it would take longer than most tests."""
    for name in TABLES:
        make_table(name)
    host = urlparse(f"https://sqs.{REGION}.amazonaws.com")
    backend = sqs_backends[DEFAULT_ACCOUNT_ID][REGION]
    return _settings(
        {name: backend.create_queue(name, VisibilityTimeout=str(WAIT_VISIBILITY_S)).url(host) for name in QUEUES}
    )


def make_table(name: str) -> None:
    """Make one of the tables within moto."""
    table = TABLES[name]
    dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].create_table(
        name,
        schema=_key_schema(*table.keys),
        attr=_attributes(*table),
        global_indexes=[_index(index) for index in table.indexes] or None,
        indexes=None,
        throughput=None,
        streams=None,
        billing_mode="PAY_PER_REQUEST",
        sse_specification=None,
        tags=[],
        deletion_protection_enabled=False,
        warm_throughput=None,
    )


def make_deployment(sqs: Any, dynamodb: Any) -> Settings:
    """Make empty queues and tables. Returns the settings that name them."""
    urls = {
        name: sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": str(WAIT_VISIBILITY_S)})["QueueUrl"]
        for name in QUEUES
    }
    for name, table in TABLES.items():
        create_table(dynamodb, name, table.keys, table.indexes)
    return _settings(urls)


def _settings(urls: dict[str, str]) -> Settings:
    return Settings(
        notification_queue_url=urls["notification"],
        urgent_queue_url=urls["urgent"],
        delivery_queue_url=urls["delivery"],
        wait_queue_url=urls["wait"],
        schedule_queue_url=urls["schedule"],
        dead_letter_queue_url=urls["dead-letter"],
        ledger_table="ledger",
        consent_table="consent",
        channel_secret="quiet-hours/channels",
        consent_history_table="consent-history",
        held_table="held",
        turn_table="turn",
    )


def create_table(dynamodb: Any, name: str, keys: tuple[str, ...], indexes: tuple[Index, ...]) -> None:
    """Make a table that reads and writes like the stack's."""
    extra = {"GlobalSecondaryIndexes": [_index(index) for index in indexes]} if indexes else {}
    dynamodb.create_table(
        TableName=name,
        KeySchema=_key_schema(*keys),
        AttributeDefinitions=_attributes(keys, indexes),
        BillingMode="PAY_PER_REQUEST",
        **extra,
    )


def _attributes(keys: tuple[str, ...], indexes: tuple[Index, ...]) -> list[dict[str, str]]:
    names = dict.fromkeys([*keys, *(key for index in indexes for key in index[1:])])
    return [{"AttributeName": name, "AttributeType": "S"} for name in names]


def _key_schema(*names: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]


def _index(index: Index) -> dict[str, Any]:
    keys = _key_schema(index.partition_key, index.sort_key)
    return {"IndexName": index.name, "KeySchema": keys, "Projection": {"ProjectionType": "KEYS_ONLY"}}


def notification(**fields: Any) -> dict[str, Any]:
    """A notification as a client sends it. `None` leaves a field out."""
    given = {"channel": "kakao", "address": "010-1234-5678", "content": {"body": "가을 세일이 시작됩니다"}} | fields
    return {name: value for name, value in given.items() if value is not None}


def record(
    body: str,
    message_id: str | None = None,
    sent_at: datetime = NIGHT,
    attributes: dict[str, str] | None = None,
    queue: str = "notification",
    receives: int = 1,
) -> dict[str, Any]:
    """One SQS message in the form in which Lambda hands it to a function."""
    return {
        "messageId": message_id or str(uuid4()),
        "receiptHandle": "handle",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": str(int(sent_at.timestamp() * 1000)),
        },
        "messageAttributes": {
            name: {"stringValue": value, "stringListValues": [], "binaryListValues": [], "dataType": "String"}
            for name, value in (attributes or {}).items()
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:ap-northeast-2:123456789012:{queue}",
    }


def take(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    """Take every visible message off a queue, in the form in which SQS gives it."""
    messages: list[dict[str, Any]] = []
    while received := sqs.receive_message(
        QueueUrl=queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
    ).get("Messages"):
        messages += received
        entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(received)]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    return messages


def take_records(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    """Take every visible message off a queue, in the form in which Lambda hands it to a function."""
    return [
        record(each["Body"], each["MessageId"], attributes=text_attributes(each), queue=queue_url.rsplit("/", 1)[1])
        for each in take(sqs, queue_url)
    ]


def take_notifications(sqs: Any, queue_url: str) -> list[dict[str, Any]]:
    """Take every notification off a queue, in bundles or single."""
    bodies = [json.loads(each["Body"]) for each in take(sqs, queue_url)]
    return [each for body in bodies for each in (body if isinstance(body, list) else [body])]


def text_attributes(message: dict[str, Any]) -> dict[str, str]:
    return {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}


def put_consent(dynamodb: Any, recipient_id: str, **flags: bool) -> None:
    item = {"recipient_id": {"S": recipient_id}} | {name: {"BOOL": value} for name, value in flags.items()}
    dynamodb.put_item(TableName="consent", Item=item)


@dataclass
class Call:
    """One call of a client, with its answer unless it failed."""

    operation: str
    parameters: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recorded(client: Any) -> Iterator[list[Call]]:
    """Collect every call that the client makes within the block, through botocore's event hooks."""
    made: list[Call] = []

    def asked(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        context["call"] = Call(model.name, dict(params))
        made.append(context["call"])

    def answered(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["call"].answer = parsed

    client.meta.events.register("provide-client-params", asked)
    client.meta.events.register("after-call", answered)
    try:
        yield made
    finally:
        client.meta.events.unregister("provide-client-params", asked)
        client.meta.events.unregister("after-call", answered)


class Faulty:
    """A client whose calls fail. `faults` has a function for an operation, which gets the real call and its parameters
    and stands in its place. The other operations go through."""

    def __init__(self, client: Any, **faults: Callable[..., Any]) -> None:
        self._client = client
        self._faults = faults

    def __getattr__(self, operation: str) -> Any:
        real = getattr(self._client, operation)
        if operation not in self._faults:
            return real
        return lambda **parameters: self._faults[operation](real, **parameters)


def refuse(when: Callable[[str, str], bool], code: str = "InternalError", sender_fault: bool = False) -> Any:
    """A fault for `send_message_batch`: SQS refuses each entry for which `when(queue URL, body)` is true."""

    def fault(real: Callable[..., Any], QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        refused = [entry for entry in Entries if when(QueueUrl, entry["MessageBody"])]
        taken = [entry for entry in Entries if entry not in refused]
        answer = real(QueueUrl=QueueUrl, Entries=taken) if taken else {}
        failed = [{"Id": entry["Id"], "Code": code, "SenderFault": sender_fault} for entry in refused]
        return {"Successful": answer.get("Successful", []), "Failed": failed + answer.get("Failed", [])}

    return fault


def depths(*numbers: int) -> Callable[..., Any]:
    """A fault: the notification queue has so many messages, the last number for ever."""
    left = list(numbers)

    def call(real: Any, QueueUrl: str, AttributeNames: list[str]) -> Any:
        assert AttributeNames == ["ApproximateNumberOfMessages"]
        number = left.pop(0) if len(left) > 1 else left[0]
        return {"Attributes": {"ApproximateNumberOfMessages": str(number)}}

    return call


def fail(code: str = "ServiceUnavailable") -> Any:
    """A fault for any operation: the call itself fails."""

    def fault(_real: Callable[..., Any], **_parameters: Any) -> Any:
        raise ClientError({"Error": {"Code": code, "Message": "injected"}}, "Operation")

    return fault


def one_after_another(function: Callable[[Any], Any], items: Iterable[Any], at_once: int) -> list[Any]:
    """`SideBySide` without threads."""
    return [function(item) for item in items]
