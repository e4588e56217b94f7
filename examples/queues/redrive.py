"""Lets a message fail until SQS puts it aside, and brings it back once the cause is mended.

    python examples/queues/redrive.py orders

A message that is received and not deleted comes again after its visibility timeout. The redrive policy bounds that:
after the third receive SQS moves it to the dead-letter queue, where it waits for somebody to look at it.
"""

import argparse
import json
from contextlib import suppress

import boto3

MAX_RECEIVES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description="Dead-letter a message that fails, then redrive it.")
    parser.add_argument("queue", help="its name; it and NAME-dead-letters are created if they do not exist")
    parser.add_argument("--visibility", type=int, default=2, help="seconds until a message comes again")
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    # The dead-letter queue keeps its messages longer: the time of a message counts from when it was first sent.
    letters_url = sqs.create_queue(
        QueueName=f"{arguments.queue}-dead-letters", Attributes={"MessageRetentionPeriod": "1209600"}
    )["QueueUrl"]
    letters_arn = sqs.get_queue_attributes(QueueUrl=letters_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = sqs.create_queue(
        QueueName=arguments.queue,
        Attributes={
            "VisibilityTimeout": str(arguments.visibility),
            "RedrivePolicy": json.dumps({"deadLetterTargetArn": letters_arn, "maxReceiveCount": MAX_RECEIVES}),
        },
    )["QueueUrl"]

    sqs.send_message(QueueUrl=url, MessageBody="an order that fails")
    while True:
        letters = sqs.receive_message(QueueUrl=letters_url, MessageAttributeNames=["All"]).get("Messages", [])
        if letters:
            break
        answer = sqs.receive_message(
            QueueUrl=url, WaitTimeSeconds=1, MessageSystemAttributeNames=["ApproximateReceiveCount"]
        )
        for message in answer.get("Messages", []):
            # It failed. Nobody deletes it, so SQS delivers it again.
            print(f"{message['Body']}: receive {message['Attributes']['ApproximateReceiveCount']} of {MAX_RECEIVES}")

    # The redrive: send first, delete then. The other way round, a crash in between would lose the message. On AWS,
    # sqs.start_message_move_task(SourceArn=letters_arn) does this for a whole queue; the embedded AWS does not have it.
    for letter in letters:
        print(f"{letter['Body']}: found on the dead-letter queue")
        sqs.send_message(
            QueueUrl=url, MessageBody=letter["Body"], MessageAttributes=letter.get("MessageAttributes", {})
        )
        sqs.delete_message(QueueUrl=letters_url, ReceiptHandle=letter["ReceiptHandle"])
    mended = False
    while not mended:
        for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            print(f"{message['Body']}: received again after the redrive, and deleted")
            mended = True


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
