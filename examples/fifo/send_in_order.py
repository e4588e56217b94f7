"""Sends notifications through Quiet Hours in order: each one after the one before it has ended.

    python examples/fifo/send_in_order.py build/outputs.json

The pipeline keeps no order, so the sender keeps it (docs/fifo.md). It sends a notification, asks for its state until it
has ended, and only then sends the next. What ends undelivered ends the row: "your parcel is on its way" must not come
after a payment that nobody was told of.
"""

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3

STEPS = Path(__file__).with_name("steps.json")
ENDED = {
    *("delivered", "expired", "cancelled", "opted_out", "superseded", "not_in_allow_list"),
    *("dead_lettered", "unknown"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Send notifications, each after the one before it has ended.")
    parser.add_argument("outputs", type=Path, help="the outputs of the stack, as the CDK writes them")
    parser.add_argument("--file", type=Path, default=STEPS, help="an array of notifications, each with an id")
    parser.add_argument("--every", type=float, default=1, help="seconds between two questions for a state")
    arguments = parser.parse_args()
    [outputs] = json.loads(arguments.outputs.read_text(encoding="utf-8")).values()
    producer, lambda_ = outputs["ProducerFunctionName"], boto3.client("lambda")

    def ask(request: dict[str, Any]) -> Any:
        answer = lambda_.invoke(FunctionName=producer, Payload=json.dumps(request))
        payload = json.load(answer["Payload"])
        if "FunctionError" in answer:
            sys.exit(f"the producer failed: {payload}")
        return payload

    for notification in json.loads(arguments.file.read_text(encoding="utf-8")):
        if rejected := ask(notification)["rejected"]:
            sys.exit(f"{notification['id']}: {rejected[0]['errors']}")
        # The function takes what its URL would send it. Callers without boto3 send a signed GET to ProducerUrl.
        state_of = {
            "rawPath": f"/notifications/{quote(notification['id'], safe='')}",
            "requestContext": {"http": {"method": "GET"}, "stage": "$default"},
        }
        state = ""
        while state not in ENDED:
            time.sleep(arguments.every)
            state = json.loads(ask(state_of)["body"]).get("state", "")  # no state: a table gave no answer
        print(f"{notification['id']}: {state}", flush=True)
        if state != "delivered":
            sys.exit("The rest is not sent.")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
