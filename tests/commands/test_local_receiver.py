"""The receiver: it answers by its rules, and records what it gets."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fakes.process import Provider


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    provider = Provider(tmp_path / "received.jsonl")
    provider.start()
    yield provider
    provider.stop()


def post(provider: Provider, notification_id: str, body: str = "{}") -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=10)
    try:
        connection.request("POST", "/notifications", body=body.encode(), headers={"webhook-id": notification_id})
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def test_what_arrives_is_answered_and_written_down_with_its_time(provider: Provider) -> None:
    before = datetime.now(UTC)
    assert post(provider, "a", '{"title":"안녕"}').status == 200
    [arrival] = provider.arrivals()
    assert (arrival.id, arrival.status, arrival.body) == ("a", 200, '{"title":"안녕"}')
    assert before <= arrival.at <= datetime.now(UTC)


def test_a_rule_decides_for_the_ids_that_it_names(provider: Provider) -> None:
    provider.answer({"id_ends": ":poison", "status": 500})
    assert [post(provider, each).status for each in ("a:poison", "a")] == [500, 200]
    provider.answer()
    assert post(provider, "a:poison").status == 200
    assert [arrival.accepted for arrival in provider.arrivals()] == [False, True, True]


def test_an_overloaded_provider_says_when_to_come_again_and_recovers(provider: Provider) -> None:
    provider.answer({"status": 429, "retry_after_s": 2, "times": 2})
    first = post(provider, "a")
    assert (first.status, first.getheader("Retry-After")) == (429, "2")
    assert [post(provider, "a").status for _ in range(2)] == [429, 200]


def test_a_slow_provider_takes_its_time(provider: Provider) -> None:
    provider.answer({"delay_s": 0.3})
    began = time.monotonic()
    assert post(provider, "a").status == 200
    assert time.monotonic() - began >= 0.3


def test_an_answer_can_be_lost_after_the_notification_was_accepted(provider: Provider) -> None:
    provider.answer({"hang_up": True, "times": 1})
    with pytest.raises(http.client.RemoteDisconnected):
        post(provider, "a")
    assert [arrival.accepted for arrival in provider.arrivals()] == [True]


def test_a_provider_that_is_down_refuses_and_comes_back_with_its_port_and_its_book(provider: Provider) -> None:
    post(provider, "a")
    port = provider.port
    provider.stop()
    with pytest.raises(ConnectionRefusedError):
        post(provider, "b")
    provider.start()
    post(provider, "c")
    assert provider.port == port
    assert [arrival.id for arrival in provider.arrivals()] == ["a", "c"]


def test_two_hundred_a_second_are_no_trouble_on_one_kept_connection(provider: Provider) -> None:
    """By the median, which a busy machine hardly moves: an answer that waits for an acknowledgement takes 40 ms."""
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=10)
    took_s = []
    for number in range(400):
        began = time.monotonic()
        connection.request("POST", "/", body=b"{}", headers={"webhook-id": str(number)})
        connection.getresponse().read()
        took_s.append(time.monotonic() - began)
    connection.close()
    assert statistics.median(took_s) < 0.025
    assert len(provider.arrivals()) == 400
