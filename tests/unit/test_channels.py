"""The channels: the requests of each, the outcomes of its answers, and its reason when it is not configured."""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import importlib
import json
import pkgutil
import socket
from datetime import timedelta
from typing import Any

import pytest

from lambdas.quiet_hours import channels
from lambdas.quiet_hours.channels import NotConfigured, build
from lambdas.quiet_hours.channels.channel import DELIVERED, Channel, Outcome
from lambdas.quiet_hours.channels.configuration import local_use
from lambdas.quiet_hours.channels.webhook import RATE_PER_S, WebhookChannel
from lambdas.quiet_hours.delivery.pacing import AHEAD_S, LATE_TURN_S, TURN_S, WRAP_UP_S, in_a_call, in_a_turn
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.notification.notification import CHANNELS, accept
from lambdas.quiet_hours.timings import CHANNEL_DEADLINE_MAX_S, WORKER_TIMEOUT_S
from tests.helpers.aws import DAY
from tests.helpers.delivery_world import accepted
from tests.helpers.fake_providers import aws_client, no_clients
from tests.helpers.http_peer import Peer, answering, listening, once

SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four byte").decode()


def answer(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Something\r\n{headers}Content-Length: 0\r\n\r\n".encode()


def webhook(peer: Peer, **config: Any) -> WebhookChannel:
    return WebhookChannel({"url": peer.url, **config}, lambda: DAY, local=True)


def outcome_of(raw: bytes) -> Outcome:
    with listening(once(raw)) as peer:
        channel = webhook(peer)
        (outcome,) = channel.send([accepted()])
        channel.close()
    return outcome


def sent(peer: Peer) -> tuple[dict[str, str], bytes]:
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    return dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:]), body


# --- webhook: what is sent


def test_a_webhook_posts_the_notification_with_its_id_as_the_idempotency_key() -> None:
    notification = accepted("order-1:paid", metadata={"shop": "강남점"})
    with listening(answering(answer(204))) as peer:
        channel = webhook(peer)
        assert channel.send([notification]) == [DELIVERED]
        channel.close()
    headers, body = sent(peer)
    assert json.loads(body) == notification
    assert body.decode() == to_text(notification), "compact, and Korean as it is"
    assert headers["webhook-id"] == "order-1:paid"
    assert headers["content-type"] == "application/json"
    assert "webhook-signature" not in headers


def test_a_webhook_is_signed_as_standard_webhooks_describes() -> None:
    """HMAC-SHA256 over id, timestamp and body, joined by dots, with the key that stands in base64 after `whsec_`."""
    with listening(answering(answer(200))) as peer:
        channel = webhook(peer, secret=SECRET)
        channel.send([accepted("a.b")])
        channel.close()
    headers, body = sent(peer)
    assert headers["webhook-timestamp"] == str(int(DAY.timestamp()))
    content = b"a.b." + headers["webhook-timestamp"].encode() + b"." + body
    expected = hmac.new(b"a key of twenty-four byte", content, hashlib.sha256).digest()
    raw = next(line for line in peer.requests[0].decode().split("\r\n") if line.startswith("webhook-signature"))
    assert raw == "webhook-signature: v1," + base64.b64encode(expected).decode()


def test_the_timestamp_is_that_of_the_call() -> None:
    """A receiver refuses old ones: a notification held over night must not carry yesterday's."""
    times = iter([DAY, DAY + timedelta(hours=11), DAY + timedelta(hours=11)])
    with listening(answering(answer(200))) as peer:
        channel = WebhookChannel({"url": peer.url, "secret": SECRET}, lambda: next(times), local=True)
        next(times)
        channel.send([accepted()])
        channel.close()
    assert sent(peer)[0]["webhook-timestamp"] == str(int((DAY + timedelta(hours=11)).timestamp()))


def test_the_prefix_of_a_secret_may_be_left_out() -> None:
    signatures = []
    for secret in (SECRET, SECRET.removeprefix("whsec_")):
        with listening(answering(answer(200))) as peer:
            channel = webhook(peer, secret=secret)
            channel.send([accepted()])
            channel.close()
        signatures.append(sent(peer)[0]["webhook-signature"])
    assert signatures[0] == signatures[1]


# --- webhook: what an answer means


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "delivered"),
        (201, "delivered"),
        (202, "delivered"),
        (204, "delivered"),
        (299, "delivered"),
        (301, "forbidden"),
        (302, "forbidden"),
        (307, "forbidden"),
        (400, "rejected"),
        (401, "unauthorized"),
        (403, "forbidden"),
        (404, "forbidden"),
        (405, "forbidden"),
        (408, "retry"),
        (409, "rejected"),
        (410, "rejected"),
        (413, "rejected"),
        (422, "rejected"),
        (425, "retry"),
        (429, "unavailable"),
        (500, "retry"),
        (502, "retry"),
        (503, "unavailable"),
        (504, "retry"),
        (599, "retry"),
    ],
)
def test_what_each_status_means(status: int, kind: str) -> None:
    outcome = outcome_of(answer(status))
    assert outcome.kind == kind
    if status in (401, 403):
        assert outcome.reason.endswith("; check its credentials in the channel secret")
    if status in (302, 404):
        assert outcome.reason.endswith("; check webhook.url in the channel secret")
    if kind != "delivered":
        assert outcome.reason.startswith(f"http_{status}: the webhook answered {status}")


def test_a_redirect_s_reason_says_why_it_was_not_followed() -> None:
    assert outcome_of(answer(308, "Location: https://elsewhere.example.com/\r\n")).reason == (
        "http_308: the webhook answered 308; redirects are not followed; check webhook.url in the channel secret"
    )


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", None),
        ("Retry-After: 17\r\n", 17.0),
        ("Retry-After: 0\r\n", 0.0),
        ("retry-after: 99999\r\n", 99_999.0),
        ("Retry-After: Wed, 11 Nov 2020 03:02:00 GMT\r\n", 120.0),
        ("Retry-After: Wed, 11 Nov 2020 12:02:00 +0900\r\n", 120.0),
        ("Retry-After: Wed, 11 Nov 2020 02:59:00 GMT\r\n", -60.0),
        ("Retry-After: -5\r\n", None),
        ("Retry-After: 1.5\r\n", None),
        ("Retry-After: soon\r\n", None),
        ("Retry-After: Wed, 99 Nov 2020 03:02:00 GMT\r\n", None),
        ("Retry-After: Wed, 11 Nov 2020 03:02:00 -0000\r\n", None),
        (f"Retry-After: {'9' * 400}\r\n", float("inf")),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_how_long_to_leave_it_alone_is_what_the_answer_asks(status: int, header: str, seconds: float | None) -> None:
    assert outcome_of(answer(status, header)).retry_after_s == seconds


def test_without_a_connection_nothing_was_sent_and_the_channel_is_to_blame() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/canary-7"
    (outcome,) = WebhookChannel({"url": url}, lambda: DAY, local=True).send([accepted()])
    assert outcome.kind == "unavailable"
    assert outcome.reason == "not_connected: no connection to the webhook (ConnectionRefusedError)"


def test_without_an_answer_nobody_knows() -> None:
    outcome = outcome_of(b"")
    assert (outcome.kind, outcome.reason) == (
        "unknown",
        "no_answer: the webhook did not answer within 10 s (RemoteDisconnected)",
    )


def test_no_reason_shows_what_was_sent_or_where() -> None:
    notification = accepted("a", address="canary-address", content={"body": "canary-body"})
    reasons = []
    for raw in (answer(400), answer(500, "X-Echo: canary-answer\r\n"), answer(302), answer(429), b"canary-answer", b""):
        with listening(once(raw)) as peer:
            channel = WebhookChannel({"url": f"{peer.url}&key=canary-key", "secret": SECRET}, lambda: DAY, local=True)
            reasons += [outcome.reason for outcome in channel.send([notification])]
            channel.close()
    assert len(reasons) == 6
    assert "canary" not in "".join(reasons)


# --- webhook: configuration


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "webhook.url must be set"),
        ({"url": None}, "webhook.url must name a host"),
        ({"url": "http://canary.example.com/"}, "webhook.url must begin with https://"),
        ({"url": "https://canary:canary@example.com/"}, "webhook.url must name a host and carry no user name"),
        ({"url": "https://example.com:canary/"}, "webhook.url has a host or a port that cannot be read"),
        ({"secret": "canary, not base64"}, "webhook.secret must be base64 text"),
        ({"secret": "*canary77*"}, "webhook.secret must be base64 text"),
        ({"secret": ""}, "webhook.secret must be base64 text"),
        ({"secret": "whsec_"}, "webhook.secret must be base64 text"),
        ({"secret": None}, "webhook.secret must be base64 text"),
        ({"secret": 12345678}, "webhook.secret must be base64 text"),
        ({"secret": "가나다라"}, "webhook.secret must be base64 text"),
        ({"rate_per_s": "canary"}, "webhook.rate_per_s must be a number above 0"),
        ({"rate_per_s": 0}, "webhook.rate_per_s must be a number above 0"),
        ({"rate_per_s": -1}, "webhook.rate_per_s must be a number above 0"),
        ({"rate_per_s": 1e9}, "webhook.rate_per_s must be a number above 0"),
        ({"rate_per_s": float("nan")}, "webhook.rate_per_s must be a number above 0"),
        ({"rate_per_s": True}, "webhook.rate_per_s must be a number above 0"),
        ({"rate_per_s": None}, "webhook.rate_per_s must be a number above 0"),
    ],
)
def test_a_webhook_that_is_set_up_wrongly_says_what_to_set_and_never_what_was_set(
    config: dict[str, Any], named: str
) -> None:
    whole = config if not config or "url" in config else {"url": "https://canary.example.com/", **config}
    (outcome,) = build("webhook", whole, lambda: DAY, no_clients).send([accepted()])
    assert outcome.kind == "misconfigured", "a slip in the secret costs time and dead-letters nothing"
    assert outcome.reason.startswith("channel_not_configured: channel not configured; ")
    assert named in outcome.reason
    assert "canary" not in outcome.reason


@pytest.mark.parametrize("config", [None, "https://canary.example.com/", ["canary"], 7])
def test_a_webhook_without_a_configuration_says_how_one_looks(config: Any) -> None:
    (outcome,) = build("webhook", config, lambda: DAY, no_clients).send([accepted()])
    assert outcome.reason == (
        'channel_not_configured: channel not configured; the channel secret needs {"webhook": {"url": "https://…"}}'
    )


def test_the_rate_is_two_hundred_a_second_unless_configured() -> None:
    url = "https://example.com/"
    assert WebhookChannel({"url": url}, lambda: DAY).rate_per_s == RATE_PER_S == 200
    assert WebhookChannel({"url": url, "rate_per_s": 0.5}, lambda: DAY).rate_per_s == 0.5


# --- the others


def test_a_channel_that_is_not_built_in_rejects_everything_and_says_so() -> None:
    channel = build("fax", {"url": "https://example.com/"}, lambda: DAY, no_clients)
    assert [outcome.kind for outcome in channel.send([accepted()] * 3)] == ["rejected"] * 3
    assert channel.send([accepted()])[0].reason == "channel_not_configured: channel not configured; fax is not built in"
    channel.close()


def test_the_log_channel_prints_id_and_size_and_never_content(capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        "channel": "log",
        "address": "canary-address",
        "recipient_id": "canary-recipient",
        "source": "canary-source",
        "content": {"title": "canary-title", "body": "canary-본문", "variables": {"canary": "canary"}},
        "metadata": {"canary": "canary"},
    }
    notification, _ = accept(given, default_id="order-1", now=DAY)
    channel = build("log", None, lambda: DAY, no_clients)
    assert channel.send([notification]) == [DELIVERED]
    channel.close()
    printed = capsys.readouterr()
    size_bytes = len(json.dumps(notification, ensure_ascii=False, separators=(",", ":")).encode())
    assert json.loads(printed.out) == {"message": "notification", "id": "order-1", "bytes": size_bytes}
    assert "canary" not in printed.out + printed.err


def every_channel() -> list[Channel]:
    """Each channel with the least that it needs."""
    return [build(name, config, lambda: DAY, aws_client) for name, config in CONFIGURED] + [NotConfigured("why")]


CONFIGURED: list[tuple[str, dict[str, Any]]] = [
    ("log", {}),
    ("webhook", {"url": "https://example.com/"}),
    ("slack", {"token": "xoxb-1"}),
    ("sms", {"provider": "solapi", "api_key": "k", "api_secret": "s", "from": "0212345678"}),
    ("sms", {"provider": "aws", "from": "+15005550006"}),
    ("kakao", {"api_key": "k", "api_secret": "s", "pf_id": "KA01PF"}),
    ("email", {"from": "shop@example.com"}),
    ("push", {}),
]


@pytest.mark.parametrize(("name", "config"), CONFIGURED[1:])
def test_no_channel_calls_this_machine_unless_aws_is_on_it(name: str, config: dict[str, Any]) -> None:
    stand_in = {"url": "http://127.0.0.1:9001/"} if name == "webhook" else {"endpoint_url": "http://127.0.0.1:9001"}
    assert isinstance(build(name, config | stand_in, lambda: DAY, aws_client, local=False), NotConfigured)
    assert not isinstance(build(name, config | stand_in, lambda: DAY, aws_client, local=True), NotConfigured)


def test_slack_s_webhooks_are_not_on_this_machine_either() -> None:
    config = {"webhooks": {"#orders": "http://127.0.0.1:9001/"}}
    assert isinstance(build("slack", config, lambda: DAY, no_clients, local=False), NotConfigured)


@pytest.mark.parametrize(
    ("env", "local"),
    [
        ({}, False),
        ({"AWS_ENDPOINT_URL": ""}, False),
        ({"AWS_ENDPOINT_URL": "https://vpce-1.sqs.ap-northeast-2.vpce.amazonaws.com"}, False),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}, True),
    ],
)
def test_it_is_local_use_where_aws_itself_is_on_this_machine(env: dict[str, str], local: bool) -> None:
    assert local_use(env) is local


def test_a_channel_that_is_slower_than_the_guard_knows_is_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WebhookChannel, "deadline_s", CHANNEL_DEADLINE_MAX_S + 1)
    with pytest.raises(AssertionError, match="the guard does not know of webhook's deadline"):
        build("webhook", {"url": "https://example.com/"}, lambda: DAY, no_clients)


def test_every_channel_keeps_its_promises() -> None:
    """The guard covers each deadline; a call fits into an invocation; there is always something to do."""
    for channel in every_channel():
        assert 0 <= channel.deadline_s <= CHANNEL_DEADLINE_MAX_S < WORKER_TIMEOUT_S / 2
        assert channel.rate_per_s is None or channel.rate_per_s > 0
        assert channel.batch_size >= 1
        assert channel.side_by_side >= 1
        channel.close()


def test_every_channel_that_a_notification_may_name_is_built_in() -> None:
    assert {name for name, _ in CONFIGURED} == set(CHANNELS)
    assert [type(channel).__name__ for channel in every_channel()] == [
        *("LogChannel", "WebhookChannel", "SlackChannel", "SolapiChannel", "AwsSmsChannel", "SolapiChannel"),
        *("SesChannel", "SnsChannel", "NotConfigured"),
    ]


def test_only_what_a_provider_recognises_by_its_id_is_sent_again_unasked() -> None:
    again = {type(channel).__name__ for channel in every_channel() if channel.can_resend}
    assert again == {"LogChannel", "WebhookChannel", "NotConfigured"}


def test_a_turn_fits_into_an_invocation_of_its_own() -> None:
    """The furthest turn that may be booked, taken as late as it may be: then the call has its whole deadline, and there
    is time to hand back."""
    for channel in every_channel():
        call_ends_s = max(AHEAD_S.values()) + TURN_S + LATE_TURN_S + channel.deadline_s
        assert call_ends_s + WRAP_UP_S <= WORKER_TIMEOUT_S


def test_no_channel_books_more_in_a_turn_than_its_rate_gives_in_a_second() -> None:
    for channel in every_channel():
        assert 1 <= in_a_call(channel) <= channel.batch_size
        if channel.rate_per_s is not None:
            assert in_a_call(channel) <= in_a_turn(channel) <= max(1, channel.rate_per_s * TURN_S)


def test_the_guard_knows_the_longest_deadline_of_all_channels() -> None:
    """timings.py cannot import the channels, so it repeats the number: docs/channels.md says how to change it."""
    names = [module.name for module in pkgutil.iter_modules(channels.__path__)]
    modules = [importlib.import_module(f"{channels.__name__}.{name}") for name in names]
    deadlines_s = {module.__name__: module.DEADLINE_S for module in modules if hasattr(module, "DEADLINE_S")}
    assert {type(channel).__module__ for channel in every_channel()} - {channels.__name__} <= deadlines_s.keys()
    assert max(deadlines_s.values()) == CHANNEL_DEADLINE_MAX_S == 10
    assert max(channel.deadline_s for channel in every_channel()) == CHANNEL_DEADLINE_MAX_S


def test_a_channel_without_its_part_of_the_secret_says_what_to_set() -> None:
    for name in set(CHANNELS) - {"log"}:
        (outcome,) = build(name, None, lambda: DAY, no_clients).send([accepted()])
        assert outcome.kind == "misconfigured"
        assert f'the channel secret needs {{"{name}": ' in outcome.reason


@pytest.mark.filterwarnings("error::ResourceWarning", "error::pytest.PytestUnraisableExceptionWarning")
def test_a_closed_webhook_has_no_connection_left() -> None:
    hung_up: list[bool] = []

    def talk(peer: Peer, connection: socket.socket) -> None:
        peer.read_request(connection)
        connection.sendall(answer(200))
        hung_up.append(peer.read_request(connection) is None)

    with listening(talk) as peer:
        channel = webhook(peer)
        channel.send([accepted()])
        assert hung_up == []
        channel.close()
        for _ in range(1000):
            if hung_up or peer.stop.wait(0.02):
                break
        assert hung_up == [True]
        assert channel.send([accepted()]) == [DELIVERED], "and it can be used again"
        channel.close()
    del channel
    gc.collect()
