"""The consumer on a FIFO queue of somebody else's: infra/props.py says what becomes of the order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lambdas import consumer
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from tests.helpers.aws import dynamodb, notification, record, settings, sqs, take_notifications

__all__ = ["dynamodb", "settings", "sqs"]

Handler = Callable[..., dict[str, Any]]


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch, sqs: Any, dynamodb: Any, settings: Settings) -> Handler:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(consumer, "_clients", lambda: (sqs, dynamodb))
    return lambda *records: consumer.handler({"Records": list(records)}, None)


def from_fifo(body: str, message_id: str) -> dict[str, Any]:
    """Return a message of a FIFO queue as Lambda gets it."""
    sent = record(body, message_id)
    fifo = {"MessageGroupId": "user-42", "MessageDeduplicationId": message_id, "SequenceNumber": "18849496460467696128"}
    return sent | {
        "attributes": sent["attributes"] | fifo,
        "eventSourceARN": "arn:aws:sqs:ap-northeast-2:123456789012:Orders.fifo",
    }


def order(id: str) -> str:
    return to_text(notification(id=id, category="informational"))


def test_messages_of_a_group_are_judged_like_any_others(handler: Handler, sqs: Any, settings: Settings) -> None:
    assert handler(*(from_fifo(order(id), f"m-{id}") for id in "abc")) == {"batchItemFailures": []}
    assert [each["id"] for each in take_notifications(sqs, settings.delivery_queue_url)] == ["a", "b", "c"]


def test_a_message_that_cannot_be_read_does_not_stop_its_group(handler: Handler, sqs: Any, settings: Settings) -> None:
    answer = handler(from_fifo(order("a"), "m-a"), from_fifo("unreadable", "m-b"), from_fifo(order("c"), "m-c"))
    assert answer == {"batchItemFailures": []}
    assert [each["id"] for each in take_notifications(sqs, settings.delivery_queue_url)] == ["a", "c"]


def test_when_a_lane_fails_its_messages_come_again_and_later_ones_have_gone(
    handler: Handler, sqs: Any, settings: Settings
) -> None:
    """The order ends at the consumer: only what no queue took is named, not all that follows it in the group."""
    sqs.delete_queue(QueueUrl=settings.delivery_queue_url)
    answer = handler(from_fifo(order("a"), "m-a"), from_fifo("unreadable", "m-b"))
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m-a"}]}
