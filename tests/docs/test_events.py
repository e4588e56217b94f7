"""The files in events/ are up to date, and the inner function of each handler understands its own."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import md5
from typing import Any
from urllib.parse import unquote_plus

import pytest
from aws_lambda_powertools.utilities.data_classes import (
    EventBridgeEvent,
    LambdaFunctionUrlEvent,
    S3Event,
    SNSEvent,
    SQSEvent,
)

from lambdas import consumer, producer
from lambdas.quiet_hours.alerts import read_alert
from lambdas.quiet_hours.channels.channel import DELIVERED, Outcome
from lambdas.quiet_hours.channels.log import LogChannel
from lambdas.quiet_hours.delivery.delivery import Delivery
from lambdas.quiet_hours.files.uploads import uploads
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import LEASE_S
from tests.helpers.aws import DAY, NIGHT, dynamodb, one_after_another, sqs, take, take_notifications
from tests.helpers.deployment import make_deployment
from tests.helpers.stack_template import FUNCTIONS, Deployed
from tools.events import (
    CAMPAIGN_FILE,
    COUPON,
    EVENING,
    EVENTS,
    LOGIN_CODE,
    MORNING,
    NIGHT_SALE,
    ORDER_PAID,
    accepted,
    events,
    file_text,
)

__all__ = ["dynamodb", "sqs"]


@pytest.fixture
def settings(sqs: Any, dynamodb: Any) -> Settings:
    return make_deployment(sqs, dynamodb)


def event(name: str) -> Any:
    """An event as whoever uses the file gets it."""
    return json.loads((EVENTS / f"{name}.json").read_text(encoding="utf-8"))


# --- the files


def test_the_files_are_what_the_command_makes() -> None:
    """When this fails a format has changed: `make events` makes the files again."""
    on_disk = {path.stem: path.read_text(encoding="utf-8") for path in EVENTS.iterdir()}
    assert on_disk == {name: file_text(made) for name, made in events().items()}


def test_every_function_has_an_event() -> None:
    assert {name.partition("-")[0] for name in events()} == {name.lower() for name in FUNCTIONS}


@pytest.mark.xdist_group("stack")
def test_messages_come_from_the_queues_that_feed_their_function(stack: Deployed) -> None:
    named = {
        (record["eventSourceARN"].rpartition(":")[2], name.partition("-")[0].capitalize())
        for name, made in events().items()
        for record in made.get("Records", [])
        if "eventSourceARN" in record
    }
    assert named == {(stack.queue(queue)["QueueName"], function) for queue, function in stack.feeds()}


@pytest.mark.parametrize("name", [name for name, made in events().items() if "eventSourceARN" in str(made)])
def test_powertools_reads_a_record_as_one_of_sqs(name: str) -> None:
    records = list(SQSEvent(event(name)).records)
    assert len({record.message_id for record in records}) == len(records)
    for record in records:
        assert record.md5_of_body == md5(record.body.encode(), usedforsecurity=False).hexdigest()
        assert record.attributes.approximate_receive_count == "1"
        assert record.event_source == "aws:sqs"
        assert record.queue_url.startswith("https://sqs.us-east-1.amazonaws.com/000000000000/QuietHours-")
        assert all(attribute["dataType"] == "String" for attribute in record.message_attributes.values())


@pytest.mark.parametrize(
    ("name", "source"),
    [("scheduler-end-of-quiet-hours", "aws.scheduler"), ("scheduler-every-minute", "aws.events")],
)
def test_powertools_reads_a_trigger_as_one_of_eventbridge(name: str, source: str) -> None:
    trigger = EventBridgeEvent(event(name))
    assert (trigger.detail_type, trigger.source) == ("Scheduled Event", source)
    assert trigger.time == "2099-11-11T23:00:04Z"  # 08:00:04 in Seoul
    assert len(trigger.resources) == 1


# --- the producer


def test_the_producer_accepts_one_notification(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    status, answer = _accept(event("producer-one"), sqs, dynamodb, settings)
    assert (status, answer["rejected"]) == (202, [])
    assert [each["id"] for each in answer["accepted"]] == [ORDER_PAID["id"]]
    assert [each["id"] for each in take_notifications(sqs, settings.notification_queue_url)] == [ORDER_PAID["id"]]


def test_the_producer_accepts_many_and_names_the_one_that_is_wrong(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    status, answer = _accept(event("producer-many"), sqs, dynamodb, settings)
    assert status == 202
    assert [(each["id"], each["decision"]) for each in answer["accepted"]] == [
        (ORDER_PAID["id"], "send"),
        (NIGHT_SALE["id"], "hold"),
        ("new-0", "hold"),
    ]
    (rejected,) = answer["rejected"]
    assert rejected["index"] == 3
    assert rejected["errors"][0].startswith("channel: must be one of ")


def test_the_producer_finds_the_same_request_in_a_function_url_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "_accept", lambda request: (202, {"request": request}))
    over_http = event("producer-url")
    answer = producer.api.resolve(over_http)
    assert answer["statusCode"] == 202
    assert json.loads(answer["body"]) == {"request": event("producer-many")}


def test_powertools_reads_the_function_url_event_as_a_signed_request() -> None:
    request = LambdaFunctionUrlEvent(event("producer-url"))
    assert (request.http_method, request.path) == ("POST", "/notifications")
    assert request.request_context.authorizer is not None
    assert request.request_context.authorizer.iam is not None
    assert request.headers["content-length"] == str(len(request.decoded_body.encode()))


# --- the consumer


def test_the_consumer_sends_on_by_day_what_it_can_read(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    records = event("consumer-messages")["Records"]
    failed, counts = consumer.consume(records, DAY, sqs, dynamodb, settings, settings.quiet_hours())
    assert (failed, counts) == ([], {"now": 3, "held": 0, "refused": 1})
    bulk = {each["id"]: each for each in take_notifications(sqs, settings.schedule_queue_url)}
    without_id = f"sqs:{records[1]['messageId']}"
    assert bulk.keys() == {NIGHT_SALE["id"], without_id}
    assert bulk[without_id]["category"] == "advertising"
    assert take_notifications(sqs, settings.delivery_queue_url) == [accepted(ORDER_PAID)[0].notification]


def test_the_consumer_holds_at_night_what_is_advertising(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    records = event("consumer-messages")["Records"]
    failed, counts = consumer.consume(records, NIGHT, sqs, dynamodb, settings, settings.quiet_hours())
    assert (failed, counts) == ([], {"now": 1, "held": 2, "refused": 1})
    assert [each["id"] for each in take_notifications(sqs, settings.delivery_queue_url)] == [ORDER_PAID["id"]]


def test_the_consumer_puts_what_it_cannot_read_on_dead_letter(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    records = event("consumer-messages")["Records"]
    consumer.consume(records, DAY, sqs, dynamodb, settings, settings.quiet_hours())
    (letter,) = take(sqs, settings.dead_letter_queue_url)
    assert letter["Body"] == records[2]["body"]
    assert letter["MessageAttributes"]["reason"]["StringValue"].startswith("unreadable: not JSON")


def test_the_consumer_takes_a_notification_out_of_an_event(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    records = event("consumer-event-bus")["Records"]
    failed, _ = consumer.consume(records, DAY, sqs, dynamodb, settings, settings.quiet_hours())
    (sent,) = take_notifications(sqs, settings.delivery_queue_url)
    assert failed == []
    assert sent["id"] == ORDER_PAID["id"]
    assert sent["content"] == ORDER_PAID["content"]


# --- the worker


def test_the_worker_delivers_what_the_day_lane_brings(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    (record,) = event("worker-delivery")["Records"]
    delivery = _delivery(sqs, dynamodb, settings, LogChannel())
    assert delivery.lane(record).name == "delivery"
    assert delivery.deliver(record) == (True, {"delivered": 1}, None)
    assert _state(dynamodb, settings, ORDER_PAID["id"]) == "delivered"


def test_the_worker_delivers_what_the_urgent_lane_brings(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    (record,) = event("worker-urgent")["Records"]
    delivery = _delivery(sqs, dynamodb, settings, LogChannel())
    assert delivery.lane(record).name == "urgent"
    settled, counts, urgent_wait_s = delivery.deliver(record)
    assert (settled, counts) == (True, {"delivered": 1})
    assert urgent_wait_s is not None
    assert _state(dynamodb, settings, LOGIN_CODE["id"]) == "delivered"


def test_the_worker_delivers_what_was_released(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    (record,) = event("worker-schedule")["Records"]
    delivery = _delivery(sqs, dynamodb, settings, Taking())
    assert delivery.lane(record).name == "schedule"
    assert delivery.deliver(record) == (True, {"delivered": 1}, None)
    assert _state(dynamodb, settings, COUPON["id"]) == "delivered"


def test_the_worker_asks_whether_the_recipient_has_opted_out(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    dynamodb.put_item(
        TableName=settings.consent_table,
        Item={"recipient_id": {"S": COUPON["recipient_id"]}, "opted_out": {"BOOL": True}},
    )
    (record,) = event("worker-schedule")["Records"]
    settled, _, _ = _delivery(sqs, dynamodb, settings, Taking()).deliver(record)
    assert settled
    assert _state(dynamodb, settings, COUPON["id"]) == "opted_out"


# --- the campaign and the alerter


def test_powertools_reads_the_campaigns_message_as_one_of_s3() -> None:
    (record,) = S3Event(json.loads(event("campaign-file")["Records"][0]["body"])).records
    assert record.event_name == "ObjectCreated:Put"
    assert unquote_plus(record.s3.get_object.key) == "campaigns/겨울 세일.csv"


def test_the_campaign_finds_the_file_in_its_message() -> None:
    (upload,) = uploads(event("campaign-file")["Records"][0]["body"])
    assert upload.bucket == "quiethours-campaigns-000000000000-us-east-1"
    assert (upload.key, upload.size) == ("campaigns/겨울 세일.csv", len(CAMPAIGN_FILE))
    assert upload.etag == md5(CAMPAIGN_FILE, usedforsecurity=False).hexdigest()
    assert upload.sequencer == "0055AED6DCD90281E5"


def test_the_alerter_finds_the_alarm_in_its_message() -> None:
    (record,) = SNSEvent(event("alerter-alarm")).records
    alert = read_alert(record.sns.message, MORNING)
    assert (alert.name, alert.since) == ("DeadLetterNotEmpty", MORNING)


# --- what the tests above share


def _accept(request: object, sqs: Any, dynamodb: Any, settings: Settings) -> tuple[int, dict[str, Any]]:
    ids = iter(f"new-{number}" for number in range(10))
    return producer.accept_all(
        request, EVENING, sqs, dynamodb, settings, settings.quiet_hours(), new_id=lambda: next(ids)
    )


class Taking:
    """A channel whose provider takes everything."""

    deadline_s = 1.0
    rate_per_s = None
    batch_size = 100
    side_by_side = 1
    can_resend = True

    def send(self, notifications: Any) -> list[Outcome]:
        return [DELIVERED] * len(notifications)

    def close(self) -> None:
        pass


def _delivery(sqs: Any, dynamodb: Any, settings: Settings, channel: Any) -> Delivery:
    return Delivery(
        sqs=sqs,
        dynamodb=dynamodb,
        ledger=Ledger(dynamodb, settings.ledger_table, "owner", timedelta(seconds=LEASE_S)),
        settings=settings,
        policy=settings.quiet_hours(),
        channel=lambda name: channel,
        now=lambda: MORNING,
        remaining_s=lambda: 60,
        sleep=lambda seconds: None,
        side_by_side=one_after_another,
    )


def _state(dynamodb: Any, settings: Settings, id: str) -> str:
    entry = dynamodb.get_item(TableName=settings.ledger_table, Key={"id": {"S": id}})["Item"]
    return str(entry["state"]["S"])
