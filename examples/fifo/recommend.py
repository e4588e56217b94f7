"""Recommends an item for each page view on a FIFO queue, in order for each user, until Ctrl-C.

    python examples/fifo/recommend.py views.fifo

If a view fails, the later views of its user wait for it: while a message of a group is in flight, SQS gives out no
other of that group. Other users do not wait. After three receives the view goes to the dead-letter queue, and its user
goes on.
"""

import argparse
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path

import boto3

PURCHASES: dict[str, list[str]] = json.loads(Path(__file__).with_name("purchases.json").read_text(encoding="utf-8"))


def recommendation(item: str) -> str:
    """Return what buyers of an item bought most often beside it. Raises `LookupError` if nobody bought it."""
    beside = Counter(other for bought in PURCHASES.values() if item in bought for other in bought if other != item)
    if not beside:
        raise LookupError(f"nobody bought {item}")
    return min(beside, key=lambda other: (-beside[other], other))


def main() -> None:
    parser = argparse.ArgumentParser(description="Recommend an item for each page view on a FIFO queue.")
    parser.add_argument("queue", help="its name, which ends with .fifo")
    parser.add_argument("--wait", type=int, default=10, help="seconds that a receive waits for a message")
    parser.add_argument("--retry", type=int, default=5, help="seconds until a view that failed comes again")
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=arguments.queue)["QueueUrl"]
    while True:
        # One message at a time. A receive of ten would count a receive for the later views of a user too, so that
        # SQS would move them to the dead-letter queue together with the one that fails.
        answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=arguments.wait, MessageAttributeNames=["userId"])
        for message in answer.get("Messages", []):
            user, handle = message["MessageAttributes"]["userId"]["StringValue"], message["ReceiptHandle"]
            view = json.loads(message["Body"])
            try:
                other = recommendation(view["item"])
            except LookupError as error:
                print(f"{view['event']} of {user}: failed, {error}", flush=True)
                sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=arguments.retry)
            else:
                print(f"{view['event']} of {user}: {view['item']} goes well with {other}", flush=True)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
