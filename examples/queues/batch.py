"""Sends, receives and deletes in batches of ten, and counts the calls: SQS charges for calls, not for messages.

    python examples/queues/batch.py letters --messages 25

The queue takes at most 1,024 bytes a message, and one message is longer. The rest of its batch is sent all the same:
the call succeeds, and its answer names what failed. A program that ignores "Failed" loses messages.
"""

import argparse
from contextlib import suppress

import boto3

MOST_IN_A_BATCH = 10
MOST_BYTES = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Send, receive and delete in batches of ten, and count the calls.")
    parser.add_argument("queue", help="its name; it is created if it does not exist")
    parser.add_argument("--messages", type=int, default=25, help="the number of messages to send")
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=arguments.queue, Attributes={"MaximumMessageSize": str(MOST_BYTES)})["QueueUrl"]

    bodies = [f"letter {number}" for number in range(1, arguments.messages + 1)]
    bodies[-1] += "!" * MOST_BYTES  # too long
    sends = sent = 0
    for first in range(0, len(bodies), MOST_IN_A_BATCH):
        # An entry's id only has to differ from the others of its call.
        entries = [
            {"Id": str(number), "MessageBody": body}
            for number, body in enumerate(bodies[first : first + MOST_IN_A_BATCH], start=first + 1)
        ]
        answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
        sends += 1
        sent += len(answer.get("Successful", []))
        for failure in answer.get("Failed", []):
            print(f"letter {failure['Id']} was not sent: {failure['Code']}: {failure['Message']}")
    print(f"sent {sent} messages with {sends} calls instead of {len(bodies)}")

    receives = deletes = deleted = 0
    while deleted < sent:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=MOST_IN_A_BATCH, WaitTimeSeconds=10)
        receives += 1
        messages = received.get("Messages", [])
        if not messages:
            print("nothing came within 10 s: somebody else receives from this queue")
            break
        done = sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                for number, message in enumerate(messages)
            ],
        )
        deletes += 1
        deleted += len(done.get("Successful", []))
        for failure in done.get("Failed", []):
            print(f"{messages[int(failure['Id'])]['Body']} was not deleted and will come again: {failure['Code']}")
    print(f"received and deleted {deleted} messages with {receives} and {deletes} calls")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
