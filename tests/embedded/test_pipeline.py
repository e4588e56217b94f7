"""The whole pipeline as `cdk deploy` puts it up: what comes in, what is held, what is wrong, what comes back."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from urllib3 import PoolManager

from local.aws import ACCESS_KEY, REGION, client
from tests.helpers.notifications import advertising, order
from tests.helpers.pipeline import Pipeline
from tests.helpers.redriving import redrive


def sqs_record(body: str, queue_url: str, message_id: str = "5f5c0e1e-0000-4000-8000-000000000001") -> dict[str, Any]:
    name = queue_url.rpartition("/")[2]
    return {
        "messageId": message_id,
        "receiptHandle": "none",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(time.time() * 1000))},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:000000000000:{name}",
        "awsRegion": REGION,
    }


# --- ways in ---


def test_a_service_that_knows_only_boto3_is_a_client_like_any_other(pipeline: Pipeline) -> None:
    """R10, R13, R19: one JSON object, with message attributes and without an id, straight onto the queue."""
    body = {key: value for key, value in order("").items() if key != "id"}
    message_id = pipeline.put(body, JobType="order", Producer="slow")

    pipeline.wait_until(lambda: pipeline.accepted(f"sqs:{message_id}"))
    pipeline.wait_until(lambda: pipeline.state(f"sqs:{message_id}") == "delivered")


def test_what_sqs_delivers_twice_without_an_id_is_still_one(pipeline: Pipeline) -> None:
    """R16: the id is made from what redelivery keeps."""
    message_id = pipeline.new_id()
    body = {key: value for key, value in order("").items() if key != "id"}
    record = sqs_record(json.dumps(body), pipeline.outputs["NotificationQueueUrl"], message_id)

    for _ in range(2):
        assert pipeline.invoke("Consumer", {"Records": [record]}) == {"batchItemFailures": []}
    pipeline.wait_until(lambda: pipeline.accepted(f"sqs:{message_id}"))
    pipeline.settle()
    assert pipeline.accepted(f"sqs:{message_id}") == [f"sqs:{message_id}"]


def test_an_event_on_the_bus_is_delivered(pipeline: Pipeline) -> None:
    """R11: the rule puts NotificationRequested events on the notification queue."""
    id = pipeline.new_id()
    pipeline.publish(order(id))
    pipeline.wait_until(lambda: pipeline.accepted(id))


def test_what_is_published_on_the_topic_is_delivered(pipeline: Pipeline) -> None:
    """The message is the notification, or a bundle. SNS's envelope around it gives an id to what has none."""
    ids = [pipeline.new_id() for _ in range(2)]
    sns = client(pipeline.endpoint, "sns")

    def publish(message: Any) -> str:
        topic, text = pipeline.outputs["NotificationTopicArn"], json.dumps(message, ensure_ascii=False)
        return str(sns.publish(TopicArn=topic, Message=text)["MessageId"])

    for message in (order(ids[0]), [order(ids[1])]):
        publish(message)
    ids.append("sns:" + publish({name: value for name, value in order("none").items() if name != "id"}))
    pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))


def test_the_function_url_accepts_a_signed_request_and_refuses_an_unsigned_one(pipeline: Pipeline) -> None:
    id = pipeline.new_id()
    url = pipeline.outputs["ProducerUrl"] + "notifications"
    request = AWSRequest("POST", url, data=json.dumps(order(id)), headers={"content-type": "application/json"})
    host = url.split("/")[2]
    request.headers["host"] = host
    SigV4Auth(Credentials(ACCESS_KEY, ACCESS_KEY), "lambda", REGION).add_auth(request)
    http, local_url = PoolManager(), pipeline.endpoint + "/notifications"

    unsigned = http.request("POST", local_url, body=request.data, headers={"host": host})
    assert unsigned.status == 403
    signed = http.request("POST", local_url, body=request.data, headers=dict(request.headers))
    assert signed.status == 202
    assert signed.json() == {"accepted": [{"id": id, "decision": "send", "until": None}], "rejected": []}
    pipeline.wait_until(lambda: pipeline.accepted(id))


# --- held and released ---


def test_a_night_is_held_and_released_each_notification_once(pipeline: Pipeline) -> None:
    """R1 to R5: held on wait, which nobody reads at night; by day moved to schedule, and delivered from there."""
    pipeline.consent("night-owl", night_consent=True)
    ids = [pipeline.new_id() for _ in range(150)]
    awake = pipeline.new_id()

    pipeline.night()
    answer = pipeline.produce(*map(advertising, ids), advertising(awake, recipient_id="night-owl"), order("o" + awake))
    assert [entry["decision"] for entry in answer["accepted"]] == ["hold"] * 150 + ["send", "send"]
    pipeline.wait_until(lambda: set(ids) <= set(pipeline.ids_on("Wait")))
    pipeline.wait_until(lambda: set(pipeline.accepted()) >= {awake, "o" + awake})
    for _ in range(3):
        assert pipeline.release()["skipped"].startswith("quiet hours until")
    assert {message["ReceiveCount"] for message in pipeline.on("Wait")} == {0}, "somebody received from wait at night"
    assert not pipeline.received(*ids)

    pipeline.day()
    pipeline.wait_until(lambda: pipeline.release()["remaining"] is False)
    pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))
    pipeline.settle()
    assert sorted(pipeline.accepted(*ids)) == sorted(ids)
    assert not pipeline.on("Wait")


def test_consent_that_is_withdrawn_over_night_is_honoured_in_the_morning(pipeline: Pipeline) -> None:
    id, recipient = pipeline.new_id(), pipeline.new_id()

    pipeline.night()
    pipeline.produce(advertising(id, recipient_id=recipient))
    pipeline.wait_until(lambda: id in pipeline.ids_on("Wait"))
    pipeline.consent(recipient, opted_out=True)

    pipeline.day()
    pipeline.wait_until(lambda: pipeline.release()["remaining"] is False)
    pipeline.wait_until(lambda: pipeline.state(id) == "opted_out")
    assert not pipeline.received(id)


def test_a_client_that_sends_twice_reaches_its_recipient_once(pipeline: Pipeline) -> None:
    ids = [pipeline.new_id() for _ in range(20)]

    for _ in range(2):
        assert len(pipeline.produce(*map(order, ids))["accepted"]) == 20
    pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))
    pipeline.settle()
    assert sorted(pipeline.accepted(*ids)) == sorted(ids)


# --- what is wrong ---


def test_a_malformed_body_goes_to_dead_letter_as_it_came(pipeline: Pipeline) -> None:
    """R15, R22."""
    body = f'{{"id": "{pipeline.new_id()}", "channel": '
    pipeline.put(body)

    letter = pipeline.wait_until(lambda: pipeline.dead_letter(body=body))
    assert letter["MessageAttributes"]["reason"]["StringValue"].startswith("unreadable: not JSON")


def test_wrong_typed_fields_are_named_and_take_no_neighbour_with_them(pipeline: Pipeline) -> None:
    right, wrong = [pipeline.new_id() for _ in range(2)], order(pipeline.new_id(), content="text", metadata=7)
    pipeline.put(json.dumps([order(right[0]), wrong, order(right[1])]))

    letter = pipeline.wait_until(lambda: pipeline.dead_letter(notification_id=wrong["id"]))
    assert json.loads(letter["Body"]) == wrong
    reason = letter["MessageAttributes"]["reason"]["StringValue"]
    assert reason.startswith("invalid: ") and "content: must be an object" in reason and "metadata: must be" in reason
    pipeline.wait_until(lambda: set(pipeline.accepted(*right)) == set(right))


def test_a_poison_item_is_dead_lettered_alone_and_delivered_after_a_redrive(pipeline: Pipeline) -> None:
    healthy, poison = [pipeline.new_id() for _ in range(30)], pipeline.new_id(":poison")
    pipeline.provider.answer({"id_ends": ":poison", "status": 422})
    pipeline.produce(*map(order, [*healthy[:15], poison, *healthy[15:]]))

    letter = pipeline.wait_until(lambda: pipeline.dead_letter(notification_id=poison))
    assert json.loads(letter["Body"])["id"] == poison
    assert letter["MessageAttributes"]["reason"]["StringValue"] == "http_422: the webhook answered 422"
    pipeline.wait_until(lambda: set(pipeline.accepted(*healthy)) == set(healthy))
    pipeline.wait_until(lambda: pipeline.state(poison) == "dead_lettered")

    pipeline.provider.answer()
    assert redrive(pipeline.sqs, pipeline.dynamodb, pipeline.settings()).failed == 0
    pipeline.wait_until(lambda: pipeline.state(poison) == "delivered")
    assert pipeline.accepted(poison) == [poison]


def test_a_redrive_at_night_is_held_until_the_morning(pipeline: Pipeline) -> None:
    """R22: what is redriven is judged again, so that the night is respected."""
    id = pipeline.new_id(":poison")
    pipeline.provider.answer({"id_ends": ":poison", "status": 410})
    pipeline.produce(advertising(id))
    pipeline.wait_until(lambda: pipeline.state(id) == "dead_lettered")
    pipeline.provider.answer()

    pipeline.night()
    redrive(pipeline.sqs, pipeline.dynamodb, pipeline.settings())
    pipeline.wait_until(lambda: id in pipeline.ids_on("Wait"))
    assert not pipeline.accepted(id)

    pipeline.day()
    pipeline.wait_until(lambda: pipeline.release()["remaining"] is False)
    pipeline.wait_until(lambda: pipeline.accepted(id) == [id])


def test_a_channel_that_is_not_configured_rests_and_dead_letters_nothing(pipeline: Pipeline) -> None:
    id = pipeline.new_id()
    expires_at = datetime.now(UTC) + timedelta(seconds=45)
    pipeline.produce(order(id, channel="sms", address="010-1234-5678", expires_at=expires_at.isoformat()))

    pipeline.wait_until(lambda: pipeline.rests("sms"))
    pipeline.wait_until(lambda: pipeline.state(id) == "expired")
    assert not pipeline.dead_letter(notification_id=id)


def test_an_input_comes_again_only_where_an_output_of_its_own_was_not_taken(pipeline: Pipeline) -> None:
    """A delivery queue that takes only short messages fails one entry of a batch and not the other."""
    small, large = pipeline.new_id(), pipeline.new_id()
    queue_url = pipeline.outputs["NotificationQueueUrl"]
    bodies = {"small": json.dumps(order(small)), "large": json.dumps(order(large, content={"body": "가" * 900}))}
    # One channel each, so that each travels in a bundle of its own.
    bodies["large"] = bodies["large"].replace('"webhook"', '"log"')
    records = [sqs_record(body, queue_url, name) for name, body in bodies.items()]
    delivery = {"QueueUrl": pipeline.outputs["DeliveryQueueUrl"]}

    pipeline.sqs.set_queue_attributes(**delivery, Attributes={"MaximumMessageSize": "1024"})
    try:
        answer = pipeline.invoke("Consumer", {"Records": records})
    finally:
        pipeline.sqs.set_queue_attributes(**delivery, Attributes={"MaximumMessageSize": str(64 * 1024)})
    assert "large" in [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    again = [record for record in records if record["messageId"] in str(answer)]
    assert pipeline.invoke("Consumer", {"Records": again}) == {"batchItemFailures": []}
    pipeline.wait_until(lambda: pipeline.accepted(small))
    pipeline.wait_until(lambda: pipeline.state(large) == "delivered")
    assert pipeline.accepted(small) == [small]


# --- a provider in trouble ---


def test_a_provider_that_answers_500_is_tried_again_in_the_same_lane(pipeline: Pipeline) -> None:
    id = pipeline.new_id(":flaky")
    pipeline.provider.answer({"id_ends": ":flaky", "status": 500, "times": 1})
    pipeline.produce(order(id))

    pipeline.wait_until(lambda: pipeline.state(id) == "delivered")
    assert [arrival.status for arrival in pipeline.received(id)] == [500, 200]


def test_a_provider_that_is_down_over_the_release_costs_time_and_nothing_else(pipeline: Pipeline) -> None:
    ids = [pipeline.new_id() for _ in range(120)]

    pipeline.night()
    pipeline.produce(*map(advertising, ids))
    pipeline.wait_until(lambda: set(ids) <= set(pipeline.ids_on("Wait")))
    pipeline.provider.stop()
    pipeline.day()
    pipeline.wait_until(lambda: pipeline.release()["remaining"] is False)
    time.sleep(60)  # the outage
    assert not pipeline.accepted(*ids)
    pipeline.provider.start()

    pipeline.wait_until(lambda: set(pipeline.accepted(*ids)) == set(ids))
    pipeline.settle()
    assert sorted(pipeline.accepted(*ids)) == sorted(ids)
    assert not any(pipeline.dead_letter(notification_id=id) for id in ids)
    assert {pipeline.attempts(id) for id in ids} == {0}
