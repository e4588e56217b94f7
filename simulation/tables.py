"""The part of DynamoDB that the project's tables use: conditional puts, transactions, batches, indexes by source."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from .calls import Client
from .faults import Faults, client_error
from .world import Process, World

TRANSACTION_ITEMS_MAX = 100
BATCH_WRITE_MAX = 25
BATCH_GET_MAX = 100

INDEX_KEYS = {"BySource": "source", "BySourceShard": "source_shard"}
"""The partition key of each index. Both sort by the end of quiet hours."""

OPERATORS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Item = dict[str, Any]

STALE_S = 2.0
"""For so long a read that does not ask for consistency may return what was there before."""


@dataclass
class Table:
    """One table. `ttl` names the attribute of its time to live. It calls `written` after each write that took effect,
    with the item before, the item now and the process."""

    world: World
    name: str
    key: str
    written: Callable[[Item | None, Item, Process], None] | None = None
    items: dict[str, Item] = field(default_factory=dict)
    ttl: str = ""
    _before: dict[str, tuple[float, Item | None]] = field(default_factory=dict)

    def get(self, key: str, *, consistent: bool = True) -> Item | None:
        """The item of a key, or None. Time to live deletes at once here. A read that does not ask for consistency may
        return what stood there until just now."""
        item = self.items.get(key)
        if item and self.ttl in item and int(item[self.ttl]["N"]) <= self.world.start_s + self.world.t:
            del self.items[key]
            item = None
        if not consistent and key in self._before:
            since, before = self._before[key]
            if self.world.t - since < STALE_S:
                return before
        return item

    def store(self, key: str, item: Item) -> Item | None:
        """Put an item. Returns the one before."""
        before = self.get(key)
        self._before[key] = self.world.t, before
        self.items[key] = dict(item)
        return before

    def put(self, item: Item, process: Process) -> None:
        """Put an item, as a process does whose writes are observed."""
        before = self.store(item[self.key]["S"], item)
        if self.written:
            self.written(before, item, process)


class Term(NamedTuple):
    """One comparison of a condition. An `attribute_exists` has no value."""

    operator: str
    name: str
    value: str


@lru_cache(maxsize=256)
def _terms(expression: str) -> tuple[tuple[Term, ...], ...]:
    """The terms of a condition: of each group, whose terms stand in brackets with OR between them, one must hold."""
    groups = [each.strip() for each in expression.split(" AND ")]
    inner = (each[1:-1] if each.startswith("(") and each.endswith(")") else each for each in groups)
    return tuple(tuple(_term(each) for each in group.split(" OR ")) for group in inner)


def _term(text: str) -> Term:
    if match := re.fullmatch(r"(attribute_(?:not_)?exists)\((#\w+)\)", text):
        return Term(match[1], match[2], "")
    if match := re.fullmatch(r"(#\w+) (=|<>|<|<=|>|>=) (:\w+)", text):
        return Term(match[2], match[1], match[3])
    raise client_error("TransactWriteItems", "ValidationException")


def holds(put: Item, item: Item | None) -> bool:
    """Say if the condition of a put or an update holds for the item in the table."""
    names, values = put.get("ExpressionAttributeNames", {}), put.get("ExpressionAttributeValues", {})
    return all(
        any(_holds(term, (item or {}).get(names[term.name]), values) for term in group)
        for group in _terms(put["ConditionExpression"])
    )


def _holds(term: Term, found: Item | None, values: Item) -> bool:
    if term.operator == "attribute_exists":
        return found is not None
    if term.operator == "attribute_not_exists":
        return found is None
    if found is None:
        return term.operator == "<>"
    return _compare(term.operator, found, values[term.value])


@lru_cache(maxsize=256)
def _changes(expression: str) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The changes of an update: each `#name = value` with its value's text, and each name that is removed."""
    if not (match := re.fullmatch(r"(?:SET (.+?))? ?(?:REMOVE (.+))?", expression)):
        raise client_error("UpdateItem", "ValidationException")
    sets = [each.split(" = ") for each in (match[1] or "").split(", ") if each]
    return tuple((name, value) for name, value in sets), tuple(each for each in (match[2] or "").split(", ") if each)


def updated(item: Item, expression: str, names: dict[str, str], values: Item) -> Item:
    """The item after an update."""
    sets, removes = _changes(expression)
    after = dict(item)
    for name, value in sets:
        first, _, more = value.partition(" + ")
        if more:
            after[names[name]] = {"N": str(int(item[names[first]]["N"]) + int(values[more]["N"]))}
        else:
            after[names[name]] = values[first]
    for name in removes:
        after.pop(names[name], None)
    return after


def _compare(sign: str, found: Item, wanted: Item) -> bool:
    ((kind, left),), ((other_kind, right),) = found.items(), wanted.items()
    if kind != other_kind:
        return sign == "<>"
    if kind == "N":
        left, right = float(left), float(right)
    return bool(OPERATORS[sign](left, right))


class DynamoDb(Client):
    """The boto3 DynamoDB client of one process."""

    def __init__(self, process: Process, faults: Faults, tables: dict[str, Table]) -> None:
        super().__init__(process, faults)
        self._tables = tables

    def transact_write_items(self, *, TransactItems: list[Item]) -> Item:
        puts = [entry["Put"] for entry in TransactItems]
        keys = [(put["TableName"], put["Item"][self._tables[put["TableName"]].key]["S"]) for put in puts]
        if not 1 <= len(puts) <= TRANSACTION_ITEMS_MAX or len(set(keys)) < len(keys):
            raise client_error("TransactWriteItems", "ValidationException")

        def effect(partial: bool) -> Item:
            busy = self._faults.half(len(puts)) if partial else ()
            reasons: list[Item] = []
            for index, (put, (table, key)) in enumerate(zip(puts, keys, strict=True)):
                found = self._tables[table].get(key)
                if index in busy:
                    reasons.append({"Code": "TransactionConflict"})
                elif "ConditionExpression" in put and not holds(put, found):
                    reasons.append({"Code": "ConditionalCheckFailed"})
                    if found and put.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD":
                        reasons[-1]["Item"] = found
                else:
                    reasons.append({"Code": "None"})
            if any(reason["Code"] != "None" for reason in reasons):
                raise client_error("TransactWriteItems", "TransactionCanceledException", CancellationReasons=reasons)
            for put, (table, _) in zip(puts, keys, strict=True):
                self._tables[table].put(put["Item"], self._process)
            return {}

        return self._call("TransactWriteItems", effect)  # type: ignore[no-any-return]

    def put_item(self, *, TableName: str, Item: Item, **condition: Any) -> Item:
        table = self._tables[TableName]

        def effect(partial: bool) -> dict[str, Any]:
            found = table.get(Item[table.key]["S"])
            if "ConditionExpression" in condition and not holds(condition, found):
                raise client_error("PutItem", "ConditionalCheckFailedException", **({"Item": found} if found else {}))
            table.put(Item, self._process)
            return {}

        return self._call("PutItem", effect)  # type: ignore[no-any-return]

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool = False) -> Item:
        table = self._tables[TableName]

        def effect(partial: bool) -> Item:
            found = table.get(Key[table.key]["S"], consistent=ConsistentRead)
            return {"Item": found} if found else {}

        return self._call("GetItem", effect)  # type: ignore[no-any-return]

    def update_item(
        self,
        *,
        TableName: str,
        Key: Item,
        UpdateExpression: str,
        ExpressionAttributeNames: dict[str, str],
        ExpressionAttributeValues: Item | None = None,
        ReturnValues: str = "NONE",
        **condition: Any,
    ) -> Item:
        table = self._tables[TableName]
        values = ExpressionAttributeValues or {}

        def effect(partial: bool) -> Item:
            found = table.get(Key[table.key]["S"])
            conditions = {
                **condition,
                "ExpressionAttributeNames": ExpressionAttributeNames,
                "ExpressionAttributeValues": values,
            }
            if "ConditionExpression" in condition and not holds(conditions, found):
                raise client_error(
                    "UpdateItem", "ConditionalCheckFailedException", **({"Item": found} if found else {})
                )
            after = updated(found or Key, UpdateExpression, ExpressionAttributeNames, values)
            table.put(after, self._process)
            return {"Attributes": after} if ReturnValues == "ALL_NEW" else {}

        return self._call("UpdateItem", effect)  # type: ignore[no-any-return]

    def query(
        self,
        *,
        TableName: str,
        IndexName: str,
        KeyConditionExpression: str,
        ExpressionAttributeNames: dict[str, str],
        ExpressionAttributeValues: dict[str, Item],
        Limit: int,
        ExclusiveStartKey: Item | None = None,
    ) -> Item:
        """Query an index of what is held: by its source and shard, or by its source alone as earlier versions did."""
        by = INDEX_KEYS.get(IndexName, "")
        if KeyConditionExpression != "#key = :key" or ExpressionAttributeNames != {"#key": by}:
            raise client_error("Query", "ValidationException")
        table, keys = self._tables[TableName], (by, "until", "id")

        def effect(partial: bool) -> Item:
            wanted = ExpressionAttributeValues[":key"]
            found = [{key: item[key] for key in keys} for item in table.items.values() if item.get(by) == wanted]
            found.sort(key=lambda each: [each[key]["S"] for key in keys])
            if ExclusiveStartKey:
                start = [ExclusiveStartKey[key]["S"] for key in keys]
                found = [each for each in found if [each[key]["S"] for key in keys] > start]
            answer: Item = {"Items": found[:Limit]}
            return answer | ({"LastEvaluatedKey": found[Limit - 1]} if len(found) > Limit else {})

        return self._call("Query", effect)  # type: ignore[no-any-return]

    def batch_write_item(self, *, RequestItems: dict[str, list[Item]]) -> Item:
        requests = [(table, request) for table, entries in RequestItems.items() for request in entries]
        keys = {(table, request["PutRequest"]["Item"][self._tables[table].key]["S"]) for table, request in requests}
        if not 1 <= len(requests) <= BATCH_WRITE_MAX or len(keys) < len(requests):
            raise client_error("BatchWriteItem", "ValidationException")

        def effect(partial: bool) -> Item:
            left = self._faults.half(len(requests)) if partial else ()
            unprocessed: dict[str, list[Item]] = {}
            for index, (table, request) in enumerate(requests):
                if index in left:
                    unprocessed.setdefault(table, []).append(request)
                else:
                    self._tables[table].put(request["PutRequest"]["Item"], self._process)
            return {"UnprocessedItems": unprocessed}

        return self._call("BatchWriteItem", effect)  # type: ignore[no-any-return]

    def batch_get_item(self, *, RequestItems: dict[str, Item]) -> Item:
        wanted = [(table, key) for table, request in RequestItems.items() for key in request["Keys"]]
        distinct = {(table, key[self._tables[table].key]["S"]) for table, key in wanted}
        if not 1 <= len(wanted) <= BATCH_GET_MAX or len(distinct) < len(wanted):
            raise client_error("BatchGetItem", "ValidationException")

        def effect(partial: bool) -> Item:
            left = self._faults.half(len(wanted)) if partial else ()
            answer: Item = {"Responses": {table: [] for table in RequestItems}, "UnprocessedKeys": {}}
            for index, (name, key) in enumerate(wanted):
                table = self._tables[name]
                if index in left:
                    rest = answer["UnprocessedKeys"].setdefault(name, {**RequestItems[name], "Keys": []})
                    rest["Keys"].append(key)
                elif item := table.get(key[table.key]["S"], consistent=RequestItems[name].get("ConsistentRead", False)):
                    answer["Responses"][name].append(item)
            return answer

        return self._call("BatchGetItem", effect)  # type: ignore[no-any-return]
