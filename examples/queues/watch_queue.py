"""Prints a queue's status every second until Ctrl-C: visible, in flight, delayed.

    python examples/queues/watch_queue.py jobs

Visible messages can be received now. Messages in flight were received and not yet deleted. Delayed messages were sent
and cannot be received yet. On AWS the three numbers are approximate, and they follow within about a minute.
"""

import argparse
import time
from contextlib import suppress

import boto3

STATUS = {
    "visible": "ApproximateNumberOfMessages",
    "in flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Print a queue's status every second until Ctrl-C.")
    parser.add_argument("queue", help="its name")
    parser.add_argument("--every", type=float, default=1, help="seconds between two lines")
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=arguments.queue)["QueueUrl"]
    while True:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        status = ", ".join(f"{found[name]} {label}" for label, name in STATUS.items())
        print(f"{time.strftime('%H:%M:%S')}  {status}", flush=True)
        time.sleep(arguments.every)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
