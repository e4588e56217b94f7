"""SES, SNS and AWS End User Messaging: boto3's own requests, signed, against fakes on a real socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import boto3
import pytest
from moto import mock_aws

from fakes.aws import ORIGINATION
from lambdas import worker
from lambdas.quiet_hours.channels import NotConfigured, aws, build
from lambdas.quiet_hours.channels.aws_sms import AwsSmsChannel
from lambdas.quiet_hours.channels.channel import DELIVERED, Channel, Outcome
from lambdas.quiet_hours.channels.ses import SesChannel
from lambdas.quiet_hours.channels.sns import SnsChannel
from tests.helpers.fake_providers import Running, aws_client, fakes, nobody_there, notification, now, send
from tests.helpers.http_peer import answering, listening

ENDPOINT = "arn:aws:sns:us-east-1:000000000000:endpoint/GCM/shop/0a1b2c3d-0000-4000-8000-00000000beef"
APPLE = ENDPOINT.replace("GCM", "APNS")
UNSUBSCRIBE = "https://shop.example.com/unsubscribe?n={id}"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with fakes() as running:
        yield running


@pytest.fixture
def provider(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return running.anew()


def sms(url: str, clock: Callable[[], datetime] = now, **config: Any) -> Channel:
    return AwsSmsChannel({"from": ORIGINATION, "endpoint_url": url} | config, clock, aws_client)


def ses(url: str, **config: Any) -> Channel:
    given = {"from": "온결 <shop@shop.example.com>", "unsubscribe_url": UNSUBSCRIBE, "endpoint_url": url}
    return SesChannel(given | config, aws_client)


def sns(url: str, **config: Any) -> Channel:
    return SnsChannel({"endpoint_url": url} | config, now, aws_client)


def text(id: str = "a", body: str = "안녕하세요", **fields: Any) -> Any:
    return notification("sms", id, "+14155550100", {"body": body}, **fields)


def mail(id: str = "a", **fields: Any) -> Any:
    return notification("email", id, "user@example.com", {"title": "결제 완료", "body": "12,900원"}, **fields)


def push(id: str = "a", address: str = ENDPOINT, body: str = "안녕하세요", **content: Any) -> Any:
    return notification("push", id, address, {"body": body} | content)


CHANNELS = [(sms, text), (ses, mail), (sns, push)]
each = pytest.mark.parametrize(("make", "given"), CHANNELS, ids=["sms", "ses", "sns"])


# --- what is sent


def test_an_sms_carries_the_id_its_kind_and_how_long_it_is_worth_anything(provider: Running) -> None:
    accepted = now().replace(microsecond=0)
    order = text("order-1:paid", expires_at=(accepted + timedelta(seconds=100)).isoformat())
    advertisement = text("ad", category="advertising", expires_at=(accepted + timedelta(seconds=259_199)).isoformat())
    channel = sms(provider.url, lambda: accepted, configuration_set="shop")
    assert send(channel, order, advertisement) == [DELIVERED] * 2
    first, second = provider.bodies
    assert first.pop("TimeToLive") == 100
    assert first == {
        "DestinationPhoneNumber": "+14155550100",
        "OriginationIdentity": ORIGINATION,
        "MessageBody": "안녕하세요",
        "MessageType": "TRANSACTIONAL",
        "ConfigurationSetName": "shop",
        "Context": {"notification_id": "order-1:paid"},
    }
    assert (second["MessageType"], second["TimeToLive"]) == ("PROMOTIONAL", 259_199)


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ("a" * 1530, True),
        ("a" * 1531, False),
        ("€" * 765, True),
        ("€" * 766, False),
        ("가" * 630, True),
        ("가" * 631, False),
        ("🎉" * 315, True),
        ("🎉" * 316, False),
        (" \n ", False),
    ],
)
def test_an_sms_is_measured_as_its_parts_are(provider: Running, body: str, fits: bool) -> None:
    (outcome,) = send(sms(provider.url), text(body=body))
    assert outcome.kind == ("delivered" if fits else "rejected")
    if not fits:
        assert outcome.reason.startswith("unfit: content.")
        assert provider.lines == []


def test_an_e_mail_is_plain_text_with_the_id_in_a_header(provider: Running) -> None:
    assert send(ses(provider.url, configuration_set="shop"), mail("order-1:paid")) == [DELIVERED]
    assert provider.bodies == [
        {
            "FromEmailAddress": "=?utf-8?b?7Jio6rKw?= <shop@shop.example.com>",
            "ConfigurationSetName": "shop",
            "Destination": {"ToAddresses": ["user@example.com"]},
            "Content": {
                "Simple": {
                    "Subject": {"Data": "결제 완료", "Charset": "UTF-8"},
                    "Body": {"Text": {"Data": "12,900원", "Charset": "UTF-8"}},
                    "Headers": [{"Name": "X-Quiet-Hours-Id", "Value": "order-1:paid"}],
                }
            },
            "EmailTags": [{"Name": "category", "Value": "informational"}],
        }
    ]


def test_advertising_by_e_mail_has_a_way_out_in_one_click(provider: Running) -> None:
    assert send(ses(provider.url), mail("sale/1:user+42", category="advertising")) == [DELIVERED]
    assert provider.bodies[0]["Content"]["Simple"]["Headers"][1:] == [
        {"Name": "List-Unsubscribe", "Value": "<https://shop.example.com/unsubscribe?n=sale%2F1%3Auser%2B42>"},
        {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
    ]


def test_advertising_by_e_mail_without_one_is_not_sent(provider: Running) -> None:
    channel = SesChannel({"from": "shop@shop.example.com", "endpoint_url": provider.url}, aws_client)
    assert send(channel, mail(category="advertising"), mail()) == [
        Outcome("rejected", "unfit: advertising by e-mail needs email.unsubscribe_url in the channel secret"),
        DELIVERED,
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"body": "b"}, "content.title is required: it is an e-mail's subject"),
        (
            {"body": "b", "title": "a\nBcc: canary@example.com"},
            "content.title must be one line: it is an e-mail's subject",
        ),
        ({"title": "t", "template": "t"}, "content.body is required: email has no templates"),
    ],
)
def test_an_e_mail_without_a_proper_subject_or_body_is_refused(
    provider: Running, content: dict[str, str], reason: str
) -> None:
    given = mail() | {"content": content}  # however it came here: the channel does not rely on acceptance
    assert send(ses(provider.url), given) == [Outcome("rejected", f"unfit: {reason}")]
    assert provider.lines == []


def test_a_push_is_the_payload_of_the_endpoint_s_platform(provider: Running) -> None:
    assert send(sns(provider.url), push("a", title="결제"), push("b", APPLE)) == [DELIVERED] * 2
    google, apple = ({name: values[0] for name, values in parse_qs(line["body"]).items()} for line in provider.lines)
    assert (google["TargetArn"], google["MessageStructure"]) == (ENDPOINT, "json")
    message = json.loads(google["Message"])
    assert message["default"] == "안녕하세요"
    assert json.loads(message["GCM"]) == {
        "fcmV1Message": {
            "message": {
                "notification": {"body": "안녕하세요", "title": "결제"},
                "data": {"notification_id": "a"},
            }
        }
    }
    assert json.loads(json.loads(apple["Message"])["APNS"]) == {
        "aps": {"alert": {"body": "안녕하세요"}},
        "notification_id": "b",
    }


@pytest.mark.parametrize(
    ("address", "platform"),
    [(ENDPOINT, "FCM"), (APPLE, "APNS"), (ENDPOINT.replace("GCM", "APNS_SANDBOX"), "APNS_SANDBOX")],
)
@pytest.mark.parametrize(("left_s", "ttl"), [(100, 100), (3.9, 3), (0, 0), (-5, 0), (4_000_000, 2_419_200)])
def test_a_push_carries_how_long_its_platform_may_keep_trying(
    provider: Running, address: str, platform: str, left_s: float, ttl: int
) -> None:
    at = now()
    channel = SnsChannel({"endpoint_url": provider.url}, lambda: at, aws_client)
    given = push(address=address) | {"expires_at": (at + timedelta(seconds=left_s)).isoformat()}
    assert send(channel, given) == [DELIVERED]
    (form,) = (parse_qs(line["body"]) for line in provider.lines)
    assert {name: form[name] for name in form if name.startswith("MessageAttributes")} == {
        "MessageAttributes.entry.1.Name": [f"AWS.SNS.MOBILE.{platform}.TTL"],
        "MessageAttributes.entry.1.Value.DataType": ["String"],
        "MessageAttributes.entry.1.Value.StringValue": [str(ttl)],
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (push(body="가" * 1400), "content must be at most 4096 bytes as a push payload"),
        (
            push(address="device-token"),
            "address must be the ARN of an SNS endpoint of APNS, APNS_SANDBOX or GCM in us-east-1",
        ),
        (push(address=ENDPOINT.replace("us-east-1", "eu-west-1")), "in us-east-1"),
        (push(address=ENDPOINT.replace("GCM", "BAIDU")), "of APNS, APNS_SANDBOX or GCM"),
        (push(address="arn:aws:sns:us-east-1:000000000000:some-topic"), "must be the ARN of an SNS endpoint"),
    ],
)
def test_a_push_that_does_not_fit_is_refused(provider: Running, given: Any, reason: str) -> None:
    (outcome,) = send(sns(provider.url), given)
    assert outcome.kind == "rejected" and reason in outcome.reason
    assert provider.lines == []


# --- what an answer means


@each
def test_what_is_refused_for_good(provider: Running, make: Any, given: Any) -> None:
    provider.rules({"refuse": True})
    (outcome,) = send(make(provider.url), given())
    assert outcome.kind == "rejected"
    assert outcome.reason.partition(": ")[0] in ("aws_ConflictException", "aws_MessageRejected", "aws_EndpointDisabled")


def test_a_number_that_has_opted_out_says_so(provider: Running) -> None:
    provider.rules({"refuse": True})
    assert send(sms(provider.url), text())[0].reason == (
        "aws_ConflictException: AWS End User Messaging answered 400 ConflictException "
        "DESTINATION_PHONE_NUMBER_OPTED_OUT"
    )


@each
@pytest.mark.parametrize(
    ("status", "kind"), [(429, "unavailable"), (500, "unknown"), (503, "unavailable"), (400, "rejected")]
)
def test_what_aws_s_troubles_mean(provider: Running, make: Any, given: Any, status: int, kind: str) -> None:
    provider.rules({"status": status})
    assert send(make(provider.url), given())[0].kind == kind
    assert len(provider.lines) == 1, "boto3 does not try again"


@pytest.mark.parametrize(
    ("channel", "given"),
    [
        (lambda url: sms(url, **{"from": "+15005550000"}), text()),
        (lambda url: ses(url, **{"from": "shop@other.example.com"}), mail()),
        (lambda url: ses(url, configuration_set="other"), mail()),
    ],
)
def test_what_the_account_lacks_is_not_the_notification_s_fault(provider: Running, channel: Any, given: Any) -> None:
    (outcome,) = send(channel(provider.url), given)
    assert outcome.kind == "misconfigured"


@each
def test_refused_credentials_are_the_channel_s_fault(provider: Running, make: Any, given: Any) -> None:
    channel = make(provider.url)
    channel._service._client._request_signer._credentials = boto3.session.Session("AKIA", "x").get_credentials()
    (outcome,) = send(channel, given())
    assert (outcome.kind, outcome.reason.partition(":")[0]) == ("unauthorized", "aws_InvalidClientTokenId")


@each
def test_without_credentials_nothing_is_sent(provider: Running, make: Any, given: Any) -> None:
    channel = make(provider.url)
    channel._service._client._request_signer._credentials = None
    (outcome,) = send(channel, given())
    assert outcome.reason.startswith("aws_NoCredentialsError: no AWS credentials;")
    assert provider.lines == []


@each
def test_an_answer_lost_after_acceptance_leaves_the_outcome_unknown(provider: Running, make: Any, given: Any) -> None:
    provider.rules({"hang_up": True})
    (outcome,) = send(make(provider.url), given())
    assert provider.taken == ["a"], "and boto3 has not tried again"
    assert outcome.kind == "unknown"
    assert outcome.reason.endswith("did not answer within 10 s (RemoteDisconnected)")


@each
def test_a_slow_answer_is_waited_for(provider: Running, make: Any, given: Any) -> None:
    provider.rules({"delay_s": 0.4})
    assert send(make(provider.url), given()) == [DELIVERED]


@each
def test_without_a_connection_nothing_was_sent(make: Any, given: Any) -> None:
    (outcome,) = send(make(nobody_there()), given())
    assert outcome.kind == "unavailable"
    assert outcome.reason.startswith("not_connected: ")


@each
def test_the_deadline_bounds_the_whole_call(make: Any, given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore alone would wait a minute for each part of it."""

    def dribbles(peer: Any, connection: socket.socket) -> None:
        peer.read_request(connection)
        peer.dribble(connection, b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1000)

    monkeypatch.setattr(aws, "DEADLINE_S", 1.5)
    with listening(dribbles) as peer:
        channel = make(f"http://127.0.0.1:{peer.port}")
        started = time.monotonic()
        (outcome,) = send(channel, given())
    assert outcome.kind == "unknown"
    assert time.monotonic() - started < 15


@each
@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"<a></a>", b'{"MessageId": ""}'])
def test_success_is_only_what_has_a_message_id(make: Any, given: Any, body: bytes) -> None:
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with listening(answering(raw)) as peer:
        (outcome,) = send(make(f"http://127.0.0.1:{peer.port}"), given())
    assert outcome.kind == "unknown"


@each
def test_no_reason_shows_what_was_sent(provider: Running, make: Any, given: Any) -> None:
    canary = given("a")
    canary["content"] = dict.fromkeys(canary["content"], "canary")
    reasons = []
    for rule in ({"refuse": True}, {"status": 400}, {"status": 429}, {"status": 500}, {"hang_up": True}):
        provider.rules(rule)
        reasons += [outcome.reason for outcome in send(make(provider.url), canary)]
    raw = b'HTTP/1.1 400 X\r\nContent-Length: 46\r\n\r\n{"__type": "canary x", "message": "canary y"}  '
    with listening(answering(raw)) as peer:
        reasons += [outcome.reason for outcome in send(make(f"http://127.0.0.1:{peer.port}"), canary)]
    assert len(reasons) == 6
    assert not [reason for reason in reasons if "canary" in reason or canary["address"] in reason or not reason]


# --- against moto, whose answers are made before a request is carried


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(aws.Service, "_carry", lambda self, request, **_: None)
    with mock_aws():
        yield lambda service: boto3.client(service, region_name="us-east-1")


def by_moto(service: str, region: str | None, endpoint_url: str | None) -> Any:
    return boto3.session.Session("test", "test", region_name="us-east-1").client(service)  # type: ignore[call-overload]


def test_moto_s_ses_takes_the_e_mail_and_knows_an_address_that_is_not_verified(moto: Any) -> None:
    channel = SesChannel({"from": "shop@shop.example.com", "unsubscribe_url": UNSUBSCRIBE}, by_moto)
    (outcome,) = send(channel, mail())
    assert outcome.kind == "rejected"
    moto("sesv2").create_email_identity(EmailIdentity="shop@shop.example.com")
    assert send(channel, mail(), mail("b", category="advertising")) == [DELIVERED] * 2


def test_moto_s_sns_takes_the_push_and_knows_an_endpoint_that_is_switched_off(moto: Any) -> None:
    sns = moto("sns")
    application = sns.create_platform_application(Name="shop", Platform="APNS", Attributes={})["PlatformApplicationArn"]
    device = sns.create_platform_endpoint(PlatformApplicationArn=application, Token="t")["EndpointArn"]
    channel = SnsChannel({}, now, by_moto)
    assert send(channel, push(address=device)) == [DELIVERED]
    sns.set_endpoint_attributes(EndpointArn=device, Attributes={"Enabled": "false"})
    (outcome,) = send(channel, push(address=device))
    assert (outcome.kind, outcome.reason) == ("rejected", "aws_EndpointDisabled: SNS answered 400 EndpointDisabled")


# --- configuration


@pytest.mark.parametrize(
    ("name", "config", "named"),
    [
        ("sms", {"provider": "aws"}, "sms.from must be set"),
        ("sms", {"provider": "aws", "from": "+1500", "unknown_outcome": "canary"}, "sms.unknown_outcome must be"),
        ("email", {}, "email.from must be an e-mail address"),
        ("email", {"from": "canary"}, "email.from must be an e-mail address"),
        ("email", {"from": "a\r\nBcc: canary <shop@example.com>"}, "email.from must be an e-mail address"),
        ("email", {"from": "a@example.com", "unsubscribe_url": "https://canary/"}, "email.unsubscribe_url must begin"),
        (
            "email",
            {"from": "a@example.com", "unsubscribe_url": "http://canary/{id}"},
            "email.unsubscribe_url must begin",
        ),
        ("email", {"from": "a@example.com", "region": "canary.example.com/"}, "email.region must be an AWS region"),
        ("push", {"endpoint_url": "https://canary.example.com"}, "push.endpoint_url is for local use only"),
        ("push", None, 'the channel secret needs {"push": {}}'),
        ("email", None, 'the channel secret needs {"email": {"from": "shop@example.com"}}'),
    ],
)
def test_what_is_set_up_wrongly_is_named_and_never_shown(name: str, config: Any, named: str) -> None:
    channel = build(name, config, now, aws_client)
    assert isinstance(channel, NotConfigured)
    (outcome,) = channel.send([text()])
    assert named in outcome.reason
    assert "canary" not in outcome.reason


@each
def test_the_setting_decides_what_becomes_of_an_unknown_outcome(make: Any, given: Any) -> None:
    assert not make("http://127.0.0.1:1").can_resend
    assert make("http://127.0.0.1:1", unknown_outcome="resend").can_resend


def test_the_worker_s_clients_try_once_and_go_to_aws_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    for service, region, host in (
        ("sesv2", "ap-northeast-2", "email.ap-northeast-2.amazonaws.com"),
        ("sns", "us-east-1", "sns.us-east-1.amazonaws.com"),
        ("pinpoint-sms-voice-v2", "us-east-1", "sms-voice.us-east-1.amazonaws.com"),
    ):
        made = worker._channel_client(service, region, None)
        assert made.meta.endpoint_url == f"https://{host}"
        assert made.meta.config.retries["total_max_attempts"] == 1
