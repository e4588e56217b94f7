"""The shortcuts of `tests.helpers.cheap_moto` change no answer of moto's."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.quiet_hours.settings import Settings
from tests.helpers import cheap_moto
from tests.helpers.aws import dynamodb, settings, sqs

__all__ = ["dynamodb", "settings", "sqs"]

ITEM = {"id": {"S": "a"}, "n": {"N": "1.50"}, "tags": {"SS": ["x", "y"]}, "is": {"BOOL": False}, "no": {"NULL": True}}
NESTED = {"id": {"S": "b"}, "map": {"M": {"list": {"L": [{"S": "가"}, {"N": "2"}]}}}, "raw": {"B": b"\x00\xff"}}
KEY = {"id": {"S": "a"}}
SET = {"UpdateExpression": "SET n = n + :one, #w = :w REMOVE #is", "ExpressionAttributeNames": {"#w": "w", "#is": "is"}}
SET["ExpressionAttributeValues"] = {":one": {"N": "1"}, ":w": {"S": "w"}}
NEW = "attribute_not_exists(id)"

DYNAMODB_CALLS: list[tuple[str, dict[str, Any]]] = [
    ("put_item", {"Item": ITEM}),
    ("put_item", {"Item": NESTED, "ReturnValues": "ALL_OLD"}),
    ("get_item", {"Key": KEY, "ConsistentRead": True}),
    ("get_item", {"Key": {"id": {"S": "b"}}}),
    ("get_item", {"Key": {"id": {"S": "nobody"}}}),
    ("update_item", {"Key": KEY, **SET, "ReturnValues": "ALL_NEW"}),
    ("update_item", {"Key": KEY, **SET, "ConditionExpression": "n < :one"}),
    ("update_item", {"Key": {"id": {"S": "c"}}, "UpdateExpression": "SET id = :a"}),
    ("update_item", {"Key": KEY, "UpdateExpression": "SET = :a"}),
    ("put_item", {"Item": ITEM, "ConditionExpression": NEW, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}),
    ("put_item", {"Item": {"id": {"S": "big"}, **{str(n): {"S": "x" * 9_000} for n in range(50)}}}),
    ("query", {"KeyConditionExpression": "id = :id", "ExpressionAttributeValues": {":id": {"S": "b"}}}),
    ("scan", {"Limit": 1}),
    ("delete_item", {"Key": KEY, "ReturnValues": "ALL_OLD"}),
]
TRANSACTION = {
    "TransactItems": [
        {"Put": {"TableName": "ledger", "Item": {"id": {"S": "d"}}, "ConditionExpression": NEW}},
        {"Put": {"TableName": "ledger", "Item": NESTED, "ConditionExpression": NEW}},
    ]
}


def answers(client: Any, calls: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """What a caller sees of each call, without what is made anew for each."""
    return [_answer(getattr(client, operation), copy.deepcopy(call)) for operation, call in calls]


def _answer(call: Callable[..., Any], parameters: dict[str, Any]) -> Any:
    try:
        answer = call(**parameters)
    except ClientError as error:
        answer = error.response | {"raised": type(error).__name__}
    metadata = answer["ResponseMetadata"]
    assert re.fullmatch(r"[0-9A-Za-z]{52}", metadata.pop("RequestId"))
    for name in ("x-amzn-requestid", "date"):
        assert metadata["HTTPHeaders"].pop(name)
    return answer


def test_dynamodb_s_answers_are_the_same_without_http(
    dynamodb: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [(operation, {"TableName": "ledger", **call}) for operation, call in DYNAMODB_CALLS]
    calls += [("transact_write_items", TRANSACTION), ("get_item", {"TableName": "nothing", "Key": KEY})]
    direct = answers(dynamodb, calls)
    assert sum("raised" in each for each in direct) == 7
    for key in ("b", "d"):
        dynamodb.delete_item(TableName="ledger", Key={"id": {"S": key}})
    monkeypatch.setattr(cheap_moto, "CALLED_DIRECTLY", {})
    assert answers(dynamodb, calls) == direct


def test_sqs_s_answers_are_the_same_without_http(sqs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two queues get the same calls, the one directly, the other one by HTTP."""

    def seen(url: str) -> list[Any]:
        entries = [{"Id": str(n), "MessageBody": f"본문 {n}", "MessageAttributes": ATTRIBUTES} for n in range(3)]
        sent = _answer(sqs.send_message_batch, {"QueueUrl": url, "Entries": entries})
        ids = {each.pop("MessageId") for each in sent["Successful"]}
        received = _answer(
            sqs.receive_message, {"QueueUrl": url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
        )
        assert {each.pop("MessageId") for each in received["Messages"]} == ids
        handles = [each.pop("ReceiptHandle") for each in received["Messages"]]
        answer = [sent, received]
        answer.append(_answer(sqs.delete_message, {"QueueUrl": url, "ReceiptHandle": handles[0]}))
        answer.append(_answer(sqs.get_queue_attributes, {"QueueUrl": url, "AttributeNames": ["VisibilityTimeout"]}))
        answer.append(_answer(sqs.delete_message, {"QueueUrl": url, "ReceiptHandle": "unknown"}))
        answer.append(_answer(sqs.send_message, {"QueueUrl": f"{url}-missing", "MessageBody": "x"}))
        return answer

    direct = seen(settings.delivery_queue_url)
    assert direct[1]["Messages"][0]["MessageAttributes"]["raw"]["BinaryValue"] == b"\x00\xff"
    monkeypatch.setattr(cheap_moto, "CALLED_DIRECTLY", {})
    assert seen(settings.schedule_queue_url) == direct


ATTRIBUTES = {
    "reason": {"DataType": "String", "StringValue": "because"},
    "raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
}
