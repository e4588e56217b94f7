"""Compares short and long polling: the calls that each needs to receive a message that can be received in two seconds.

    python examples/queues/polling.py letters

A short poll answers at once, with nothing if there is nothing. On AWS it also asks only some of SQS's servers, so that
it can miss a message that is there. A long poll asks all of them and waits until a message comes, for 20 s at the most.
Empty answers cost as much as full ones.
"""

import argparse
import time
from contextlib import suppress

import boto3

SHORT_S, LONG_S = 0, 10
DELAY_S = 2


def main() -> None:
    parser = argparse.ArgumentParser(description="Count the receive calls of short and of long polling.")
    parser.add_argument("queue", help="its name; it is created if it does not exist")
    parser.add_argument("--pause", type=float, default=0.2, help="seconds between two calls")
    arguments = parser.parse_args()

    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName=arguments.queue)["QueueUrl"]
    for kind, wait_s in (("short", SHORT_S), ("long", LONG_S)):
        sqs.send_message(QueueUrl=url, MessageBody=kind, DelaySeconds=DELAY_S)
        calls = 0
        while True:
            answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=wait_s)
            calls += 1
            messages = answer.get("Messages", [])
            if messages:
                break
            time.sleep(arguments.pause)
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        print(f"{kind} polling: {calls} calls, {calls - 1} of them empty")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
