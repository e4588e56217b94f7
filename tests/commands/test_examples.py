"""The evening of the demo: the files follow from its seed, and it has every kind of message that the demo needs."""

from __future__ import annotations

from collections import Counter

import pytest

from demo.evening import CONSENTS, EVENING, NIGHT_S, make, read, text
from lambdas.quiet_hours.notification.label import label_faults
from lambdas.quiet_hours.settings import Settings

KOREA = Settings("", "", "", "", "", "", "", "", advertising_label=True)


@pytest.fixture(scope="module")
def lines() -> list[dict]:
    return read(EVENING)


def test_the_committed_files_are_what_the_seed_makes() -> None:
    evening, consents = make()
    assert EVENING.read_text(encoding="utf-8") == text(evening)
    assert CONSENTS.read_text(encoding="utf-8") == text(consents)


def test_the_evening_is_large_enough_to_mean_something_and_small_enough_to_keep(lines: list[dict]) -> None:
    assert len(lines) >= 2000
    assert EVENING.stat().st_size < 2_000_000


def test_everything_goes_by_webhook_and_comes_in_every_way(lines: list[dict]) -> None:
    channels = Counter(line["notification"].get("channel") for line in lines if "notification" in line)
    assert channels["webhook"] / channels.total() > 0.99  # the rest are mistakes
    assert {line["via"] for line in lines} == {"producer", "sqs", "event"}


def test_times_lie_before_within_and_after_the_night_and_close_to_both_edges(lines: list[dict]) -> None:
    times_s = [line["at_s"] for line in lines]
    assert min(times_s) < 0 < NIGHT_S < max(times_s)
    for edge_s in (0, NIGHT_S):
        assert sum(abs(at_s - edge_s) <= 10 for at_s in times_s) >= 40


def test_some_are_sent_again_some_expire_over_night_and_some_are_mistakes(lines: list[dict]) -> None:
    ids = Counter(line["notification"]["id"] for line in lines if "id" in line.get("notification", {}))
    assert sum(times > 1 for times in ids.values()) >= 50
    assert sum(0 < line.get("expires_at_s", 0) < NIGHT_S for line in lines) >= 50
    assert sum(id.startswith("faulty-") for id in ids) >= 20
    assert sum("body" in line for line in lines) >= 3


def test_advertising_is_labelled_as_the_law_asks(lines: list[dict]) -> None:
    advertising = [
        line["notification"] for line in lines if line.get("notification", {}).get("category") == "advertising"
    ]
    assert len(advertising) >= 1000
    unlabelled = [line for line in lines if "category" not in line.get("notification", {"category": ""})]
    assert len(unlabelled) >= 50  # advertising too, since they say nothing else
    for notification in advertising + [{"category": "advertising"} | line["notification"] for line in unlabelled]:
        assert label_faults(notification, KOREA) == []


def test_consents_are_of_every_kind() -> None:
    kinds = Counter((consent["night_consent"], consent["opted_out"]) for consent in read(CONSENTS))
    assert kinds.keys() == {(True, False), (False, True), (False, False)}
    assert min(kinds.values()) >= 50
