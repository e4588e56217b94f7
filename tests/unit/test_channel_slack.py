"""Slack, against a fake of it on a real socket: what is sent, and what each documented answer means."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fakes.slack import HOOK, TOKEN
from lambdas.quiet_hours.channels import NotConfigured, build
from lambdas.quiet_hours.channels.channel import DELIVERED, Channel, Outcome
from lambdas.quiet_hours.channels.slack import DEADLINE_S, SlackChannel
from tests.helpers.fake_providers import Running, fakes, no_clients, nobody_there, notification, now, send
from tests.helpers.http_peer import answering, listening, once


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with fakes() as running:
        yield running


@pytest.fixture
def slack(running: Running) -> Running:
    return running.anew()


def by_token(slack: Running, **config: Any) -> Channel:
    return SlackChannel({"token": TOKEN, "endpoint_url": slack.url, **config}, now)


def by_webhook(url: str, **config: Any) -> Channel:
    return SlackChannel({"webhooks": {"#orders": url}, **config}, now, local=True)


def order(id: str = "order-1:paid", address: str = "#orders", **content: str) -> Any:
    return notification("slack", id, address, {"body": "결제 완료 12,900원"} | content)


def test_a_message_goes_to_the_channel_that_the_address_names_with_the_notification_s_id(slack: Running) -> None:
    assert send(by_token(slack), order()) == [DELIVERED]
    assert slack.taken == ["order-1:paid"]
    assert slack.bodies == [
        {
            "text": "결제 완료 12,900원",
            "channel": "#orders",
            "metadata": {"event_type": "quiet_hours", "event_payload": {"notification_id": "order-1:paid"}},
        }
    ]


def test_a_title_is_the_message_and_the_body_its_attachment(slack: Running) -> None:
    send(by_token(slack), order(title="결제"))
    assert slack.bodies[0]["text"] == "결제"
    assert slack.bodies[0]["attachments"] == [{"fallback": "결제", "text": "결제 완료 12,900원"}]


def test_nobody_s_text_can_call_a_whole_channel(slack: Running) -> None:
    send(by_token(slack), order(title="<!channel>", body="a & b <@U123>"))
    assert slack.bodies[0]["text"] == "&lt;!channel&gt;"
    assert slack.bodies[0]["attachments"][0]["text"] == "a &amp; b &lt;@U123&gt;"


def test_a_webhook_posts_to_the_channel_that_it_was_made_for(slack: Running) -> None:
    assert send(by_webhook(slack.url + HOOK), order()) == [DELIVERED]
    assert slack.bodies == [{"text": "결제 완료 12,900원"}]


def test_a_channel_without_a_webhook_of_its_own_gets_no_other_s(slack: Running) -> None:
    (outcome,) = send(by_webhook(slack.url + HOOK), order(address="#other"))
    assert outcome == Outcome("rejected", "unfit: address has no URL under slack.webhooks in the channel secret")
    assert slack.lines == []


@pytest.mark.parametrize(("address", "error"), [("#nowhere", "channel_not_found"), ("#old", "is_archived")])
def test_a_channel_that_slack_does_not_have_is_the_notification_s_fault(
    slack: Running, address: str, error: str
) -> None:
    (outcome,) = send(by_token(slack), order(address=address))
    assert outcome == Outcome("rejected", f"slack_{error}: Slack answered 200 {error}")


def test_a_token_that_is_refused_is_the_channel_s_fault(slack: Running) -> None:
    (outcome,) = send(by_token(slack, token="xoxb-revoked"), order())
    assert (outcome.kind, outcome.reason.partition(":")[0]) == ("unauthorized", "slack_invalid_auth")
    (outcome,) = send(by_webhook(slack.url + "/services/T0DEMO/B0DEMO/gone"), order())
    assert (outcome.kind, outcome.reason.partition(":")[0]) == ("forbidden", "slack_invalid_token")
    assert "gone" not in outcome.reason


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, "unavailable"), (500, "unknown"), (502, "unknown"), (503, "unavailable"), (504, "unknown")],
)
def test_what_slack_s_troubles_mean(slack: Running, status: int, kind: str) -> None:
    """Of its fatal error Slack says that some of the operation may have succeeded."""
    slack.rules({"status": status, "times": 1})
    assert send(by_token(slack), order())[0].kind == kind


def test_it_is_left_alone_for_as_long_as_it_asks(slack: Running) -> None:
    slack.rules({"status": 429, "retry_after_s": 17})
    (outcome,) = send(by_token(slack), order())
    assert outcome == Outcome("unavailable", "slack_ratelimited: Slack answered 429 ratelimited", 17.0)
    (outcome,) = send(by_webhook(slack.url + HOOK), order())
    assert outcome.retry_after_s == 17.0


def test_an_answer_lost_after_acceptance_leaves_the_outcome_unknown(slack: Running) -> None:
    slack.rules({"hang_up": True, "times": 1})
    (outcome,) = send(by_token(slack), order())
    assert slack.taken == ["order-1:paid"]
    assert outcome.kind == "unknown"
    assert outcome.reason == "no_answer: Slack did not answer within 8 s (RemoteDisconnected)"


def test_a_slow_answer_is_waited_for(slack: Running) -> None:
    slack.rules({"delay_s": 0.5, "times": 1})
    assert send(by_token(slack), order()) == [DELIVERED]


def test_without_a_connection_nothing_was_sent() -> None:
    (outcome,) = send(SlackChannel({"token": TOKEN, "endpoint_url": nobody_there()}, now), order())
    assert outcome == Outcome("unavailable", "not_connected: no connection to Slack (ConnectionRefusedError)")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<html>ok\n", "unknown"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "unknown"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "delivered"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"ok":true}', "delivered"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"ok":1}', "unknown"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n{"ok":', "unknown"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\nContent-Length: 0\r\n\r\n", "forbidden"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>", "unknown"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 12\r\n\r\nrollup_error", "unknown"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 17\r\n\r\nchannel_not_found", "rejected"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nno_service", "forbidden"),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 15\r\n\r\ninvalid_payload", "rejected"),
    ],
)
def test_an_answer_is_success_only_in_slack_s_own_words(raw: bytes, kind: str) -> None:
    with listening(once(raw)) as peer:
        (outcome,) = send(SlackChannel({"token": TOKEN, "endpoint_url": peer.url.partition("/hook")[0]}, now), order())
    assert outcome.kind == kind


def test_a_text_that_slack_would_cut_off_is_refused_with_the_limit() -> None:
    with listening(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as peer:
        channel = by_webhook(peer.url)
        (body,) = send(channel, order(body="&" * 8_001))
        (title,) = send(channel, order(title="<" * 10_000 + ""))
    assert body.reason == ("unfit: content.body must be at most 40000 characters, with &, < and > written as entities")
    assert title.kind == "unknown", "4 characters each: just fits, and this peer says nothing"


def test_a_template_is_kakao_s() -> None:
    with listening(answering(b"")) as peer:
        only_template = notification("slack", "a", "#orders", {"template": "t"})
        assert send(by_webhook(peer.url), only_template) == [
            Outcome("rejected", "unfit: content.body is required: slack has no templates")
        ]


def test_no_reason_shows_what_was_sent_or_where(slack: Running) -> None:
    canary = order("a", title="canary-title", body="canary-body")
    reasons = []
    for status in (None, 400, 429, 500, 503):
        slack.rules(*([{"status": status}] if status else []))
        for channel in (by_token(slack, token="xoxb-canary"), by_webhook(slack.url + "/services/canary")):
            reasons += [outcome.reason for outcome in send(channel, canary)]
    assert len([reason for reason in reasons if reason]) == 10
    assert "canary" not in "".join(reasons)


# --- configuration


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, 'slack needs "token", or "webhooks"'),
        ({"token": "xoxb-canary", "webhooks": {"#a": "https://hooks.slack.com/x"}}, "and not both"),
        ({"token": 7}, "slack.token must be text"),
        ({"token": "canary canary"}, "slack.token must be text of visible ASCII characters"),
        ({"webhooks": "https://hooks.slack.com/canary"}, "slack.webhooks must be an object"),
        ({"webhooks": {"canary": "https://hooks.slack.com/x"}}, "a name in slack.webhooks must be a channel such as"),
        ({"webhooks": {"#a": "https://canary.example.com/x"}}, "slack.webhooks: url must be on hooks.slack.com"),
        ({"webhooks": {"#a": "http://hooks.slack.com/canary"}}, "slack.webhooks: url must begin with https://"),
        ({"token": "xoxb-canary", "endpoint_url": "https://canary.example.com"}, "slack.endpoint_url is for local use"),
        ({"token": "xoxb-canary", "endpoint_url": "http://169.254.169.254:80"}, "slack.endpoint_url is for local use"),
        ({"token": "xoxb-canary", "endpoint_url": "http://127.0.0.1:99999"}, "slack.endpoint_url is for local use"),
        ({"token": "xoxb-canary", "endpoint_url": "http://127.0.0.1:80@e.com"}, "slack.endpoint_url is for local use"),
        ({"token": "xoxb-canary", "endpoint_url": "http://127.0.0.1.e.com:80"}, "slack.endpoint_url is for local use"),
        ({"token": "xoxb-canary", "unknown_outcome": "canary"}, 'unknown_outcome must be "resend" or "dead_letter"'),
        ({"token": "xoxb-canary", "rate_per_s": 0}, "slack.rate_per_s must be a number above 0"),
    ],
)
def test_what_is_set_up_wrongly_is_named_and_never_shown(config: dict[str, Any], named: str) -> None:
    channel = build("slack", config, now, no_clients, local=True)
    assert isinstance(channel, NotConfigured)
    (outcome,) = channel.send([order()])
    assert (outcome.kind, "canary" in outcome.reason) == ("misconfigured", False)
    assert named in outcome.reason


def test_the_provider_s_own_host_is_the_one_that_is_called_unless_told() -> None:
    channel = SlackChannel({"token": TOKEN}, now)
    assert (channel._api._host, channel._api._port, channel._api._target) == ("slack.com", 443, "/api/chat.postMessage")


def test_the_setting_decides_what_becomes_of_an_unknown_outcome() -> None:
    assert not SlackChannel({"token": TOKEN}, now).can_resend
    assert not SlackChannel({"token": TOKEN, "unknown_outcome": "dead_letter"}, now).can_resend
    assert SlackChannel({"token": TOKEN, "unknown_outcome": "resend"}, now).can_resend


def test_one_message_a_second_unless_configured() -> None:
    assert SlackChannel({"token": TOKEN}, now).rate_per_s == 1
    assert SlackChannel({"token": TOKEN, "rate_per_s": 5}, now).rate_per_s == 5
    assert DEADLINE_S <= 10
