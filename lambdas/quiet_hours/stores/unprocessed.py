"""DynamoDB's batch calls, repeated for what a call leaves unprocessed: under load it may do only a part, or nothing.

Both functions work a list off in place. Whether they return or raise what the client raises, the list then holds what
is not done. A call that is throttled as a whole has done nothing, and counts as one that leaves everything.
https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backoff import Tries
from .clients import SERVICE_ERRORS, is_throttled

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_KEYS_MAX = 100
BATCH_ITEMS_MAX = 25


def read_batch(dynamodb: DynamoDBClient, table: str, keys: list[Any], tries: Tries) -> list[Any]:
    """Read up to `BATCH_KEYS_MAX` items strongly. Returns the items that exist."""
    found: list[Any] = []
    while True:
        try:
            answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": list(keys), "ConsistentRead": True}})
        except SERVICE_ERRORS as error:
            if not is_throttled(error):
                raise
        else:
            found += answer["Responses"].get(table, [])
            left = answer.get("UnprocessedKeys", {})
            keys[:] = left[table]["Keys"] if table in left else []
        if not keys or not tries.again():
            return found


def put_batch(dynamodb: DynamoDBClient, table: str, items: list[Any], tries: Tries) -> None:
    """Put up to `BATCH_ITEMS_MAX` items."""
    while True:
        requests: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
        try:
            answer = dynamodb.batch_write_item(RequestItems={table: requests})
        except SERVICE_ERRORS as error:
            if not is_throttled(error):
                raise
        else:
            items[:] = [request["PutRequest"]["Item"] for request in answer.get("UnprocessedItems", {}).get(table, [])]
        if not items or not tries.again():
            return
