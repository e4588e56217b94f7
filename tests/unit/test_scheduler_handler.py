"""The scheduler as Lambda calls it, and who is told when a release stops."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns import sns_backends

from lambdas import scheduler
from lambdas.quiet_hours.errors import HandlerFailed
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.timings import SCHEDULER_TIMEOUT_S
from lambdas.scheduler import STOP_BEFORE_S, release
from tests.helpers.aws import Faulty, aws, dynamodb, fail, one_after_another, refuse, settings, sqs
from tests.helpers.scheduler_world import MORNING, Run, _empty_receives_do_not_wait, hold, run

__all__ = ["_empty_receives_do_not_wait", "dynamodb", "hold", "run", "settings", "sqs"]


# --- the handler


def test_the_handler_answers_what_was_released(
    sqs: Any, settings: Settings, hold: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(12)
    now = datetime.now(UTC)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: SCHEDULER_TIMEOUT_S * 1000)
    monkeypatch.setattr(scheduler, "_sqs", lambda: sqs)

    def quiet(begins_in: timedelta, ends_in: timedelta) -> None:
        start, end = (f"{now + each:%H:%M}" for each in (begins_in, ends_in))
        for name, value in (
            replace(settings, start=start, end=end, timezone="UTC", kakao_closed="never").to_env().items()
        ):
            monkeypatch.setenv(name, value)

    quiet(timedelta(hours=-2), timedelta(hours=2))
    assert scheduler.handler({"source": "aws.scheduler"}, context).keys() == {"skipped"}  # type: ignore[arg-type]
    quiet(timedelta(hours=2), timedelta(hours=4))
    assert scheduler.handler({}, context) == {"released": 24, "messages": 12, "remaining": False}  # type: ignore[arg-type]


def test_a_round_ends_within_the_time_kept_for_it(sqs: Any) -> None:
    config = scheduler._sqs.__wrapped__().meta.config
    assert config.read_timeout > scheduler.POLL_S
    one_call_s = config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout)
    receive_send_delete_s = 3 * one_call_s
    assert receive_send_delete_s <= STOP_BEFORE_S < SCHEDULER_TIMEOUT_S


# --- people are told


@pytest.fixture
def told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the handler by day with a client; returns what it has published on the alert topic so far."""
    sns = aws("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    now = datetime.now(UTC)
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, 4))
    variables = replace(
        settings, start=start, end=end, timezone="UTC", kakao_closed="never", alert_topic=topic
    ).to_env()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(scheduler, "_sns", lambda: sns)
    monkeypatch.setattr(scheduler, "_alerted_at", None)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: SCHEDULER_TIMEOUT_S * 1000)

    def call(sqs: Any) -> list[dict[str, Any]]:
        monkeypatch.setattr(scheduler, "_sqs", lambda: sqs)
        scheduler.handler({}, context)  # type: ignore[arg-type]
        sent = sns_backends[DEFAULT_ACCOUNT_ID]["ap-northeast-2"].topics[topic].sent_notifications
        return [json.loads(message) for _, message, _, _, _ in sent]

    return call


def test_a_drain_that_a_failed_call_ends_is_told_at_once_with_the_codes(sqs: Any, hold: Any, told: Any) -> None:
    hold(25)
    (alert,) = told(Faulty(sqs, send_message_batch=fail("AccessDenied")))
    assert (alert["alert"], alert["numbers"]) == (
        "ReleaseStopped",
        "error AccessDenied; 0 notifications were released before it",
    )
    assert abs(datetime.fromisoformat(alert["since"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_messages_that_schedule_does_not_take_are_told_of_too(sqs: Any, hold: Any, told: Any) -> None:
    hold(3)
    (alert,) = told(Faulty(sqs, send_message_batch=refuse(lambda *_: True, "KmsThrottled", sender_fault=True)))
    assert alert["numbers"].startswith("error KmsThrottled;")


def test_a_release_that_goes_well_tells_nobody(sqs: Any, hold: Any, told: Any) -> None:
    hold(12)
    assert told(sqs) == []


def test_a_release_that_fails_every_minute_is_told_once_in_a_quarter_of_an_hour(
    sqs: Any, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable = Faulty(sqs, receive_message=fail())
    for _ in range(3):
        assert len(told(unreachable)) == 1
    monkeypatch.setattr(scheduler, "_alerted_at", datetime.now(UTC) - scheduler.ALERT_EVERY)
    assert len(told(unreachable)) == 2


def test_an_alert_that_the_topic_does_not_take_fails_the_run_which_an_alarm_sees_and_is_tried_again(
    sqs: Any, hold: Any, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = scheduler._sns()
    monkeypatch.setattr(scheduler, "_sns", lambda: Faulty(taken, publish=fail("AuthorizationError")))
    with pytest.raises(HandlerFailed, match=r"^AuthorizationError$"):
        told(Faulty(sqs, receive_message=fail()))
    monkeypatch.setattr(scheduler, "_sns", lambda: taken)
    assert len(told(Faulty(sqs, receive_message=fail()))) == 1


@pytest.mark.parametrize("side_by_side", [one_after_another, in_threads])
def test_a_run_tells_at_most_once_however_many_drainers_fail(
    sqs: Any, run: Run, hold: Any, settings: Settings, side_by_side: Any
) -> None:
    hold(60)
    tells: list[list[str]] = []
    sends = count()

    def only_the_first_is_taken(real: Any, **call: Any) -> Any:
        return real(**call) if next(sends) == 0 else fail()(real)

    faulty = Faulty(sqs, send_message_batch=only_the_first_is_taken)
    release(
        faulty,
        settings,
        settings.quiet_hours(),
        now=lambda: MORNING,
        remaining_s=lambda: 300,
        sleep=run.sleep,
        side_by_side=side_by_side,
        on_stop=tells.append,
    )
    assert tells == [["ServiceUnavailable"]]


@pytest.mark.parametrize(
    ("answer", "at", "late_s"),
    [
        ({"messages": 3, "remaining": False}, "2020-11-12T08:00:10+09:00", 10),
        ({"messages": 0, "remaining": True}, "2020-11-12T20:59:00+09:00", 46740),
        ({"messages": 0, "remaining": False}, "2020-11-12T12:00:00+09:00", None),
        ({"skipped": "quiet hours until …"}, "2020-11-12T22:00:00+09:00", None),
    ],
)
def test_how_late_a_run_was_counts_from_the_end_of_quiet_hours(
    settings: Settings, answer: dict[str, Any], at: str, late_s: int | None
) -> None:
    found = scheduler._lateness([answer], datetime.fromisoformat(at), [settings.quiet_hours()])
    assert found == ({} if late_s is None else {"late_s": late_s})
