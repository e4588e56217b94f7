"""Answers of providers, and the project's own answers: each input with its right value."""

from __future__ import annotations

import itertools
import json
import socket
import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from hypothesis import HealthCheck
from hypothesis import given as given_examples
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fakes.aws import ORIGINATION
from fakes.slack import TOKEN
from fakes.solapi import API_KEY, API_SECRET, SENDER
from lambdas import producer
from lambdas.consumer import consume
from lambdas.producer import NOTIFICATIONS_MAX
from lambdas.quiet_hours.api.shortening import (
    ANSWER_BYTES_MAX,
    ENTRY_BYTES_MAX,
    ERRORS_BYTES_FREE,
    sent_bytes,
    shorten,
)
from lambdas.quiet_hours.api.status import cancel_source, look_up, requested_cancels
from lambdas.quiet_hours.channels.aws_sms import AwsSmsChannel
from lambdas.quiet_hours.channels.channel import Channel, Outcome
from lambdas.quiet_hours.channels.http import INTERIM_ANSWERS_MAX
from lambdas.quiet_hours.channels.ses import SesChannel
from lambdas.quiet_hours.channels.slack import SlackChannel
from lambdas.quiet_hours.channels.sns import SnsChannel
from lambdas.quiet_hours.channels.solapi import SolapiChannel
from lambdas.quiet_hours.channels.webhook import WebhookChannel
from lambdas.quiet_hours.errors import Invalid
from lambdas.quiet_hours.notification.fields import is_id
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.held import MARK_PAUSES_S, PAUSES_S, SHARDS, Held, Position, record_held, shard_of
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import CONSUMER_TIMEOUT_S
from tests.helpers.aws import DAY, NIGHT, Faulty, dynamodb, record, settings, sqs
from tests.helpers.aws import notification as given
from tests.helpers.fake_providers import aws_client, fakes, notification, now, send
from tests.helpers.http_peer import Peer, answering, listening

__all__ = ["dynamodb", "settings", "sqs"]


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def replied(status: int, body: str, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} Said\r\n{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()


def base(peer: Peer) -> str:
    return peer.url.partition("/hook")[0]


# --- interim answers


def interim(status: int, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} Interim\r\n{head}\r\n".encode()


FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS = interim(103, "Link: </style.css>; rel=preload\r\n")


def webhook(peer: Peer) -> Channel:
    return WebhookChannel({"url": peer.url}, now, local=True)


def by_token(peer: Peer) -> Channel:
    return SlackChannel({"token": TOKEN, "endpoint_url": base(peer)}, now)


def order(channel: str = "webhook", address: str = "orders") -> Any:
    return notification(channel, "order-1:paid", address, {"body": "결제 완료"})


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (HINTS + FINAL, "delivered"),
        (HINTS * 3 + FINAL, "delivered"),
        (interim(100) + FINAL, "delivered"),
        (interim(102) + FINAL, "delivered"),
        (interim(199) + FINAL, "delivered"),
        (interim(100) + HINTS + interim(102) + interim(100) + FINAL, "delivered"),
        (interim(103, "Connection: close\r\n") + FINAL, "delivered"),
        (interim(103, "Content-Length: 7\r\n") + FINAL, "delivered"),
        (interim(103, "Transfer-Encoding: chunked\r\n") + FINAL, "delivered"),
        (HINTS.replace(b"1.1", b"1.0") + FINAL, "delivered"),
        (HINTS + b"HTTP/1.1 204 No Content\r\n\r\n", "delivered"),
        (HINTS + FINAL.replace(b"200", b"422"), "rejected"),
        (HINTS + FINAL.replace(b"200", b"503"), "unavailable"),
        (HINTS * INTERIM_ANSWERS_MAX + FINAL, "delivered"),
        (HINTS * (INTERIM_ANSWERS_MAX + 1) + FINAL, "unknown"),
        (interim(101, "Upgrade: websocket\r\n"), "unknown"),
        (HINTS + interim(101, "Upgrade: websocket\r\n") + FINAL, "unknown"),
    ],
)
def test_a_webhook_s_final_answer_counts_and_interim_ones_do_not(raw: bytes, kind: str) -> None:
    with listening(answering(raw)) as peer:
        (outcome,) = send(webhook(peer), order())
    assert (outcome.kind, len(peer.requests)) == (kind, 1)


def test_interim_answers_come_before_any_provider_s_answer() -> None:
    with listening(answering(HINTS + replied(200, '{"ok": true}'))) as peer:
        (outcome,) = send(by_token(peer), order("slack", "#orders"))
    assert outcome.kind == "delivered"


def hints_then_hangs_up(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    connection.sendall(HINTS)


def test_an_interim_answer_alone_is_no_answer() -> None:
    with listening(hints_then_hangs_up) as peer:
        (outcome,) = send(webhook(peer), order())
    assert outcome.kind == "unknown"


# --- Slack: one conversation, or every message

BY_TOKEN = [
    # may concern one conversation only
    ("no_permission", "forbidden"),
    ("access_denied", "forbidden"),
    ("ekm_access_denied", "forbidden"),
    ("team_access_not_granted", "forbidden"),
    # Slack names the conversation or the message
    ("channel_not_found", "rejected"),
    ("not_in_channel", "rejected"),
    ("is_archived", "rejected"),
    ("restricted_action", "rejected"),
    ("restricted_action_read_only_channel", "rejected"),
    ("restricted_action_thread_only_channel", "rejected"),
    ("messages_tab_disabled", "rejected"),
    ("cannot_dm_bot", "rejected"),
    ("msg_too_long", "rejected"),
    ("no_text", "rejected"),
    # the token: every message
    ("invalid_auth", "unauthorized"),
    ("not_authed", "unauthorized"),
    ("account_inactive", "unauthorized"),
    ("token_revoked", "unauthorized"),
    ("token_expired", "unauthorized"),
    ("missing_scope", "unauthorized"),
    ("not_allowed_token_type", "unauthorized"),
    ("accesslimited", "unauthorized"),
    ("enterprise_is_restricted", "unauthorized"),
    ("two_factor_setup_required", "unauthorized"),
    # the workspace, or Slack: it passes
    ("org_login_required", "unavailable"),
    ("team_added_to_org", "unavailable"),
    ("ratelimited", "unavailable"),
    ("message_limit_exceeded", "unavailable"),
    ("service_unavailable", "unavailable"),
    ("request_timeout", "unavailable"),
    ("fatal_error", "unknown"),
    ("internal_error", "unknown"),
]


@pytest.mark.parametrize(("error", "kind"), BY_TOKEN)
def test_slack_s_error_concerns_one_conversation_or_every_message(error: str, kind: str) -> None:
    with listening(answering(replied(200, json.dumps({"ok": False, "error": error})))) as peer:
        (outcome,) = send(by_token(peer), order("slack", "#orders"))
    assert (outcome.kind, outcome.reason.partition(":")[0]) == (kind, f"slack_{error}")


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, "action_prohibited", "forbidden"),
        (403, "invalid_token", "forbidden"),
        (404, "no_service", "forbidden"),
        (404, "no_active_hooks", "forbidden"),
        (403, "something_new", "forbidden"),
        (401, "invalid_auth", "forbidden"),
        (403, "<html>a firewall</html>", "forbidden"),
        (403, "posting_to_general_channel_denied", "rejected"),
        (410, "channel_is_archived", "rejected"),
        (404, "channel_not_found", "rejected"),
        (400, "user_not_found", "rejected"),
    ],
)
def test_one_incoming_webhook_s_error_never_stops_the_others(status: int, said: str, kind: str) -> None:
    with listening(answering(replied(status, said))) as peer:
        channel = SlackChannel({"webhooks": {"#orders": peer.url}}, now, local=True)
        (outcome,) = send(channel, order("slack", "#orders"))
    assert outcome.kind == kind


def test_the_fake_slack_refuses_one_conversation_and_takes_the_next() -> None:
    with fakes() as running:
        channel = SlackChannel({"token": TOKEN, "endpoint_url": running.url}, now)
        outcomes = send(channel, order("slack", "#private"), order("slack", "#orders"))
    assert [outcome.kind for outcome in outcomes] == ["forbidden", "delivered"]


# --- SES: who is not verified

LISTED = "Email address is not verified. The following identities failed the check in region "
OURS, THEIRS = "shop@shop.example.com", "kim@example.net"


def ses_answered(message: str, code: str = "MessageRejected", sender: str = OURS) -> Outcome:
    head = f"x-amzn-ErrorType: {code}\r\nContent-Type: application/json\r\n"
    with listening(answering(replied(400, json.dumps({"message": message}), head))) as peer:
        channel = SesChannel({"from": sender, "endpoint_url": base(peer)}, aws_client)
        mail = notification("email", "a", THEIRS, {"title": "결제", "body": "완료"})
        (outcome,) = send(channel, mail)
    return outcome


@pytest.mark.parametrize(
    ("message", "kind", "code"),
    [
        (f"{LISTED}US-EAST-1: {OURS}", "misconfigured", "ses_sender_not_verified"),
        (f"{LISTED}US-EAST-1: {OURS.upper()}", "misconfigured", "ses_sender_not_verified"),
        (f"{LISTED}US-EAST-1: Shop <{OURS}>, {OURS}", "misconfigured", "ses_sender_not_verified"),
        (f'{LISTED}US-EAST-1: "Kim, Shop" <{OURS}>', "misconfigured", "ses_sender_not_verified"),
        (f"{LISTED}US-EAST-1: {THEIRS}, {OURS}", "misconfigured", "ses_sender_not_verified"),
        (f"{LISTED}US-EAST-1: shop.example.com", "misconfigured", "ses_sender_not_verified"),
        (f"{LISTED}AP-NORTHEAST-2: {OURS}...", "misconfigured", "ses_sender_not_verified"),
        (f"{LISTED}US-EAST-1: {THEIRS}", "rejected", "ses_recipient_not_verified"),
        (f"{LISTED}US-EAST-1: other@shop.example.com", "rejected", "ses_recipient_not_verified"),
        (f"{LISTED}US-EAST-1: not{OURS}", "rejected", "ses_recipient_not_verified"),
        (f"{LISTED}US-EAST-1: {THEIRS}, lee@example.net...", "forbidden", "ses_not_verified"),
        (f"{LISTED}US-EAST-1:", "forbidden", "ses_not_verified"),
        ("Email address is not verified.", "forbidden", "ses_not_verified"),
        ("Sending paused for this account. For more information, …", "misconfigured", "ses_account_stopped"),
        ("Sending suspended for this account. For more information, …", "misconfigured", "ses_account_stopped"),
        ("Illegal address", "rejected", "aws_MessageRejected"),
        ("", "rejected", "aws_MessageRejected"),
    ],
)
def test_ses_s_refusal_is_the_channel_s_the_recipient_s_or_the_message_s(message: str, kind: str, code: str) -> None:
    outcome = ses_answered(message)
    assert (outcome.kind, outcome.reason.partition(":")[0]) == (kind, code)
    assert not [shown for shown in (THEIRS, "lee@", "kim") if shown in outcome.reason.lower()]


def test_the_sender_and_the_region_to_verify_are_in_the_reason() -> None:
    outcome = ses_answered(f"{LISTED}AP-NORTHEAST-2: {OURS}", sender=f"온결 <{OURS}>")
    assert outcome.reason == (
        "ses_sender_not_verified: SES has not verified shop@shop.example.com in region ap-northeast-2; verify it there"
    )


def test_a_recipient_in_the_sandbox_is_refused_with_the_hint() -> None:
    assert ses_answered(f"{LISTED}US-EAST-1: {THEIRS}").reason == (
        "ses_recipient_not_verified: SES sends to verified recipients only, because the account is in its sandbox in "
        "region us-east-1; ask for production access, or verify the recipient"
    )


def test_another_error_with_the_same_words_is_read_by_its_code() -> None:
    assert ses_answered(f"{LISTED}US-EAST-1: {OURS}", "BadRequestException").kind == "rejected"


@pytest.mark.parametrize(
    ("sender", "address", "kind"),
    [("shop@other.example.com", THEIRS, "misconfigured"), (OURS, "kim@sandbox.example.com", "rejected")],
)
def test_the_fake_ses_names_whom_it_has_not_verified(sender: str, address: str, kind: str) -> None:
    with fakes() as running:
        channel = SesChannel({"from": sender, "endpoint_url": running.url}, aws_client)
        (outcome,) = send(channel, notification("email", "a", address, {"title": "결제", "body": "완료"}))
    assert outcome.kind == kind
    assert "in region us-east-1" in outcome.reason


# --- the siblings: one recipient's error never rests a channel, an account's never dead-letters a message

SES = [
    ("AccountSuspendedException", "misconfigured"),
    ("SendingPausedException", "misconfigured"),
    ("LimitExceededException", "unavailable"),
    ("TooManyRequestsException", "unavailable"),
    ("MailFromDomainNotVerifiedException", "misconfigured"),
    ("NotFoundException", "misconfigured"),
    ("AccessDeniedException", "forbidden"),
    ("BadRequestException", "rejected"),
]


@pytest.mark.parametrize(("code", "kind"), SES)
def test_ses_s_error_concerns_one_message_or_every_message(code: str, kind: str) -> None:
    assert ses_answered("no", code).kind == kind


SMS = [
    ("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT", "rejected"),
    ("ConflictException", "DESTINATION_PHONE_NUMBER_NOT_VERIFIED", "rejected"),
    ("ConflictException", "DESTINATION_COUNTRY_BLOCKED_BY_PROTECT_CONFIGURATION", "rejected"),
    ("ConflictException", "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE", "rejected"),
    ("ConflictException", "MESSAGE_TYPE_MISMATCH", "forbidden"),
    ("ConflictException", "NO_ORIGINATION_IDENTITIES_FOUND", "forbidden"),
    ("ConflictException", "REGISTRATION_NOT_COMPLETE", "forbidden"),
    ("ConflictException", "RESOURCE_NOT_ACTIVE", "misconfigured"),
    ("ConflictException", "NUMBER_CAPABILITIES_MISMATCH", "misconfigured"),
    ("ValidationException", "FIELD_VALIDATION_FAILED", "rejected"),
    ("ValidationException", "COUNTRY_NOT_ENABLED", "rejected"),
    ("ValidationException", "DESTINATION_COUNTRY_BLOCKED", "rejected"),
    ("ValidationException", "INTERNATIONAL_SENDING_NOT_SUPPORTED", "rejected"),
    ("ValidationException", "PRICE_OVER_THRESHOLD", "rejected"),
    ("ValidationException", "INVALID_IDENTITY_FOR_DESTINATION_COUNTRY", "forbidden"),
    ("ValidationException", "SENDER_ID_NOT_REGISTERED", "forbidden"),
    ("ValidationException", "SENDER_ID_NOT_SUPPORTED", "forbidden"),
    ("ValidationException", "SENDER_ID_REQUIRES_REGISTRATION", "forbidden"),
    ("ValidationException", "CHANNEL_NOT_ENABLED", "misconfigured"),
    ("ValidationException", "INVALID_ARN", "misconfigured"),
    ("ValidationException", "RESOURCE_NOT_ACCESSIBLE", "misconfigured"),
    ("AccessDeniedException", "ACCOUNT_DISABLED", "misconfigured"),
    ("AccessDeniedException", "INSUFFICIENT_ACCOUNT_REPUTATION", "misconfigured"),
    ("AccessDeniedException", "", "forbidden"),
    ("ResourceNotFoundException", "", "misconfigured"),
    ("ServiceQuotaExceededException", "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT", "unavailable"),
    ("ConflictException", "a canary, not a word", "rejected"),
]


@pytest.mark.parametrize(("code", "cause", "kind"), SMS)
def test_end_user_messaging_s_error_concerns_one_number_or_every_number(code: str, cause: str, kind: str) -> None:
    said = json.dumps({"__type": code, "Message": "no", "Reason": cause})
    with listening(answering(replied(400, said))) as peer:
        channel = AwsSmsChannel({"from": ORIGINATION, "endpoint_url": base(peer)}, now, aws_client)
        (outcome,) = send(channel, notification("sms", "a", "+14155550100", {"body": "안녕하세요"}))
    assert outcome.kind == kind
    assert "canary" not in outcome.reason


SNS = [
    (400, "EndpointDisabled", "rejected"),
    (404, "NotFound", "rejected"),
    (400, "InvalidParameter", "rejected"),
    (400, "ParameterValueInvalid", "rejected"),
    (400, "PlatformApplicationDisabled", "forbidden"),
    (403, "AuthorizationError", "forbidden"),
    (403, "InvalidSecurity", "unauthorized"),
    (400, "KMSAccessDenied", "unavailable"),
    (400, "KMSDisabled", "unavailable"),
    (400, "Throttled", "unavailable"),
    (500, "InternalError", "unknown"),
]


@pytest.mark.parametrize(("status", "code", "kind"), SNS)
def test_sns_s_error_concerns_one_device_or_every_device(status: int, code: str, kind: str) -> None:
    said = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    device = "arn:aws:sns:us-east-1:000000000000:endpoint/GCM/shop/0a1b2c3d-0000-4000-8000-00000000beef"
    with listening(answering(replied(status, said))) as peer:
        channel = SnsChannel({"endpoint_url": base(peer)}, now, aws_client)
        (outcome,) = send(channel, notification("push", "a", device, {"body": "안녕하세요"}))
    assert outcome.kind == kind


SOLAPI = [
    ("1061", "rejected"),
    ("1022", "rejected"),
    ("3104", "rejected"),
    ("1042", "rejected"),
    ("1043", "rejected"),
    ("3105", "rejected"),
    ("1020", "misconfigured"),
    ("1024", "unavailable"),
    ("1030", "misconfigured"),
    ("1041", "misconfigured"),
    ("1062", "misconfigured"),
]


@pytest.mark.parametrize(("code", "kind"), SOLAPI)
def test_solapi_s_status_concerns_one_message_or_every_message(code: str, kind: str) -> None:
    failed = [{"to": "01011111111", "statusCode": code}]
    said = {"failedMessageList": failed, "groupInfo": {"count": {"total": 2, "registeredFailed": 1}}}
    config = {"api_key": API_KEY, "api_secret": API_SECRET, "from": SENDER}
    with listening(answering(replied(200, json.dumps(said)))) as peer:
        channel = SolapiChannel("sms", config | {"endpoint_url": base(peer)}, now)
        to_two = [notification("sms", number, number, {"body": "안녕"}) for number in ("01011111111", "01022222222")]
        outcomes = send(channel, *to_two)
    assert [outcome.kind for outcome in outcomes] == [kind, "delivered"]


# --- who may send learns the decision, and nothing else of a consent record

STATED = {"evidence": {"S": "canary-evidence"}, "changed_at": {"S": "2020-03-01T09:00:00.000+00:00"}}
RECORDS: dict[str, dict[str, Any]] = {
    "none": {},
    "refused": {"night_consent": {"BOOL": False}, "opted_out": {"BOOL": False}},
    "ended": {"night_consent": {"BOOL": True}, "expires": {"N": "1604188800"}},
    "renotified": {"night_consent": {"BOOL": False}, "renotified_at": {"S": "2020-10-01T00:00:00.000+00:00"}},
    "night": {"night_consent": {"BOOL": True}},
    "night and renotified": {"night_consent": {"BOOL": True}, "renotified_at": {"S": "2020-10-01T00:00:00.000+00:00"}},
    "opted out": {"opted_out": {"BOOL": True}},
    "opted out with a night consent": {"opted_out": {"BOOL": True}, "night_consent": {"BOOL": True}},
}


def asked_about(dynamodb: Any, sqs: Any, settings: Settings, record_name: str) -> dict[str, Any]:
    """The answer about an advertisement held at night, whose recipient's record is then this one."""
    recording = replace(settings, record_held=True)
    policy = recording.quiet_hours()
    body = to_text(given(id="ad", channel="sms", recipient_id="user-42", source="shop"))
    consume([record(body, sent_at=NIGHT)], NIGHT, sqs, dynamodb, recording, policy)
    if stated := RECORDS[record_name]:
        dynamodb.put_item(TableName="consent", Item={"recipient_id": {"S": "user-42"}, **STATED, **stated})
    ledger = Ledger(dynamodb, "ledger", "api", timedelta(seconds=120))
    status, answer = look_up("ad", NIGHT, dynamodb, ledger, recording, policy)
    assert status == 200
    return answer


HELD_BY = (
    "quiet hours until 2020-11-12 08:00 Asia/Seoul, and no night consent: "
    "night (Network Act art. 50(3); Enforcement Decree art. 61(2) exempts e-mail)"
)
CONSENTED = "quiet hours, but the recipient has consented to the night; advertising consent is kept elsewhere"


@pytest.mark.parametrize(
    ("name", "decision", "why"),
    [
        ("none", "hold", HELD_BY),
        ("refused", "hold", HELD_BY),
        ("ended", "hold", HELD_BY),
        ("renotified", "hold", HELD_BY),
        (
            "night",
            "send",
            "quiet hours, but the recipient has consented to the night; advertising consent is kept elsewhere",
        ),
        (
            "night and renotified",
            "send",
            "quiet hours, but the recipient has consented to the night; advertising consent is kept elsewhere",
        ),
        ("opted out", "opted_out", "the recipient has opted out of advertising"),
        ("opted out with a night consent", "opted_out", "the recipient has opted out of advertising"),
    ],
)
def test_the_answer_shows_the_decision_and_no_record(
    dynamodb: Any, sqs: Any, settings: Settings, name: str, decision: str, why: str
) -> None:
    answer = asked_about(dynamodb, sqs, settings, name)
    assert answer.keys() == {"id", "state", "why", "until", "attempts", "held_at", "source", "rule"}
    assert (answer["rule"]["decision"], answer["rule"]["why"]) == (decision, why)
    assert not [shown for shown in ("canary", "2020-03-01", "2020-10-01", "1604188800") if shown in str(answer)]


# --- an answer that Lambda can return, whatever was asked

LAMBDA_BYTES_MAX = 6 * 1024 * 1024
LONG_ID = "a" * 128
GOOD = {"channel": "log", "address": "a", "category": "critical", "content": {"body": "b"}}
WRONG_NAMES = {f"wrong_field_name_that_is_quite_long_{n}": 1 for n in range(10)}
WRONG_VALUES = {"channel": 1, "address": 1, "category": 1, "content": 1, "expires_at": 1, "source": 1, "metadata": 1}
UNLABELLED = {"channel": "sms", "address": "01012345678", "content": {"body": "겨울 세일"}}
KINDS: dict[str, Any] = {
    "good": GOOD,
    "wrong names": GOOD | WRONG_NAMES,
    "wrong values": WRONG_VALUES,
    "wrong names and values": WRONG_NAMES | WRONG_VALUES,
    "an invalid id": GOOD | {"id": "가" * 128},
    "without its label": UNLABELLED,
    "no object": 7,
    "empty": {},
    "a name in Korean": GOOD | {"주소" * 10: 1},
}


def numbered(kind: str, n: int) -> Any:
    """One candidate of a kind, with an id of its own as long as an id can be."""
    candidate = KINDS[kind]
    if not isinstance(candidate, dict) or "id" in candidate:
        return candidate
    return candidate | {"id": f"{n:06}" + LONG_ID[6:]}


def asked_for_many(
    candidates: list[Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    not_taken: str = "",
    sender_name: str = "온결",
) -> tuple[int, dict[str, Any]]:
    def taken(sqs: Any, url: str, messages: list[Any]) -> dict[int, str]:
        return dict.fromkeys(range(len(messages)), not_taken) if not_taken else {}

    monkeypatch.setattr(producer, "send", taken)
    settings = replace(settings, advertising_label=True, sender_name=sender_name)
    policy = settings.quiet_hours()
    clients: Any = (None, None)
    new_id = itertools.count().__next__
    return producer.accept_all(
        {"notifications": candidates}, DAY, *clients, settings, policy, lambda: f"{new_id():06}" + LONG_ID[6:]
    )


def assert_returnable(candidates: list[Any], answer: dict[str, Any]) -> None:
    """Lambda can return the answer by both ways, and each notification is in it once."""
    direct = len(json.dumps(answer))
    through_url = len(
        json.dumps({"statusCode": 202, "headers": {"Content-Type": "application/json"}, "body": to_text(answer)})
    )
    assert max(direct, through_url) <= ANSWER_BYTES_MAX + 1000 < LAMBDA_BYTES_MAX - 200_000
    rejected = [entry["index"] for entry in answer["rejected"]]
    assert len(set(rejected)) == len(rejected)
    assert len(answer["accepted"]) + len(rejected) == len(candidates)
    assert {entry["id"] for entry in answer["accepted"]}.isdisjoint(
        {entry["id"] for entry in answer["rejected"] if entry["id"]}
    )
    assert all(entry["errors"] and all(entry["errors"]) for entry in answer["rejected"])


@pytest.mark.parametrize(
    ("parts", "shortened"),
    [
        ([("wrong names", 9_900), ("good", 100)], True),
        ([("good", 100), ("wrong names and values", 9_900)], True),
        ([("wrong names and values", 10_000)], True),
        ([("wrong values", 10_000)], False),
        ([("good", 10_000)], False),
        ([("without its label", 4_000), ("no object", 3_000), ("an invalid id", 3_000)], False),
        ([("wrong names", 1_000), ("good", 9_000)], False),
        ([("wrong names and values", 1)], False),
    ],
)
def test_ten_thousand_of_any_kind_have_an_answer_that_lambda_returns(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, parts: list[tuple[str, int]], shortened: bool
) -> None:
    kinds = [kind for kind, count in parts for _ in range(count)]
    candidates = [numbered(kind, n) for n, kind in enumerate(kinds)]
    status, answer = asked_for_many(candidates, settings, monkeypatch)
    assert_returnable(candidates, answer)
    good = kinds.count("good")
    assert (status, len(answer["accepted"])) == (202 if good else 400, good)
    cut = [entry for entry in answer["rejected"] if entry["errors"][0].startswith("answer: too long to name the ")]
    assert bool(cut) == shortened
    assert len(cut) < len(candidates), "the first are named whole"
    if cut and len(parts) == 1:
        assert [entry["index"] for entry in cut] == list(range(cut[0]["index"], len(candidates)))


def test_korean_errors_count_as_they_travel(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A letter takes three bytes in UTF-8, and six in what Lambda returns."""
    candidates = [numbered("without its label", n) for n in range(10_000)]
    _, answer = asked_for_many(candidates, settings, monkeypatch, sender_name="온결" * 25)
    assert_returnable(candidates, answer)
    assert len(answer["rejected"][0]["errors"]) == 3
    assert answer["rejected"][-1]["errors"][0].startswith("answer: too long to name the 3 errors")


def test_what_sqs_did_not_take_is_always_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = ["wrong names and values"] * 9_000 + ["good"] * 1_000
    candidates = [numbered(kind, n) for n, kind in enumerate(kinds)]
    code = "AWS.SimpleQueueService.BatchEntryIdsNotDistinctOrSomethingOfThisLength"
    status, answer = asked_for_many(candidates, settings, monkeypatch, not_taken=code)
    assert_returnable(candidates, answer)
    assert status == 503
    assert {entry["errors"][0] for entry in answer["rejected"][9_000:]} == {
        f"queue: SQS did not take it ({code}); send it again with the same id"
    }


@given_examples(data=st.data())
@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mixture_names_every_notification_once_and_can_be_returned(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    mixture = data.draw(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 2_500)), max_size=4))
    kinds = [kind for kind, count in mixture for _ in range(count)] or ["empty"]
    if data.draw(st.booleans()):
        kinds = kinds[::2] + kinds[1::2]
    candidates = [numbered(kind, n) for n, kind in enumerate(kinds)]
    _, answer = asked_for_many(candidates, settings, monkeypatch, data.draw(st.sampled_from(["", "InternalError"])))
    assert_returnable(candidates, answer)


def test_an_entry_is_as_long_as_the_bound_says() -> None:
    accepted = {"id": LONG_ID, "decision": "send", "until": "2020-11-12T08:00:00+09:00"}
    without_errors = {"index": NOTIFICATIONS_MAX - 1, "id": LONG_ID, "errors": []}
    shortened = shorten([without_errors | {"errors": ["x" * 200] * 99}], 10**9)[0]["errors"]
    assert sent_bytes(accepted) < ENTRY_BYTES_MAX + ERRORS_BYTES_FREE
    assert sent_bytes(without_errors) < ENTRY_BYTES_MAX
    assert shortened == ["answer: too long to name the 99 errors; send this notification alone"]
    assert sent_bytes(shortened) < ERRORS_BYTES_FREE


# --- cancelling by source: spread, counted, and complete only where it is

SALE = [{"id": f"sale-{n}", "source": "sale"} for n in range(60)]


def hold(
    sqs: Any,
    client: Any,
    settings: Settings,
    wanted: list[dict[str, Any]],
    now: datetime = NIGHT,
    owed: dict[str, datetime] | None = None,
) -> int:
    """Hold notifications at night. Returns how many could not be recorded."""
    recording, owed = replace(settings, record_held=True), {} if owed is None else owed
    body = "[" + ",".join(to_text(given(**each)) for each in wanted) + "]"
    records = [record(body, sent_at=now)]
    _, counts = consume(records, now, sqs, client, recording, recording.quiet_hours(), sleep=lambda _: None, owed=owed)
    assert counts["held"] == len(wanted)
    assert counts["held_marks_owed"] == len(owed)
    return int(counts["held_not_recorded"])


def cancelled(client: Any, settings: Settings, source: str, now: datetime = NIGHT) -> tuple[list[str], dict[str, Any]]:
    """Every id that cancelling a source page by page reaches, and the last answer."""
    recording = replace(settings, record_held=True)
    ledger, ids, after = Ledger(client, "ledger", "api", timedelta(seconds=120)), [], None
    for _ in range(100):
        request = requested_cancels({"source": source, "after": after})
        assert not isinstance(request, list)
        status, answer = cancel_source(*request, now, client, ledger, recording)
        assert status == 200
        ids += [each["id"] for each in answer["results"]]
        if (after := answer["next"]) is None:
            return ids, answer
        assert (answer["complete"], answer["why"]) == (False, "there are more: send next back as after")
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize(
    ("page", "source"),
    [(1, "sale"), (7, "sale"), (60, "sale"), (1000, "sale"), (7, "sale#3"), (7, "세일 #1"), (7, "a,b"), (7, "#")],
)
def test_every_page_size_reaches_each_of_a_source_once_and_no_other_s(
    sqs: Any, dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, page: int, source: str
) -> None:
    monkeypatch.setattr("lambdas.quiet_hours.api.status.CANCELS_MAX", page)
    assert hold(sqs, dynamodb, settings, [{"id": f"n-{n}", "source": source} for n in range(20)]) == 0
    assert hold(sqs, dynamodb, settings, [{"id": "other", "source": source + "#3"}, {"id": "nobody's"[:6]}]) == 0
    ids, answer = cancelled(dynamodb, settings, source)
    assert sorted(ids) == sorted(f"n-{n}" for n in range(20))
    assert (answer["complete"], answer["why"], answer["held_before"]) == (True, None, "2020-11-11T12:02:55+00:00")


def test_one_source_is_spread_over_every_shard_and_costs_one_index_entry_each(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    assert hold(sqs, dynamodb, settings, SALE) == 0
    items = dynamodb.scan(TableName="held")["Items"]
    assert {item["source_shard"]["S"] for item in items} == {f"sale#{shard}" for shard in range(SHARDS)}
    assert not [item for item in items if "source" in item], "the old index takes no write unit"


def test_a_thousand_ids_are_spread_evenly() -> None:
    counts = Counter(shard_of(f"campaign:0123456789abcdef:{n}") for n in range(16_000))
    assert counts.keys() == set(range(SHARDS))
    assert min(counts.values()) > 800 and max(counts.values()) < 1_200


def test_what_an_earlier_version_recorded_is_cancelled_with_the_rest(
    sqs: Any, dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdas.quiet_hours.api.status.CANCELS_MAX", 2)
    for n in range(5):
        times = {"held_at": NIGHT.isoformat(), "until": "2020-11-11T23:00:00+00:00", "expires_at": NIGHT.isoformat()}
        texts = {"id": f"old-{n}", "source": "sale", "why": "w", "category": "advertising", "channel": "log", **times}
        item = {name: {"S": value} for name, value in texts.items()} | {"recipient_id": {"S": "u"}}
        dynamodb.put_item(TableName="held", Item=item)
    assert hold(sqs, dynamodb, settings, [{"id": f"new-{n}", "source": "sale"} for n in range(5)]) == 0
    ids, answer = cancelled(dynamodb, settings, "sale")
    assert sorted(ids) == [f"{age}-{n}" for age in ("new", "old") for n in range(5)]
    assert answer["complete"]


@pytest.mark.parametrize(
    ("after", "position"),
    [
        ("2020-11-11T23:00:00+00:00,n-1", Position(None, "2020-11-11T23:00:00+00:00", "n-1")),
        ("0,2020-11-11T23:00:00+00:00,n-1", Position(0, "2020-11-11T23:00:00+00:00", "n-1")),
        ("15,,", Position(15)),
        ("0,,", Position(0)),
    ],
)
def test_a_next_is_taken_back_also_that_of_an_earlier_version(after: str, position: Position) -> None:
    assert requested_cancels({"source": "sale", "after": after}) == ("sale", position)


@pytest.mark.parametrize(
    "after",
    ["", ",", ",,", "16,,", "-1,,", "1,,n-1", "1,2020-11-11T23:00:00+00:00,", "x,,", "0,,,", "0", "²,,", "n-1", 5, [0]],
)
def test_what_is_no_next_is_refused(after: Any) -> None:
    with pytest.raises(Invalid, match="after: must be the `next` of an earlier answer"):
        requested_cancels({"source": "sale", "after": after})


def throttled(*_: Any, **__: Any) -> Any:
    raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, "BatchWriteItem")


def test_what_is_throttled_for_a_while_is_recorded_after_pauses(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    calls = itertools.count()

    def busy_then_free(real: Any, RequestItems: dict[str, Any]) -> Any:
        if (call := next(calls)) < 3:
            return throttled()
        if call < 6:
            real(RequestItems={"held": RequestItems["held"][:20]})
            return {"UnprocessedItems": {"held": RequestItems["held"][20:]}}
        return real(RequestItems=RequestItems)

    assert hold(sqs, Faulty(dynamodb, batch_write_item=busy_then_free), settings, SALE) == 0
    ids, answer = cancelled(dynamodb, settings, "sale")
    assert sorted(ids) == sorted(each["id"] for each in SALE)
    assert answer["complete"]


def test_the_pauses_are_bounded_for_all_records_together(dynamodb: Any) -> None:
    pauses: list[float] = []
    records = [
        Held(f"n-{n}", "2020-11-11T12:03:00+00:00", "u", "w", "c", "log", "r", "2020-11-14T12:03:00+00:00", "sale")
        for n in range(1_000)
    ]
    busy: Any = Faulty(dynamodb, batch_write_item=throttled)
    assert record_held(busy, "held", records, NIGHT, pauses.append, {}) == 1_000
    bounds = PAUSES_S + MARK_PAUSES_S
    assert all(longest / 2 <= pause <= longest for pause, longest in zip(pauses, bounds, strict=True))
    assert sum(bounds) < 4.7 < CONSUMER_TIMEOUT_S / 6


def only_marks(real: Any, RequestItems: dict[str, Any]) -> Any:
    items = [each["PutRequest"]["Item"]["id"]["S"] for each in RequestItems["held"]]
    return real(RequestItems=RequestItems) if items[0].startswith("!") else throttled()


def test_what_could_not_be_recorded_is_counted_and_its_source_is_said_to_be_incomplete(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    assert hold(sqs, dynamodb, settings, [{"id": "seen", "source": "sale"}, {"id": "shop-1", "source": "shop"}]) == 0
    assert hold(sqs, Faulty(dynamodb, batch_write_item=only_marks), settings, SALE) == len(SALE)
    ids, answer = cancelled(dynamodb, settings, "sale")
    assert (ids, answer["next"], answer["complete"]) == (["seen"], None, False)
    assert answer["why"] == "some of what is held of this source could not be recorded: cancel those by their ids"
    assert cancelled(dynamodb, settings, "shop")[1]["complete"]
    after_four_days = NIGHT + timedelta(days=4, seconds=1)
    assert cancelled(dynamodb, settings, "sale", after_four_days)[1]["complete"]


def test_a_mark_is_nobody_s_notification(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    assert hold(sqs, Faulty(dynamodb, batch_write_item=only_marks), settings, [{"id": "a"}, SALE[0]]) == 2
    (mark,) = dynamodb.scan(TableName="held")["Items"]
    assert mark.keys() == {"id", "expires"}, "in no index, and forgotten with the records"
    assert not is_id(mark["id"]["S"])


def test_where_the_table_is_away_nothing_fails_and_nothing_is_tried_for_long(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    calls = []

    def away(*_: Any, **__: Any) -> Any:
        calls.append(1)
        raise ConnectTimeoutError(endpoint_url="https://dynamodb")

    assert hold(sqs, Faulty(dynamodb, batch_write_item=away), settings, SALE) == len(SALE)
    assert len(calls) == 2, "the records, and the mark"


# --- one notification of several sources, and one source in several spellings


def test_a_notification_of_two_sources_is_cancelled_by_either(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    for source in ("sale", "retry job", "sale", "third", ""):
        wanted = [{"id": "order-1", **({"source": source} if source else {})}]
        assert hold(sqs, dynamodb, settings, wanted) == 0
    assert len(dynamodb.scan(TableName="held")["Items"]) == 3
    for source in ("sale", "retry job", "third"):
        ids, answer = cancelled(dynamodb, settings, source)
        assert (ids, answer["complete"]) == (["order-1"], True), source
    recording = replace(settings, record_held=True)
    ledger = Ledger(dynamodb, "ledger", "api", timedelta(seconds=120))
    _, answer = look_up("order-1", NIGHT, dynamodb, ledger, recording, settings.quiet_hours())
    assert answer["source"] == "sale", "the first record stays"


def test_two_sources_of_one_id_within_one_bundle_are_both_recorded(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    wanted = [{"id": "order-1"}, *({"id": "order-1", "source": source} for source in ("sale", "job", "sale"))]
    assert hold(sqs, dynamodb, settings, wanted) == 0
    assert [cancelled(dynamodb, settings, source)[0] for source in ("sale", "job")] == [["order-1"], ["order-1"]]


@pytest.mark.parametrize("page", [1, 2, 1000])
def test_a_page_may_end_at_a_record_of_another_source(
    sqs: Any, dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("lambdas.quiet_hours.api.status.CANCELS_MAX", page)
    for source in ("first", "second"):
        assert hold(sqs, dynamodb, settings, [{"id": f"n-{n}", "source": source} for n in range(40)]) == 0
    ids, answer = cancelled(dynamodb, settings, "second")
    assert (sorted(ids), answer["complete"]) == (sorted(f"n-{n}" for n in range(40)), True)


def test_where_the_table_cannot_be_read_no_record_of_another_source_is_overwritten(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    def held_is_away(real: Any, RequestItems: dict[str, Any]) -> Any:
        return throttled() if "held" in RequestItems else real(RequestItems=RequestItems)

    assert hold(sqs, dynamodb, settings, [{"id": "order-1", "source": "sale"}]) == 0
    assert hold(sqs, Faulty(dynamodb, batch_get_item=held_is_away), settings, [{"id": "order-1", "source": "job"}]) == 0
    assert [cancelled(dynamodb, settings, source)[0] for source in ("sale", "job")] == [["order-1"], ["order-1"]]


def test_what_an_earlier_version_recorded_of_another_source_stays(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    times = {"held_at": NIGHT.isoformat(), "until": "2020-11-11T23:00:00+00:00", "expires_at": NIGHT.isoformat()}
    texts = {"id": "order-1", "source": "old", "why": "w", "category": "advertising", "channel": "log", **times}
    item = {name: {"S": value} for name, value in texts.items()} | {"recipient_id": {"S": "u"}}
    dynamodb.put_item(TableName="held", Item=item)
    assert hold(sqs, dynamodb, settings, [{"id": "order-1", "source": "sale"}]) == 0
    assert [cancelled(dynamodb, settings, source)[0] for source in ("old", "sale")] == [["order-1"], ["order-1"]]


SPELLINGS = {
    "outer blanks": " sale ",
    "a no-break space": "\u00a0sale",
    "a line feed": "sale\n",
    "decomposed": "caf\u0065\u0301",
    "decomposed Hangul": "\u1109\u1166\u110b\u1175\u11af",
    "a blank within": "spring sale",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_one_source_is_found_in_every_spelling(sqs: Any, dynamodb: Any, settings: Settings, spelling: str) -> None:
    plain = unicodedata.normalize("NFC", spelling).strip()
    for n, written in enumerate((spelling, plain)):
        assert hold(sqs, dynamodb, settings, [{"id": f"n-{n}", "source": written}]) == 0
    for written in (spelling, plain, f"\t{spelling}"):
        ids, answer = cancelled(dynamodb, settings, written)
        assert (sorted(ids), answer["complete"]) == (["n-0", "n-1"], True)


def test_a_source_in_another_spelling_is_said_to_be_incomplete_too(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    wanted = [{"id": "a", "source": "cafe\u0301 "}]
    assert hold(sqs, Faulty(dynamodb, batch_write_item=only_marks), settings, wanted) == 1
    assert not cancelled(dynamodb, settings, "caf\u00e9")[1]["complete"]


@pytest.mark.parametrize("source", [" ", "\u00a0", "\n"])
def test_a_blank_source_is_no_source(sqs: Any, dynamodb: Any, settings: Settings, source: str) -> None:
    assert hold(sqs, dynamodb, settings, [{"id": "a", "source": source}]) == 0
    with pytest.raises(Invalid, match="source: must not be blank"):
        requested_cancels({"source": source})


# --- a mark that the table does not take


def test_a_mark_is_tried_again_after_pauses(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    marks = itertools.count()

    def busy(real: Any, RequestItems: dict[str, Any]) -> Any:
        is_mark = RequestItems["held"][0]["PutRequest"]["Item"]["id"]["S"].startswith("!")
        return real(RequestItems=RequestItems) if is_mark and next(marks) == 3 else throttled()

    owed: dict[str, datetime] = {}
    assert hold(sqs, Faulty(dynamodb, batch_write_item=busy), settings, SALE, owed=owed) == len(SALE)
    assert owed == {}
    assert not cancelled(dynamodb, settings, "sale")[1]["complete"]


def test_a_mark_that_the_table_does_not_take_is_owed_until_it_does(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    owed: dict[str, datetime] = {}
    assert hold(sqs, Faulty(dynamodb, batch_write_item=throttled), settings, SALE, owed=owed) == len(SALE)
    assert owed.keys() == {"sale"}
    later = NIGHT + timedelta(minutes=5)
    assert hold(sqs, dynamodb, settings, [{"id": "other", "source": "shop"}], later, owed) == 0
    assert owed == {}
    assert not cancelled(dynamodb, settings, "sale", later)[1]["complete"]
    assert cancelled(dynamodb, settings, "shop", later)[1]["complete"]
    four_days = NIGHT + timedelta(days=4, seconds=1)
    assert cancelled(dynamodb, settings, "sale", four_days)[1]["complete"], "it lasts as long as the records would have"


def test_a_mark_is_owed_for_no_longer_than_the_records_would_be_kept(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    owed = {"sale": NIGHT}
    assert hold(sqs, dynamodb, settings, [{"id": "a"}], owed=owed) == 0
    assert owed == {}
    assert [item["id"]["S"] for item in dynamodb.scan(TableName="held")["Items"]] == ["a"]
