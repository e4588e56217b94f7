"""The producer: an answer for each notification, and nothing reported as accepted that SQS did not take. Shows R10."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from lambdas import producer
from lambdas.producer import NOTIFICATIONS_MAX, accept_all
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.timings import PRODUCER_TIMEOUT_S
from tests.helpers.aws import (
    DAY,
    NIGHT,
    Faulty,
    dynamodb,
    fail,
    notification,
    put_consent,
    recorded,
    refuse,
    settings,
    sqs,
    take,
    take_notifications,
)
from tests.helpers.leaks import PHONE, leaks, logged
from tests.helpers.web import answered, http

__all__ = ["dynamodb", "settings", "sqs"]

Produce = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def produce(sqs: Any, dynamodb: Any, settings: Settings) -> Produce:
    """`accept_all` in the evening, with ids made-0, made-1 and so on; clients can be replaced."""
    ids = (f"made-{n}" for n in count())

    def call(request: object, now: Any = NIGHT, sqs: Any = sqs, dynamodb: Any = dynamodb) -> tuple[int, dict[str, Any]]:
        return accept_all(request, now, sqs, dynamodb, settings, settings.quiet_hours(), lambda: next(ids))

    return call


def many(*items: Any) -> dict[str, Any]:
    return {"notifications": list(items)}


def ids(entries: list[dict[str, Any]]) -> list[str | None]:
    return [entry["id"] for entry in entries]


HELD = {"decision": "hold", "until": "2020-11-12T08:00:00+09:00"}
SENT = {"decision": "send", "until": None}


# --- what is accepted


def test_one_notification_is_put_on_the_queue_complete(produce: Produce, sqs: Any, settings: Settings) -> None:
    assert produce(notification()) == (202, {"accepted": [{"id": "made-0"} | HELD], "rejected": []})
    (on_queue,) = take_notifications(sqs, settings.notification_queue_url)
    assert on_queue == notification() | {
        "id": "made-0",
        "category": "advertising",
        "address": "+821012345678",
        "accepted_at": NIGHT.isoformat(timespec="milliseconds"),
        "expires_at": (NIGHT + timedelta(days=3)).isoformat(timespec="milliseconds"),
    }


def test_an_id_of_ones_own_is_kept(produce: Produce) -> None:
    assert ids(produce(many(notification(id="order-1:paid"), notification()))[1]["accepted"]) == [
        "order-1:paid",
        "made-0",
    ]


def test_one_bad_item_rejects_none_of_its_neighbours(produce: Produce, sqs: Any, settings: Settings) -> None:
    status, answer = produce(many(notification(id="a"), notification(id="b", channel="fax"), 42, notification(id="c")))
    assert status == 202
    assert ids(answer["accepted"]) == ["a", "c"]
    assert answer["rejected"] == [
        {
            "index": 1,
            "id": "b",
            "errors": ["channel: must be one of kakao, sms, email, push, slack, webhook, log"],
        },
        {"index": 2, "id": None, "errors": ["notification: must be a JSON object"]},
    ]
    assert ids(take_notifications(sqs, settings.notification_queue_url)) == ["a", "c"]


def test_an_id_that_cannot_be_one_is_not_echoed(produce: Produce) -> None:
    assert ids(produce(many(notification(id="010 9876 5432"), notification(id=["x"])))[1]["rejected"]) == [None, None]


def test_r21_thousands_go_in_a_few_calls_and_are_answered_in_order(
    produce: Produce, sqs: Any, settings: Settings
) -> None:
    wanted = [notification(id=f"n-{n}", channel="sms" if n % 2 else "kakao") for n in range(3_000)]
    wanted[1234] |= {"category": "gossip"}
    with recorded(sqs) as calls:
        status, answer = produce(many(*wanted))
    assert status == 202
    assert len(calls) == 3  # 15 bundles of 100 for each of two channels, ten bundles to a call
    assert ids(answer["accepted"]) == [f"n-{n}" for n in range(3_000) if n != 1234]
    assert [entry["index"] for entry in answer["rejected"]] == [1234]
    assert len(take_notifications(sqs, settings.notification_queue_url)) == 2_999


def test_a_notification_that_has_expired_already_is_rejected(produce: Produce) -> None:
    gone = notification(expires_at=NIGHT.isoformat())
    soon = notification(expires_at=(NIGHT + timedelta(seconds=1)).isoformat())
    status, answer = produce(many(gone, soon))
    assert (status, ids(answer["accepted"])) == (202, ["made-1"])
    assert answer["rejected"] == [{"index": 0, "id": None, "errors": ["expires_at: has passed already"]}]


def test_an_accepted_at_of_the_clients_is_not_believed(produce: Produce, sqs: Any, settings: Settings) -> None:
    produce(notification(accepted_at="2020-01-01T00:00:00Z"))
    (on_queue,) = take_notifications(sqs, settings.notification_queue_url)
    assert on_queue["accepted_at"] == NIGHT.isoformat(timespec="milliseconds")


# --- what is wrong with a request as a whole


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (None, 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        ([notification()], 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        ("text", 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        ({"notifications": []}, "notifications: must be an array of 1 to 10000 notifications"),
        ({"notifications": {}}, "notifications: must be an array of 1 to 10000 notifications"),
        ({"notifications": [notification()] * 10_001}, "notifications: must be an array of 1 to 10000 notifications"),
        ({"notifications": None}, "notifications: must be an array of 1 to 10000 notifications"),
        ({"notifications": [notification()], "id": 1}, "request: must have no other field beside notifications"),
    ],
)
def test_a_request_that_holds_no_notifications_is_refused(
    produce: Produce, sqs: Any, request_: object, error: str
) -> None:
    with recorded(sqs) as calls:
        assert produce(request_) == (400, {"accepted": [], "rejected": [{"index": 0, "id": None, "errors": [error]}]})
    assert calls == []


def test_the_answer_to_the_largest_request_is_one_that_lambda_can_return(produce: Produce) -> None:
    wanted = [notification(id="x" * 128, content={"body": "b"})] * 100
    answers = [produce(many(*wanted))[1], produce(many(*[{"channel": "fax"}] * 100))[1]]
    assert all(len(to_text(answer)) * NOTIFICATIONS_MAX / 100 < 6_000_000 for answer in answers)


def test_nothing_valid_is_400(produce: Produce) -> None:
    status, answer = produce(many({}, notification(channel="fax")))
    assert (status, answer["accepted"], len(answer["rejected"])) == (400, [], 2)


# --- what SQS does not take


def test_what_sqs_refuses_once_is_sent_again(produce: Produce, sqs: Any, settings: Settings) -> None:
    answers = iter([refuse(lambda *_: True), refuse(lambda *_: False)])
    faulty = Faulty(sqs, send_message_batch=lambda real, **call: next(answers)(real, **call))
    status, answer = produce(notification(), sqs=faulty)
    assert (status, len(answer["accepted"]), answer["rejected"]) == (202, 1, [])
    assert len(take_notifications(sqs, settings.notification_queue_url)) == 1


def test_what_sqs_keeps_refusing_is_rejected_item_by_item(produce: Produce, sqs: Any, settings: Settings) -> None:
    wanted = many(
        notification(id="a"),
        notification(id="b", channel="sms"),
        notification(id="bad", channel="fax"),
        notification(id="c", channel="sms"),
        notification(id="d", channel="log", address="x"),
    )
    status, answer = produce(wanted, sqs=Faulty(sqs, send_message_batch=refuse(lambda _, body: '"sms"' in body)))
    assert status == 202
    assert ids(answer["accepted"]) == ["a", "d"]
    assert [(entry["index"], entry["id"]) for entry in answer["rejected"]] == [(1, "b"), (2, "bad"), (3, "c")]
    assert answer["rejected"][0]["errors"] == [
        "queue: SQS did not take it (InternalError); send it again with the same id"
    ]
    assert sorted(map(str, ids(take_notifications(sqs, settings.notification_queue_url)))) == ["a", "d"]


def test_nothing_taken_is_503_and_the_made_ids_are_told(produce: Produce, sqs: Any) -> None:
    status, answer = produce(many(notification(), notification(id="b"), {}), sqs=Faulty(sqs, send_message_batch=fail()))
    assert (status, answer["accepted"]) == (503, [])
    assert [(entry["index"], entry["id"]) for entry in answer["rejected"]] == [(0, "made-0"), (1, "b"), (2, None)]
    assert "ServiceUnavailable" in answer["rejected"][0]["errors"][0]


@pytest.mark.parametrize("refused_call", range(4))
def test_accepted_is_exactly_what_sqs_took_whichever_call_fails(
    produce: Produce, sqs: Any, settings: Settings, refused_call: int
) -> None:
    numbers = count()

    def one_fails(real: Any, **call: Any) -> Any:
        return fail()(real) if next(numbers) == refused_call else real(**call)

    wanted = [notification(id=f"n-{n}", content={"body": "가" * 10_000}) for n in range(60)]
    _, answer = produce(many(*wanted), sqs=Faulty(sqs, send_message_batch=one_fails))
    assert len(answer["rejected"]) == (20 if refused_call < 3 else 0)
    assert len(answer["accepted"]) + len(answer["rejected"]) == 60
    taken = ids(take_notifications(sqs, settings.notification_queue_url))
    assert sorted(map(str, taken)) == sorted(map(str, ids(answer["accepted"])))


# --- critical ones go past the entry queue and its consumers


def test_critical_ones_are_put_on_urgent_and_everything_else_on_the_entry_queue(
    produce: Produce, sqs: Any, settings: Settings
) -> None:
    wanted = many(
        notification(id="ad"),
        notification(id="code", category="critical"),
        notification(id="order", category="informational"),
        notification(id="code-2", category="critical", channel="sms"),
    )
    status, answer = produce(wanted)
    assert (status, ids(answer["accepted"]), answer["rejected"]) == (202, ["ad", "code", "order", "code-2"], [])
    assert ids(take_notifications(sqs, settings.urgent_queue_url)) == ["code", "code-2"]
    assert ids(take_notifications(sqs, settings.notification_queue_url)) == ["ad", "order"]


def test_a_critical_one_travels_as_it_would_on_the_entry_queue(produce: Produce, sqs: Any, settings: Settings) -> None:
    produce(notification(category="critical"))
    (on_urgent,) = take(sqs, settings.urgent_queue_url)
    assert json.loads(on_urgent["Body"]) == [
        notification()
        | {
            "id": "made-0",
            "category": "critical",
            "address": "+821012345678",
            "accepted_at": NIGHT.isoformat(timespec="milliseconds"),
            "expires_at": (NIGHT + timedelta(days=3)).isoformat(timespec="milliseconds"),
        }
    ]
    assert "MessageAttributes" not in on_urgent


def test_a_critical_one_with_a_campaigns_id_is_refused_before_it_reaches_urgent(
    produce: Produce, sqs: Any, settings: Settings
) -> None:
    """The consumer checks this for the entry queue. Nothing checks it on urgent, so nothing like it may get there."""
    status, answer = produce(notification(category="critical", id="campaign:0123:1"))
    assert (status, answer["accepted"]) == (400, [])
    assert take(sqs, settings.urgent_queue_url) == []


@pytest.mark.parametrize(
    ("refusing", "accepted", "rejected"),
    [("urgent", ["ad", "order"], [(1, "code")]), ("notification", ["code"], [(0, "ad"), (2, "order")])],
)
def test_what_one_queue_does_not_take_is_rejected_and_the_others_are_accepted(
    produce: Produce, sqs: Any, refusing: str, accepted: list[str], rejected: list[tuple[int, str]]
) -> None:
    wanted = many(
        notification(id="ad"),
        notification(id="code", category="critical"),
        notification(id="order", category="informational"),
    )
    refused = refuse(lambda url, _: url.endswith(refusing))
    status, answer = produce(wanted, sqs=Faulty(sqs, send_message_batch=refused))
    assert (status, ids(answer["accepted"])) == (202, accepted)
    assert [(entry["index"], entry["id"]) for entry in answer["rejected"]] == rejected
    assert answer["rejected"][0]["errors"] == [
        "queue: SQS did not take it (InternalError); send it again with the same id"
    ]


# --- the forecast


def test_r1_the_forecast_is_the_rule_with_night_consent(produce: Produce, dynamodb: Any) -> None:
    put_consent(dynamodb, "owl", night_consent=True)
    put_consent(dynamodb, "gone", opted_out=True)
    asked = many(
        notification(),
        notification(recipient_id="owl", channel="sms"),
        notification(category="critical"),
        notification(channel="email", address="a@example.com"),
        notification(recipient_id="gone"),
    )
    _, answer = produce(asked)
    forecasts = [{"decision": each["decision"], "until": each["until"]} for each in answer["accepted"]]
    assert forecasts == [HELD, SENT, SENT, SENT, SENT]
    _, answer = produce(asked, now=DAY)
    assert {each["decision"] for each in answer["accepted"]} == {"send"}


def test_the_answer_says_which_of_several_policies_judges(sqs: Any, dynamodb: Any, settings: Settings) -> None:
    """At 21:03 in Seoul it is 07:03 in New York and 13:03 in Paris."""
    several = replace(settings, wait_queues=3, further_policies="france,united-states@America/New_York")
    asked = many(
        notification(),
        notification(country="US", channel="sms"),
        notification(timezone="Europe/Paris", channel="sms"),
        notification(country="JP", channel="sms"),
    )
    made = count()
    _, answer = accept_all(asked, NIGHT, sqs, dynamodb, several, several.quiet_hours(), lambda: f"made-{next(made)}")
    assert [(each["decision"], each["policy"]) for each in answer["accepted"]] == [
        ("hold", "korea at Asia/Seoul"),
        ("hold", "united-states at America/New_York"),
        ("send", "france at Europe/Paris"),
        ("send", "no policy fits its country, so the strictest judges: france at Europe/Paris"),
    ]


def test_the_answer_names_the_only_policy_to_who_asks_for_another_and_to_nobody_else(produce: Produce) -> None:
    _, answer = produce(many(notification(), notification(country="KR"), notification(policy="france")))
    assert [each.get("policy") for each in answer["accepted"]] == [
        None,
        None,
        "no policy fits its policy, so this one judges: korea at Asia/Seoul",
    ]


def test_by_day_nobodys_consent_is_asked_for(produce: Produce, dynamodb: Any) -> None:
    with recorded(dynamodb) as calls:
        produce(many(notification(), notification()), now=DAY)
        produce(many(notification(category="critical")), now=NIGHT)
    assert calls == []


def test_when_the_consent_table_fails_the_forecast_assumes_no_consent_and_all_are_accepted(
    produce: Produce, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    put_consent(dynamodb, "owl", night_consent=True)
    broken = Faulty(dynamodb, batch_get_item=fail())
    status, answer = produce(many(notification(recipient_id="owl")), dynamodb=broken)
    assert (status, answer) == (202, {"accepted": [{"id": "made-0"} | HELD], "rejected": []})
    assert len(take(sqs, settings.notification_queue_url)) == 1


def test_a_consent_in_the_request_is_rejected(produce: Produce, sqs: Any) -> None:
    status, answer = produce(notification(night_consent=True))
    assert status == 400
    assert answer["rejected"][0]["errors"][0].startswith("night_consent: unknown field")


# --- the handler


@pytest.fixture
def handler(
    monkeypatch: pytest.MonkeyPatch, sqs: Any, dynamodb: Any, settings: Settings
) -> Callable[[object], dict[str, Any]]:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(producer, "_clients", lambda: (sqs, dynamodb))
    return lambda event: producer.handler(event, None)  # type: ignore[arg-type]


def test_a_direct_invoke_is_answered_item_by_item(handler: Any, sqs: Any, settings: Settings) -> None:
    answer = handler(many(notification(id="a"), notification()))
    assert answer["rejected"] == []
    assert answer["accepted"][0]["id"] == "a"
    assert len(answer["accepted"][1]["id"]) == 36
    assert len(take_notifications(sqs, settings.notification_queue_url)) == 2


@pytest.mark.parametrize("event", [None, 5, "text", [], {}, {"notifications": 5}])
def test_a_direct_invoke_with_something_else_is_refused_and_no_error(handler: Any, event: object) -> None:
    answer = handler(event)
    assert answer["accepted"] == []
    assert answer["rejected"][0]["errors"]


@pytest.mark.parametrize("encode", [str, lambda text: text.encode()], ids=["text", "base64"])
def test_a_post_is_accepted_with_202(handler: Any, sqs: Any, settings: Settings, encode: Any) -> None:
    body = json.dumps(many(notification(id="a"), notification(channel="fax")), ensure_ascii=False)
    response = handler(http("POST", "/notifications", encode(body)))
    status, answer = answered(response)
    assert status == 202
    assert response["headers"]["Content-Type"] == "application/json"
    assert ids(answer["accepted"]) == ["a"]
    assert answer["rejected"][0]["index"] == 1
    (on_queue,) = take_notifications(sqs, settings.notification_queue_url)
    assert on_queue["content"] == notification()["content"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (None, "request: not JSON: Expecting value at character 0"),
        ("", "request: not JSON: Expecting value at character 0"),
        ("{", "request: not JSON: Expecting property name enclosed in double quotes at character 1"),
        ("{} x", "request: text follows the JSON value"),
        (b"\xff\xfe{}", "request: not text in UTF-8"),
        ("[]", 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        (" \n[", 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        ("\ufeff[{}]", 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        ("[{}]", 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        ('"text"', 'request: must be one notification or {"notifications": [...]} as a JSON object'),
        (
            '{"notifications": [{}], "notifications": [{}]}',
            "request: must have no other field beside notifications",
        ),
    ],
)
def test_a_post_that_is_no_request_is_400_with_a_clear_error(
    handler: Any, body: str | bytes | None, error: str
) -> None:
    refused = {"accepted": [], "rejected": [{"index": 0, "id": None, "errors": [error]}]}
    assert answered(handler(http("POST", "/notifications", body))) == (400, refused)


@pytest.mark.parametrize("path", ["/notifications", "/notifications/cancel"])
@pytest.mark.parametrize("body", ["[" + "0," * 1_000_000 + "0]", "[" * 1_000_000], ids=["long", "deep"])
def test_an_array_is_refused_with_one_error_before_its_values_are_read(
    handler: Any, monkeypatch: pytest.MonkeyPatch, path: str, body: str
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("the array is read")

    monkeypatch.setattr("lambdas.quiet_hours.api.web.unpack", read)
    status, answer = answered(handler(http("POST", path, body)))
    assert status == 400
    (error,) = answer["rejected"][0]["errors"] if "rejected" in answer else answer["errors"]
    assert error.startswith("request: must be ")


def test_more_notifications_than_a_request_may_have_are_refused_before_one_is_checked(
    handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(*_: object, **__: object) -> None:
        raise AssertionError("a notification is checked")

    monkeypatch.setattr(producer, "admit", check)
    error = f"notifications: must be an array of 1 to {NOTIFICATIONS_MAX} notifications"
    refused = {"accepted": [], "rejected": [{"index": 0, "id": None, "errors": [error]}]}
    request = {"notifications": [0] * (NOTIFICATIONS_MAX + 1)}
    assert answered(handler(http("POST", "/notifications", json.dumps(request)))) == (400, refused)
    assert handler(request) == refused


def test_a_post_with_repeated_keys_or_nan_in_one_item_rejects_that_item(handler: Any) -> None:
    good = json.dumps(notification(id="good"))
    twice = good.replace('"id"', '"id": "x", "id"')
    nan = good[:-1] + ', "metadata": {"a": NaN}}'
    status, answer = answered(handler(http("POST", "/notifications", f'{{"notifications": [{twice}, {nan}, {good}]}}')))
    assert (status, ids(answer["accepted"])) == (202, ["good"])
    assert [entry["errors"] for entry in answer["rejected"]] == [
        ["notification: names a field twice"],
        ["metadata: has a number that JSON cannot carry (NaN or Infinity)"],
    ]


def test_a_post_when_sqs_is_away_is_503(handler: Any, sqs: Any, settings: Settings) -> None:
    sqs.delete_queue(QueueUrl=settings.notification_queue_url)
    status, answer = answered(handler(http("POST", "/notifications", json.dumps(notification()))))
    assert (status, answer["accepted"]) == (503, [])


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/"), ("POST", "/notification"), ("PUT", "/notifications"), ("GET", "/notifications")]
)
def test_any_other_route_is_404(handler: Any, method: str, path: str) -> None:
    assert handler(http(method, path, "{}"))["statusCode"] == 404


def test_a_service_that_hangs_does_not_outlast_the_function(sqs: Any) -> None:
    for client in producer._clients.__wrapped__():  # past the cache
        config = client.meta.config
        attempts = config.retries["total_max_attempts"]
        assert attempts * (config.connect_timeout + config.read_timeout) < PRODUCER_TIMEOUT_S / 2


def test_what_is_logged_shows_no_ones_data(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    handler(many(notification(address=PHONE, content={"body": "canary"}), notification(channel="canary")))
    handler(http("POST", "/notifications", f'{{"address": "{PHONE}", "canary'))
    assert '"accepted": 1, "rejected": 1' in logged(caplog.records)
    assert leaks(logged(caplog.records)) == []
    assert "canary" not in logged(caplog.records)
