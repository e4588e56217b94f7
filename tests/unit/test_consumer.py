"""The consumer: now or held, in bundles; what cannot be read goes to dead-letter; an input is acknowledged only when
all that was in it has been taken. Shows R1, R2, R3, R12 and R16."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from lambdas import consumer
from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.errors import ConsentUnavailable
from lambdas.quiet_hours.notification.bundle import REDRIVEN
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.rule.policies import named_policy
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.timings import CONSUMER_TIMEOUT_S
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
    refuse,
    settings,
    sqs,
    take,
    take_notifications,
    take_records,
    text_attributes,
)
from tests.helpers.leaks import PHONE, leaks, logged

__all__ = ["dynamodb", "settings", "sqs"]

Judge = Callable[..., list[str]]


@pytest.fixture
def judge(sqs: Any, dynamodb: Any, settings: Settings) -> Judge:
    """`consume` in the evening; answers with the message ids that must come again. Clients can be replaced."""

    def call(*records: Any, now: datetime = NIGHT, sqs: Any = sqs, dynamodb: Any = dynamodb) -> list[str]:
        return consume(records, now, sqs, dynamodb, settings, settings.quiet_hours())[0]

    return call


def bundle(*notifications: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return record(to_text(list(notifications)), **fields)


def advert(id: str, **fields: Any) -> dict[str, Any]:
    return notification(id=id, **fields)


def order(id: str, **fields: Any) -> dict[str, Any]:
    return notification(id=id, category="informational", **fields)


def code(id: str, **fields: Any) -> dict[str, Any]:
    return notification(id=id, category="critical", **fields)


def ids(sqs: Any, queue_url: str) -> list[str]:
    return sorted(each["id"] for each in take_notifications(sqs, queue_url))


# --- now or held


@pytest.mark.parametrize(
    ("now", "held"),
    [
        ("2020-11-11T20:59:44.999999+09:00", False),
        ("2020-11-11T20:59:45+09:00", True),  # the guard: what is passed on now could be in flight at 21:00
        ("2020-11-11T21:00:00+09:00", True),
        ("2020-11-12T07:59:59.999999+09:00", True),
        ("2020-11-12T08:00:02+09:00", False),
    ],
)
def test_r1_r2_without_night_consent_advertising_is_put_on_wait_at_night(
    judge: Judge, sqs: Any, settings: Settings, now: str, held: bool
) -> None:
    judge(bundle(advert("ad", channel="sms"), order("order")), now=datetime.fromisoformat(now))
    assert ids(sqs, settings.wait_queue_url) == (["ad"] if held else [])
    assert ids(sqs, settings.schedule_queue_url) == ([] if held else ["ad"])
    assert ids(sqs, settings.delivery_queue_url) == ["order"]


@pytest.mark.parametrize(
    ("now", "held"),
    [
        ("2020-11-11T20:49:44.999999+09:00", []),
        ("2020-11-11T20:49:45+09:00", ["agreed", "kakao"]),  # KakaoTalk refuses them from 20:50 on
        ("2020-11-11T20:59:44.999999+09:00", ["agreed", "kakao"]),
        ("2020-11-11T20:59:45+09:00", ["agreed", "kakao", "sms"]),
        ("2020-11-12T08:00:02+09:00", []),
    ],
)
def test_kakaotalk_takes_no_brand_messages_from_20_50_on_whatever_the_consent(
    judge: Judge, sqs: Any, dynamodb: Any, settings: Settings, now: str, held: list[str]
) -> None:
    put_consent(dynamodb, "user-42", night_consent=True)
    alimtalk = {"category": "informational", "content": {"template": "order-paid"}}
    judge(
        bundle(
            advert("kakao"),
            advert("agreed", recipient_id="user-42"),
            advert("sms", channel="sms"),
            advert("sms-agreed", channel="sms", recipient_id="user-42"),
            notification(id="alimtalk", **alimtalk),
        ),
        now=datetime.fromisoformat(now),
    )
    assert ids(sqs, settings.wait_queue_url) == held


@pytest.mark.parametrize("now", [NIGHT, DAY])
def test_r3_what_may_go_now_takes_the_lane_of_its_urgency(
    judge: Judge, sqs: Any, settings: Settings, now: datetime
) -> None:
    mail = {"channel": "email", "address": "a@example.com"}  # no night holds it
    judge(bundle(advert("ad", **mail), code("code"), order("order"), code("code-2", channel="sms")), now=now)
    assert ids(sqs, settings.urgent_queue_url) == ["code", "code-2"]
    assert ids(sqs, settings.delivery_queue_url) == ["order"]
    assert ids(sqs, settings.schedule_queue_url) == ["ad"]
    assert take(sqs, settings.wait_queue_url) == take(sqs, settings.dead_letter_queue_url) == []


def test_the_most_urgent_lane_is_fed_first(judge: Judge, sqs: Any, settings: Settings) -> None:
    with recorded(sqs) as calls:
        judge(bundle(advert("ad-held"), advert("ad", channel="email", address="a@b.kr"), order("order"), code("code")))
    fed = [call.parameters["QueueUrl"].rpartition("/")[2] for call in calls]
    assert fed == ["urgent", "delivery", "schedule", "wait"]


def test_a_redriven_critical_one_is_no_longer_urgent(judge: Judge, sqs: Any, settings: Settings) -> None:
    """An operator brings back thousands at once. The codes of today must not wait behind them."""
    ended_at = "2020-11-11T12:00:00.000+00:00"
    judge(record(to_text(code("again")), attributes={REDRIVEN: ended_at}), record(to_text(code("fresh"))))
    assert ids(sqs, settings.urgent_queue_url) == ["fresh"]
    (message,) = take(sqs, settings.delivery_queue_url)
    assert json.loads(message["Body"])["id"] == "again"
    assert text_attributes(message) == {REDRIVEN: ended_at}


def test_night_consent_goes_out_at_night_by_recipient_id_or_by_canonical_address(
    judge: Judge, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    put_consent(dynamodb, "user-42", night_consent=True)
    put_consent(dynamodb, "+821099999999", night_consent=True)
    put_consent(dynamodb, "user-43", night_consent=False)
    judge(
        bundle(
            advert("by-id", channel="sms", recipient_id="user-42"),
            advert("by-address", channel="sms", address="+82 (0)10-9999-9999"),
            advert("refused", channel="sms", recipient_id="user-43"),
            advert("unknown", channel="sms"),
        )
    )
    assert ids(sqs, settings.schedule_queue_url) == ["by-address", "by-id"]
    assert ids(sqs, settings.wait_queue_url) == ["refused", "unknown"]


def test_a_consent_in_the_payload_is_a_fault_and_consents_to_nothing(
    judge: Judge, sqs: Any, settings: Settings
) -> None:
    assert judge(record(to_text(advert("forged", night_consent=True)))) == []
    (letter,) = take(sqs, settings.dead_letter_queue_url)
    assert text_attributes(letter)["reason"].startswith("invalid: night_consent: unknown field; allowed are id, ")
    lanes = (settings.urgent_queue_url, settings.delivery_queue_url, settings.schedule_queue_url)
    assert [take(sqs, url) for url in (*lanes, settings.wait_queue_url)] == [[], [], [], []]


def test_the_consumer_ends_nothing_itself(judge: Judge, sqs: Any, dynamodb: Any, settings: Settings) -> None:
    put_consent(dynamodb, "gone", opted_out=True)
    judge(bundle(advert("opted-out", recipient_id="gone"), advert("expired", expires_at="2020-11-11T00:00:00Z")))
    assert ids(sqs, settings.schedule_queue_url) == ["expired", "opted-out"]


# --- consent is read where it matters


def test_by_day_no_consent_is_read(judge: Judge, dynamodb: Any) -> None:
    with recorded(dynamodb) as calls:
        judge(bundle(advert("a"), order("b")), now=DAY)
    assert calls == []


def test_at_night_consent_is_read_only_for_what_may_be_held(judge: Judge, dynamodb: Any) -> None:
    with recorded(dynamodb) as calls:
        judge(bundle(order("a"), advert("b", channel="email", address="a@example.com")))
        judge(bundle(order("c", recipient_id="x"), advert("d", recipient_id="y")))
    (call,) = calls
    keys = [key["recipient_id"]["S"] for key in call.parameters["RequestItems"]["consent"]["Keys"]]
    assert keys == ["+821012345678", "y"]


def test_at_night_consents_of_all_records_are_read_strongly_a_hundred_at_a_time(
    judge: Judge, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    put_consent(dynamodb, "user-249", night_consent=True)
    records = [
        bundle(*(advert(f"n-{n}", channel="sms", recipient_id=f"user-{n}") for n in range(start, start + 50)))
        for start in range(0, 250, 50)
    ]
    with recorded(dynamodb) as calls:
        assert judge(*records) == []
    asks = [call.parameters["RequestItems"]["consent"] for call in calls]
    assert [len(ask["Keys"]) for ask in asks] == [100, 100, 51]  # one address, too
    assert all(ask["ConsistentRead"] for ask in asks)
    assert ids(sqs, settings.schedule_queue_url) == ["n-249"]


@pytest.mark.parametrize("error", [ClientError, ConsentUnavailable])
def test_when_consents_cannot_be_read_nothing_is_sent_and_all_of_it_comes_again(
    judge: Judge, sqs: Any, dynamodb: Any, error: type[Exception]
) -> None:
    def unprocessed(real: Any, RequestItems: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    broken = Faulty(dynamodb, batch_get_item=fail() if error is ClientError else unprocessed)
    with recorded(sqs) as calls, pytest.raises(error):
        judge(bundle(advert("ad"), order("order")), record("unreadable"), dynamodb=broken)
    assert calls == []


def test_a_consent_that_cannot_be_read_delays_only_who_needs_it(
    judge: Judge, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    """The worker asks again, so the notification goes to its lane and not to wait."""

    def all_but_one(real: Any, RequestItems: Any) -> Any:
        keys = RequestItems["consent"]["Keys"]
        left = [key for key in keys if key["recipient_id"]["S"] == "user-unread"]
        rest = [key for key in keys if key not in left]
        answer = (
            real(RequestItems={"consent": {**RequestItems["consent"], "Keys": rest}}) if rest else {"Responses": {}}
        )
        return {**answer, "UnprocessedKeys": {"consent": {"Keys": left}} if left else {}}

    broken = Faulty(dynamodb, batch_get_item=all_but_one)
    unread = advert("unread", recipient_id="user-unread")
    assert judge(bundle(unread, advert("held"), order("order")), dynamodb=broken) == []
    assert ids(sqs, settings.schedule_queue_url) == ["unread"]
    assert ids(sqs, settings.wait_queue_url) == ["held"]
    assert ids(sqs, settings.delivery_queue_url) == ["order"]


# --- bundles


def test_r21_what_comes_singly_travels_on_in_bundles_of_one_channel(judge: Judge, sqs: Any, settings: Settings) -> None:
    with recorded(sqs) as calls:
        judge(*(record(to_text(advert(f"n-{n}", channel=("kakao", "sms")[n % 2]))) for n in range(10)))
    assert len(calls) == 1
    bodies = [json.loads(message["Body"]) for message in take(sqs, settings.wait_queue_url)]
    assert sorted([each["id"] for each in body] for body in bodies) == [
        ["n-0", "n-2", "n-4", "n-6", "n-8"],
        ["n-1", "n-3", "n-5", "n-7", "n-9"],
    ]


def test_an_event_is_judged_like_any_other(judge: Judge, sqs: Any, settings: Settings) -> None:
    event = {"id": "e-1", "detail-type": "NotificationRequested", "source": "shop", "detail": notification()}
    judge(record(json.dumps(event)), record(json.dumps(event)))
    assert ids(sqs, settings.wait_queue_url) == ["event:e-1", "event:e-1"]


def test_r16_a_plain_object_that_sqs_delivers_twice_is_one_notification(
    judge: Judge, sqs: Any, settings: Settings
) -> None:
    body = json.dumps(notification(), ensure_ascii=False)
    sent = sqs.send_message(
        QueueUrl=settings.notification_queue_url,
        MessageBody=body,
        MessageAttributes={"JobType": {"DataType": "String", "StringValue": "campaign"}},
    )
    (came,) = take_records(sqs, settings.notification_queue_url)
    assert judge(came) == judge(came) == []
    assert ids(sqs, settings.wait_queue_url) == [f"sqs:{sent['MessageId']}"] * 2


def test_a_redrive_at_3_in_the_morning_is_held_and_its_message_still_says_what_it_undoes(
    judge: Judge, sqs: Any, settings: Settings
) -> None:
    ended_at = "2020-11-11T12:00:00.000+00:00"
    redriven = record(to_text(advert("again")), attributes={REDRIVEN: ended_at})
    judge(redriven, record(to_text(advert("fresh"))), now=datetime(2020, 11, 11, 18, 0, tzinfo=UTC))
    waiting = {message["Body"][0]: message for message in take(sqs, settings.wait_queue_url)}
    assert json.loads(waiting["{"]["Body"])["id"] == "again"
    assert text_attributes(waiting["{"]) == {REDRIVEN: ended_at}
    assert text_attributes(waiting["["]) == {}


# --- what cannot be read


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("주문 완료", "unreadable: not JSON: Expecting value at character 0"),
        ("[]", "unreadable: an empty array"),
        ("{}{}", "unreadable: text follows the JSON value"),
    ],
    ids=["text", "empty array", "two values"],
)
def test_an_unreadable_body_goes_to_dead_letter_as_it_came_with_the_reason(
    judge: Judge, sqs: Any, settings: Settings, body: str, reason: str
) -> None:
    assert judge(record(body), record(to_text(order("fine")))) == []
    (letter,) = take(sqs, settings.dead_letter_queue_url)
    assert letter["Body"] == body
    assert text_attributes(letter) == {"reason": reason}
    assert ids(sqs, settings.delivery_queue_url) == ["fine"]


def test_an_invalid_item_goes_to_dead_letter_alone_with_its_own_text_its_id_and_every_fault(
    judge: Judge, sqs: Any, settings: Settings
) -> None:
    bad = '{ "id" : "bad" , "channel" : "fax" , "content" : { "body" : "한글" } }'
    body = f"[{to_text(order('a'))}, {bad}, 42, {to_text(advert('b'))}]"
    assert judge(record(body, "m-1")) == []
    letters = {letter["Body"]: text_attributes(letter) for letter in take(sqs, settings.dead_letter_queue_url)}
    assert letters == {
        bad: {
            "notification_id": "bad",
            "reason": "invalid: address: is required; "
            "channel: must be one of kakao, sms, email, push, slack, webhook, log",
        },
        "42": {"notification_id": "sqs:m-1:2", "reason": "invalid: notification: must be a JSON object"},
    }
    assert ids(sqs, settings.delivery_queue_url) == ["a"]
    assert ids(sqs, settings.wait_queue_url) == ["b"]


# --- what is acknowledged

MIXED = [
    bundle(advert("a-ad"), order("a-order"), message_id="mixed"),
    record(to_text(order("b-order")), message_id="now"),
    bundle(advert("c-ad"), advert("c-ad-2"), message_id="held"),
    record("unreadable", message_id="unreadable"),
    bundle(advert("d-ad", channel="sms"), {"channel": "fax"}, message_id="held sms and invalid"),
    bundle(code("e-code"), order("e-order"), message_id="urgent and now"),
    bundle(advert("f-ad", channel="email", address="f@example.com"), code("f-code"), message_id="bulk and urgent"),
]
ALL = sorted(str(each["messageId"]) for each in MIXED)


@pytest.mark.parametrize(
    ("refused", "come_again"),
    [
        (lambda url, body: False, []),
        (lambda url, body: True, ALL),
        (lambda url, body: url.endswith("wait"), ["held", "held sms and invalid", "mixed"]),
        (lambda url, body: url.endswith("urgent"), ["bulk and urgent", "urgent and now"]),
        (lambda url, body: url.endswith("delivery"), ["mixed", "now", "urgent and now"]),
        (lambda url, body: url.endswith("schedule"), ["bulk and urgent"]),
        (lambda url, body: url.endswith("dead-letter"), ["held sms and invalid", "unreadable"]),
        (lambda url, body: url.endswith("wait") and "kakao" in body, ["held", "mixed"]),
        (lambda url, body: url.endswith("wait") and "sms" in body, ["held sms and invalid"]),
        (lambda url, body: body == "unreadable", ["unreadable"]),
        (lambda url, body: "fax" in body, ["held sms and invalid"]),
    ],
    ids=[
        "nothing",
        "all",
        "wait",
        "urgent",
        "delivery",
        "schedule",
        "dead-letter",
        "one bundle",
        "another",
        "one letter",
        "another letter",
    ],
)
@pytest.mark.parametrize("sender_fault", [False, True])
def test_an_input_comes_again_exactly_when_an_output_with_an_item_of_it_was_refused(
    judge: Judge, sqs: Any, refused: Any, come_again: list[str], sender_fault: bool
) -> None:
    faulty = Faulty(sqs, send_message_batch=refuse(refused, sender_fault=sender_fault))
    assert judge(*MIXED, sqs=faulty) == come_again


def test_when_the_calls_themselves_fail_everything_comes_again(judge: Judge, sqs: Any) -> None:
    failed = judge(*MIXED, sqs=Faulty(sqs, send_message_batch=fail()))
    assert failed == ALL


class Memory:
    """Stand in for SQS and DynamoDB, as far as the consumer uses them. `taken` holds the messages that it took."""

    def __init__(self, refused: list[bool]) -> None:
        self._refused = iter(refused)
        self.taken: list[str] = []

    def send_message_batch(self, QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        answer: dict[str, Any] = {"Successful": [], "Failed": []}
        for entry in Entries:
            if next(self._refused, False):
                answer["Failed"].append({"Id": entry["Id"], "Code": "InternalError", "SenderFault": False})
            else:
                answer["Successful"].append({"Id": entry["Id"]})
                self.taken.append(entry["MessageBody"])
        return answer

    def batch_get_item(self, RequestItems: Any) -> dict[str, Any]:
        return {"Responses": {}}


parts = st.sampled_from(
    [
        {"channel": channel, "category": category}
        for channel in ("log", "push")
        for category in ("advertising", "informational", "critical")
    ]
    + [{"channel": "fax"}]
)


@examples(deadline=None, max_examples=200)
@given(st.lists(st.lists(parts, max_size=4), min_size=1, max_size=4), st.lists(st.booleans(), max_size=30))
def test_whatever_is_refused_no_item_is_lost(inputs: list[list[dict[str, str]]], refused: list[bool]) -> None:
    names = {n: [f"n-{n}-{i}" for i in range(len(each))] or [f"unreadable-{n}"] for n, each in enumerate(inputs)}
    records = [
        record(to_text([notification(address="a", id=i, **p) for i, p in zip(names[n], each, strict=True)]), str(n))
        if each
        else record(names[n][0], str(n))
        for n, each in enumerate(inputs)
    ]
    memory = Memory(refused)
    deployment = Settings(*["queue"] * 4, "dead", "ledger", "consent", "secret")
    failed, _ = consume(records, NIGHT, memory, memory, deployment, named_policy("korea"))  # type: ignore[arg-type]
    for n, inside in names.items():
        arrived = all(any(name in body for body in memory.taken) for name in inside)
        assert arrived == (str(n) not in failed)


# --- the handler and the whole way


@pytest.fixture
def handler(
    monkeypatch: pytest.MonkeyPatch, sqs: Any, dynamodb: Any, settings: Settings
) -> Callable[..., dict[str, Any]]:
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(consumer, "_clients", lambda: (sqs, dynamodb))
    return lambda *records: consumer.handler({"Records": list(records)}, None)


def test_the_handler_names_what_must_come_again(handler: Any, sqs: Any, settings: Settings) -> None:
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    good = order("a", accepted_at=datetime.now(UTC).isoformat(timespec="seconds"), expires_at=expires_at)
    assert handler(record(to_text(good), "m-1")) == {"batchItemFailures": []}
    assert ids(sqs, settings.delivery_queue_url) == ["a"]
    sqs.delete_queue(QueueUrl=settings.delivery_queue_url)
    assert handler(record(to_text(good), "m-1"), record("unreadable", "m-2")) == {
        "batchItemFailures": [{"itemIdentifier": "m-1"}]
    }


def test_what_is_logged_shows_no_ones_data(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    handler(record(f"canary {PHONE}"), record(to_text(advert("a", address=PHONE, source="canary"))))
    assert '"records": 2, "failed_records": 0' in logged(caplog.records)
    assert leaks(logged(caplog.records)) == []
    assert "canary" not in logged(caplog.records)


def test_a_service_that_hangs_does_not_outlast_the_function(sqs: Any) -> None:
    for client in consumer._clients.__wrapped__():  # past the cache
        config = client.meta.config
        attempts = config.retries["total_max_attempts"]
        assert attempts * (config.connect_timeout + config.read_timeout) < CONSUMER_TIMEOUT_S / 2


def test_what_the_producer_accepted_reaches_its_lane_byte_for_byte(
    judge: Judge, sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    many = {"notifications": [advert(f"n-{n}", content={"body": f"한글 {n} 🍁"}) for n in range(150)]}
    accept_all(many, NIGHT, sqs, dynamodb, settings, settings.quiet_hours(), lambda: "made")
    records = take_records(sqs, settings.notification_queue_url)
    assert judge(*records) == []
    waiting = [message["Body"] for message in take(sqs, settings.wait_queue_url)]
    assert sorted(waiting) == sorted(each["body"] for each in records)
