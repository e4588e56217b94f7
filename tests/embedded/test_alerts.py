"""From what goes wrong to Slack, on the embedded AWS: the topic, the alerter and a fake of Slack on a real socket.

Shows R7 and R23.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from local.aws import client
from tests.helpers.http_peer import Peer, answering, listening
from tests.helpers.notifications import advertising
from tests.helpers.pipeline import Pipeline

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def slack(pipeline: Pipeline) -> Iterator[Peer]:
    """A Slack that the channel secret names, and an alerter that has not read the secret yet."""
    secrets = client(pipeline.endpoint, "secretsmanager")
    secret = {"SecretId": pipeline.outputs["ChannelSecretName"]}
    before = secrets.get_secret_value(**secret)["SecretString"]
    with listening(answering(ANSWER)) as peer:
        secrets.put_secret_value(
            **secret, SecretString=json.dumps(json.loads(before) | {"alerts": {"slack_url": peer.url}})
        )
        pipeline.kill("Alerter")
        yield peer
    secrets.put_secret_value(**secret, SecretString=before)


def titles(slack: Peer) -> list[str]:
    return [json.loads(request.partition(b"\r\n\r\n")[2])["text"] for request in slack.requests]


@contextmanager
def scheduler_with(pipeline: Pipeline, **variables: str) -> Iterator[None]:
    """Meanwhile the scheduler has these settings, and only the test starts it."""
    name = {"FunctionName": pipeline.outputs["SchedulerFunctionName"]}

    def change(to: dict[str, Any]) -> None:
        pipeline.lambda_.update_function_configuration(**name, Environment={"Variables": to})
        pipeline.lambda_.get_waiter("function_updated_v2").wait(**name, WaiterConfig={"Delay": 1})

    with pipeline.without_minute_rule():
        before = pipeline.lambda_.get_function_configuration(**name)["Environment"]["Variables"]
        assert variables.keys() <= before.keys()
        change(before | variables)
        try:
            yield
        finally:
            change(before)


def test_an_alarm_on_the_topic_is_posted_to_slack(pipeline: Pipeline, slack: Peer) -> None:
    alarm = {
        "AlarmName": "QuietHours-DeadLetterNotEmpty",
        "AlarmDescription": "A notification could not be sent: see its reason.",
        "NewStateValue": "ALARM",
        "NewStateReason": "Threshold Crossed: 1 datapoint [3.0] was greater than or equal to the threshold (1.0).",
        "StateChangeTime": "2020-11-11T23:06:05.123+0000",
    }
    sns = client(pipeline.endpoint, "sns")
    sns.publish(TopicArn=pipeline.outputs["AlertTopicArn"], Subject="ALARM", Message=json.dumps(alarm))
    pipeline.wait_until(lambda: titles(slack))
    assert titles(slack) == ["Quiet Hours: DeadLetterNotEmpty"]
    assert b"#dashboards/dashboard/QuietHours-us-east-1|Dashboard>" in slack.requests[0]


def test_a_release_that_a_failed_call_stops_is_in_slack_at_once_and_what_was_held_stays_held(
    pipeline: Pipeline, slack: Peer
) -> None:
    """R7: moving from wait to schedule fails, and Slack shows it."""
    id = pipeline.new_id()
    pipeline.night()
    pipeline.produce(advertising(id))
    pipeline.wait_until(lambda: id in pipeline.ids_on("Wait"))
    with pipeline.without_minute_rule():
        pipeline.day()
        gone = pipeline.outputs["ScheduleQueueUrl"] + "-that-was-deleted"
        with scheduler_with(pipeline, QUIET_HOURS_SCHEDULE_QUEUE_URL=gone):
            assert pipeline.release() == {"released": 0, "messages": 0, "remaining": True}
            pipeline.wait_until(lambda: titles(slack))
    assert titles(slack) == ["Quiet Hours: ReleaseStopped"]
    assert b"NonExistentQueue" in slack.requests[0] and id.encode() not in slack.requests[0]
    assert id in pipeline.ids_on("Wait")

    pipeline.wait_until(lambda: pipeline.accepted(id) or not pipeline.release(), within_s=120)
    assert pipeline.accepted(id) == [id]


def test_a_release_that_crashes_is_in_slack_at_once(pipeline: Pipeline, slack: Peer) -> None:
    """Started as its triggers start it, so that nobody waits for its answer; Lambda tells of it."""
    with scheduler_with(pipeline, QUIET_HOURS_POLICY="none-that-there-is"):
        name = pipeline.outputs["SchedulerFunctionName"]
        pipeline.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
        pipeline.wait_until(lambda: titles(slack))
    assert titles(slack) == ["Quiet Hours: ReleaseCrashed"]
    assert b"RetriesExhausted" in slack.requests[0] and b"none-that-there-is" not in slack.requests[0]
