"""Plain boto3: the sender needs `sqs:SendMessage` on the notification queue, and nothing else."""

import json
import os

import boto3

sqs = boto3.client("sqs")


def notify_paid(order_id: str, customer: str) -> None:
    """Ask for a notification. It is accepted when SQS has taken the message."""
    notification = {
        "id": f"order-{order_id}:paid",
        "category": "informational",
        "channel": "webhook",
        "address": customer,
        "content": {"title": "결제 완료", "body": f"주문 {order_id}의 결제가 완료되었습니다."},
    }
    sqs.send_message(QueueUrl=os.environ["NOTIFICATION_QUEUE_URL"], MessageBody=json.dumps(notification))
