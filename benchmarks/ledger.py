"""`python -m benchmarks.ledger`: compares three ways to claim and record a hundred notifications.

All three run in turn, several times, on an embedded AWS that is started for them. The table shows medians. Calls and
the client's CPU are measured. The write units are those that AWS states: 1 for an item of up to 1 KB, 2 in a
transaction. The wall time is that of this machine and its emulator, so only its ratio means something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, NamedTuple

from lambdas.quiet_hours.stores.entries import Entry, ended
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.timings import LEASE_S

from .world import embedded

TABLE = "ledger"
NOTIFICATIONS = 100
REPEATS = 15
WARM_UP = 2
PARTIQL_STATEMENTS_MAX = 25
DOLLARS_PER_MILLION_UNITS = 0.625
CORE_DOLLARS_PER_S = 0.0000133334 * 1769 / 1024
"""A whole core of Lambda on arm64."""

LEASE = timedelta(seconds=LEASE_S)


class Sample(NamedTuple):
    """One run of one way."""

    calls: int
    cpu_ms: float
    wall_ms: float


def one_by_one(dynamodb: Any, ids: Sequence[str], now: datetime) -> None:
    """Claim each with a conditional PutItem, and record it with a PutItem."""
    for id in ids:
        dynamodb.put_item(
            TableName=TABLE,
            Item=_claim(id, now).to_item(now),
            ConditionExpression="attribute_not_exists(#id)",
            ExpressionAttributeNames={"#id": "id"},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
        dynamodb.put_item(TableName=TABLE, Item=ended(_claim(id, now), "delivered", now).to_item(now))


def transaction_and_batches(dynamodb: Any, ids: Sequence[str], now: datetime) -> None:
    """Claim and record with the ledger: TransactWriteItems of 100, BatchWriteItem of 25."""
    ledger = Ledger(dynamodb, TABLE, "benchmark", LEASE)
    claims = ledger.claim(dict.fromkeys(ids), now)
    ledger.delivered(claims.held.values(), now)


def partiql_and_batches(dynamodb: Any, ids: Sequence[str], now: datetime) -> None:
    """Claim with BatchExecuteStatement of 25 INSERTs, each with its own result; record with BatchWriteItem of 25."""
    for start in range(0, len(ids), PARTIQL_STATEMENTS_MAX):
        statements = []
        for id in ids[start : start + PARTIQL_STATEMENTS_MAX]:
            item = _claim(id, now).to_item(now)
            fields = ", ".join(f"'{name}': ?" for name in item)
            insert = f'INSERT INTO "{TABLE}" VALUE {{{fields}}}'
            statements.append({"Statement": insert, "Parameters": list(item.values())})
        answer = dynamodb.batch_execute_statement(Statements=statements)
        if any("Error" in each for each in answer["Responses"]):
            raise RuntimeError(f"an INSERT was refused: {answer['Responses'][0]}")
    Ledger(dynamodb, TABLE, "benchmark", LEASE).delivered([_claim(id, now) for id in ids], now)


class Way(NamedTuple):
    """A way to claim and record, and the write units that AWS bills it for each notification."""

    write: Callable[[Any, Sequence[str], datetime], None]
    write_units: int


WAYS = {
    "PutItem, PutItem": Way(one_by_one, 1 + 1),
    "TransactWriteItems 100, BatchWriteItem 25": Way(transaction_and_batches, 2 + 1),
    "BatchExecuteStatement 25, BatchWriteItem 25": Way(partiql_and_batches, 1 + 1),
}


def _claim(id: str, now: datetime) -> Entry:
    return Entry(id, "claimed", "benchmark", int((now + LEASE).timestamp() * 1000))


def measure(dynamodb: Any, repeats: int = REPEATS, notifications: int = NOTIFICATIONS) -> dict[str, list[Sample]]:
    """Run every way in turn, `repeats` times, each time with new ids. Raises `RuntimeError` if one wrote wrongly."""
    calls: list[object] = []
    dynamodb.meta.events.register("before-send.dynamodb", lambda request, **_: calls.append(request))
    samples: dict[str, list[Sample]] = {name: [] for name in WAYS}
    for repeat in range(WARM_UP + repeats):
        for number, (name, way) in enumerate(WAYS.items()):
            ids = [f"order-20201111-{repeat:04}-{number}-{n:04}:paid" for n in range(notifications)]
            calls.clear()
            cpu, wall = time.process_time(), time.perf_counter()
            way.write(dynamodb, ids, datetime.now(UTC))
            sample = Sample(len(calls), (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000)
            _check(dynamodb, ids[-1])
            if repeat >= WARM_UP:
                samples[name].append(sample)
    return samples


def _check(dynamodb: Any, id: str) -> None:
    item = dynamodb.get_item(TableName=TABLE, Key={"id": {"S": id}}, ConsistentRead=True)["Item"]
    if Entry.from_item(item).state != "delivered":
        raise RuntimeError(f"{id} is not recorded as delivered")


def table(samples: dict[str, list[Sample]]) -> list[str]:
    """The measurements as a Markdown table, per hundred notifications and per million."""
    rows = [
        "| claim, record | calls | client CPU ms (min to max) | wall, ratio | write units | "
        "DynamoDB $ per million | worker CPU $ per million |",
        "|---|---|---|---|---|---|---|",
    ]
    fastest_ms = min(median(sample.wall_ms for sample in each) for each in samples.values())
    for name, way in WAYS.items():
        cpu = [sample.cpu_ms for sample in samples[name]]
        wall_ms = median(sample.wall_ms for sample in samples[name])
        cells = (
            name,
            f"{median(sample.calls for sample in samples[name]):g}",
            f"{median(cpu):.0f} ({min(cpu):.0f} to {max(cpu):.0f})",
            f"{wall_ms / fastest_ms:.1f}",
            str(way.write_units * NOTIFICATIONS),
            f"{way.write_units * DOLLARS_PER_MILLION_UNITS:.3f}",
            f"{median(cpu) / 1000 * 1_000_000 / NOTIFICATIONS * CORE_DOLLARS_PER_S:.3f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Measure on a new embedded AWS and print the table."""
    with embedded() as world:
        print("\n".join(table(measure(world.dynamodb))))


if __name__ == "__main__":
    main()
