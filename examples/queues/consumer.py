"""Receives messages, works on each and deletes it, slowly or fast, until Ctrl-C.

    python examples/queues/consumer.py slow jobs
    python examples/queues/consumer.py fast jobs

A message that was received is hidden for the visibility timeout. If the consumer does not delete it in time, because
its work took too long or it was stopped, the message comes again. So the timeout must be longer than the work takes.
"""

import argparse
import json
import time
from contextlib import suppress
from typing import NamedTuple

import boto3


class Speed(NamedTuple):
    visibility_s: int
    work_s: float


SPEEDS = {"slow": Speed(visibility_s=20, work_s=8), "fast": Speed(visibility_s=5, work_s=1)}
LONG_POLL_S = 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Receive messages, work on each, delete it, until Ctrl-C.")
    parser.add_argument("speed", choices=SPEEDS, help="slow: hides a message for 20 s; fast: 5 s")
    parser.add_argument("queue", help="its name")
    parser.add_argument("--visibility", type=int, help="seconds, instead of the speed's own")
    parser.add_argument("--work", type=float, help="seconds that the work on one message takes")
    parser.add_argument("--wait", type=int, default=LONG_POLL_S, help="seconds that a receive waits for a message")
    arguments = parser.parse_args()
    speed = SPEEDS[arguments.speed]
    visibility_s = speed.visibility_s if arguments.visibility is None else arguments.visibility
    work_s = speed.work_s if arguments.work is None else arguments.work

    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=arguments.queue)["QueueUrl"]
    while True:
        answer = sqs.receive_message(
            QueueUrl=url,
            VisibilityTimeout=visibility_s,
            WaitTimeSeconds=arguments.wait,
            MessageAttributeNames=["JobType", "Producer"],  # SQS leaves out what is not asked for
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = answer.get("Messages", [])  # an empty receive has no "Messages" at all
        if not messages:
            print("nothing to do", flush=True)
        for message in messages:
            attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
            print(
                f"received {attributes.get('JobType', 'a job')} from {attributes.get('Producer', 'somebody')}, "
                f"time {message['Attributes']['ApproximateReceiveCount']}: {json.loads(message['Body'])}",
                flush=True,
            )
            time.sleep(work_s)
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            print("deleted", flush=True)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
