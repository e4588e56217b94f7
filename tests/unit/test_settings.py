"""One typed place for what a deployment decides, and the timings that the code and the stack share."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from lambdas.quiet_hours.notification.notification import LIFE
from lambdas.quiet_hours.rule.policy import quiet_until
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.timings import (
    CHANNEL_DEADLINE_MAX_S,
    CLOCK_SKEW,
    LANE_VISIBILITY_S,
    LEASE_S,
    LONGEST_PAUSE,
    WORKER_TIMEOUT_S,
)

SETTINGS = Settings(
    notification_queue_url="https://sqs/notification",
    urgent_queue_url="https://sqs/urgent",
    delivery_queue_url="https://sqs/delivery",
    wait_queue_url="https://sqs/wait",
    schedule_queue_url="https://sqs/schedule",
    dead_letter_queue_url="https://sqs/dead-letter",
    ledger_table="ledger",
    consent_table="consent",
    channel_secret="arn:secret",
    start="22:00",
    end="07:30",
    timezone="America/New_York",
    policy="strict",
    kakao_closed="20:00-09:00",
    further_policies="france",
    consent_history_table="consent-history",
    held_table="held",
    turn_table="turn",
    record_held=True,
    advertising_label=True,
    sender_name="온결",
    sms_encoding="unicode",
    campaign_queue_url="https://sqs/campaign",
    campaign_sender="AROAEXAMPLE",
    alert_topic="arn:topic",
    runbook_url="https://wiki.example.com/runbook",
    dashboard_url="https://console.example.com",
)


def test_what_was_written_to_the_environment_is_read_back() -> None:
    env = SETTINGS.to_env()
    assert Settings.from_env(env) == SETTINGS
    assert len(env) == len(fields(Settings))
    assert all(name.startswith("QUIET_HOURS_") and isinstance(value, str) for name, value in env.items())


def test_the_process_environment_is_read_when_asked_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in replace(SETTINGS, policy="korea").to_env().items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env().policy == "korea"


@pytest.mark.parametrize("name", list(SETTINGS.to_env()))
def test_a_missing_variable_is_named(name: str) -> None:
    env = SETTINGS.to_env()
    del env[name]
    with pytest.raises(KeyError, match=name):
        Settings.from_env(env)


def test_the_policy_is_the_one_that_was_asked_for() -> None:
    policy = SETTINGS.quiet_hours()
    night, kakao = policy.closures
    assert (policy.name, night.hours) == ("strict", "22:00 to 07:30 America/New_York")
    assert kakao.hours == "20:00 to 09:00 America/New_York"
    assert policy.zone.key == "America/New_York"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"policy": "japan"}, "policy must be one of france, korea, strict"),
        ({"start": "25:00"}, "start must be HH:MM"),
        ({"end": "8"}, "end must be HH:MM"),
        ({"timezone": "Seoul"}, "timezone must be an IANA name"),
        ({"end": "22:00"}, "quiet hours must not start and end at the same time"),
    ],
)
def test_a_setting_that_cannot_be_is_named(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(SETTINGS, **wrong).quiet_hours()  # type: ignore[arg-type]


def test_the_guard_covers_the_slowest_call_the_clocks_and_the_longest_pause() -> None:
    alone = replace(SETTINGS, further_policies="")
    policy = replace(alone, start="21:00", end="08:00", timezone="Asia/Seoul", kakao_closed="never").quiet_hours()
    night = datetime(2020, 11, 11, 12, 0, tzinfo=UTC)
    bound = timedelta(seconds=CHANNEL_DEADLINE_MAX_S) + CLOCK_SKEW + LONGEST_PAUSE
    assert quiet_until(night - bound, policy) is not None
    assert quiet_until(night - bound - timedelta(microseconds=1), policy) is None
    morning = datetime(2020, 11, 11, 23, 0, tzinfo=UTC)
    assert quiet_until(morning + CLOCK_SKEW - timedelta(microseconds=1), policy) is not None
    assert quiet_until(morning + CLOCK_SKEW, policy) is None


def test_a_claim_outlives_the_worker_and_lapses_before_its_bundle_comes_again() -> None:
    assert WORKER_TIMEOUT_S < LEASE_S < LANE_VISIBILITY_S


def test_a_notification_lives_shorter_than_any_source_queue_keeps_it() -> None:
    assert timedelta(days=4) - LIFE >= timedelta(days=1)
