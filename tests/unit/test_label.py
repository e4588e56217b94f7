"""The label of Korean advertising: advertising without it is refused on arrival, and the error says what is missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lambdas.consumer import consume
from lambdas.producer import accept_all
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.notification.label import label_faults
from lambdas.quiet_hours.settings import Settings
from tests.helpers.aws import (
    DAY,
    dynamodb,
    notification,
    record,
    settings,
    sqs,
    take,
    take_notifications,
    text_attributes,
)

__all__ = ["dynamodb", "settings", "sqs"]

OUT = "무료수신거부 080-000-0000"


@pytest.fixture
def labelling(settings: Settings) -> Settings:
    return replace(settings, advertising_label=True)


def faults(settings: Settings, category: str = "advertising", **content: Any) -> list[str]:
    return label_faults({"category": category, "content": content}, settings)  # type: ignore[typeddict-item]


BEGIN = "content: {} of advertising must begin with (광고)"
OPT_OUT = "content: advertising must say how to opt out free of charge, such as 무료수신거부 080-000-0000"


@pytest.mark.parametrize(
    "content",
    [
        {"title": "(광고) 세일", "body": f"30% 할인\n{OUT}"},
        {"body": f"(광고) 세일\n{OUT}"},
        {"body": "(광고) 세일 무료 수신거부: 080-123-4567"},
        {"body": "(광고) 세일 [무료수신거부] 0801234567"},
        {"body": "(광고) 세일 수신거부 https://example.com/out"},
        {"body": "(광고) 세일 수신 거부 example.com/out"},
        {"body": "(광고) 세일 무료거부 0801234567"},
        {"body": "(광고) 세일 무료 거부 080)1234-5678"},
        {"body": "(광고) 세일\n무료수신거부\n080-123-4567"},
        {"body": "(광고) 세일 무료수신거부:\n☎ 080-123-4567"},
        {"body": "(광고) 세일 무료수신거부 ☎080.123.4567"},
        {"body": "(광고) 세일\n080-123-4567 무료수신거부"},
        {"body": "(광고) 세일 ☎080-123-4567(무료 수신거부)"},
        {"body": "(광고) 세일 무료 수신거부 : HTTPS://SHOP.KR/x"},
        {"body": "(광고) 세일 무료수신거부 Shop.KR"},
        {"title": "(광고) 세일 무료수신거부 080-000-0000", "body": "30% 할인"},
        {"template": "sale"},
        {"template": "sale", "title": "(광고) 세일"},
    ],
)
def test_advertising_that_is_labelled_is_accepted(labelling: Settings, content: dict[str, Any]) -> None:
    assert faults(labelling, **content) == []


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ({"body": "세일"}, [BEGIN.format("body"), OPT_OUT]),
        ({"body": f"세일 (광고) {OUT}"}, [BEGIN.format("body")]),
        ({"body": f" (광고) 세일 {OUT}"}, [BEGIN.format("body")]),
        ({"title": "세일", "body": f"(광고) 30% {OUT}"}, [BEGIN.format("title")]),
        ({"body": "(광고) 세일"}, [OPT_OUT]),
        ({"body": "(광고) 세일 무료수신거부"}, [OPT_OUT]),
        ({"body": "(광고) 세일 수신거부: 앱 설정 > 알림"}, [OPT_OUT]),
        ({"body": "(광고) 문의 080-000-0000"}, [OPT_OUT]),
        ({"body": "(광고) 세일 수신거부 2020-11-11"}, [OPT_OUT]),
        ({"body": "(광고) 세일 수신거부 010-1234-5678"}, [OPT_OUT]),
        ({"body": "(광고) 세일 수신거부 1588-0000"}, [OPT_OUT]),
        ({"body": "(광고) 세일 수신거부 0801234567890"}, [OPT_OUT]),
        ({"body": "(광고) 세일 080-123-4567 문의, 수신거부는 앱에서"}, [OPT_OUT]),
        ({"body": "(광고) 세일 수신거부: 앱 설정\n문의 080-123-4567"}, [OPT_OUT]),
        ({"body": "(광고) 세일 shop.kr 수신거부"}, [OPT_OUT]),
        ({"body": "(광고) 세일 30%.무료수신거부 가능"}, [OPT_OUT]),
        ({"template": "sale", "title": "세일"}, [BEGIN.format("title")]),
    ],
)
def test_what_advertising_lacks_is_named(labelling: Settings, content: dict[str, Any], missing: list[str]) -> None:
    assert faults(labelling, **content) == missing


def test_a_senders_name_is_asked_for_where_one_is_set(labelling: Settings) -> None:
    named = replace(labelling, sender_name="온결")
    assert faults(named, body=f"(광고) 세일 {OUT}") == ["content: advertising must name its sender, 온결"]
    assert faults(named, body=f"(광고) 온결 세일 {OUT}") == []
    assert faults(named, title="(광고) 온결", body=OUT) == []


def test_no_label_is_asked_of_what_is_no_advertising_nor_elsewhere_nor_where_it_is_off(settings: Settings) -> None:
    assert faults(replace(settings, advertising_label=True), "informational", body="결제 완료") == []
    assert faults(replace(settings, advertising_label=True, policy="strict"), body="sale") == []
    assert faults(replace(settings, advertising_label=False), body="sale") == []


def test_of_several_policies_only_korea_asks_for_the_label(labelling: Settings) -> None:
    several = replace(labelling, further_policies="france")
    french = replace(labelling, policy="france", further_policies="korea@Asia/Seoul")

    def asks(settings: Settings, **fields: str) -> bool:
        given = {
            "category": "advertising",
            "channel": "sms",
            "content": {"body": "sale"},
            "accepted_at": "2026-11-28T03:00:00+00:00",
        }
        return bool(label_faults(given | fields, settings))  # type: ignore[arg-type]

    assert asks(several)
    assert not asks(several, country="FR")
    assert not asks(french)
    assert asks(french, timezone="Asia/Seoul")
    assert asks(several, country="FR", timezone="Asia/Seoul")
    labelled = {"category": "informational", "channel": "sms", "content": {"body": "(광고) sale"}, "country": "FR"}
    assert label_faults(labelled, several)  # type: ignore[arg-type]


def test_the_producer_rejects_what_is_unlabelled_alone(sqs: Any, dynamodb: Any, labelling: Settings) -> None:
    request = {"notifications": [notification(id="a"), notification(id="b", content={"body": f"(광고) {OUT}"})]}
    status, answer = accept_all(request, DAY, sqs, dynamodb, labelling, labelling.quiet_hours(), lambda: "made")
    assert (status, [each["id"] for each in answer["accepted"]]) == (202, ["b"])
    assert answer["rejected"] == [{"index": 0, "id": "a", "errors": [BEGIN.format("body"), OPT_OUT]}]


def test_by_sqs_what_is_unlabelled_goes_to_dead_letter_alone_with_the_reason(
    sqs: Any, dynamodb: Any, labelling: Settings
) -> None:
    bundle = to_text([notification(id="a"), notification(id="b", content={"body": f"(광고) {OUT}"})])
    failed, counts = consume([record(bundle, sent_at=DAY)], DAY, sqs, dynamodb, labelling, labelling.quiet_hours())
    assert (failed, counts["now"], counts["refused"]) == ([], 1, 1)
    assert [each["id"] for each in take_notifications(sqs, labelling.schedule_queue_url)] == ["b"]
    (letter,) = take(sqs, labelling.dead_letter_queue_url)
    attributes = text_attributes(letter)
    assert attributes["notification_id"] == "a"
    assert attributes["reason"] == f"invalid: {BEGIN.format('body')}; {OPT_OUT}"


def test_what_a_redrive_brings_back_is_checked_too_and_can_be_redriven_again(
    sqs: Any, dynamodb: Any, labelling: Settings
) -> None:
    attributes = {"dead_lettered_at": "2020-11-10"}
    for text in (to_text(notification(id="a")), '{"id": "b"}'):
        came_back = record(text, sent_at=DAY, attributes=attributes)
        _, counts = consume([came_back], DAY, sqs, dynamodb, labelling, labelling.quiet_hours())
        assert (counts["now"], counts["refused"]) == (0, 1)
        (letter,) = take(sqs, labelling.dead_letter_queue_url)
        assert text_attributes(letter)["dead_lettered_at"] == "2020-11-10"
