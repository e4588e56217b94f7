"""The count of the demo: it notices each way in which an evening can go wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from demo.count import Evidence, count, problems, release_times_s
from demo.play import Sent
from fakes.process import Arrival

START = datetime(2020, 11, 11, 12, 0, tzinfo=UTC)
END = START + timedelta(minutes=1)


def arrival(notification_id: str, at: datetime, status: int = 200) -> Arrival:
    return Arrival(notification_id, at, status, "{}")


def notification(recipient: str, category: str | None = "advertising") -> dict:
    return {"recipient_id": recipient, "address": recipient} | ({"category": category} if category else {})


def evening() -> Evidence:
    """One of each: sent now, held, expired, opted out, dead-lettered, rejected; the held one accepted twice."""
    sent = Sent(
        notifications={
            "order": notification("ann", "informational"),
            "ad": notification("ann"),
            "flash": notification("ann"),
            "unwanted": notification("out"),
            "gone": notification("ann", "informational"),
            "night": notification("owl"),
        },
        accepted=Counter({"order": 1, "ad": 2, "flash": 1, "unwanted": 1, "gone": 1, "night": 1}),
        rejected={"faulty"},
    )
    return Evidence(
        sent=sent,
        quiet=(START, END),
        consents={"owl": {"night_consent": True}, "out": {"opted_out": True}},
        arrivals=[
            arrival("order", START + timedelta(seconds=5)),
            arrival("night", START + timedelta(seconds=6)),
            arrival("gone", START + timedelta(seconds=7), 410),
            arrival("ad", END + timedelta(seconds=3)),
        ],
        held={"ad", "flash"},
        waiting=set(),
        ledger={
            "order": "delivered",
            "ad": "delivered",
            "night": "delivered",
            "flash": "expired",
            "unwanted": "opted_out",
        },
        dead_letters={"gone"},
    )


def test_an_evening_that_went_well() -> None:
    seen = evening()
    assert count(seen) == {
        "input": 7,
        "rejected": 1,
        "deduplicated": 1,
        "accepted": 6,
        "delivered": 3,
        "sent_now": 2,
        "held": 2,
        "released": 2,
        "expired": 1,
        "cancelled": 0,
        "opted_out": 1,
        "dead_lettered": 1,
        "early": 0,
        "lost": 0,
        "duplicates": 0,
    }
    assert problems(count(seen), seen) == []
    assert release_times_s(seen) == (3, 3)


def having(seen: Evidence, *more: Arrival) -> Evidence:
    return replace(seen, arrivals=[*seen.arrivals, *more])


@pytest.mark.parametrize(
    ("at", "early"),
    [
        (START - timedelta(microseconds=1), 0),
        (START, 1),
        (END - timedelta(microseconds=1), 1),
        (END, 0),
    ],
)
def test_advertising_without_a_consent_is_early_from_the_start_to_before_the_end(at: datetime, early: int) -> None:
    seen = evening()
    seen = replace(seen, arrivals=[arrival("ad", at)])
    assert count(seen)["early"] == early


def test_an_early_attempt_that_the_receiver_refused_is_early_all_the_same() -> None:
    assert count(having(evening(), arrival("ad", START, 503)))["early"] == 1


def test_a_category_that_is_missing_counts_as_advertising() -> None:
    seen = evening()
    seen.sent.notifications["order"] = notification("ann", None)
    assert count(seen)["early"] == 1


def test_a_second_2xx_is_a_duplicate_and_a_refusal_is_not() -> None:
    seen = having(evening(), arrival("ad", END), arrival("gone", END, 410))
    assert count(seen)["duplicates"] == 1
    assert "duplicates is 1, not 0" in problems(count(seen), seen)


def test_what_never_ended_is_lost() -> None:
    seen = replace(evening(), dead_letters=set())
    assert count(seen)["lost"] == 1
    assert problems(count(seen), seen)


def test_what_ended_twice_does_not_reconcile() -> None:
    seen = replace(evening(), dead_letters={"gone", "ad"})
    assert problems(count(seen), seen) == ["6 were accepted, but 7 endings were counted"]


def test_an_id_that_nobody_sent_is_a_problem() -> None:
    seen = having(evening(), arrival("stranger", END))
    assert "1 ids reached the receiver that nobody had sent" in problems(count(seen), seen)


def test_the_ledger_has_to_agree_with_the_receiver() -> None:
    seen = evening()
    seen = replace(seen, ledger={**seen.ledger, "order": "claimed"})
    assert problems(count(seen), seen) == ["the ledger and the receiver disagree about 1 deliveries"]


def test_advertising_must_not_reach_who_opted_out() -> None:
    seen = having(evening(), arrival("unwanted", END))
    assert "1 advertisements reached somebody who had opted out" in problems(count(seen), seen)


def test_what_is_still_on_wait_was_not_released() -> None:
    assert count(replace(evening(), waiting={"flash"}))["released"] == 1
