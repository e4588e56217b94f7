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


def _notification(draw: random.Random) -> dict[str, Any]:
    fields = {"id": draw.choice(TEXTS) or "id", "channel": "webhook", "expires_at": "2020-11-14T21:03:00+09:00"}
    fields |= {"content": {"title": draw.choice(TEXTS), "body": draw.choice(TEXTS), "more": draw.choice(INNER)}}
    if draw.random() < 0.5:
        fields["metadata"] = {draw.choice(TEXTS): draw.choice(INNER)}
    return dict(draw.sample(sorted(fields.items()), len(fields)))


@pytest.mark.parametrize("seed", range(400))
def test_whatever_texts_and_arrays_notifications_have_each_is_counted_once(seed: int) -> None:
    draw = random.Random(seed)
    texts = [draw.choice((to_text, json.dumps))(_notification(draw)) for _ in range(draw.randint(52, 60))]
    body = "[" + ",".join(texts) + "]"
    assert _count(body) == len(json.loads(body)) == len(texts)


@pytest.mark.parametrize("number", [1, 51, 100])
def test_bundles_with_a_row_of_brackets_in_a_text_are_counted(number: int) -> None:
    item = to_text({"id": "a", "channel": "sms", "content": {"body": "},{" * 60 + "[" * 60}})
    assert _count("[" + ",".join([item] * number) + "]") == number


def test_an_array_written_with_blanks_is_counted() -> None:
    assert _count(json.dumps([{"id": "a" * 700, "channel": "sms"}] * 60)) == 60


@pytest.mark.parametrize("body", ["x" * 40_000, "[" + "9" * 40_000, "{" + '"a":1},{' * 60, '[{"a":"' + "},{" * 60])
def test_a_body_that_cannot_be_read_counts_as_one(body: str) -> None:
    assert _count(body) == 1
