"""What synthesis says about policies that do not open in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.policies import check_opens, check_queues, closed_for_too_long, shown_queues
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.rule.policy_file import names
from tests.helpers.policy_files import OWN, write

LATE_KAKAO = {"kakao_closed": "20:00-09:00"}


@pytest.mark.parametrize("name", names())
def test_every_shipped_policy_opens_in_time(name: str) -> None:
    policy = named_policy(name, guard=timedelta(seconds=15), skew=timedelta(seconds=2))
    check_opens(policy, datetime(2026, 1, 1, tzinfo=UTC))


def test_closures_that_never_open_within_a_week_are_refused(tmp_path: Path) -> None:
    day = OWN.replace('["weekdays"]', '["every"]') + (
        '[[closures]]\nname = "day"\nfrom = "09:00"\nto = "18:00"\n'
        'categories = ["advertising"]\nopened_by = "nothing"\n'
    )
    policy = named_policy("acme", folder=write(tmp_path, day))
    with pytest.raises(ValueError, match=r"policy acme does not open within a week from 2026-01-01: day"):
        check_opens(policy, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_hold_longer_than_a_notification_lives_is_found(tmp_path: Path) -> None:
    """Four days of closed doors: what is accepted at their beginning expires before they open."""
    days = OWN.replace('["weekdays"]', '["sat", "sun", "mon", "tue"]').replace('"18:00"', '"00:00"')
    policy = named_policy("acme", folder=write(tmp_path, days.replace('"09:00"', '"24:00"')))
    warning = closed_for_too_long(policy, datetime(2026, 1, 1, tzinfo=UTC))
    assert warning is not None
    assert warning.startswith("policy acme holds for up to 4 days, 0:00:00")
    assert closed_for_too_long(named_policy("france"), datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("name", ["korea", "strict", "united-states", "us-texas", "france"])
def test_a_shipped_policy_needs_one_wait_queue(name: str) -> None:
    check_queues(named_policy(name), 1)


def test_a_setting_that_needs_another_queue_says_so() -> None:
    policy = named_policy("korea", **LATE_KAKAO)
    with pytest.raises(ValueError) as raised:
        check_queues(policy, 1)
    night, kakao = "night (21:00 to 08:00 Asia/Seoul)", "KakaoTalk's hours (20:00 to 09:00 Asia/Seoul)"
    assert str(raised.value) == (
        "policy korea opens at several times, and what is held on one queue must open together: it needs wait_queues "
        f"to be 2 (-c waitQueues=2), not 1: Wait opens after {night} and {kakao}; Wait2 opens after {night}"
    )
    assert shown_queues(policy, 3).endswith("; Wait3 is used no more and is drained")


def test_more_openings_than_there_can_be_wait_queues_are_said_to_need_another_deployment() -> None:
    zones = ("Asia/Tokyo", "Asia/Shanghai", "Asia/Bangkok", "Asia/Dubai", "Europe/Paris", "Europe/London")
    policy = named_policy("korea", further_policies=f"strict@{'+'.join(zones)}")
    with pytest.raises(
        ValueError, match=r"policies open at \d+ different times, and a deployment has at most 6 wait queues"
    ):
        check_queues(policy, 6)


def test_a_policy_whose_only_closure_is_taken_away_is_refused(tmp_path: Path) -> None:
    kakao = OWN.replace('opened_by = "night consent"', 'opened_by = "nothing"\nset_by = "kakaoClosed"')
    with pytest.raises(ValueError, match="policy acme has no closure left: kakaoClosed=never takes away the only one"):
        named_policy("acme", kakao_closed="never", folder=write(tmp_path, kakao))
