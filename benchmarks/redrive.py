"""`python -m benchmarks.redrive`: brings dead letters back on the embedded AWS, and counts letters a second and calls.

A worker's dead letters and their ledger entries are written first. Then `make redrive`'s own code runs, and every
letter is looked for on the schedule queue. `python -m benchmarks.redrive 5000` takes another number of letters. The
embedded AWS does one call at a time, and takes longer for a call the more messages a queue has: `calls_per_1000` and
`cpu_s_per_1000` are what an account would see too.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.progress import Progress

from lambdas.quiet_hours.delivery.verdicts import dead_lettered
from lambdas.quiet_hours.notification.bundle import Message, dead_letter
from lambdas.quiet_hours.notification.fingerprint import fingerprint
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.side_by_side import in_threads
from lambdas.quiet_hours.stores.entries import Entry
from lambdas.quiet_hours.stores.ledger import Ledger
from lambdas.quiet_hours.stores.queues import send
from lambdas.quiet_hours.stores.unprocessed import BATCH_ITEMS_MAX
from local import BUILD
from operators.redrive import Redrive

from .world import World, embedded

LETTERS = 10_000
QUEUES = ("DeadLetter", "Notification", "Delivery", "Schedule")
TABLE = "ledger"
AT_ONCE = 8


def main() -> None:
    letters = int(sys.argv[1]) if len(sys.argv) > 1 else LETTERS
    with embedded() as world:
        found = measure(world, letters)
    (BUILD / "bench-redrive.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def measure(world: World, letters: int) -> dict[str, Any]:
    """Bring back so many letters. Returns how many a second, and the calls for a thousand by operation."""
    sqs, dynamodb = world.sqs, world.dynamodb
    outputs = {f"{name}QueueUrl": sqs.create_queue(QueueName=f"Redrive-{name}")["QueueUrl"] for name in QUEUES}
    _dead_letter(sqs, dynamodb, outputs["DeadLetterQueueUrl"], letters)
    calls: Counter[str] = Counter()

    def count(model: Any, **_: Any) -> None:
        calls[model.name] += 1

    for client in (sqs, dynamodb):
        client.meta.events.register("before-call", count)
    started, cpu_s = time.monotonic(), time.process_time()
    with Progress(console=Console(quiet=True)) as progress:
        ledger = Ledger(dynamodb, TABLE, "redrive", timedelta(minutes=2), time.sleep)
        done = Redrive(sqs, outputs, ledger, Settings(*[""] * 8), progress).run()
    seconds, cpu_s = time.monotonic() - started, time.process_time() - cpu_s
    for client in (sqs, dynamodb):
        client.meta.events.unregister("before-call", count)
    assert done.moved == letters == sum(done), done
    bundles = _take(sqs, outputs["ScheduleQueueUrl"])
    ids = Counter(id for bundle in bundles for id in bundle)
    assert ids == Counter(f"letter-{n}" for n in range(letters)), "each letter is sent once"
    return {
        "letters": letters,
        "seconds": seconds,
        "redrive_per_second": letters / seconds,
        "cpu_s_per_1000": cpu_s * 1_000 / letters,
        "bundles": len(bundles),
        "calls_per_1000": {name: number * 1_000 / letters for name, number in sorted(calls.items())},
    }


def _dead_letter(sqs: Any, dynamodb: Any, queue_url: str, letters: int) -> None:
    """Write letters as a worker does, with their ledger entries."""
    now = datetime.now(UTC)

    def write(numbers: Sequence[int]) -> None:
        messages: list[Message] = []
        puts: list[Any] = []
        for number in numbers:
            notification: Any = {
                "id": f"letter-{number}",
                "category": "informational",
                "channel": "sms",
                "address": "+821012345678",
                "content": {"body": "주문하신 상품이 출발했습니다. 내일 도착할 예정입니다."},
                "accepted_at": now.isoformat(timespec="milliseconds"),
                "expires_at": (now + timedelta(days=3)).isoformat(timespec="milliseconds"),
            }
            claim = Entry(notification["id"], "claimed", "worker", fingerprint=fingerprint(notification))
            ending = dead_lettered(claim, "http_400: the provider answered 400", now)
            messages.append(dead_letter(to_text(notification), ending.reason, ending.id, ending.ended_at))
            puts.append({"PutRequest": {"Item": ending.to_item(now)}})
        dynamodb.batch_write_item(RequestItems={TABLE: puts})
        assert not send(sqs, queue_url, messages)

    parts = [range(start, min(start + BATCH_ITEMS_MAX, letters)) for start in range(0, letters, BATCH_ITEMS_MAX)]
    in_threads(write, parts, AT_ONCE)


def _take(sqs: Any, queue_url: str) -> list[list[str]]:
    """The ids in each message of a queue."""
    found: list[list[str]] = []
    while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
        found += [[each["id"] for each in json.loads(message["Body"])] for message in messages]
        entries = [{"Id": str(i), "ReceiptHandle": each["ReceiptHandle"]} for i, each in enumerate(messages)]
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)
    return found


if __name__ == "__main__":
    main()
