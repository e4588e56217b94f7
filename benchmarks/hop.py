"""`python -m benchmarks.hop`: measures the latency that the delivery queue adds.

Three ways take turns on one embedded AWS, after warming up: from `send_message` on delivery to the receiver, a direct
invocation of the worker with the same message, and the whole way from the notification queue.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from local import aws

from .stack import ARRIVES_WITHIN_S, Stack, code, deployed

ROUNDS = 40
WARM_UP = 10
SETTLE_S = 0.25
"""The pause between two sends, so that none waits for the one before."""


def main() -> None:
    with deployed("hop") as stack:
        _measure(stack)


def _measure(stack: Stack) -> None:
    outputs, sqs, lambda_ = stack.outputs, stack.sqs, aws.client(stack.endpoint, "lambda")

    def queue(name: str) -> Callable[[str], Any]:
        return lambda body: sqs.send_message(QueueUrl=outputs[name], MessageBody=body)

    def invoke(body: str) -> None:
        attributes = {"ApproximateReceiveCount": "1", "SentTimestamp": str(int(time.time() * 1000))}
        arn = "arn:aws:sqs:us-east-1:000000000000:" + outputs["DeliveryQueueUrl"].rpartition("/")[2]
        record = {"messageId": "direct", "body": body, "attributes": attributes, "eventSourceARN": arn}
        lambda_.invoke(FunctionName=outputs["WorkerFunctionName"], Payload=json.dumps({"Records": [record]}))

    ways = {
        "invoke the worker directly": invoke,
        "delivery queue to receiver": queue("DeliveryQueueUrl"),
        "notification queue to receiver": queue("NotificationQueueUrl"),
    }
    latencies_ms: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(WARM_UP + ROUNDS):
        for way, put in ways.items():
            id = f"{number}:{list(ways).index(way)}"
            time.sleep(SETTLE_S)
            sent_at = datetime.now(UTC)
            put(code(id, sent_at))
            arrived_at = stack.arrival(id)
            if arrived_at is None:
                raise SystemExit(f"{id} did not arrive within {ARRIVES_WITHIN_S} s: is the embedded AWS overloaded?")
            if number >= WARM_UP:
                latencies_ms[way].append((arrived_at - sent_at).total_seconds() * 1000)
    for way, values in latencies_ms.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"{way:32} median {statistics.median(values):6.1f} ms   quartiles {low:6.1f} to {high:6.1f} ms")
    invoked, by_delivery, by_notification = map(statistics.median, latencies_ms.values())
    print(f"the delivery queue adds {by_delivery - invoked:.1f} ms")
    print(f"the consumer and its queue add {by_notification - by_delivery:.1f} ms")


if __name__ == "__main__":
    main()
