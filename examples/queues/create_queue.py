"""Creates a queue whose messages arrive late and are kept for a day.

python examples/queues/create_queue.py jobs --delay 5 --retention 86400
"""

import argparse
import sys

import boto3


def main() -> None:
    parser = argparse.ArgumentParser(description="Create a queue with a delay and a retention.")
    parser.add_argument("queue", help="its name")
    parser.add_argument("--delay", type=int, default=5, help="seconds before a message can be received (0 to 900)")
    parser.add_argument(
        "--retention", type=int, default=86_400, help="seconds that SQS keeps a message (60 to 1209600)"
    )
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    try:
        # Creating a queue again with the same attributes returns the one that exists.
        url = sqs.create_queue(
            QueueName=arguments.queue,
            Attributes={"DelaySeconds": str(arguments.delay), "MessageRetentionPeriod": str(arguments.retention)},
        )["QueueUrl"]
    except sqs.exceptions.QueueNameExists:
        sys.exit(f"{arguments.queue} already exists with another delay or retention.")
    attributes = sqs.get_queue_attributes(
        QueueUrl=url, AttributeNames=["DelaySeconds", "MessageRetentionPeriod", "VisibilityTimeout"]
    )["Attributes"]
    print(url)
    for name, value in attributes.items():
        print(f"  {name} = {value} s")


if __name__ == "__main__":
    main()
