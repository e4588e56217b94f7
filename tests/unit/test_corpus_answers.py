"""Answers of providers, and the project's own answers: each input with its right value."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from fakes.slack import TOKEN
from lambdas.quiet_hours.channels.channel import Channel
from lambdas.quiet_hours.channels.http import INTERIM_ANSWERS_MAX
from lambdas.quiet_hours.channels.slack import SlackChannel
from lambdas.quiet_hours.channels.webhook import WebhookChannel
from tests.helpers.fake_providers import notification, now, send
from tests.helpers.http_peer import Peer, answering, listening

# --- interim answers


def interim(status: int, head: str = "") -> bytes:
    return f"HTTP/1.1 {status} Interim\r\n{head}\r\n".encode()


FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
HINTS = interim(103, "Link: </style.css>; rel=preload\r\n")


def webhook(peer: Peer) -> Channel:
    return WebhookChannel({"url": peer.url}, now, local=True)


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
    said = b'{"ok": true}'
    raw = HINTS + f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said
    with listening(answering(raw)) as peer:
        url = peer.url.partition("/hook")[0]
        (outcome,) = send(SlackChannel({"token": TOKEN, "endpoint_url": url}, now), order("slack", "#orders"))
    assert outcome.kind == "delivered"


def hints_then_hangs_up(peer: Peer, connection: socket.socket) -> None:
    peer.read_request(connection)
    connection.sendall(HINTS)


def test_an_interim_answer_alone_is_no_answer() -> None:
    with listening(hints_then_hangs_up) as peer:
        (outcome,) = send(webhook(peer), order())
    assert outcome.kind == "unknown"
