"""Sends what users looked at to a FIFO queue: in order for each user, and each event once.

    python examples/fifo/send_views.py views.fifo

The message group is the user: SQS keeps the order within a group, and groups do not wait for each other. The
deduplication id is the event's own: a second message with the same id within five minutes is accepted and dropped.
"""

import argparse
import json
from pathlib import Path

import boto3

VIEWS = Path(__file__).with_name("views.json")


def main() -> None:
    parser = argparse.ArgumentParser(description="Send page views to a FIFO queue.")
    parser.add_argument("queue", help="its name, which ends with .fifo; it is created if it does not exist")
    parser.add_argument("--file", type=Path, default=VIEWS, help="an array of events with event, userId and item")
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    # The dead-letter queue of a FIFO queue is a FIFO queue too.
    letters_url = sqs.create_queue(
        QueueName=arguments.queue.replace(".fifo", "-dead-letters.fifo"), Attributes={"FifoQueue": "true"}
    )["QueueUrl"]
    letters_arn = sqs.get_queue_attributes(QueueUrl=letters_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = sqs.create_queue(
        QueueName=arguments.queue,
        Attributes={
            "FifoQueue": "true",
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": letters_arn, "maxReceiveCount": 3}),
        },
    )["QueueUrl"]
    for view in json.loads(arguments.file.read_text(encoding="utf-8")):
        sent = sqs.send_message(
            QueueUrl=url,
            MessageBody=json.dumps(view),
            MessageGroupId=view["userId"],
            MessageDeduplicationId=view["event"],
            MessageAttributes={"userId": {"DataType": "String", "StringValue": view["userId"]}},
        )
        # A dropped duplicate answers with the number of the first message.
        print(f"{view['event']} of {view['userId']}: number {int(sent['SequenceNumber'])}")


if __name__ == "__main__":
    main()
