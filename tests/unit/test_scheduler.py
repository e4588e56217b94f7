"""The scheduler: at night it touches nothing, by day it moves everything from wait to schedule. Shows R4, R5, R9, R16,
R21 and R22."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.notification.bundle import REDRIVEN, Message
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import EMPTY_RECEIVES, STOP_BEFORE_S, release
from tests.helpers.aws import (
    NIGHT,
    Call,
    Faulty,
    dynamodb,
    fail,
    notification,
    one_after_another,
    recorded,
    refuse,
    settings,
    sqs,
    take,
    take_records,
    text_attributes,
)
from tests.helpers.scheduler_world import Run, _empty_receives_do_not_wait, bodies, hold, make_visible, run, waiting

__all__ = ["_empty_receives_do_not_wait", "dynamodb", "hold", "run", "settings", "sqs"]


# --- when


@pytest.mark.parametrize(
    "now",
    [
        "2020-11-11T20:59:45+09:00",
        "2020-11-11T21:00:00+09:00",
        "2020-11-12T00:00:00+09:00",
        "2020-11-12T03:00:00+09:00",
        "2020-11-12T07:59:56.999999+09:00",
    ],
)
def test_r5_at_night_nothing_is_received(sqs: Any, run: Run, hold: Any, settings: Settings, now: str) -> None:
    hold(3)
    run.clock = datetime.fromisoformat(now).astimezone(UTC)
    with recorded(sqs) as calls:
        assert run(sqs) == {"skipped": "quiet hours until 2020-11-12T08:00:00+09:00"}
    assert calls == []
    assert run.slept_s == []
    assert len(take(sqs, settings.wait_queue_url)) == 3


@pytest.mark.parametrize(
    ("now", "waits_s"),
    [
        ("2020-11-12T07:59:57+09:00", 5),
        ("2020-11-12T07:59:59.5+09:00", 2.5),
        ("2020-11-12T08:00:00+09:00", 2),  # this clock may run ahead by as much
        ("2020-11-12T08:00:01.999999+09:00", 0.000001),
        ("2020-11-12T08:00:02+09:00", None),
        ("2020-11-12T08:00:59.999+09:00", None),
        ("2020-11-12T12:00:00+09:00", None),
        ("2020-11-11T20:49:44.999999+09:00", None),
    ],
)
def test_r5_a_trigger_a_breath_before_the_end_waits_for_it_and_a_later_one_begins_at_once(
    sqs: Any, run: Run, hold: Any, now: str, waits_s: float | None
) -> None:
    hold(1)
    run.clock = datetime.fromisoformat(now).astimezone(UTC)
    assert run(sqs) == {"released": 2, "messages": 1, "remaining": False}
    assert run.slept_s == ([] if waits_s is None else [waits_s])


def test_the_wait_is_right_where_the_end_of_quiet_hours_comes_twice(sqs: Any, run: Run, hold: Any) -> None:
    hold(1)
    run.settings = replace(run.settings, end="01:30", timezone="America/New_York", kakao_closed="never")
    run.clock = datetime(2026, 11, 1, 5, 29, 58, tzinfo=UTC)  # the first 01:30 is two seconds away
    assert run(sqs) == {"skipped": "quiet hours until 2026-11-01T01:30:00-05:00"}
    run.clock += timedelta(hours=1)
    assert run(sqs)["released"] == 2
    assert run.slept_s == [4]


def test_quiet_hours_that_end_between_two_looks_at_the_clock_are_no_error(sqs: Any, run: Run, hold: Any) -> None:
    hold(1)
    start = datetime.fromisoformat("2020-11-12T08:00:01.999500+09:00").astimezone(UTC)
    ticks = (start + timedelta(milliseconds=n) for n in count())
    policy = run.settings.quiet_hours()
    answer = release(
        sqs,
        run.settings,
        policy,
        now=lambda: next(ticks),
        remaining_s=lambda: 300,
        sleep=run.sleep,
        side_by_side=one_after_another,
    )
    assert answer["released"] == 2


def test_quiet_hours_that_begin_during_a_drain_end_it_before_the_next_receive(sqs: Any, run: Run, hold: Any) -> None:
    hold(40)
    run.clock = datetime.fromisoformat("2020-11-11T20:49:43+09:00").astimezone(UTC)

    def a_second_passes(real: Any, **call: Any) -> Any:
        run.clock += timedelta(seconds=1)
        return real(**call)

    with recorded(sqs) as calls:
        answer = run(Faulty(sqs, receive_message=a_second_passes))
    assert answer == {"released": 40, "messages": 20, "remaining": True}
    assert [call.operation for call in calls].count("ReceiveMessage") == 2


# --- what


def test_r4_everything_is_moved_as_it_is_and_nothing_stays(sqs: Any, run: Run, hold: Any, settings: Settings) -> None:
    held = hold(25)
    assert run(sqs) == {"released": 50, "messages": 25, "remaining": False}
    assert bodies(sqs, settings.schedule_queue_url) == held
    assert waiting(sqs, settings) == 0


def test_r21_ten_are_moved_by_three_calls(sqs: Any, run: Run, hold: Any, settings: Settings) -> None:
    hold(30)
    with recorded(sqs) as calls:
        run(sqs)
    busy = [call for call in calls if call.operation != "ReceiveMessage" or call.answer.get("Messages")]
    assert [call.operation for call in busy] == ["ReceiveMessage", "SendMessageBatch", "DeleteMessageBatch"] * 3
    assert {call.parameters["QueueUrl"] for call in busy} == {settings.wait_queue_url, settings.schedule_queue_url}


def test_r22_receives_are_long_polls_for_ten(
    sqs: Any, run: Run, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    asked: list[dict[str, Any]] = []
    run(Faulty(sqs, receive_message=lambda real, **call: asked.append(call) or {}))
    assert len(asked) == EMPTY_RECEIVES
    assert all(call["WaitTimeSeconds"] >= 1 and call["MaxNumberOfMessages"] == 10 for call in asked)


def test_a_minute_with_nothing_to_do_costs_three_receives(sqs: Any, run: Run) -> None:
    with recorded(sqs) as calls:
        assert run(sqs) == {"released": 0, "messages": 0, "remaining": False}
    assert [call.operation for call in calls] == ["ReceiveMessage"] * 3


def test_what_cannot_be_read_is_moved_all_the_same(sqs: Any, run: Run, settings: Settings) -> None:
    odd = ["not json", "[" * 5_000, '{"id":"one"}', "9" * 5_000]
    send(sqs, settings.wait_queue_url, map(Message, odd))
    assert run(sqs) == {"released": 4, "messages": 4, "remaining": False}
    assert bodies(sqs, settings.schedule_queue_url) == sorted(odd)


def test_a_redriven_message_keeps_its_attribute(sqs: Any, run: Run, settings: Settings) -> None:
    ended_at = "2020-11-11T12:00:00.000+00:00"
    send(sqs, settings.wait_queue_url, [Message("{}", attributes={REDRIVEN: ended_at}), Message("[{}]")])
    run(sqs)
    moved = {message["Body"]: text_attributes(message) for message in take(sqs, settings.schedule_queue_url)}
    assert moved == {"{}": {REDRIVEN: ended_at}, "[{}]": {}}


# --- false empties


def test_false_empty_receives_do_not_end_the_drain(sqs: Any, run: Run, hold: Any, settings: Settings) -> None:
    held = hold(25)
    numbers = count()

    def two_of_three_are_empty(real: Any, **call: Any) -> Any:
        return real(**call) if next(numbers) % EMPTY_RECEIVES == EMPTY_RECEIVES - 1 else {}

    assert run(Faulty(sqs, receive_message=two_of_three_are_empty))["remaining"] is False
    assert bodies(sqs, settings.schedule_queue_url) == held


def test_what_arrives_after_the_drain_is_swept_up_by_the_next_minutes_run(
    sqs: Any, run: Run, hold: Any, settings: Settings
) -> None:
    run(sqs)
    held = hold(1)
    run.clock += timedelta(minutes=1)
    run(sqs)
    assert bodies(sqs, settings.schedule_queue_url) == held


# --- failures


def test_r4_only_what_was_sent_on_is_deleted(sqs: Any, run: Run, hold: Any, settings: Settings) -> None:
    held = hold(10)
    kept = [body for body in held if "a-003" in body or "a-007" in body]
    answer = run(Faulty(sqs, send_message_batch=refuse(lambda _, body: body in kept)))
    assert answer == {"released": 16, "messages": 8, "remaining": True}
    assert waiting(sqs, settings) == 2
    assert bodies(sqs, settings.schedule_queue_url) == [body for body in held if body not in kept]


@pytest.mark.parametrize("side_by_side", [one_after_another, in_threads])
def test_a_drain_stops_at_the_first_send_that_fails_and_leaves_the_rest(
    sqs: Any, run: Run, hold: Any, settings: Settings, side_by_side: Any
) -> None:
    hold(40)
    run.side_by_side = side_by_side
    with recorded(sqs) as calls:
        answer = run(Faulty(sqs, send_message_batch=fail()))
    assert answer == {"released": 0, "messages": 0, "remaining": True}
    assert [call.operation for call in calls] == ["ReceiveMessage"]
    assert waiting(sqs, settings) == 40


def test_a_send_that_fails_in_one_drainer_stops_the_others_and_wait_is_not_called_empty(
    sqs: Any, run: Run, hold: Any, settings: Settings
) -> None:
    hold(35)
    sends = count()

    def fourth_fails(real: Any, **call: Any) -> Any:
        return fail()(real) if next(sends) == 3 else real(**call)

    def last_drainer_first(drain: Any, items: Any, at_once: int) -> list[Any]:
        """The last drainer looks while nothing is visible; the messages come back before the others do."""
        received = sqs.receive_message(QueueUrl=settings.wait_queue_url, MaxNumberOfMessages=10)["Messages"]
        last = drain(items[-1])
        for message in received:
            sqs.change_message_visibility(
                QueueUrl=settings.wait_queue_url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return [*(drain(item) for item in items[:-1]), last]

    run.side_by_side = last_drainer_first
    answer = run(Faulty(sqs, send_message_batch=fourth_fails))
    assert answer == {"released": 60, "messages": 30, "remaining": True}
    assert waiting(sqs, settings) == 5


@pytest.mark.parametrize("operation", ["receive_message", "delete_message_batch"])
def test_any_other_call_that_fails_ends_the_drain_without_an_error(
    sqs: Any, run: Run, hold: Any, settings: Settings, operation: str
) -> None:
    held = hold(25)
    answer = run(Faulty(sqs, **{operation: fail()}))
    assert answer["remaining"] is True
    make_visible(sqs, settings)
    run(sqs)
    assert set(bodies(sqs, settings.schedule_queue_url)) <= set(held)


def test_r16_a_message_whose_delete_misses_is_moved_again_and_not_lost(
    sqs: Any, run: Run, hold: Any, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    held = hold(3)

    def forgets_one(real: Any, QueueUrl: str, Entries: list[Any]) -> Any:
        answer = real(QueueUrl=QueueUrl, Entries=Entries[1:])
        return answer | {"Failed": [{"Id": Entries[0]["Id"], "Code": "InternalError", "SenderFault": False}]}

    assert run(Faulty(sqs, delete_message_batch=forgets_one))["messages"] == 3
    assert waiting(sqs, settings) == 1
    assert "not deleted" in caplog.text
    assert bodies(sqs, settings.schedule_queue_url) == held


@pytest.mark.parametrize("crashes_at", range(7))  # two rounds of three calls, then a receive that finds nothing
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
def test_a_crash_at_any_call_loses_nothing(
    sqs: Any, run: Run, hold: Any, settings: Settings, crashes_at: int, after: bool
) -> None:
    held = hold(12)
    make_visible(sqs, settings)
    numbers = count()

    def crash(real: Any, **call: Any) -> Any:
        now = next(numbers) == crashes_at
        if now and not after:
            raise KeyboardInterrupt
        answer = real(**call)
        if now:
            raise KeyboardInterrupt
        return answer

    with suppress(KeyboardInterrupt):
        run(Faulty(sqs, receive_message=crash, send_message_batch=crash, delete_message_batch=crash))
    run(sqs)
    assert set(bodies(sqs, settings.schedule_queue_url)) == set(held)
    assert waiting(sqs, settings) == 0


def test_an_unreachable_sqs_is_left_to_the_next_minute(sqs: Any, run: Run) -> None:
    def unreachable(real: Any, **call: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://sqs")

    assert run(Faulty(sqs, receive_message=unreachable)) == {"released": 0, "messages": 0, "remaining": True}


# --- a backlog larger than one run


def test_r9_a_run_stops_before_its_time_is_over_and_the_next_ones_finish(
    sqs: Any, run: Run, hold: Any, settings: Settings
) -> None:
    held = hold(50)

    def takes_long(real: Any, **call: Any) -> Any:
        run.left_s -= 100
        return real(**call)

    slow = Faulty(sqs, receive_message=takes_long)
    assert run(slow) == {"released": 60, "messages": 30, "remaining": True}  # begun at 300, 200 and 100 s, not at 0
    for messages in (20, 0):
        run.left_s = SCHEDULER_TIMEOUT_S
        run.clock += timedelta(minutes=1)
        assert run(slow)["messages"] == messages
    assert bodies(sqs, settings.schedule_queue_url) == held


def test_with_less_time_than_a_round_may_take_nothing_is_begun(sqs: Any, run: Run, hold: Any) -> None:
    hold(1)
    run.left_s = STOP_BEFORE_S
    with recorded(sqs) as calls:
        assert run(sqs) == {"released": 0, "messages": 0, "remaining": True}
    assert calls == []


@pytest.mark.parametrize("at_once", [2, 5])
def test_several_runs_at_once_are_harmless(sqs: Any, run: Run, hold: Any, settings: Settings, at_once: int) -> None:
    held = hold(50)
    lock = Lock()

    def one_call_at_a_time(real: Any, **call: Any) -> Any:
        with lock:  # moto is not made for threads; between the calls everything may happen
            return real(**call)

    calls = ("receive_message", "send_message_batch", "delete_message_batch")
    serial = Faulty(sqs, **dict.fromkeys(calls, one_call_at_a_time))
    with ThreadPoolExecutor(at_once) as pool:
        runs = [Run(settings, side_by_side=in_threads) for _ in range(at_once)]
        answers = list(pool.map(lambda each: each(serial), runs))
    moved = bodies(sqs, settings.schedule_queue_url)
    assert set(moved) == set(held)
    assert len(moved) == sum(answer["messages"] for answer in answers)
    assert waiting(sqs, settings) == 0


# --- what it costs

UNIT_BYTES = 64 * 1024


def billed_units(call: Call) -> int:
    """SQS bills each call by what it carries, in units of 64 KiB."""
    carried = [entry["MessageBody"] for entry in call.parameters.get("Entries", []) if "MessageBody" in entry]
    carried += [call.parameters["MessageBody"]] if "MessageBody" in call.parameters else []
    carried += [message["Body"] for message in call.answer.get("Messages", [])]
    return max(1, -(-sum(len(body.encode()) for body in carried) // UNIT_BYTES))


def cost(calls: list[Call]) -> tuple[int, int]:
    """Call and billed units, without the receives that bring nothing at the end."""
    counted = [call for call in calls if call.operation != "ReceiveMessage" or call.answer.get("Messages")]
    return len(counted), sum(map(billed_units, counted))


def hold_over_night(sqs: Any, dynamodb: Any, settings: Settings, number: int, size_bytes: int) -> None:
    """Accept so many notifications in one request at night and let the consumer hold them."""
    policy = settings.quiet_hours()

    def accept(text: str, numbers: range) -> list[dict[str, Any]]:
        wanted = [notification(id=f"sale-{n:04}", content={"body": text}) for n in numbers]
        accept_all({"notifications": wanted}, NIGHT, sqs, dynamodb, settings, policy, lambda: "unused")
        return take_records(sqs, settings.notification_queue_url)

    (sample,) = accept("가" * 40, range(1))
    padding = size_bytes - (len(sample["body"].encode()) - len("[]"))
    records = accept("가" * 40 + "x" * padding, range(number))
    carried = [to_text(each) for record in records for each in json.loads(record["body"])]
    assert [len(text.encode()) for text in carried] == [size_bytes] * number
    failed, counts = consume(records, NIGHT, sqs, dynamodb, settings, policy)
    assert (failed, counts["held"]) == ([], number)


def reference_loop(sqs: Any, source: str, destination: str) -> None:
    """The move of the 2020 write-up: receive ten, send one by one with the body encoded again, delete the ten."""
    while messages := sqs.receive_message(
        QueueUrl=source,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=0,
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    ).get("Messages"):
        for message in messages:
            sqs.send_message(QueueUrl=destination, MessageBody=json.dumps(message["Body"]))
        entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=source, Entries=entries)


def test_r4_r21_moving_a_thousand_held_in_bulk_takes_a_handful_of_calls(
    sqs: Any, dynamodb: Any, run: Run, settings: Settings
) -> None:
    hold_over_night(sqs, dynamodb, settings, number=1_000, size_bytes=400)
    with recorded(sqs) as calls:
        answer = run(sqs)
    assert answer["released"] == 1_000
    ours_calls, ours_units = cost(calls)
    assert ours_calls <= 5
    assert ours_units <= 16

    # The reference keeps each notification in a message of its own; a hundred show what a thousand cost.
    send(sqs, settings.wait_queue_url, (Message("x" * 400) for _ in range(100)))
    with recorded(sqs) as calls:
        reference_loop(sqs, settings.wait_queue_url, settings.schedule_queue_url)
    assert cost(calls) == (120, 120)
