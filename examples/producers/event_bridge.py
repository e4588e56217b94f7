"""EventBridge: the sender needs `events:PutEvents` on the bus, and does not know what listens there."""

import json
import os

import boto3

bus = boto3.client("events")


def announce_restock(item: str, customer: str) -> None:
    """Publish an event with the notification as its detail. EventBridge answers 200 even if it refuses the event."""
    notification = {
        "id": f"restock-{item}:{customer}",
        "category": "advertising",
        "channel": "webhook",
        "address": customer,
        "content": {"title": "(광고) 재입고", "body": f"{item} 재입고. 무료수신거부 080-000-0000"},
    }
    event = {"Source": "shop", "DetailType": "NotificationRequested", "Detail": json.dumps(notification)}
    answer = bus.put_events(Entries=[event | {"EventBusName": os.environ["EVENT_BUS_NAME"]}])
    if answer["FailedEntryCount"]:
        raise RuntimeError(answer["Entries"][0]["ErrorCode"])
