"""DynamoDB's batch calls, repeated for what a call leaves unprocessed: under load it may do only a part.

Both functions work a list off in place. Whether they return or raise what the client raises, the list then holds what
is not done. https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_KEYS_MAX = 100
BATCH_ITEMS_MAX = 25


def read_batch(dynamodb: DynamoDBClient, table: str, keys: list[Any], rounds_max: int) -> list[Any]:
    """Read up to `BATCH_KEYS_MAX` items strongly, in at most `rounds_max` calls. Returns the items that exist."""
    found: list[Any] = []
    for _ in range(rounds_max):
        answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": list(keys), "ConsistentRead": True}})
        found += answer["Responses"].get(table, [])
        left = answer.get("UnprocessedKeys", {})
        keys[:] = left[table]["Keys"] if table in left else []
        if not keys:
            break
    return found


def put_batch(dynamodb: DynamoDBClient, table: str, items: list[Any], rounds_max: int) -> None:
    """Put up to `BATCH_ITEMS_MAX` items, in at most `rounds_max` calls."""
    for _ in range(rounds_max):
        requests: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        answer = dynamodb.batch_write_item(RequestItems={table: requests})
        items[:] = [request["PutRequest"]["Item"] for request in answer.get("UnprocessedItems", {}).get(table, [])]
        if not items:
            return
