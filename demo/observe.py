"""Observes a running deployment from outside. It changes nothing: it receives no message and calls no function."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from local.aws import client, peek
from local.status import QUEUES, Depth, depth


class Observer:
    """Observes one deployment on the embedded AWS. Each `look` updates what has been seen so far."""

    def __init__(self, endpoint: str, outputs: dict[str, str]) -> None:
        self._endpoint = endpoint
        self._outputs = outputs
        self._sqs, self._dynamodb = client(endpoint, "sqs"), client(endpoint, "dynamodb")
        self._read: dict[str, list[str]] = {}
        self.depths: dict[str, Depth] = dict.fromkeys(QUEUES, Depth(0, 0, 0))
        self.held: set[str] = set()
        self.waiting: set[str] = set()
        self.dead_letters: list[dict[str, Any]] = []

    def look(self) -> None:
        """Read the depth of every queue, and note which notifications stand on wait.

        Nothing leaves wait within quiet hours, so only what comes in their last moments can be missed:
        `note_recorded` adds that.
        """
        self.depths = {name: depth(self._sqs, self._outputs[f"{name}QueueUrl"]) for name in QUEUES}
        self.waiting = self._ids("WaitQueueUrl")
        self.held |= self.waiting
        self.dead_letters = peek(self._endpoint, self._outputs["DeadLetterQueueUrl"])

    def note_recorded(self) -> None:
        """Note what the consumer has recorded as held: everything that it has put on wait."""
        self.held |= {item["id"]["S"] for item in self._scan("HeldTableName", "#id", {"#id": "id"})}

    def idle(self) -> bool:
        """True if every queue but dead-letter is empty."""
        return not any(depth.total for name, depth in self.depths.items() if name != "DeadLetter")

    def ledger(self) -> dict[str, str]:
        """Return the state of every id in the ledger."""
        items = self._scan("LedgerTableName", "#id, #state", {"#id": "id", "#state": "state"})
        return {item["id"]["S"]: item["state"]["S"] for item in items}

    def _scan(self, table: str, fields: str, names: dict[str, str]) -> Iterator[dict[str, Any]]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self._outputs[table],
            ProjectionExpression=fields,
            ExpressionAttributeNames=names,
            ConsistentRead=True,
        )
        return (item for page in pages for item in page["Items"])

    def _ids(self, queue: str) -> set[str]:
        found: set[str] = set()
        for message in peek(self._endpoint, self._outputs[queue]):
            if message["MessageId"] not in self._read:
                parsed = json.loads(message["Body"])
                items = parsed if isinstance(parsed, list) else [parsed]
                self._read[message["MessageId"]] = [item["id"] for item in items]
            found.update(self._read[message["MessageId"]])
        return found


def dead_letter_ids(letters: list[dict[str, Any]], bodies: dict[str, str]) -> set[str]:
    """Return the ids on dead-letter. An unreadable letter has no id of its own: `bodies` maps its body to one."""
    return {
        letter["MessageAttributes"].get("notification_id", {}).get("StringValue") or bodies.get(letter["Body"], "")
        for letter in letters
    } - {""}
