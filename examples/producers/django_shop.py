"""Django: the message is sent when the transaction is committed. An order that is rolled back notifies nobody."""

import json
import os

import boto3
from django.db import transaction

sqs = boto3.client("sqs")


def notify_paid(order_id: str, customer: str) -> None:
    """Ask for a notification as soon as the order is in the database."""
    notification = {
        "id": f"order-{order_id}:paid",
        "category": "informational",
        "channel": "webhook",
        "address": customer,
        "content": {"title": "결제 완료", "body": f"주문 {order_id}의 결제가 완료되었습니다."},
    }
    message = {"QueueUrl": os.environ["NOTIFICATION_QUEUE_URL"], "MessageBody": json.dumps(notification)}
    transaction.on_commit(lambda: sqs.send_message(**message))
