"""Redrive: dead letters go back to the notification queue unchanged, except those that may have been delivered."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours.notification.bundle import REDRIVEN, Message, dead_letter
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.entries import Entry, ended
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.queues import send
from operators import redrive
from tests.helpers.aws import NIGHT, dynamodb, settings, sqs, take, text_attributes

__all__ = ["dynamodb", "settings", "sqs"]


@pytest.fixture(autouse=True)
def short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory has no servers to ask one after the other."""
    monkeypatch.setattr(redrive, "POLL_S", 0)


@pytest.fixture
def ledger(dynamodb: Any, settings: Settings) -> Ledger:
    return Ledger(dynamodb, settings.ledger_table, "operator", timedelta(minutes=2))


def outputs(settings: Settings) -> dict[str, str]:
    """The outputs that a redrive needs."""
    return {
        "DeadLetterQueueUrl": settings.dead_letter_queue_url,
        "NotificationQueueUrl": settings.notification_queue_url,
    }


def left(sqs: Any, settings: Settings) -> int:
    names = [f"ApproximateNumberOfMessages{suffix}" for suffix in ("", "NotVisible")]
    attributes = sqs.get_queue_attributes(QueueUrl=settings.dead_letter_queue_url, AttributeNames=names)["Attributes"]
    return sum(map(int, attributes.values()))


def test_body_and_attributes_go_back_as_they_were(sqs: Any, settings: Settings) -> None:
    letter = dead_letter('{"id":"a"}', "http_410: gone", "a", "2020-11-11T12:03:00.000+00:00")
    send(sqs, settings.dead_letter_queue_url, [letter] * 12)
    assert redrive.redrive(sqs, outputs(settings), None) == (12, 0, 0)
    messages = take(sqs, settings.notification_queue_url)
    assert [message["Body"] for message in messages] == [letter.body] * 12
    assert all(text_attributes(message) == letter.attributes for message in messages)
    assert left(sqs, settings) == 0


def test_an_unknown_outcome_stays_unless_an_operator_says_so(
    sqs: Any, dynamodb: Any, settings: Settings, ledger: Ledger
) -> None:
    ledger.claim({"a": None}, NIGHT)
    ending = ended(Entry("a", "claimed"), "unknown", NIGHT)
    ledger.end([ending], NIGHT)
    letter = dead_letter('{"id":"a"}', "unknown_outcome: no answer", "a", ending.ended_at)
    sqs.set_queue_attributes(QueueUrl=settings.dead_letter_queue_url, Attributes={"VisibilityTimeout": "0"})
    send(sqs, settings.dead_letter_queue_url, [letter])

    assert redrive.redrive(sqs, outputs(settings), None) == (0, 1, 0)
    assert left(sqs, settings) == 1

    assert redrive.redrive(sqs, outputs(settings), ledger) == (1, 0, 0)
    [entry] = ledger.claim({"a": ending.ended_at}, NIGHT).held.values()
    assert entry.id == "a"


def test_what_the_target_does_not_take_stays(sqs: Any, settings: Settings) -> None:
    sqs.set_queue_attributes(QueueUrl=settings.notification_queue_url, Attributes={"MaximumMessageSize": "1024"})
    send(sqs, settings.dead_letter_queue_url, [dead_letter("x" * 2000, "unreadable: not JSON"), dead_letter("{}", "x")])
    assert redrive.redrive(sqs, outputs(settings), None) == (1, 0, 1)
    assert left(sqs, settings) == 1


def test_a_redrive_has_an_end(sqs: Any, settings: Settings) -> None:
    send(sqs, settings.dead_letter_queue_url, [dead_letter("{}", "x")] * 25)
    assert redrive.redrive(sqs, outputs(settings), None, messages_max=20).moved == 20


def test_a_letter_with_the_ending_that_it_undoes_says_so_on_its_way(sqs: Any, settings: Settings) -> None:
    send(sqs, settings.dead_letter_queue_url, [dead_letter("{}", "x", "a", "then")])
    redrive.redrive(sqs, outputs(settings), None)
    [message] = take(sqs, settings.notification_queue_url)
    assert text_attributes(message)[REDRIVEN] == "then"


def test_what_comes_back_meanwhile_stays_since_nothing_about_it_has_changed(
    sqs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A consumer that refuses a letter again at once would keep a redrive busy for ever."""
    send(sqs, settings.dead_letter_queue_url, [dead_letter("no JSON", "unreadable: not JSON")])
    delete = redrive._delete

    def delete_and_refuse_again(client: Any, queue_url: str, messages: list[dict[str, Any]]) -> None:
        delete(client, queue_url, messages)
        time.sleep(0.01)
        send(client, settings.dead_letter_queue_url, [Message(message["Body"]) for message in messages])

    monkeypatch.setattr(redrive, "_delete", delete_and_refuse_again)
    assert redrive.redrive(sqs, outputs(settings), None, messages_max=10) == (1, 0, 0)
    assert left(sqs, settings) == 1
