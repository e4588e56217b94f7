"""`make redrive`: move messages from dead-letter to the notification queue, where they are judged again.

Each message is received, sent with the same body and attributes, and only then deleted. By default this happens on
what `make local` runs; with OUTPUTS=(a CDK outputs file) it happens in the account of the environment's credentials. A
notification whose outcome is unknown may have been delivered already: it stays, unless RESEND_UNKNOWN=1 says that it
may be sent again.
"""

from __future__ import annotations

import argparse
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from commands import CommandError
from commands.run import run_command
from lambdas.quiet_hours.notification.bundle import REDRIVEN
from lambdas.quiet_hours.stores.ledger import Ledger

from .target import TARGET_HELP, target

MESSAGES_MAX = 100_000
FRUITLESS_RECEIVES = 3
POLL_S = 1
_UNKNOWN = "unknown_outcome:"


class Redriven(NamedTuple):
    """The numbers of messages: moved, left for their unknown outcome, and not taken by SQS."""

    moved: int
    unknown: int
    failed: int


def redrive(sqs: Any, outputs: dict[str, str], ledger: Ledger | None, messages_max: int = MESSAGES_MAX) -> Redriven:
    """Move every message that is on dead-letter now. With a `ledger`, unknown outcomes are reopened first.

    A message that comes back to dead-letter meanwhile stays: its fault is still there.
    """
    source, destination = outputs["DeadLetterQueueUrl"], outputs["NotificationQueueUrl"]
    stay: dict[str, bool] = {}  # by message id; true if it stays because its outcome is unknown
    moved = fruitless = 0
    started_ms = int(time.time() * 1000)
    while fruitless < FRUITLESS_RECEIVES and moved + len(stay) < messages_max:
        answer = sqs.receive_message(
            QueueUrl=source,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=POLL_S,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        received = [
            message
            for message in answer.get("Messages", [])
            if message["MessageId"] not in stay and int(message["Attributes"]["SentTimestamp"]) <= started_ms
        ]
        fruitless = 0 if received else fruitless + 1
        going = [message for message in received if _may_go(message, ledger)]
        taken = _send(sqs, destination, going)
        _delete(sqs, source, taken)
        moved += len(taken)
        stay |= {message["MessageId"]: message not in going for message in received if message not in taken}
    return Redriven(moved, sum(stay.values()), len(stay) - sum(stay.values()))


def _may_go(message: dict[str, Any], ledger: Ledger | None) -> bool:
    attributes = message.get("MessageAttributes", {})
    if not attributes.get("reason", {}).get("StringValue", "").startswith(_UNKNOWN):
        return True
    if ledger is None:
        return False
    notification_id, ended_at = (attributes[name]["StringValue"] for name in ("notification_id", REDRIVEN))
    ledger.reopen_unknown(notification_id, ended_at, datetime.now(UTC))
    return True


def _send(sqs: Any, queue_url: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send one by one, because a dead letter may be as large as a whole batch. Returns the messages that SQS took."""
    taken = []
    for message in messages:
        try:
            sqs.send_message(
                QueueUrl=queue_url,
                MessageBody=message["Body"],
                MessageAttributes={
                    name: {"DataType": value["DataType"], "StringValue": value["StringValue"]}
                    for name, value in message.get("MessageAttributes", {}).items()
                    if "StringValue" in value
                },
            )
        except sqs.exceptions.ClientError as error:  # for example too large for that queue: the message stays
            print(f"{message['MessageId']} stays: {error}")
        else:
            taken.append(message)
    return taken


def _delete(sqs: Any, queue_url: str, messages: list[dict[str, Any]]) -> None:
    if messages:
        entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(messages)]
        # A message that is not deleted comes again: its second redrive is absorbed.
        sqs.delete_message_batch(QueueUrl=queue_url, Entries=entries)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m operators.redrive",
        description="Move every message that is on dead-letter now to the notification queue, where it is judged "
        "again. A notification whose outcome is unknown stays, unless RESEND_UNKNOWN=1 says that it may be sent again.",
        epilog=TARGET_HELP,
    )
    return parser.parse_args()


def main() -> None:
    """Redrive the deployment that the environment names. Raises `CommandError` if there is none."""
    _arguments()
    client, outputs = target()
    sqs, dynamodb = client("sqs"), client("dynamodb")
    resend = os.environ.get("RESEND_UNKNOWN") == "1"
    owner = f"redrive-{time.time_ns()}"
    ledger = Ledger(dynamodb, outputs["LedgerTableName"], owner, timedelta(minutes=2)) if resend else None
    done = redrive(sqs, outputs, ledger)
    print(f"{done.moved} messages were moved from dead-letter to notification.")
    if done.unknown:
        print(f"{done.unknown} stay because their outcome is unknown: RESEND_UNKNOWN=1 sends them again.")
    if done.failed:
        raise CommandError(f"{done.failed} stay because SQS did not take them.")


if __name__ == "__main__":
    run_command(main)
