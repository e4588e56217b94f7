"""The release of what was held singly: it travels on in full bundles, and nothing is lost where they break."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sqs.models import sqs_backends

from lambdas import scheduler
from lambdas.quiet_hours.notification.bundle import (
    BUNDLE_BYTES_MAX,
    BUNDLE_ITEMS_MAX,
    REDRIVEN,
    Message,
)
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.timings import WAIT_VISIBILITY_S
from tests.helpers.aws import Faulty, dynamodb, fail, settings, sqs, take
from tests.helpers.scheduler_world import Run, _empty_receives_do_not_wait, bodies, run, waiting

__all__ = ["_empty_receives_do_not_wait", "dynamodb", "run", "settings", "sqs"]


def item(n: int, channel: str = "sms", body: str = "안녕하세요") -> dict[str, Any]:
    return {"channel": channel, "address": "+821012345678", "id": f"n-{n:04}", "content": {"body": body}}


@pytest.fixture
def held(sqs: Any, settings: Settings) -> Callable[[Sequence[Any]], list[str]]:
    """Put values on wait, each as one message. Returns their bodies."""

    def call(values: Sequence[Any]) -> list[str]:
        texts = [value if isinstance(value, str) else to_text(value) for value in values]
        assert not send(sqs, settings.wait_queue_url, map(Message, texts))
        return texts

    return call


def on_schedule(sqs: Any, settings: Settings) -> list[list[dict[str, Any]]]:
    return [json.loads(body) for body in bodies(sqs, settings.schedule_queue_url)]


def show_again() -> None:
    """Make every message on wait visible, as its visibility timeout does later."""
    backends: Any = sqs_backends
    queue = backends[DEFAULT_ACCOUNT_ID]["ap-northeast-2"].get_queue("wait")
    for message in [*queue._messages]:
        message.change_visibility(0)


def ids(bundles: Sequence[Sequence[dict[str, Any]]]) -> list[str]:
    return sorted(each["id"] for bundle in bundles for each in bundle)


def test_what_was_held_singly_travels_on_in_full_bundles(sqs: Any, run: Run, held: Any, settings: Settings) -> None:
    held([item(n) for n in range(130)])
    assert run(sqs) == {"released": 130, "messages": 130, "remaining": False}
    bundles = on_schedule(sqs, settings)
    assert sorted(map(len, bundles)) == [30, 100]
    assert ids(bundles) == [f"n-{n:04}" for n in range(130)]
    assert waiting(sqs, settings) == 0


def test_each_notification_keeps_its_exact_text(sqs: Any, run: Run, held: Any, settings: Settings) -> None:
    texts = held(['{ "id": "a", "channel":"sms", "n": 1.50}', '{"id":"b","channel":"sms","x":"\\u00e9"}'])
    run(sqs)
    (body,) = bodies(sqs, settings.schedule_queue_url)
    assert body in (f"[{texts[0]},{texts[1]}]", f"[{texts[1]},{texts[0]}]")


def test_a_bundle_is_of_one_channel(sqs: Any, run: Run, held: Any, settings: Settings) -> None:
    held([item(n, channel) for n, channel in enumerate(["sms", "kakao", "email"] * 20)])
    run(sqs)
    bundles = on_schedule(sqs, settings)
    assert sorted(map(len, bundles)) == [20, 20, 20]
    assert all(len({each["channel"] for each in bundle}) == 1 for bundle in bundles)


def test_a_bundle_keeps_to_its_bytes(sqs: Any, run: Run, held: Any, settings: Settings) -> None:
    held([item(n, body="x" * 20_000) for n in range(10)])
    run(sqs)
    found = bodies(sqs, settings.schedule_queue_url)
    assert all(len(body.encode()) <= BUNDLE_BYTES_MAX for body in found)
    assert sorted(len(json.loads(body)) for body in found) == [1, 3, 3, 3]


def test_small_bundles_are_joined_and_large_ones_move_as_they_are(
    sqs: Any, run: Run, held: Any, settings: Settings
) -> None:
    large = [[item(n) for n in range(60)], [item(n, body="y" * 20_000) for n in range(60, 62)]]
    small = [[item(n), item(n + 1)] for n in range(100, 120, 2)]
    texts = held([*large, *small])
    run(sqs)
    found = bodies(sqs, settings.schedule_queue_url)
    assert {len(json.loads(body)) for body in found} == {60, 2, 20}
    assert set(texts[:2]) <= set(found)


@pytest.mark.parametrize(
    "body",
    [
        "not JSON",
        "[]",
        '"a text"',
        "[1, 2]",
        '{"channel":"sms","address":"+821012345678"}',
        '{"id":"x","content":{}}',
        '{"id":7,"channel":"sms"}',
        '[{"id":"x","channel":"sms"},{"channel":"sms"}]',
        "[" + ",".join(['{"id":"x","channel":"sms"}'] * (BUNDLE_ITEMS_MAX + 1)) + "]",
    ],
)
def test_what_the_consumer_does_not_write_moves_as_it_is_and_joins_nobody(
    sqs: Any, run: Run, held: Any, settings: Settings, body: str
) -> None:
    held([item(1), item(2), body])
    run(sqs)
    found = bodies(sqs, settings.schedule_queue_url)
    assert body in found
    found.remove(body)
    assert ids([json.loads(each) for each in found]) == ["n-0001", "n-0002"]


def test_a_redriven_message_travels_alone_with_its_attribute(sqs: Any, run: Run, held: Any, settings: Settings) -> None:
    redriven = Message(to_text(item(7)), attributes={REDRIVEN: "2020-11-11T12:00:00.000+00:00"})
    assert not send(sqs, settings.wait_queue_url, [redriven])
    held([item(1), item(2)])
    run(sqs)
    found = {
        message["Body"]: message.get("MessageAttributes", {}) for message in take(sqs, settings.schedule_queue_url)
    }
    assert found.pop(redriven.body)[REDRIVEN]["StringValue"] == "2020-11-11T12:00:00.000+00:00"
    assert list(found.values()) == [{}]


def test_a_message_is_deleted_only_when_every_bundle_with_a_part_of_it_was_taken(
    sqs: Any, run: Run, held: Any, settings: Settings
) -> None:
    """Nine messages of 12 make two bundles, and one message has a part in each of them."""
    held([[item(100 * m + n) for n in range(12)] for m in range(9)])

    def take_the_first(real: Any, **call: Any) -> Any:
        taken = real(**call | {"Entries": call["Entries"][:1]})
        refused = [{"Id": each["Id"], "Code": "No", "SenderFault": True} for each in call["Entries"][1:]]
        return taken | {"Failed": refused}

    answer = run(Faulty(sqs, send_message_batch=take_the_first))
    assert answer == {"released": 100, "messages": 8, "remaining": True}
    show_again()
    (left,) = take(sqs, settings.wait_queue_url)
    assert len(json.loads(left["Body"])) == 12
    (bundle,) = on_schedule(sqs, settings)
    assert set(ids([bundle, json.loads(left["Body"])])) == {f"n-{100 * m + n:04}" for m in range(9) for n in range(12)}


def test_nothing_is_kept_longer_than_wait_leaves_for_its_send_and_delete(
    sqs: Any, run: Run, held: Any, settings: Settings
) -> None:
    assert WAIT_VISIBILITY_S >= 3 * scheduler.GATHER_S
    held([item(n) for n in range(60)])
    received: list[int] = []
    sent: list[int] = []

    def slow(real: Any, **call: Any) -> Any:
        answer = real(**call)
        run.clock += timedelta(seconds=scheduler.GATHER_S + 1)
        received.append(len(answer.get("Messages", [])))
        return answer

    def note(real: Any, **call: Any) -> Any:
        sent.append(sum(received))
        return real(**call)

    run(Faulty(sqs, receive_message=slow, send_message_batch=note))
    assert sent == [20, 40, 60]


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
@pytest.mark.parametrize("crashes_at", range(9))  # six receives, a send and two deletes
def test_a_crash_at_any_call_loses_nothing(
    sqs: Any, run: Run, held: Any, settings: Settings, crashes_at: int, after: bool
) -> None:
    held([item(n) for n in range(20)])
    calls: list[str] = []

    def crash(real: Any, **call: Any) -> Any:
        calls.append("")
        now = len(calls) == crashes_at + 1
        if now and not after:
            raise KeyboardInterrupt
        answer = real(**call)
        if now:
            raise KeyboardInterrupt
        return answer

    operations = ("receive_message", "send_message_batch", "delete_message_batch")
    with suppress(KeyboardInterrupt):
        run(Faulty(sqs, **dict.fromkeys(operations, crash)))
    assert len(calls) > crashes_at
    show_again()
    run(sqs)
    assert set(ids(on_schedule(sqs, settings))) == {f"n-{n:04}" for n in range(20)}
    assert waiting(sqs, settings) == 0


def test_what_was_held_singly_is_sent_on_by_few_calls(sqs: Any, run: Run, held: Any, settings: Settings) -> None:
    held([item(n) for n in range(90)])
    calls: list[str] = []

    def note(operation: str) -> Any:
        def call(real: Any, **call: Any) -> Any:
            calls.append(operation)
            return real(**call)

        return call

    operations = ("receive_message", "send_message_batch", "delete_message_batch")
    run(Faulty(sqs, **{operation: note(operation) for operation in operations}))
    assert calls.count("send_message_batch") == 1
    assert calls.count("delete_message_batch") == 9
    assert len(on_schedule(sqs, settings)) == 1


def test_the_notifications_of_a_bundle_that_was_not_taken_do_not_count_as_released(
    sqs: Any, run: Run, held: Any, settings: Settings
) -> None:
    held([item(n) for n in range(5)])
    assert run(Faulty(sqs, send_message_batch=fail())) == {"released": 0, "messages": 0, "remaining": True}
    assert waiting(sqs, settings) == 5
