"""The consent table: who may be disturbed at night, who has opted out. Read strongly, in batches, never cached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .policy import Consent

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

BATCH_KEYS_MAX = 100
ROUNDS_MAX = 5


class ConsentUnavailable(Exception):
    """Raised when DynamoDB keeps leaving keys unprocessed: whoever asks must try later, not guess."""


def read_consents(dynamodb: DynamoDBClient, table: str, recipients: Iterable[str], now: datetime) -> dict[str, Consent]:
    """The consent of each recipient that has a record. Missing means no night consent.

    Raises `ConsentUnavailable`, or what the client raises.
    """
    consents: dict[str, Consent] = {}
    wanted = sorted(set(recipients))
    for start in range(0, len(wanted), BATCH_KEYS_MAX):
        keys: list[dict[str, Any]] = [{"recipient_id": {"S": key}} for key in wanted[start : start + BATCH_KEYS_MAX]]
        for _ in range(ROUNDS_MAX):
            answer = dynamodb.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
            for item in answer["Responses"].get(table, []):
                consents[item["recipient_id"]["S"]] = consent_of(item, now)
            unprocessed = answer.get("UnprocessedKeys", {})
            keys = list(unprocessed[table]["Keys"]) if table in unprocessed else []
            if not keys:
                break
        else:
            raise ConsentUnavailable(f"{len(keys)} keys were left unprocessed {ROUNDS_MAX} times")
    return consents


def consent_of(item: Mapping[str, Any], now: datetime) -> Consent:
    """Read so that doubt disturbs nobody: only a stored true is a consent, anything but a stored false an opt-out.

    A consent that has expired is still stored, and does not count. An opt-out stays.
    """
    expired = "expires" in item and float(item["expires"].get("N", "0")) <= now.timestamp()
    return Consent(
        night_consent=item.get("night_consent") == {"BOOL": True} and not expired,
        opted_out=item.get("opted_out", {"BOOL": False}) != {"BOOL": False},
    )
