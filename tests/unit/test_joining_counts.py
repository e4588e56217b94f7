"""The number of notifications in a bundle that moves as it is, which the release reports."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from lambdas.quiet_hours.notification.joining import received
from lambdas.quiet_hours.notification.json_text import to_text

TEXTS = (
    *(
        "",
        "a",
        "},{",
        '"},{"',
        '},{"id":"',
        "[",
        "]",
        "[{",
        "}]",
        '"[',
        "[쿠팡] 세일",
        ":[",
        "\\",
        '\\"',
        "},{\n",
        "}, {",
    ),
    *("x},{", '{"a":[1]},{"b":2}', "\n[", "},{a", "},{,", "한글", '","id":"x"},{"id":"'),
)
INNER: tuple[Any, ...] = (
    *({}, [], [1, 2], [{}], [{"id": "1"}, {"id": "2"}], {"a": {"b": {}}}, [[{"x": 1}, {"y": 2}]], "text", None, 3),
    *({"},{": "},{"}, {"[": "["}, {"": ""}, {"},{a": 1}),
)


def _count(body: str) -> int:
    return received({"ReceiptHandle": "handle", "Body": body}).notifications


def _notification(id: str, **content: Any) -> dict[str, Any]:
    return {"id": id, "channel": "webhook", "address": "user-1", "content": {"title": "Sale", "body": "All", **content}}


def _odd_ones() -> list[dict[str, Any]]:
    """Notifications with something in them that looks like the end of one and the beginning of the next."""
    return [
        *(_notification("a", title=text) for text in TEXTS),
        *({"content": {text: text, "z": {text: 1}}, "id": "a", "channel": "webhook"} for text in TEXTS),
        *({"channel": "webhook", "content": {}, "id": text} for text in TEXTS),
        *(_notification("a", more=value) for value in INNER),
        *({"content": value, "id": "a", "channel": "webhook", "metadata": value} for value in INNER),
    ]


@pytest.mark.parametrize("odd", _odd_ones())
@pytest.mark.parametrize("place", [0, 30, 59])
def test_one_odd_notification_in_a_bundle_is_counted_once(odd: dict[str, Any], place: int) -> None:
    plain = [to_text(_notification(f"id-{number}")) for number in range(60)]
    for write in (to_text, json.dumps):
        body = "[" + ",".join([*plain[:place], write(odd), *plain[place:]]) + "]"
        assert _count(body) == len(json.loads(body)) == 61


@pytest.mark.parametrize("seed", range(100))
def test_many_odd_notifications_are_counted(seed: int) -> None:
    draw = random.Random(seed)
    texts = [to_text(draw.choice(_odd_ones())) for _ in range(draw.randint(52, 60))]
    assert _count("[" + ",".join(texts) + "]") == len(texts)


@pytest.mark.parametrize("fields", [{"id": "a"}, {"channel": "sms", "id": "a"}, _notification("a", body="[a] {b}")])
def test_a_plain_bundle_is_not_parsed(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lambdas.quiet_hours.notification.joining.json", None)
    assert _count("[" + ",".join([to_text(fields)] * 100) + "]") == 100


@pytest.mark.parametrize("number", [1, 51, 100])
def test_bundles_with_a_row_of_brackets_in_a_text_are_counted(number: int) -> None:
    item = to_text({"id": "a", "channel": "sms", "content": {"body": "},{" * 60 + "[" * 60}})
    assert _count("[" + ",".join([item] * number) + "]") == number


def test_an_array_written_with_blanks_is_counted() -> None:
    assert _count(json.dumps([{"id": "a" * 700, "channel": "sms"}] * 60)) == 60


@pytest.mark.parametrize(
    "body",
    [
        "x" * 40_000,
        "[" + "9" * 40_000,
        '[{"a":1}' + ',{"b":1}' * 60,
        '{"a":[{"b":1}' + ',{"b":1}' * 60 + "]",
        '[{"a":"' + "},{" * 60,
    ],
)
def test_a_body_that_cannot_be_read_counts_as_one(body: str) -> None:
    assert _count(body) == 1


def test_one_notification_with_a_long_array_counts_as_one() -> None:
    assert _count(to_text(_notification("a", rows=[{"id": "1"}] * 60))) == 1
