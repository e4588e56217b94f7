"""Conditional puts: an entry of the ledger to write, and the condition under which it may be written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .entries import Entry


@dataclass(frozen=True, slots=True)
class Put:
    """An entry to write, and the condition under which it may be written."""

    entry: Entry
    condition: str
    names: Mapping[str, str]
    values: Mapping[str, Any]

    def request(self, table: str, now: datetime) -> dict[str, Any]:
        put: dict[str, Any] = {
            "TableName": table,
            "Item": self.entry.to_item(now),
            "ConditionExpression": self.condition,
            "ExpressionAttributeNames": self.names,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if self.values:
            put["ExpressionAttributeValues"] = self.values
        return {"Put": put}


def absent(entry: Entry) -> Put:
    """Put it only if the ledger has nothing of this id."""
    return Put(entry, "attribute_not_exists(#id)", {"#id": "id"}, {})


def owned(entry: Entry, owner: str) -> Put:
    """Put it only if this owner's claim still stands."""
    names = {"#owner": "owner", "#state": "state"}
    values = {":owner": {"S": owner}, ":claimed": {"S": "claimed"}}
    return Put(entry, "#owner = :owner AND #state = :claimed", names, values)


def unchanged(found: Entry, entry: Entry) -> Put:
    """Put it only if the entry is still as it was found: since then nobody has claimed, released or ended it, and no
    call has begun."""
    names = {"#state": "state"}
    values: dict[str, Any] = {":state": {"S": found.state}}
    conditions = ["#state = :state"]
    if found.state != "claimed":
        names["#ended"], values[":ended"] = "ended_at", {"S": found.ended_at}
        conditions.append("#ended = :ended")
    else:
        names["#lease"], values[":lease"] = "lease_until_ms", {"N": str(found.lease_until_ms)}
        names["#attempts"], values[":attempts"] = "attempts", {"N": str(found.attempts)}
        conditions += ["#lease = :lease", "#attempts = :attempts"]
        names["#sending"] = "sending"
        if found.sending:
            values[":sending"] = {"BOOL": True}
            conditions.append("#sending = :sending")
        else:
            conditions.append("attribute_not_exists(#sending)")
        names["#fingerprint"] = "fingerprint"
        if found.fingerprint:
            values[":fingerprint"] = {"S": found.fingerprint}
            conditions.append("#fingerprint = :fingerprint")
        else:
            conditions.append("attribute_not_exists(#fingerprint)")
    return Put(entry, " AND ".join(conditions), names, values)
