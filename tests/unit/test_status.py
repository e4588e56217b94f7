"""The producer's API: the state of one notification, and the outcome of a cancellation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from lambdas import producer
from lambdas.consumer import consume
from lambdas.quiet_hours.api.status import CANCELS_MAX, _position, cancel, cancel_source, look_up
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.entries import ended, released
from lambdas.quiet_hours.stores.ledger import Ledger
from tests.helpers.aws import (
    DAY,
    NIGHT,
    Faulty,
    dynamodb,
    fail,
    notification,
    put_consent,
    record,
    recorded,
    settings,
    sqs,
)
from tests.helpers.leaks import PHONE, leaks, logged
from tests.helpers.web import answered, http

__all__ = ["dynamodb", "settings", "sqs"]

ODD_ID = "order/2020:11+11=a@b.c_d-e"
MORNING = datetime.fromisoformat("2020-11-12T08:00:10+09:00")


@pytest.fixture
def ledger(dynamodb: Any, settings: Settings) -> Ledger:
    return Ledger(dynamodb, "ledger", "worker-1", timedelta(seconds=120))


@pytest.fixture
def recording(settings: Settings) -> Settings:
    return replace(settings, record_held=True)


@pytest.fixture
def state(dynamodb: Any, ledger: Ledger, settings: Settings) -> Callable[..., tuple[int, dict[str, Any]]]:
    def call(id: str = "a", now: datetime = NIGHT, settings: Settings = settings) -> tuple[int, dict[str, Any]]:
        return look_up(id, now, dynamodb, ledger, settings, settings.quiet_hours())

    return call


def hold(sqs: Any, dynamodb: Any, settings: Settings, *notifications: dict[str, Any], now: datetime = NIGHT) -> Any:
    body = "[" + ",".join(map(to_text, notifications)) + "]"
    records = [record(body, sent_at=now)]
    return consume(records, now, sqs, dynamodb, settings, settings.quiet_hours(), sleep=lambda _: None)


# --- the state of one


def test_what_the_ledger_does_not_know_is_not_claimed_to_exist(state: Any, recording: Settings) -> None:
    status, answer = state()
    assert (status, answer["state"]) == (404, "not_recorded")
    assert "recordHeld" in answer["why"]
    assert "recordHeld" not in state(settings=recording)[1]["why"]


def test_a_claim_says_who_has_it_and_a_lapsed_one_that_nobody_has(state: Any, ledger: Ledger) -> None:
    ledger.claim({"a": None}, NIGHT)
    status, answer = state(now=NIGHT + timedelta(seconds=1))
    assert (status, answer["state"], answer["why"]) == (200, "claimed", "a worker has it now")
    assert "not come back" in state(now=NIGHT + timedelta(seconds=121))[1]["why"]


def test_what_a_worker_gave_back_waits_until_its_time(state: Any, ledger: Ledger) -> None:
    (entry,) = ledger.claim({"a": None}, NIGHT).held.values()
    ledger.release([released(entry, attempts=3, not_before=NIGHT + timedelta(seconds=60))], NIGHT)
    _, answer = state()
    assert (answer["state"], answer["attempts"], answer["until"]) == ("waiting", 3, "2020-11-11T12:04:00+00:00")


def test_an_ending_says_when_and_why(state: Any, ledger: Ledger) -> None:
    (entry,) = ledger.claim({"a": None}, NIGHT).held.values()
    ledger.end([ended(entry, "opted_out", NIGHT, "the recipient has opted out of advertising")], NIGHT)
    status, answer = state()
    assert (status, answer["state"], answer["why"]) == (200, "opted_out", "the recipient has opted out of advertising")
    assert answer["ended_at"] == "2020-11-11T12:03:00.000+00:00"


def test_what_is_held_says_until_when_and_by_which_rule_and_consent(
    state: Any, sqs: Any, dynamodb: Any, recording: Settings
) -> None:
    put_consent(dynamodb, "user-42", night_consent=False, opted_out=False)
    hold(sqs, dynamodb, recording, notification(id="a", channel="sms", recipient_id="user-42", source="shop"))
    status, answer = state(settings=recording)
    assert (status, answer["state"], answer["until"]) == (200, "held", "2020-11-11T23:00:00+00:00")
    assert answer["source"] == "shop"
    assert answer["rule"] == {
        "decision": "hold",
        "until": "2020-11-12T08:00:00+09:00",
        "why": "quiet hours until 2020-11-12 08:00 Asia/Seoul, and no night consent: "
        "night (Network Act art. 50(3); Enforcement Decree art. 61(2) exempts e-mail)",
    }
    assert "consent" not in answer


def test_what_is_held_under_another_policy_is_judged_by_that_one_when_it_is_asked_for(
    state: Any, sqs: Any, dynamodb: Any, recording: Settings
) -> None:
    """At 21:03 in Seoul it is 02:03 in Honolulu."""
    several = replace(recording, further_policies="united-states@America/New_York+Pacific/Honolulu", wait_queues=3)
    for number in (2, 3):
        sqs.create_queue(QueueName=several.wait_url(number - 1).rpartition("/")[2])
    hold(
        *(sqs, dynamodb, several),
        notification(id="a", channel="sms", timezone="Pacific/Honolulu"),
        notification(id="b", channel="sms", country="US", timezone="Pacific/Honolulu"),
    )
    for id in ("a", "b"):
        _, answer = state(id, settings=several)
        assert answer["rule"]["until"] == "2020-11-11T08:00:00-10:00"
        assert answer["rule"]["why"].startswith("quiet hours until 2020-11-11 08:00 Pacific/Honolulu")


def test_a_consent_that_came_after_the_hold_is_seen(state: Any, sqs: Any, dynamodb: Any, recording: Settings) -> None:
    hold(sqs, dynamodb, recording, notification(id="a", channel="sms"))
    assert state(settings=recording)[1]["rule"]["decision"] == "hold"
    item = {
        "recipient_id": {"S": "+821012345678"},
        "night_consent": {"BOOL": True},
        "evidence": {"S": "web form"},
        "changed_at": {"S": "2020-11-11T12:02:00.000+00:00"},
    }
    dynamodb.put_item(TableName="consent", Item=item)
    _, answer = state(settings=recording)
    assert (answer["state"], answer["rule"]["decision"]) == ("held", "send")
    assert "web form" not in str(answer)


def test_after_quiet_hours_it_is_on_its_way_and_after_its_ending_ended(
    state: Any, sqs: Any, dynamodb: Any, recording: Settings, ledger: Ledger
) -> None:
    hold(sqs, dynamodb, recording, notification(id="a"))
    assert state(now=MORNING, settings=recording)[1]["state"] == "released"
    ledger.delivered(ledger.claim({"a": None}, MORNING).held.values(), MORNING)
    _, answer = state(now=MORNING, settings=recording)
    assert (answer["state"], answer["until"], answer["held_at"]) == ("delivered", None, "2020-11-11T12:03:00.000+00:00")
    assert "rule" not in answer


# --- recording what is held


def test_nothing_is_recorded_unless_asked_for(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    with recorded(dynamodb) as calls:
        hold(sqs, dynamodb, settings, notification(id="a"))
    assert "BatchWriteItem" not in {call.operation for call in calls}


def test_what_may_go_now_is_not_recorded_as_held(sqs: Any, dynamodb: Any, recording: Settings) -> None:
    hold(sqs, dynamodb, recording, notification(id="a"), notification(id="b", category="critical"))
    assert [item["id"]["S"] for item in dynamodb.scan(TableName="held")["Items"]] == ["a"]


def test_a_hundred_held_are_four_calls_and_the_same_id_twice_is_one(
    sqs: Any, dynamodb: Any, recording: Settings
) -> None:
    held = [notification(id=f"n-{n % 99}") for n in range(100)]
    with recorded(dynamodb) as calls:
        hold(sqs, dynamodb, recording, *held)
    assert [call.operation for call in calls].count("BatchWriteItem") == 4
    assert len(dynamodb.scan(TableName="held")["Items"]) == 99


@pytest.mark.parametrize("left", ["all", "some"])
def test_a_table_that_does_not_take_the_records_fails_nothing_and_is_counted(
    sqs: Any, dynamodb: Any, recording: Settings, left: str
) -> None:
    def some(real: Any, RequestItems: dict[str, Any]) -> dict[str, Any]:
        real(RequestItems={"held": RequestItems["held"][:1]})
        return {"UnprocessedItems": {"held": RequestItems["held"][-10:]}}

    broken = Faulty(dynamodb, batch_write_item=fail() if left == "all" else some)
    failed, counts = hold(sqs, broken, recording, *(notification(id=f"n-{n}") for n in range(60)))
    assert (failed, counts["held"]) == ([], 60)
    assert counts["held_not_recorded"] == (60 if left == "all" else 10), "each call leaves ten"


def test_what_wait_did_not_take_is_not_recorded(sqs: Any, dynamodb: Any, recording: Settings) -> None:
    failed, _ = hold(Faulty(sqs, send_message_batch=fail()), dynamodb, recording, notification(id="a"))
    assert len(failed) == 1
    assert dynamodb.scan(TableName="held")["Items"] == []


def test_a_record_outlives_its_notification_by_a_day(sqs: Any, dynamodb: Any, recording: Settings) -> None:
    hold(sqs, dynamodb, recording, notification(id="a", expires_at="2020-11-12T12:00:00+00:00"))
    (item,) = dynamodb.scan(TableName="held")["Items"]
    assert int(item["expires"]["N"]) == datetime.fromisoformat("2020-11-13T12:00:00+00:00").timestamp()


# --- cancelling


def test_each_id_is_answered_by_what_became_of_it(ledger: Ledger) -> None:
    api = Ledger(ledger._dynamodb, "ledger", "api", timedelta(seconds=120))
    claims = ledger.claim({"claimed": None, "waiting": None, "done": None}, NIGHT).held
    ledger.release([released(claims["waiting"])], NIGHT)
    ledger.delivered([claims["done"]], NIGHT)
    assert cancel(["new", "claimed", "waiting", "done", "new"], NIGHT, api) == [
        {"id": "new", "outcome": "cancelled", "state": "cancelled"},
        {"id": "claimed", "outcome": "too_late", "state": "claimed"},
        {"id": "waiting", "outcome": "cancelled", "state": "cancelled"},
        {"id": "done", "outcome": "ended", "state": "delivered"},
    ]
    assert ledger.claim({"new": None, "waiting": None}, MORNING).held == {}


def test_where_the_ledger_is_away_nothing_is_called_cancelled(dynamodb: Any, settings: Settings) -> None:
    away = Ledger(Faulty(dynamodb, transact_write_items=fail()), "ledger", "api", timedelta(seconds=120))  # type: ignore[arg-type]
    assert cancel(["a"], NIGHT, away) == [{"id": "a", "outcome": "not_known", "state": None}]


def test_a_source_is_cancelled_page_by_page_and_no_one_elses(
    sqs: Any, dynamodb: Any, recording: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lambdas.quiet_hours.api.status.CANCELS_MAX", 3)
    hold(sqs, dynamodb, recording, *(notification(id=f"n-{n}", source="sale") for n in range(5)))
    hold(sqs, dynamodb, recording, notification(id="other", source="shop"))
    answers, after = [], None
    for _ in range(2):
        status, answer = cancel_source("sale", after, NIGHT, dynamodb, ledger, recording)
        assert status == 200
        answers += answer["results"]
        after = _position(answer["next"]) if answer["next"] else None
    assert sorted(each["id"] for each in answers) == [f"n-{n}" for n in range(5)]
    assert {each["outcome"] for each in answers} == {"cancelled"}
    assert after is None
    assert ledger.read("other") is None


def test_a_source_cannot_be_cancelled_where_nothing_is_recorded(
    dynamodb: Any, settings: Settings, ledger: Ledger
) -> None:
    status, answer = cancel_source("sale", None, NIGHT, dynamodb, ledger, settings)
    assert status == 409
    assert "recordHeld" in answer["errors"][0]


# --- through the Function URL


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, sqs: Any, dynamodb: Any, settings: Settings) -> Callable[..., Any]:
    for name, value in replace(settings, record_held=True).to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(producer, "_clients", lambda: (sqs, dynamodb))

    def call(method: str, path: str, body: object = None, clients: Any = None) -> tuple[int, dict[str, Any]]:
        if clients:
            monkeypatch.setattr(producer, "_clients", lambda: clients)
        text = None if body is None else body if isinstance(body, str | bytes) else json.dumps(body)
        return answered(producer.handler(http(method, path, text), None))  # type: ignore[arg-type]

    return call


@pytest.mark.parametrize("path", [quote(ODD_ID, safe=""), quote(ODD_ID), ODD_ID])
@pytest.mark.parametrize("id", [ODD_ID])
def test_an_id_is_found_however_its_path_was_encoded(ask: Any, ledger: Ledger, path: str, id: str) -> None:
    ledger.claim({id: None}, DAY)
    assert ask("GET", f"/notifications/{path}")[1]["id"] == id
    assert ask("DELETE", f"/notifications/{path}") == (409, {"id": id, "outcome": "too_late", "state": "claimed"})


def test_deleting_twice_is_deleting_once(ask: Any, ledger: Ledger) -> None:
    done = (200, {"id": "a", "outcome": "cancelled", "state": "cancelled"})
    assert ask("DELETE", "/notifications/a") == done
    assert ask("DELETE", "/notifications/a") == done
    assert ask("GET", "/notifications/a")[1]["state"] == "cancelled"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("id", ["a%20b", "%EC%A3%BC", "x" * 129, "a%252Fb", "a%0Ab"])
def test_what_can_be_no_id_is_told_so(ask: Any, method: str, id: str) -> None:
    status, answer = ask(method, f"/notifications/{id}")
    assert status == 400
    assert answer["errors"] == ["id: must have 1 to 128 characters of A-Z a-z 0-9 . _ : @ + = / -"]


def test_a_list_of_ids_is_cancelled_in_one_request(ask: Any) -> None:
    status, answer = ask("POST", "/notifications/cancel", {"ids": ["a", "b"]})
    assert (status, answer["next"]) == (200, None)
    assert [(each["id"], each["outcome"]) for each in answer["results"]] == [("a", "cancelled"), ("b", "cancelled")]


def test_a_source_is_cancelled_in_one_request(ask: Any, sqs: Any, dynamodb: Any, recording: Settings) -> None:
    hold(sqs, dynamodb, recording, notification(id="a", source="sale"))
    status, answer = ask("POST", "/notifications/cancel", {"source": "sale"})
    assert status == 200
    assert (answer["results"], answer["next"], answer["complete"]) == (
        [{"id": "a", "outcome": "cancelled", "state": "cancelled"}],
        None,
        True,
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("", "request: not JSON"),
        (b"\xff", "request: not text in UTF-8"),
        ([], "request: must be"),
        (["a"], "request: must be"),
        ({}, "request: must have ids alone, or source"),
        ({"ids": []}, f"ids: must be an array of 1 to {CANCELS_MAX} ids"),
        ({"ids": ["a"] * (CANCELS_MAX + 1)}, "ids: must be an array"),
        ({"ids": ["a", "b c"]}, "ids: number 1 must have 1 to 128 characters"),
        ({"ids": ["a"], "source": "sale"}, "request: must have ids alone, or source"),
        ({"source": ""}, "source: must have 1 to 128 characters"),
        ({"source": 5}, "source: must be text"),
        ({"source": "sale", "after": "tomorrow"}, "after: must be the `next` of an earlier answer"),
        ({"source": "sale", "force": True}, "request: must have ids alone, or source"),
        ('{"ids": ["a"], "ids": ["b"]}', "request: must be"),
    ],
)
def test_a_cancellation_that_cannot_be_understood_cancels_nothing(
    ask: Any, dynamodb: Any, body: object, error: str
) -> None:
    status, answer = ask("POST", "/notifications/cancel", body)
    assert status == 400
    assert answer["errors"][0].startswith(error)
    assert dynamodb.scan(TableName="ledger")["Items"] == []


def test_where_a_table_is_away_the_caller_is_told_to_ask_again(ask: Any, sqs: Any, dynamodb: Any) -> None:
    away = (sqs, Faulty(dynamodb, get_item=fail(), query=fail(), transact_write_items=fail()))
    assert ask("GET", "/notifications/a", clients=away)[0] == 503
    assert ask("DELETE", "/notifications/a", clients=away)[0] == 503
    assert ask("POST", "/notifications/cancel", {"source": "sale"}, clients=away)[0] == 503


def test_what_is_logged_of_a_cancellation_is_a_count(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    ask("DELETE", f"/notifications/{PHONE}")
    ask("POST", "/notifications/cancel", {"ids": [PHONE, "b"]})
    assert '"cancelled": 2' in logged(caplog.records)
    assert leaks(logged(caplog.records)) == []
