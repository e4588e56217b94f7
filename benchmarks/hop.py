"""What the delivery queue costs in time: `python -m benchmarks.hop`.

On one embedded AWS, interleaved, after warming up: from `send_message` on delivery to the receiver, against invoking
the worker directly with the same message, and the whole way from the notification queue.
"""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from lambdas.quiet_hours.notification import accept
from local import BUILD, aws, deploy, server
from local.provider import Provider

ROUNDS = 40
WARM_UP = 10
ARRIVES_WITHIN_S = 60
SETTLE_S = 0.25
"""Between two sends, so that none waits for the end of the one before."""


def main() -> None:
    directory = BUILD / "bench-hop"
    shutil.rmtree(directory, ignore_errors=True)  # the book of an earlier run has the same ids
    provider = Provider(directory / "received.jsonl")
    embedded = server.start(server.free_port(), directory / "server")
    try:
        provider.start()
        # A window that is not now, whenever this runs.
        start, end = (f"{(datetime.now(UTC).hour + hours) % 24:02}:00" for hours in (11, 12))
        context = ["-c", "timezone=UTC", "-c", f"quietHoursStart={start}", "-c", f"quietHoursEnd={end}"]
        outputs = deploy.deploy(embedded.endpoint, directory, context)
        secret = json.dumps({"webhook": {"url": provider.url}})
        aws.client(embedded.endpoint, "secretsmanager").put_secret_value(
            SecretId=outputs["ChannelSecretName"], SecretString=secret
        )
        _measure(embedded.endpoint, outputs, provider)
    finally:
        provider.stop()
        embedded.stop()


def _measure(endpoint: str, outputs: dict[str, str], provider: Provider) -> None:
    sqs, lambda_ = aws.client(endpoint, "sqs"), aws.client(endpoint, "lambda")

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
            candidate = {"channel": "webhook", "address": "bench", "content": {"body": "hop"}, "category": "critical"}
            time.sleep(SETTLE_S)
            sent_at = datetime.now(UTC)
            put(accept(candidate, default_id=id, now=sent_at)[1])
            arrived_at = _arrival(provider, id)
            if number >= WARM_UP:
                latencies_ms[way].append((arrived_at - sent_at).total_seconds() * 1000)
    for way, values in latencies_ms.items():
        low, _, high = statistics.quantiles(values, n=4)
        print(f"{way:32} median {statistics.median(values):6.1f} ms   quartiles {low:6.1f} to {high:6.1f} ms")
    invoked, by_delivery, by_notification = map(statistics.median, latencies_ms.values())
    print(f"the delivery queue adds {by_delivery - invoked:.1f} ms")
    print(f"the consumer and its queue add {by_notification - by_delivery:.1f} ms")


def _arrival(provider: Provider, id: str) -> datetime:
    deadline = time.monotonic() + ARRIVES_WITHIN_S
    while time.monotonic() < deadline:
        for arrival in reversed(provider.arrivals()):
            if arrival.id == id:
                return arrival.at
        time.sleep(0.002)
    raise SystemExit(f"{id} did not arrive within {ARRIVES_WITHIN_S} s: is the embedded AWS overloaded?")


if __name__ == "__main__":
    main()
