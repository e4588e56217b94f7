"""The alerter: what comes on the alert topic is posted to Slack, here a fake of it on a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from lambdas import alerter
from lambdas.alerter import TEXT_CHARACTERS_MAX, post_alert
from lambdas.quiet_hours.alerts import read_alert, release_stopped
from lambdas.quiet_hours.errors import AlertFailed
from lambdas.quiet_hours.settings import Settings
from tests.helpers.aws import aws, dynamodb, settings, sqs
from tests.helpers.http_peer import Peer, answering, listening

__all__ = ["dynamodb", "settings", "sqs"]

NOW = datetime(2020, 11, 11, 23, 6, 30, tzinfo=UTC)  # 08:06:30 in Seoul
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def alarm(state: str = "ALARM", **fields: Any) -> str:
    """Make the message that CloudWatch publishes, as its documentation shows it."""
    message = {
        "AlarmName": "QuietHours-DeadLetterNotEmpty",
        "AlarmDescription": "A notification could not be sent: see its reason.",
        "AWSAccountId": "123456789012",
        "NewStateValue": state,
        "NewStateReason": "Threshold Crossed: 1 datapoint [3.0 (11/11/20 23:05:00)] was >= the threshold (1.0).",
        "StateChangeTime": "2020-11-11T23:06:05.123+0000",
        "Region": "Asia Pacific (Seoul)",
        "OldStateValue": "OK",
        "Trigger": {"MetricName": "ApproximateNumberOfMessagesVisible", "Namespace": "AWS/SQS"},
    }
    return json.dumps(message | fields)


def failed_invocation(**answer: Any) -> str:
    """Lambda's record for an on-failure destination."""
    return json.dumps(
        {
            "version": "1.0",
            "timestamp": "2020-11-11T23:00:03.000Z",
            "requestContext": {
                "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
                "functionArn": "arn:aws:lambda:ap-northeast-2:123456789012:function:QuietHours-Scheduler:$LATEST",
                "condition": "RetriesExhausted",
                "approximateInvokeCount": 1,
            },
            "requestPayload": {"secret": "01012345678"},
            "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
            "responsePayload": {"errorMessage": "secret 01012345678", "errorType": "KeyError"} | answer,
        }
    )


@pytest.fixture(autouse=True)
def _nothing_posted_yet() -> Iterator[None]:
    alerter._posted_at.clear()
    yield
    alerter._posted_at.clear()


@pytest.fixture
def linked(settings: Settings) -> Settings:
    return replace(settings, runbook_url="https://wiki.example.com/runbook", dashboard_url="https://console/board")


def posted(peer: Peer) -> list[dict[str, Any]]:
    return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in peer.requests]


def test_an_alarm_is_posted_with_what_happened_since_when_the_numbers_and_two_links(linked: Settings) -> None:
    with listening(answering(OK)) as slack:
        post_alert(alarm(), NOW, linked, slack.url, local=True)
    (message,) = posted(slack)
    assert message == {
        "text": "Quiet Hours: DeadLetterNotEmpty",
        "attachments": [
            {
                "color": "danger",
                "text": "A notification could not be sent: see its reason.\n<https://console/board|Dashboard> · "
                "<https://wiki.example.com/runbook#DeadLetterNotEmpty|Runbook>",
                "fields": [
                    {"title": "Since", "value": "2020-11-12 08:06:05 KST", "short": True},
                    {
                        "title": "Numbers",
                        "value": "Threshold Crossed: 1 datapoint [3.0 (11/11/20 23:05:00)] was &gt;= the threshold "
                        "(1.0).",
                        "short": False,
                    },
                ],
                "mrkdwn_in": ["text"],
            }
        ],
    }
    assert b"content-type: application/json" in slack.requests[0].lower()


def test_without_a_runbook_on_the_web_its_paragraph_is_named(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        post_alert(alarm(), NOW, settings, slack.url, local=True)
    (message,) = posted(slack)
    assert message["attachments"][0]["text"].splitlines()[1] == "docs/runbook.md, DeadLetterNotEmpty"


def test_an_alarm_that_is_over_says_so(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        post_alert(alarm("OK"), NOW, settings, slack.url, local=True)
    (message,) = posted(slack)
    assert message["text"] == "Quiet Hours: Over: DeadLetterNotEmpty"
    assert message["attachments"][0]["color"] == "good"


def test_every_change_of_an_alarm_is_posted_however_often(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        for state in ("ALARM", "OK", "ALARM"):
            post_alert(alarm(state), NOW, settings, slack.url, local=True)
    assert len(slack.requests) == 3


def test_r7_a_release_that_a_failed_call_stops_is_posted_with_a_title_and_a_text_as_attachment(
    settings: Settings,
) -> None:
    with listening(answering(OK)) as slack:
        post_alert(release_stopped(["AccessDenied"], {"released": 7}, NOW), NOW, settings, slack.url, local=True)
    (message,) = posted(slack)
    assert message["text"] == "Quiet Hours: ReleaseStopped"
    (attachment,) = message["attachments"]
    assert attachment["color"] == "danger"
    assert attachment["text"].startswith("A call that failed has stopped the release. What is held stays held;")


def test_a_release_that_stops_every_minute_is_posted_once_in_a_quarter_of_an_hour(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        for minute in range(31):
            now = NOW + timedelta(minutes=minute)
            post_alert(release_stopped(["AccessDenied"], {"released": 7}, now), now, settings, slack.url, local=True)
    assert [message["text"] for message in posted(slack)] == ["Quiet Hours: ReleaseStopped"] * 3
    fields = posted(slack)[0]["attachments"][0]["fields"]
    assert [field["value"] for field in fields] == [
        "2020-11-12 08:06:30 KST",
        "error AccessDenied; 7 notifications were released before it",
    ]


def test_a_source_that_failed_is_posted_under_a_name_of_its_own_without_its_payload(settings: Settings) -> None:
    message = json.loads(failed_invocation(errorType="SourceFailed"))
    message["requestPayload"] = {"scheduled_at": "2020-11-12T01:00:00Z", "secret": "01012345678"}
    with listening(answering(OK)) as slack:
        post_alert(json.dumps(message), NOW, settings, slack.url, local=True)
    (shown,) = posted(slack)
    assert shown["text"] == "Quiet Hours: SourceFailed"
    assert shown["attachments"][0]["fields"][1]["value"] == "RetriesExhausted, SourceFailed"
    assert b"01012345678" not in slack.requests[0]


def test_a_run_that_crashed_is_posted_without_its_payload_and_its_errors_text(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        post_alert(failed_invocation(), NOW, settings, slack.url, local=True)
    (message,) = posted(slack)
    assert message["text"] == "Quiet Hours: ReleaseCrashed"
    assert message["attachments"][0]["text"].startswith("QuietHours-Scheduler ended without an answer")
    assert message["attachments"][0]["fields"][1]["value"] == "RetriesExhausted, KeyError"
    assert b"01012345678" not in slack.requests[0]


@pytest.mark.parametrize(
    "message",
    [
        "to user 01012345678",
        "[]",
        '"01012345678"',
        "12",
        "null",
        '{"a": "01012345678"}',
        '{"AlarmName": 3}',
        "[" * 9999,
    ],
)
def test_what_is_no_alert_is_told_of_and_its_text_is_not_shown(settings: Settings, message: str) -> None:
    with listening(answering(OK)) as slack:
        post_alert(message, NOW, settings, slack.url, local=True)
    assert posted(slack)[0]["text"] == "Quiet Hours: UnknownAlert"
    assert b"01012345678" not in slack.requests[0]


def test_text_cannot_mention_or_link_and_has_an_end(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        post_alert(alarm(AlarmDescription="<!channel> & " + "x" * 5_000), NOW, settings, slack.url, local=True)
    text = posted(slack)[0]["attachments"][0]["text"]
    assert text.startswith("&lt;!channel&gt; &amp; xxx")
    assert len(text) < TEXT_CHARACTERS_MAX + 100


@pytest.mark.parametrize("status", [301, 404, 429, 500])
def test_an_answer_that_is_not_2xx_is_raised_without_the_url_and_told_again(settings: Settings, status: int) -> None:
    answer = f"HTTP/1.1 {status} No\r\ncontent-length: 0\r\nlocation: http://127.0.0.1/elsewhere\r\n\r\n".encode()
    message = release_stopped(["AccessDenied"], {"released": 0}, NOW)
    with listening(answering(answer)) as slack:
        for _ in range(2):
            with pytest.raises(AlertFailed) as raised:
                post_alert(message, NOW, settings, slack.url, local=True)
            assert str(raised.value) == f"http_{status}: Slack answered {status}"
    assert len(slack.requests) == 2


def test_a_slack_that_cannot_be_reached_is_raised_without_the_url(settings: Settings) -> None:
    with listening(answering(OK)) as slack:
        url = slack.url
    with pytest.raises(AlertFailed) as raised:
        post_alert(alarm(), NOW, settings, url, local=True)
    assert str(raised.value) == "no_answer: Slack did not answer within 10 s (ConnectionRefusedError)"


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.slack.com/services/T/B/SECRET",
        "",
        "https://user:SECRET@hooks.slack.com",
        "https://example.com/services/T/B/SECRET",
        "http://127.0.0.1:9001/SECRET",
    ],
)
def test_a_url_that_may_not_be_called_is_raised_without_being_shown(settings: Settings, url: str) -> None:
    with pytest.raises(AlertFailed, match=r"^not_configured: alerts\.slack_url ") as raised:
        post_alert(alarm(), NOW, settings, url, local=False)
    assert "SECRET" not in str(raised.value)


def test_without_slack_the_alert_is_left_to_email_and_the_log_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    post_alert(alarm(), NOW, settings, None, local=False)
    assert "not posted" in caplog.text


# --- the handler


@pytest.fixture
def handle(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The handler, with `secret` as the text of the channel secret, which is not there when it is None."""
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(alerter, "local_use", lambda: True)
    alerter._secrets.cache_clear()

    def call(secret: str | None) -> None:
        if secret is not None:
            aws("secretsmanager").create_secret(Name=settings.channel_secret, SecretString=secret)
        event = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": alarm(), "Subject": "ALARM"}}]}
        alerter.handler(event, SimpleNamespace())  # type: ignore[arg-type]

    yield call
    alerter._secrets.cache_clear()


def test_the_url_comes_from_the_channel_secret(handle: Any) -> None:
    with listening(answering(OK)) as slack:
        handle(json.dumps({"webhook": {}, "alerts": {"slack_url": slack.url}}))
    assert posted(slack)[0]["text"] == "Quiet Hours: DeadLetterNotEmpty"


def test_a_secret_without_alerts_is_no_error(handle: Any) -> None:
    handle("{}")


@pytest.mark.parametrize("secret", [None, "no JSON: SECRET", '{"alerts": "SECRET"}', '{"alerts": {}}', "[]x"])
def test_a_secret_that_cannot_be_read_is_raised_without_its_text(handle: Any, secret: str | None) -> None:
    with pytest.raises(AlertFailed, match=r"^secret_unavailable: alerts\.slack_url cannot be read \(") as raised:
        handle(secret)
    assert "SECRET" not in str(raised.value)


def test_an_alarms_time_may_be_written_in_either_form() -> None:
    for written in ("2020-11-11T23:06:05.123+0000", "2020-11-11T23:06:05.123Z"):
        assert read_alert(alarm(StateChangeTime=written), NOW).since == datetime(2020, 11, 11, 23, 6, 5, 123000, UTC)
