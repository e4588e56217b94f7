"""Sends the records of a JSON file to a queue, slowly or fast, until all are sent or Ctrl-C.

    python examples/queues/producer.py slow jobs
    python examples/queues/producer.py fast jobs

Each message carries the attributes JobType and Producer, so that a consumer can choose by them before it reads the
body. SQS hides each message for the producer's delay, and the producer rests as long before it sends the next.
"""

import argparse
import json
import time
from contextlib import suppress
from pathlib import Path

import boto3

DELAYS_S = {"slow": 10, "fast": 2}
RECORDS = Path(__file__).with_name("records.json")


def main() -> None:
    parser = argparse.ArgumentParser(description="Send the records of a JSON file to a queue.")
    parser.add_argument("speed", choices=DELAYS_S, help="slow: a delay of 10 s; fast: 2 s")
    parser.add_argument("queue", help="its name")
    parser.add_argument("--delay", type=int, help="seconds, instead of the speed's own")
    parser.add_argument("--file", type=Path, default=RECORDS, help="an array of objects, each with a job_type")
    arguments = parser.parse_args()
    delay_s = DELAYS_S[arguments.speed] if arguments.delay is None else arguments.delay

    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName=arguments.queue)["QueueUrl"]
    for record in json.loads(arguments.file.read_text(encoding="utf-8")):
        sent = sqs.send_message(
            QueueUrl=url,
            MessageBody=json.dumps(record, ensure_ascii=False),
            DelaySeconds=delay_s,  # it replaces the queue's own delay for this message
            MessageAttributes={
                "JobType": {"DataType": "String", "StringValue": record["job_type"]},
                "Producer": {"DataType": "String", "StringValue": arguments.speed},
            },
        )
        print(f"sent {sent['MessageId']}: {record['job_type']}", flush=True)
        time.sleep(delay_s)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
